# shellcheck shell=bash
# The hosts' network: a switch in a network namespace of its own, because this machine's forwarding rules may drop frames
# that cross a bridge. This machine is $TESTBED_SUBNET.1; hosts are .11, .12, … and have no route to anything else. Needs TAG.

SWITCH=$TAG-switch

address() { echo "$TESTBED_SUBNET.$((10 + ${1#h}))"; }

# Prints a hardware address that stays the same after every boot, as on a real machine. If it changed, other hosts would send
# to the old address for half a minute.
hardware_address() {
  local octets
  IFS=. read -r -a octets <<< "$(address "$1")"
  printf '02:00:%02x:%02x:%02x:%02x\n' "${octets[@]}"
}

make_switch() {
  ip netns add "$SWITCH"
  ip -n "$SWITCH" link set lo up
  ip -n "$SWITCH" link add switch type bridge
  ip -n "$SWITCH" link set switch up
  ip link add "$TAG-out" type veth peer name outside netns "$SWITCH"
  ip -n "$SWITCH" link set outside master switch up
  ip addr add "$TESTBED_SUBNET.1/24" dev "$TAG-out"
  ip link set "$TAG-out" up
}

remove_switch() {
  ip link del "$TAG-out" 2>/dev/null || true
  ip netns del "$SWITCH" 2>/dev/null || true
}

# Plugs the cable in, after unplugging an older one.
plug_in() {
  local host=$1 namespace=$TAG-$1
  unplug "$host"
  ip netns add "$namespace"
  ip -n "$namespace" link add eth0 address "$(hardware_address "$host")" type veth peer name "$host" netns "$SWITCH"
  ip -n "$SWITCH" link set "$host" master switch up
  ip -n "$namespace" addr add "$(address "$host")/24" dev eth0
  ip -n "$namespace" link set lo up
  ip -n "$namespace" link set eth0 up
}

unplug() {
  # The namespace may exist a moment longer, with its last sockets. Its cable must not.
  ip -n "$SWITCH" link del "$1" 2>/dev/null || true
  ip netns del "$TAG-$1" 2>/dev/null || true
}

cut_cable() { ip -n "$SWITCH" link set "$1" down; }
heal_cable() { ip -n "$SWITCH" link set "$1" up; }
cable_is_cut() { ip -n "$SWITCH" link show "$1" | grep -q 'state DOWN'; }

# slow_cable HOST RATE: RATE is a rate for both directions, such as 10mbit, or off.
slow_cable() {
  local host=$1 rate=$2
  tc -n "$SWITCH" qdisc del dev "$host" root 2>/dev/null || true
  tc -n "$TAG-$host" qdisc del dev eth0 root 2>/dev/null || true
  [ "$rate" != off ] || return 0
  tc -n "$SWITCH" qdisc add dev "$host" root tbf rate "$rate" burst 64kb latency 200ms
  tc -n "$TAG-$host" qdisc add dev eth0 root tbf rate "$rate" burst 64kb latency 200ms
}
