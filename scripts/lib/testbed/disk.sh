# shellcheck shell=bash
# The files of a host's disk. $TESTBED/HOST/disk survives a power cut, $TESTBED/HOST/run does not.
# Needs messages.sh, network.sh.

TEST_RUNNER=4242

# Makes the key that opens every host, and a configuration for ssh -F.
make_keys() {
  ssh-keygen -q -t ed25519 -N '' -C testbed -f "$TESTBED/id_ed25519"
  : > "$TESTBED/known_hosts"
  cat > "$TESTBED/ssh_config" <<CONFIG
Host h*
  IdentityFile "$TESTBED/id_ed25519"
  IdentitiesOnly yes
  UserKnownHostsFile "$TESTBED/known_hosts"
  StrictHostKeyChecking yes
  BatchMode yes
  User test-runner
CONFIG
}

make_disk() {
  local host=$1 count=$2 memory=$3 size=$4 seed=$5 disk=$TESTBED/$1/disk
  mkdir -p "$disk"/{local/bin,home,root,tmp,var/log,var/tmp,var/lib/docker} "$TESTBED/$host"/{run,mount}
  ln -s /run "$disk/var/run"
  chmod 700 "$disk/root"
  chmod 1777 "$disk/tmp" "$disk/var/tmp"
  cp -a /etc "$disk/etc"
  echo "$memory" > "$TESTBED/$host/memory"
  write_names "$host" "$count"
  write_test_runner "$disk"
  write_ssh "$host"
  write_engine "$host"
  if [ -n "$size" ]; then
    truncate -s "$size" "$TESTBED/$host/docker.img" || die "--disk: '$size' is not a size, such as 500M"
    mkfs.ext4 -q "$TESTBED/$host/docker.img"
  fi
  if [ -n "$seed" ]; then seed_images "$host" "$seed"; fi
}

write_names() {
  local host=$1 count=$2 etc=$TESTBED/$1/disk/etc n
  rm -f "$etc/resolv.conf"                               # often a symlink into /run
  echo "nameserver 127.0.0.1" > "$etc/resolv.conf"       # refuses at once; an address that does not answer costs 5 s for each try
  echo "$host" > "$etc/hostname"
  echo "127.0.0.1 localhost" > "$etc/hosts"
  for n in $(seq "$count"); do echo "$(address "h$n") h$n"; done >> "$etc/hosts"
}

write_test_runner() {
  local etc=$1/etc home=$1/home/test-runner
  sed -i '/^test-runner:/d' "$etc/passwd" "$etc/group" "$etc/shadow"
  echo "test-runner:x:$TEST_RUNNER:$TEST_RUNNER::/home/test-runner:/bin/sh" >> "$etc/passwd"
  echo "test-runner:x:$TEST_RUNNER:" >> "$etc/group"
  echo "test-runner:*:19000:0:99999:7:::" >> "$etc/shadow"
  sed -i '/^docker:/d' "$etc/group"
  echo "docker:x:$((TEST_RUNNER + 1)):test-runner" >> "$etc/group"
  mkdir -p "$home/.ssh" "$1/root/.ssh"
  cp "$TESTBED/id_ed25519.pub" "$home/.ssh/authorized_keys"
  cp "$TESTBED/id_ed25519.pub" "$1/root/.ssh/authorized_keys"
  chown -R "$TEST_RUNNER:$TEST_RUNNER" "$home"
  chmod -R go= "$home" "$1/root/.ssh"
}

write_ssh() {
  local host=$1 etc=$TESTBED/$1/disk/etc
  mkdir -p "$etc/ssh"
  rm -f "$etc"/ssh/ssh_host_*
  ssh-keygen -q -t ed25519 -N '' -C "$host" -f "$etc/ssh/ssh_host_ed25519_key"
  echo "$(address "$host"),$host $(cut -d' ' -f1,2 "$etc/ssh/ssh_host_ed25519_key.pub")" >> "$TESTBED/known_hosts"
  printf '\nHost %s\n  HostName %s\n' "$host" "$(address "$host")" >> "$TESTBED/ssh_config"
  cat > "$etc/ssh/sshd_config" <<'CONFIG'
HostKey /etc/ssh/ssh_host_ed25519_key
PermitRootLogin prohibit-password
PasswordAuthentication no
UsePAM no
PidFile /run/sshd.pid
MaxStartups 100
Subsystem sftp internal-sftp
CONFIG
}

# Writes the command that starts the host's engine, at boot and after kill-engine.
write_engine() {
  local host=$1 etc=$TESTBED/$1/disk/etc more=()
  read -r -a more <<< "$TESTBED_DOCKERD_ARGS"
  rm -rf "$etc/docker"                                   # this engine must not read this machine's daemon.json
  mkdir -p "$etc/testbed"
  cat > "$etc/testbed/start-engine" <<SCRIPT
#!/bin/sh
setsid dockerd -H unix:///run/docker.sock -H tcp://$(address "$host"):2375 --tls=false --pidfile /run/docker.pid \\
  --storage-driver overlay2 --log-level warn${more[*]:+$(printf ' %q' "${more[@]}")} </dev/null >>/var/log/dockerd.log 2>&1 &
SCRIPT
  chmod +x "$etc/testbed/start-engine"
}

# Puts the images of another engine onto the disk, with the same ids.
seed_images() {
  local host=$1 seed=$2 data=$TESTBED/$1/disk/var/lib/docker image=$TESTBED/$1/docker.img
  if [ -f "$image" ]; then mount -o loop "$image" "$data"; fi
  copy_images "$seed" "$data"
  if [ -f "$image" ]; then umount "$data"; fi
}

# copy_images SEED DATA: SEED is the data root of an engine. The engine may run, but must not remove an image meanwhile. Only
# layers of images are copied, because no process writes to them.
copy_images() {
  local seed=$1 data=$2 layers=() file layer
  [ -d "$seed/overlay2" ] && [ -d "$seed/image" ] || die "$seed is not the data root of an engine with overlay2"
  cp -a "$seed/image" "$data/"
  rm -rf "$data/image/overlay2/layerdb/mounts"           # these are the other engine's containers
  for file in "$data"/image/overlay2/layerdb/sha256/*/cache-id; do
    if [ -f "$file" ]; then layers+=("$(cat "$file")"); fi
  done
  mkdir -p "$data/overlay2/l"
  chmod 710 "$data/overlay2"
  if [ "${#layers[@]}" -gt 0 ]; then copy_layers "$seed/overlay2" "$data/overlay2" "${layers[@]}"; fi
  for layer in ${layers[@]+"${layers[@]}"}; do ln -s "../$layer/diff" "$data/overlay2/l/$(cat "$data/overlay2/$layer/link")"; done
}

# Makes hard links if both folders are on the same file system, else copies.
copy_layers() {
  local from to
  from=$(realpath -- "$1"); to=$(realpath -- "$2"); shift 2
  link_layers "$from" "$to" "$@" 2>/dev/null || { (cd "$to" && rm -rf -- "$@"); (cd "$from" && cp -ax -- "$@" "$to/"); }
}

# A running engine mounts its data root on itself, and a hard link can't cross mounts. So the command sees both folders
# through one bind mount of the root, in a mount namespace that ends with the command.
link_layers() {
  # shellcheck disable=SC2016
  unshare --mount bash -c 'mount --bind / /mnt && cd "/mnt$1" && to=/mnt$2 && shift 2 && exec cp -alx -- "$@" "$to/"' link "$@"
}
