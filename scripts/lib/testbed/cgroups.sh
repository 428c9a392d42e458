# shellcheck shell=bash
# The control groups of the hosts: $TAG/HOST in every hierarchy. Each cgroup version has a set of functions, cgroup1_… and
# cgroup2_…. The rest of the testbed calls `cgroup VERB HOST`. Needs messages.sh, TAG.
#
#   make HOST MEMORY   makes the group, with a limit unless MEMORY is empty   join HOST     moves this process into the group
#   settle HOST        prepares the group for groups below it; called once,   mount ROOT    mounts the host's view of its groups
#                      in the host's cgroup namespace                         freeze|thaw|frozen HOST
#   members HOST       prints the pids in the group, as this machine counts   kill HOST PID1
#   memory HOST        prints the limit in bytes                              remove [HOST]
#
# Tested on machines with version 1, on hybrid machines (with TESTBED_CGROUP2), and on one that boots with version 2 only.

cgroup() { "cgroup${CGROUP_VERSION}_$1" "${@:2}"; }

find_cgroups() {
  CGROUPS=${TESTBED_CGROUP2:-/sys/fs/cgroup}
  if [ "$(stat -f -c %T "$CGROUPS" 2>/dev/null)" = cgroup2fs ]; then
    CGROUP_VERSION=2
  elif mountpoint -q "$CGROUPS/freezer" && mountpoint -q "$CGROUPS/memory"; then
    CGROUP_VERSION=1
  else
    die "no cgroup hierarchy is mounted at $CGROUPS; on Debian without systemd: apt-get install cgroupfs-mount && cgroupfs-mount"
  fi
}

remove_groups_below() { [ ! -d "$1" ] || find "$1" -depth -type d -exec rmdir {} \; 2>/dev/null || true; }
pids_below() { find "$1" -name cgroup.procs -exec cat {} + 2>/dev/null || true; }

# ---- version 1: a hierarchy per controller ----------------------------------------------------------------------

cgroup1_controllers() {
  local controller
  while read -r controller; do
    if mountpoint -q "$CGROUPS/$controller"; then echo "$controller"; fi
  done < <(awk '!/^#/ && $4 == 1 { print $1 }' /proc/cgroups)
}

cgroup1_hierarchy() { readlink -f "$CGROUPS/$1"; }       # cpu and cpuacct may be one mount

cgroup1_make() {
  local host=$1 memory=$2 controller top file
  for controller in $(cgroup1_controllers); do
    top=$(cgroup1_hierarchy "$controller")/$TAG
    mkdir -p "$top/$host"
    case $controller in
      cpuset)                                            # a new cpuset has no CPUs and no memory nodes
        for file in cpuset.cpus cpuset.mems; do
          cat "${top%/*}/$file" > "$top/$file"
          cat "$top/$file" > "$top/$host/$file"
        done ;;
      memory)
        echo 1 2>/dev/null > "$top/$host/memory.use_hierarchy" || true
        if [ -n "$memory" ]; then echo "$memory" > "$top/$host/memory.limit_in_bytes" || die "--memory: '$memory' is not a size of memory, such as 2g"; fi ;;
    esac
  done
}

cgroup1_join() {
  local controller
  for controller in $(cgroup1_controllers); do echo "$BASHPID" > "$(cgroup1_hierarchy "$controller")/$TAG/$1/cgroup.procs"; done
}

cgroup1_settle() { :; }

cgroup1_mount() {
  local root=$1 controller name
  mount -t tmpfs tmpfs "$root/sys/fs/cgroup"
  for controller in $(cgroup1_controllers); do
    name=$(basename "$(cgroup1_hierarchy "$controller")")
    mkdir -p "$root/sys/fs/cgroup/$name"
    mountpoint -q "$root/sys/fs/cgroup/$name" || mount -t cgroup -o "$name" cgroup "$root/sys/fs/cgroup/$name"
    [ "$name" = "$controller" ] || ln -s "$name" "$root/sys/fs/cgroup/$controller"
  done
}

