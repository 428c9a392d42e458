# shellcheck shell=bash
# A private Docker engine in one folder: its socket, its containerd, its data, its processes, its mounts.
# Needs messages.sh and detached.sh. Every function takes the absolute path of that folder.
#
#   FOLDER/docker.sock   the socket of its API         FOLDER/data   images and containers: a folder, or a symlink to one
#   FOLDER/run           files while it runs           FOLDER/*.log  logs of dockerd and containerd
#
# dockerd is given its own containerd: otherwise it would use the machine's, if one runs, and share its containers. It has no
# bridge and does not change the machine's firewall, forwarding and daemon.json: containers have the network `none` or `host`,
# and builds that need the network use `host`.

LONGEST_SOCKET=107          # sun_path on Linux, without its closing zero
READY_SECONDS=60

engine_socket() { echo "$1/docker.sock"; }
engine_containerd() { echo "$1/run/containerd.sock"; }
engine_data() { readlink -f "$1/data" 2>/dev/null || echo "$1/data"; }

# Whether a folder's path is short enough for the longest of the engine's sockets, containerd's second one.
engine_folder_fits() {
  local longest
  longest=$(engine_containerd "$1").ttrpc
  [ "$(printf '%s' "$longest" | wc -c)" -le "$LONGEST_SOCKET" ]
}

# Prints the folder for an engine with its data in a cache folder: the cache folder itself or, if its path is too long for
# sockets, a short one whose data/ links to it.
engine_folder_for() {
  local cache=$1 folder
  if engine_folder_fits "$cache"; then mkdir -p "$cache"; echo "$cache"; return; fi
  folder=/run/katafleet/$(printf '%s' "$cache" | cksum | cut -d' ' -f1)
  mkdir -p "$cache/data" "$folder"
  ln -sfn "$cache/data" "$folder/data"
  echo "$folder"
}

# Prints VERSION API if an engine answers at a socket within 3 s, else fails with the error's code on stderr.
engine_version() {
  node -e '
    const fail = (why) => { console.error(why); process.exit(1); };
    const request = require("node:http").get({ socketPath: process.argv[1], path: "/version", timeout: 3000 }, (response) => {
      let text = "";
      response.on("data", (chunk) => (text += chunk));
      response.on("end", () => {
        try { const { Version, ApiVersion } = JSON.parse(text); console.log(Version, ApiVersion); }
        catch { fail("not an engine"); }
      });
    });
    request.on("timeout", () => fail("timeout"));
    request.on("error", (error) => fail(error.code ?? error.message));
  ' "$1"
}

engine_answers() { engine_version "$1" >/dev/null 2>&1; }

