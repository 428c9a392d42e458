# shellcheck shell=bash
# Ordinary machines: Debian with a kernel of its own (user-mode-linux), systemd, cgroup v2, AppArmor and, if you install it,
# an engine of its own. `scripts/testbed machine help` prints the comment below. Needs messages.sh, detached.sh, packages.sh.
#
#   scripts/testbed machine up NAME [--memory 1536m] [--with PACKAGE,…]   makes and boots one, with nodejs, npm, git and cloud-init
#   scripts/testbed machine down [NAME]                 removes it, or all machines, with disk and network
#   scripts/testbed machine status
#   scripts/testbed machine sh [USER@]NAME [CMD…]       runs a command or a shell in it, as root or as USER
#   scripts/testbed machine ssh [USER@]NAME WORD…       ssh with your own words, such as -N -L SOCKET:/var/run/docker.sock
#   scripts/testbed machine put [USER@]NAME FILE… DEST  copies files and folders into it
#   scripts/testbed machine kill NAME | start NAME      power cut, and boot again with the disk kept
#   scripts/testbed machine boots NAME                  prints how often it was started
#
# A machine has one CPU and is 2 to 10 times slower than this one. It reaches apt's mirror and npm by this machine's network,
# but not this machine's loopback. It keeps its network after `kill` and `start`, but loses it if it reboots itself. Machines of
# one folder see each other, as 10.89.0.11 and so on. The disk is built once, in about two minutes, and cached; --with builds
# another disk, with further packages. The machines' memory is in /dev/shm.
# Environment: TESTBED_MACHINES, the folder (default /tmp/katafleet-machines; keep it short, because it has sockets; use
# several folders for machines that must not see each other); KATAFLEET_CACHE, the cache of disks (default .cache).
# Needs root, an amd64 Debian or Ubuntu; installs debootstrap, e2fsprogs, slirp4netns, iptables, ethtool, openssh-client.
set -euo pipefail

MACHINES=$(realpath -m -- "${TESTBED_MACHINES:-/tmp/katafleet-machines}")
CACHE=$(realpath -m -- "${KATAFLEET_CACHE:-$(dirname -- "$SELF")/../.cache}")
TAG=kf$(printf '%s' "$MACHINES" | cksum | awk '{ printf "%05x", $1 % 1048576 }')
MACHINE_BOOT_SECONDS=300

library=$(dirname -- "$SELF")/lib
# shellcheck source=scripts/lib/packages.sh
. "$library/packages.sh"
# shellcheck source=scripts/lib/testbed/machine-network.sh
. "$library/testbed/machine-network.sh"
# shellcheck source=scripts/lib/testbed/machine-image.sh
. "$library/testbed/machine-image.sh"

require_what_machines_need() {
  [ "$(id -u)" = 0 ] || die "needs root"
  [ "$(uname -m)" = x86_64 ] || die "user-mode-linux needs an amd64 machine"
  provide_packages slirp4netns:slirp4netns iptables:iptables ethtool:ethtool ip:iproute2 nsenter:util-linux ssh:openssh-client \
    || die "these packages are needed: install them, then try again"
  provide_unpacked linux.uml:user-mode-linux "$CACHE/machine/uml" || die "there is no kernel for the machine"
  LINUX=$(command -v linux.uml || echo "$CACHE/machine/uml/usr/bin/linux.uml")
}

machines() { [ ! -d "$MACHINES" ] || find "$MACHINES" -mindepth 2 -maxdepth 2 -name number -printf '%h\n' | xargs -r -n 1 basename | sort -V; }
require_machine() { [ -n "${1:-}" ] && [ -f "$MACHINES/$1/number" ] || die "no machine '${1:-}'; there are: $(machines | tr '\n' ' ')"; }

# Prints the pids of a machine's kernel and of the kernel's helpers: the machine's folder is one of their arguments. The
# bracket keeps grep itself out.
machine_pids() { grep -lzx "[u]ml_dir=$MACHINES/$1/uml/" /proc/[0-9]*/cmdline 2>/dev/null | cut -d/ -f3 || true; }
machine_is_on() { [ -n "$(machine_pids "$1")" ]; }