cgroup1_memory() { cat "$(cgroup1_hierarchy memory)/$TAG/$1/memory.limit_in_bytes"; }
cgroup1_members() { pids_below "$(cgroup1_hierarchy freezer)/$TAG/$1"; }
cgroup1_freezer() { echo "$(cgroup1_hierarchy freezer)/$TAG/$1/freezer.state"; }
cgroup1_freeze() { echo FROZEN > "$(cgroup1_freezer "$1")"; }
cgroup1_thaw() { echo THAWED > "$(cgroup1_freezer "$1")"; }
cgroup1_frozen() { [ "$(cat "$(cgroup1_freezer "$1")" 2>/dev/null || echo THAWED)" != THAWED ]; }

# Kills PID 1: the kernel then kills all other processes of its namespace at once, as a power cut would.
cgroup1_kill() { kill -9 "$2" 2>/dev/null || true; }

cgroup1_remove() {
  local controller
  for controller in $(cgroup1_controllers); do remove_groups_below "$(cgroup1_hierarchy "$controller")/$TAG${1:+/$1}"; done
}

# ---- version 2: one hierarchy -----------------------------------------------------------------------------------
# A group that passes controllers to groups below it must not have processes itself. So a host's processes are in HOST/init,
# and its engine makes its groups beside that one, in HOST. The host sees HOST as the root.

# Passes every possible controller to the groups below. The kernel answers EBUSY if processes of others prevent it.
cgroup2_pass_on() {
  local controllers controller
  read -r -a controllers < "$1/cgroup.controllers" || true
  for controller in ${controllers[@]+"${controllers[@]}"}; do
    echo "+$controller" 2>/dev/null > "$1/cgroup.subtree_control" || true
  done
}

cgroup2_make() {
  local host=$1 memory=$2 group=$CGROUPS/$TAG/$1
  mkdir -p "$CGROUPS/$TAG"
  cgroup2_pass_on "$CGROUPS"
  cgroup2_pass_on "$CGROUPS/$TAG"
  mkdir -p "$group"
  [ -n "$memory" ] || return 0
  [ -e "$group/memory.max" ] || die "--memory needs the memory controller, which $CGROUPS does not pass on (it has: $(cat "$CGROUPS/cgroup.controllers"))"
  echo "$memory" > "$group/memory.max" || die "--memory: '$memory' is not a size of memory, such as 2g"
  [ ! -e "$group/memory.swap.max" ] || echo 0 > "$group/memory.swap.max"
}

cgroup2_join() {
  local group=$CGROUPS/$TAG/$1
  # The first process joins the top group, where the host's cgroup namespace begins. All later ones join HOST/init.
  if [ -d "$group/init" ]; then group=$group/init; fi
  echo "$BASHPID" > "$group/cgroup.procs"
}

cgroup2_settle() {
  local group=$CGROUPS/$TAG/$1
  mkdir "$group/init"
  echo 0 > "$group/init/cgroup.procs"
  cgroup2_pass_on "$group"
}

cgroup2_mount() { mount -t cgroup2 cgroup2 "$1/sys/fs/cgroup"; }
cgroup2_memory() { cat "$CGROUPS/$TAG/$1/memory.max"; }
cgroup2_members() { pids_below "$CGROUPS/$TAG/$1"; }
cgroup2_freeze() { echo 1 > "$CGROUPS/$TAG/$1/cgroup.freeze"; }
cgroup2_thaw() { echo 0 > "$CGROUPS/$TAG/$1/cgroup.freeze"; }
cgroup2_frozen() { [ "$(cat "$CGROUPS/$TAG/$1/cgroup.freeze" 2>/dev/null || echo 0)" = 1 ]; }
cgroup2_remove() { remove_groups_below "$CGROUPS/$TAG${1:+/$1}"; }

# cgroup.kill exists since Linux 5.14.
cgroup2_kill() {
  if [ -e "$CGROUPS/$TAG/$1/cgroup.kill" ]; then echo 1 > "$CGROUPS/$TAG/$1/cgroup.kill"
  else kill -9 "$2" 2>/dev/null || true; fi
}