# Prints the pids of processes that were started with an option followed by exactly this value.
processes_with_option() {
  local option=$1 value=$2 pid i arguments
  for pid in /proc/[0-9]*; do
    arguments=()
    { mapfile -d '' -t arguments < "$pid/cmdline"; } 2>/dev/null || continue
    for ((i = 1; i + 1 < ${#arguments[@]}; i++)); do
      if [ "${arguments[i]}" = "$option" ] && [ "${arguments[i + 1]}" = "$value" ]; then echo "${pid#/proc/}"; break; fi
    done
  done
}

engine_dockerd_pids() { processes_with_option --exec-root "$1/run"; }
engine_containerd_pids() { processes_with_option --address "$(engine_containerd "$1")"; }
engine_shim_pids() { processes_with_option -address "$(engine_containerd "$1")"; }

# Prints the pids of processes whose root file system belongs to a container of this engine, even if their parents are dead.
engine_container_pids() {
  local data
  data=$(engine_data "$1")
  { grep -sE '^[0-9]+ [0-9]+ [^ ]+ / / ' /proc/[0-9]*/mountinfo || true; } \
    | { grep -F "upperdir=${data// /\\040}/overlay2/" || true; } | cut -d/ -f3 | sort -u
}

# Kills the processes that a function of this file lists, by pid, until it lists none. Fails after a number of seconds.
kill_listed() {
  local list=$1 folder=$2 signal=$3 seconds=$4 pids deadline
  deadline=$((SECONDS + seconds))
  while pids=$("$list" "$folder"); [ -n "$pids" ]; do
    # shellcheck disable=SC2086  # one pid a word
    if [ "$signal" != 0 ]; then kill "-$signal" $pids 2>/dev/null || true; fi
    if [ "$signal" = TERM ]; then signal=0; fi
    [ "$SECONDS" -lt "$deadline" ] || return 1
    sleep 0.1
  done
}

# Unmounts all mounts below a folder, the innermost first.
unmount_below() {
  local folder=$1 point
  while read -r point; do
    printf -v point '%b' "$point"                        # the kernel writes a space as \040
    case $point in "$folder"/*) umount -l -- "$point" 2>/dev/null || true ;; esac
  done < <(awk '{ print $5 }' /proc/self/mountinfo | tac)
}

# Ends all processes and mounts of this engine, and of no other. Its data stays.
engine_clear() {
  local folder=$1 data
  data=$(engine_data "$folder")
  kill_listed engine_dockerd_pids "$folder" KILL 10 || die "the engine of $folder can't be killed"
  kill_listed engine_container_pids "$folder" KILL 10 || die "containers of $folder can't be killed"
  kill_listed engine_shim_pids "$folder" KILL 10 || die "shims of $folder can't be killed"
  kill_listed engine_containerd_pids "$folder" KILL 10 || die "the containerd of $folder can't be killed"
  unmount_below "$folder"
  unmount_below "$data"
  rm -rf --one-file-system "$folder/run" "$folder/docker.sock" "$folder/docker.pid"
}

start_containerd() {
  local folder=$1
  if [ -n "$(engine_containerd_pids "$folder")" ]; then return 0; fi
  : > "$folder/containerd.log"
  cat > "$folder/run/containerd.toml" <<'CONFIG'
version = 2
disabled_plugins = ["io.containerd.grpc.v1.cri"]
CONFIG
  start_detached "$folder/containerd.log" containerd --config "$folder/run/containerd.toml" --log-level warn \
    --address "$(engine_containerd "$folder")" --root "$(engine_data "$folder")/containerd" --state "$folder/run/containerd"
}

start_dockerd() {
  local folder=$1 more=()
  read -r -a more <<< "${KATAFLEET_DOCKERD_ARGS:-}"
  echo '{}' > "$folder/run/daemon.json"
  rm -f "$folder/docker.pid"
  start_detached "$folder/dockerd.log" dockerd --host "unix://$(engine_socket "$folder")" \
    --containerd "$(engine_containerd "$folder")" --exec-root "$folder/run" --data-root "$(engine_data "$folder")" \
    --pidfile "$folder/docker.pid" --config-file "$folder/run/daemon.json" --log-level warn \
    --bridge none --iptables=false --ip-forward=false --ip-masq=false --userland-proxy=false \
    ${more[@]+"${more[@]}"}
}

# Waits until the engine answers. Fails at once, with dockerd's output, if dockerd ends before.
await_engine() {
  local folder=$1 deadline=$((SECONDS + READY_SECONDS))
  until [ -S "$(engine_socket "$folder")" ] && engine_answers "$(engine_socket "$folder")"; do
    if ! kill -0 "$2" 2>/dev/null; then engine_failed "$folder" "dockerd ended while it started"; fi
    if [ "$SECONDS" -ge "$deadline" ]; then engine_failed "$folder" "dockerd does not answer after $READY_SECONDS s"; fi
    sleep 0.1
  done
}

engine_failed() {
  tail -n 15 "$1/dockerd.log" >&2 || true
  engine_clear "$1"
  die "$2; its last output is above, the rest is in $1/dockerd.log"
}