make_machine() {
  local name=${1:-} memory=1536m packages='' image number=1
  [[ $name =~ ^[a-z][a-z0-9]{0,8}$ ]] || die "up needs a name of at most 9 small letters and digits, which begins with a letter"
  [ ! -e "$MACHINES/$name" ] || die "$name exists: 'scripts/testbed machine down $name' first"
  shift
  while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || die "$1 needs a value"
    case $1 in
      --memory) memory=$2 ;;
      --with) packages=${2//,/ } ;;
      *) die "unknown option $1" ;;
    esac
    shift 2
  done
  # shellcheck disable=SC2086  # one package a word
  image=$(machine_image $packages)
  while grep -qx "$number" "$MACHINES"/*/number 2>/dev/null; do number=$((number + 1)); done
  [ "$number" -le 40 ] || die "there are 40 machines already, the most that are possible: remove one first"
  mkdir -p "$MACHINES/$name"
  echo "$image" > "$MACHINES/$name/image"
  echo "$memory" > "$MACHINES/$name/memory"
  echo 0 > "$MACHINES/$name/boots"
  echo "$number" > "$MACHINES/$name/number"
  make_machine_network
  boot_machine "$name"
}

boot_machine() {
  local name=$1 folder=$MACHINES/$1 image words
  ! machine_is_on "$name" || die "$name is on"
  image=$(cat "$folder/image")
  rm -rf "$folder/uml"
  mkdir "$folder/uml"
  make_machine_network
  plug_machine_in "$name"
  echo $(($(cat "$folder/boots") + 1)) > "$folder/boots"
  # shellcheck disable=SC2054  # the commas belong to the kernel's options
  words=("ubd0=$folder/disk.cow,$image/base.raw" root=/dev/ubda rw "mem=$(cat "$folder/memory")" "umid=$name" "uml_dir=$folder/uml/"
    "vec0:transport=tap,ifname=$name,depth=64,gro=1" con=null con0=null,fd:1 ssl=null security=apparmor
    "systemd.machine_id=$(machine_id "$name")" "testbed.name=$name" "testbed.address=$(machine_address "$name")" "testbed.gateway=$MACHINE_SUBNET.1")
  TMPDIR=/dev/shm start_detached "$folder/console" nsenter --net="/run/netns/$MACHINE_NAMESPACE" -- "$LINUX" "${words[@]}"
  await_machine "$name"
}

await_machine() {
  local name=$1 deadline=$((SECONDS + MACHINE_BOOT_SECONDS))
  until machine_ssh "$name" true </dev/null >/dev/null 2>&1; do
    if [ "$SECONDS" -ge "$deadline" ] || ! machine_is_on "$name"; then
      tail -n 15 "$MACHINES/$name/console" >&2
      die "$name does not come up; its console's last output is above"
    fi
    sleep 0.5
  done
}

# Prints an id that differs for each machine: systemd derives the network card's hardware address from it, and machines with
# the same disk would otherwise have the same address.
machine_id() { printf '%s' "$MACHINES/$1" | md5sum | cut -c1-32; }

# machine_ssh [USER@]NAME WORD…: words before the command are ssh's options. It tries several times, because a machine under
# load may lose a connection's first frames.
machine_ssh() {
  local name=${1#*@} user=root folder
  if [[ $1 == *@* ]]; then user=${1%%@*}; fi
  shift
  folder=$(cat "$MACHINES/$name/image")
  in_machine_network ssh -q -i "$folder/key" -o BatchMode=yes -o StrictHostKeyChecking=yes -o HostKeyAlias=katafleet-machine \
    -o UserKnownHostsFile="$folder/known_hosts" -o ServerAliveInterval=15 -o ServerAliveCountMax=8 \
    -o ConnectTimeout=30 -o ConnectionAttempts=5 -l "$user" "$(machine_address "$name")" "$@"
}

machine_sh() {
  local name=$1; shift
  if [ $# -eq 0 ]; then machine_ssh "$name" -t; else machine_ssh "$name" -- "$(printf '%q ' "$@")"; fi
}

# put_into_machine NAME FILE… DEST: copies by tar, which keeps modes, times and links.
put_into_machine() {
  local name=$1 dest=${*: -1} file
  [ $# -ge 3 ] || die "put needs a machine, files, and the folder to put them in"
  for file in "${@:2:$#-2}"; do
    tar -C "$(dirname -- "$file")" -c -- "$(basename -- "$file")" | machine_sh "$name" tar -C "$dest" -x --no-same-owner
  done
}

cut_power() {
  local name=$1 pids deadline=$((SECONDS + 20))
  while pids=$(machine_pids "$name"); [ -n "$pids" ]; do
    # shellcheck disable=SC2086  # one pid a word
    kill -9 $pids 2>/dev/null || true
    [ "$SECONDS" -lt "$deadline" ] || die "processes of $name do not end: $pids"
    sleep 0.1
  done
  unplug_machine "$name"
}

remove_machine() {
  cut_power "$1"
  rm -rf --one-file-system "${MACHINES:?}/$1"
}

remove_machines() {
  local name
  for name in $(machines); do remove_machine "$name"; done
  remove_machine_network
  rm -rf --one-file-system "${MACHINES:?}"
}

show_machines() {
  local name state
  printf '%-10s %-14s %-7s %-5s %s\n' machine address memory boots state
  for name in $(machines); do
    state=off
    if machine_is_on "$name"; then state=on; fi
    printf '%-10s %-14s %-7s %-5s %s\n' "$name" "$(machine_address "$name")" "$(cat "$MACHINES/$name/memory")" "$(cat "$MACHINES/$name/boots")" "$state"
  done
}

machine() {
  local verb=${1:-help}
  if [ $# -gt 0 ]; then shift; fi
  case $verb in
    help | -h | --help) print_help "${BASH_SOURCE[0]}"; exit 0 ;;
    status) show_machines; exit 0 ;;
  esac
  require_what_machines_need
  case $verb in
    up | down | kill | start)                            # only one of these commands at a time
      mkdir -p "$MACHINES"
      exec 9> "$MACHINES.lock"
      flock -w 900 9 || die "another scripts/testbed is working on $MACHINES: wait until it ends" ;;
  esac
  case $verb in
    up) make_machine "$@"; exit 0 ;;
    down) if [ $# -eq 0 ]; then remove_machines; rm -f "$MACHINES.lock"; exit 0; fi ;;
  esac
  require_machine "${1##*@}"
  case $verb in
    down) remove_machine "$1" ;;
    kill) cut_power "$1" ;;
    start) boot_machine "$1" ;;
    sh) machine_sh "$@" ;;
    ssh) machine_ssh "$@" ;;
    put) put_into_machine "$@" ;;
    boots) cat "$MACHINES/$1/boots" ;;
    *) die "unknown command machine $verb; see scripts/testbed machine help" ;;
  esac
}
