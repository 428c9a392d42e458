# shellcheck shell=bash
# The network of the ordinary machines: a network namespace with a bridge. slirp4netns connects it to the outside, but not to
# this machine's loopback. Needs messages.sh, detached.sh, MACHINES, TAG.

MACHINE_SUBNET=10.89.0
MACHINE_SLIRP=10.89.255
# shellcheck disable=SC2034  # for machine-image.sh
MACHINE_RESOLVER=$MACHINE_SLIRP.3
MACHINE_NAMESPACE=$TAG-machines

machine_address() { echo "$MACHINE_SUBNET.$((10 + $(cat "$MACHINES/$1/number")))"; }
in_machine_network() { nsenter --net="/run/netns/$MACHINE_NAMESPACE" -- "$@"; }
machine_network_is_up() { [ -e "/run/netns/$MACHINE_NAMESPACE" ] && [ -n "$(slirp_pids)" ]; }

# Finds slirp4netns by its arguments: the pid in an old file may belong to another process by now.
slirp_pids() { grep -lzx "[/]run/netns/$MACHINE_NAMESPACE" /proc/[0-9]*/cmdline 2>/dev/null | cut -d/ -f3 || true; }

make_machine_network() {
  local deadline=$((SECONDS + 20))
  if machine_network_is_up; then return 0; fi
  remove_machine_network
  ip netns add "$MACHINE_NAMESPACE"
  in_machine_network ip link set lo up
  in_machine_network ip link add switch type bridge
  in_machine_network ip addr add "$MACHINE_SUBNET.1/24" dev switch
  in_machine_network ip link set switch up
  in_machine_network sysctl -qw net.ipv4.ip_forward=1
  start_detached "$MACHINES/slirp.log" slirp4netns --configure --cidr="$MACHINE_SLIRP.0/24" --mtu=1500 --disable-host-loopback \
    --netns-type=path "/run/netns/$MACHINE_NAMESPACE" way-out
  until in_machine_network ip -4 addr show dev way-out 2>/dev/null | grep -q inet; do
    [ "$SECONDS" -lt "$deadline" ] || { tail -n 5 "$MACHINES/slirp.log" >&2; die "slirp4netns does not start; its last output is above"; }
    sleep 0.1
  done
  in_machine_network iptables -t nat -A POSTROUTING -s "$MACHINE_SUBNET.0/24" -o way-out -j MASQUERADE
  turn_offload_off switch
  turn_offload_off way-out
}

remove_machine_network() {
  local pid
  for pid in $(slirp_pids); do kill "$pid" 2>/dev/null || true; done
  ip netns del "$MACHINE_NAMESPACE" 2>/dev/null || true
}

# Turns off segmentation offload: UML's vector driver drops frames that the sender did not segment itself.
turn_offload_off() { in_machine_network ethtool -K "$1" tso off gso off gro off tx off >/dev/null 2>&1 || true; }

plug_machine_in() {
  unplug_machine "$1"
  in_machine_network ip tuntap add dev "$1" mode tap
  in_machine_network ip link set "$1" master switch up
  turn_offload_off "$1"
}

unplug_machine() { in_machine_network ip link del "$1" 2>/dev/null || true; }
