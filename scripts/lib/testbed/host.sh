# shellcheck shell=bash
# Boots a host, runs commands in it, and cuts its power. A host is a set of namespaces with tini as PID 1 and a control group
# of its own. Needs messages.sh, detached.sh, cgroups.sh, network.sh, and SELF, the path of scripts/testbed.

HOST_PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
BOOT_SECONDS=90

hosts() { [ ! -d "$TESTBED" ] || find "$TESTBED" -mindepth 1 -maxdepth 1 -type d -name 'h[0-9]*' -printf '%f\n' | sort -V; }
require_host() { [ -d "$TESTBED/${1:-}/disk" ] && [ -n "${1:-}" ] || die "no host '${1:-}'; there are: $(hosts | tr '\n' ' ')"; }
is_on() { [ -n "$(cgroup members "$1")" ]; }
require_on() { is_on "$1" || die "$1 is off; 'scripts/testbed start $1' boots it"; }

# Prints the docker command of the engine's own package, even if another one is first on the PATH.
engine_client() { if [ -x /usr/bin/docker ]; then echo /usr/bin/docker; else command -v docker; fi; }
engine() { "$(engine_client)" -H "unix://$TESTBED/$1/run/docker.sock" "${@:2}"; }

# A boot takes three steps of scripts/testbed. Each step runs in more namespaces than the step before.
boot() {
  local host=$1 dir=$TESTBED/$1
  ! is_on "$host" || die "$host is on"
  cgroup remove "$host"
  cgroup make "$host" "$(cat "$dir/memory")"
  plug_in "$host"
  rm -f "$dir/meminfo"
  if [ -s "$dir/memory" ] && [ -n "$(cat "$dir/memory")" ]; then
    sed -E "s/^(MemTotal|MemFree|MemAvailable): .*/\1: $(($(cgroup memory "$host") / 1024)) kB/" /proc/meminfo > "$dir/meminfo"
  fi
  rm -f "$dir/init.pid"
  start_detached "$dir/boot.log" "$BASH" "$SELF" boot-in-cgroup "$host"
}

boot_in_cgroup() {
  cgroup join "$1"
  exec nsenter --net="/run/netns/$TAG-$1" unshare --cgroup "$BASH" "$SELF" boot-in-namespaces "$1"
}

boot_in_namespaces() {
  cgroup settle "$1"
  exec unshare --mount --uts --ipc --pid --fork "$BASH" "$SELF" boot-as-init "$1"
}

# Runs as PID 1 of the new host: builds its file system, starts its services, becomes tini.
boot_as_init() {
  local host=$1 dir=$TESTBED/$1 root=$TESTBED/$1/mount pid part _
  read -r pid _ < /proc/self/stat                        # /proc is still this machine's: it has our pid as seen from outside
  hostname "$host"
  mount --make-rprivate /
  mount --bind / "$root"
  mount -o remount,ro,bind "$root"
  mount -t proc proc "$root/proc"
  mount -t sysfs -o ro sysfs "$root/sys"
  cgroup mount "$root"
  mount --rbind /dev "$root/dev"
  for part in etc home root tmp var; do mount --bind "$dir/disk/$part" "$root/$part"; done
  mount --bind "$dir/disk/local" "$root/usr/local"
  show_project "$root"
  find "$dir/run" -mindepth 1 -delete
  mount --bind "$dir/run" "$root/run"
  mkdir -p "$root/run/sshd" "$root/run/lock"
  if [ -f "$dir/docker.img" ]; then mount -o loop "$dir/docker.img" "$root/var/lib/docker"; fi
  if [ -f "$dir/meminfo" ]; then mount --bind "$dir/meminfo" "$root/proc/meminfo"; fi
  mount -o remount,rw "$root/sys" 2>/dev/null || true    # the engine writes settings of network devices there
  echo "$pid" > "$dir/init.pid"
  cd "$root" || exit 1
  pivot_root . .
  umount -l .
  export HOME=/root PATH=$HOST_PATH
  /usr/sbin/sshd
  until [ -s /run/sshd.pid ]; do sleep 0.05; done        # sshd goes into the background before it listens
  /etc/testbed/start-engine
  exec tini -s -- sleep infinity
}

# Shows the repository in the host at the same path, read-only, even if the path is on a disk of the host's own.
show_project() {
  local project shown
  project=$(dirname -- "$(dirname -- "$SELF")")
  shown=$project
  # If the path is on another file system, the host has no folder to mount it at. Then the whole file system is shown.
  mkdir -p "$1$project" 2>/dev/null || shown=$(stat -c %m -- "$project")
  if [ ! -d "$1$shown" ]; then note "the host does not see this repository: it has no folder $shown to mount it at"; return; fi
  mount --bind "$shown" "$1$shown"
  mount -o remount,ro,bind "$1$shown"
}

# Runs a command inside a host, in its control group and all its namespaces.
enter() {
  local host=$1; shift
  require_on "$host"
  (
    cgroup join "$host"
    exec nsenter --target "$(cat "$TESTBED/$host/init.pid")" --mount --uts --ipc --net --pid --cgroup --wd=/ -- \
      env -i HOME=/root TERM="${TERM:-dumb}" PATH="$HOST_PATH" "$@" 9>&-
  )
}

await_host() {
  local host=$1 deadline=$((SECONDS + BOOT_SECONDS))
  until engine "$host" version >/dev/null 2>&1; do
    if [ "$SECONDS" -ge "$deadline" ]; then
      tail -n 5 "$TESTBED/$host/boot.log" "$TESTBED/$host/disk/var/log/dockerd.log" >&2 || true
      die "$host's engine does not answer after $BOOT_SECONDS s; its last output is above"
    fi
    sleep 0.1
  done
}

# Prints the crash from an engine's log, so that the reader of a failed test sees it. A killed engine logs no crash.
report_crash() {
  local words
  words=$(grep -m 1 -A 30 -E '^(panic|fatal error|unexpected fault|runtime|SIG[A-Z]+):' "$TESTBED/$1/disk/var/log/dockerd.log" 2>/dev/null) || return 0
  printf '%s: the engine of %s crashed; its log:\n%s\n' "$(basename -- "$SELF")" "$1" "$words" >&2
}

freeze() {
  local deadline=$((SECONDS + 10))
  cgroup freeze "$1"
  until cgroup frozen "$1"; do [ "$SECONDS" -lt "$deadline" ] || die "$1 does not freeze"; sleep 0.02; done
}

power_off() {
  local host=$1 pid='' pids tries=0
  if cgroup frozen "$host"; then cgroup thaw "$host"; fi
  pid=$(cat "$TESTBED/$host/init.pid" 2>/dev/null || true)
  # The pid in an old file may belong to another process by now.
  if [ -n "$pid" ] && cgroup members "$host" | grep -qx "$pid"; then cgroup kill "$host" "$pid"; fi
  while pids=$(cgroup members "$host"); [ -n "$pids" ]; do
    # Commands that `enter` runs are in the group too. unshare gets 3 s to reap its PID 1.
    # shellcheck disable=SC2086  # one pid a word
    if [ "$tries" -ge 60 ]; then kill -9 $pids 2>/dev/null || true; fi
    tries=$((tries + 1))
    [ "$tries" -lt 300 ] || die "processes of $host do not end: $pids"
    sleep 0.05
  done
  unplug "$host"
  cgroup remove "$host"
}
