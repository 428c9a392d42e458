# shellcheck shell=bash
# The disk and the kernel of an ordinary machine, built once and kept in a cache. Needs messages.sh, packages.sh, CACHE.
#
#   CACHE/machine/uml/         Debian's package user-mode-linux, unpacked
#   CACHE/machine/KEY/base.raw the disk, which no machine writes to: each has a copy-on-write file of its own
#   CACHE/machine/KEY/key      the ssh key that root takes; known_hosts: the machines' own key, under the name katafleet-machine
#
# KEY is of the release, the packages and this file: another recipe is another disk.
#
# Debian's UML kernel has no nf_tables for IPv4 and inet, so iptables is iptables-legacy there. It has no cpuset controller.

MACHINE_SUITE=trixie
MACHINE_SIZE=20G
# An ordinary Debian server with cloud-init, and the Node that apt installs.
MACHINE_PACKAGES=(systemd-sysv dbus udev kmod zstd openssh-server apparmor ca-certificates sudo git curl iproute2 iputils-ping
  netcat-openbsd locales procps less ifupdown cron logrotate rsyslog passwd adduser iptables cloud-init nodejs npm)

# The folder of the disk with further packages, built when it is not there.
machine_image() {
  local key folder work
  provide_packages debootstrap:debootstrap mke2fs:e2fsprogs unshare:util-linux ssh-keygen:openssh-client || die "the disk can't be built"
  key=$({ echo "$MACHINE_SUITE $MACHINE_SIZE" "$@"; cat "${BASH_SOURCE[0]}"; } | cksum | cut -d' ' -f1)
  folder=$CACHE/machine/$key
  mkdir -p "$CACHE/machine"
  exec 8> "$CACHE/machine/$key.lock"
  flock 8
  if [ ! -f "$folder/base.raw" ]; then
    work=$(mktemp -d "$CACHE/machine/$key.XXXXXX")
    note "building the disk of Debian $MACHINE_SUITE${*:+ with $*}; $work/log tells how far it is"
    if ! (fill_disk "$work" "$@") > "$work/log" 2>&1; then
      tail -n 15 "$work/log" >&2
      rm -rf --one-file-system "$work"
      die "the disk was not built; its last output is above"
    fi
    rm -rf --one-file-system "$work/root" "$folder"
    mv "$work" "$folder"
  fi
  exec 8>&-
  echo "$folder"
}

# A subshell's work: `set -e` holds, whoever called.
fill_disk() {
  set -euo pipefail
  local work=$1 root=$1/root mirror keyring=/usr/share/keyrings/debian-archive-keyring.gpg
  shift
  chmod 755 "$work"
  mirror=$(debian_mirror)
  debootstrap --variant=minbase --keyring="$keyring" --include=systemd-sysv,ca-certificates "$MACHINE_SUITE" "$root" "$mirror"
  printf "deb $mirror %s main\n" "$MACHINE_SUITE" "$MACHINE_SUITE-updates" > "$root/etc/apt/sources.list"
  echo "deb ${mirror%/debian}/debian-security $MACHINE_SUITE-security main" >> "$root/etc/apt/sources.list"
  trust_what_this_machine_trusts "$root"
  in_disk "$root" "apt-get -q update && apt-get -q -y --no-install-recommends install ${MACHINE_PACKAGES[*]} $*"
  in_disk "$root" "update-alternatives --set iptables /usr/sbin/iptables-legacy; update-alternatives --set ip6tables /usr/sbin/ip6tables-legacy"
  write_machine_network "$root"
  write_machine_cloud "$root"
  write_machine_keys "$work"
  mkdir -p "$root/usr/lib/modules"
  cp -a "$CACHE"/machine/uml/usr/lib/uml/modules/* "$root/usr/lib/modules/"
  printf 'ipv6\nloop\n' > "$root/etc/modules-load.d/katafleet.conf"
  rm -rf "$root"/var/cache/apt/archives/*.deb
  truncate -s "$MACHINE_SIZE" "$work/base.raw"
  mke2fs -q -t ext4 -d "$root" -E root_owner=0:0 "$work/base.raw"
}

# The mirror that this machine's own apt uses.
debian_mirror() {
  local mirror
  mirror=$({ cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null || true; } \
    | grep -oE 'https?://[^ ]+/debian/?( |$)' | head -n 1 | tr -d ' ')
  mirror=${mirror:-http://deb.debian.org/debian}
  echo "${mirror%/}"
}

# Authorities that this machine's administrator added stand between both and the package mirrors.
trust_what_this_machine_trusts() {
  local root=$1
  cp /usr/local/share/ca-certificates/*.crt "$root/usr/local/share/ca-certificates/" 2>/dev/null || true
  chroot "$root" update-ca-certificates
  mkdir -p "$root/etc/npm"
  echo 'cafile=/etc/ssl/certs/ca-certificates.crt' | tee "$root/etc/npm/npmrc" > "$root/etc/npmrc"
  echo 'NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt' >> "$root/etc/environment"
}

# A command in the disk, in mounts and processes of its own: nothing stays mounted, no daemon outlives it or is started.
in_disk() {
  # shellcheck disable=SC2016
  unshare --mount --propagation private --pid --fork --kill-child "$BASH" -euc '
    mount -t proc proc "$1/proc"; mount -t tmpfs tmpfs "$1/run"; mount --rbind /dev "$1/dev"
    touch "$1/etc/resolv.conf"; cat /etc/resolv.conf > "$1/run/resolv.conf"; mount --bind "$1/run/resolv.conf" "$1/etc/resolv.conf"
    printf "#!/bin/sh\nexit 101\n" > "$1/usr/sbin/policy-rc.d"; chmod 755 "$1/usr/sbin/policy-rc.d"
    status=0
    chroot "$1" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root DEBIAN_FRONTEND=noninteractive LC_ALL=C sh -ec "$2" || status=$?
    rm "$1/usr/sbin/policy-rc.d"; exit "$status"' bash "$1" "$2"
}

# ifupdown, as Debian's installer sets it up. The address comes on the kernel's command line: all machines share a disk.
write_machine_network() {
  local root=$1
  rm -f "$root/etc/resolv.conf"
  echo "nameserver $MACHINE_RESOLVER" > "$root/etc/resolv.conf"
  echo '/dev/ubda / ext4 errors=remount-ro 0 1' > "$root/etc/fstab"
  echo katafleet-machine > "$root/etc/hostname"
  printf '127.0.0.1 localhost\n127.0.1.1 katafleet-machine\n::1 localhost ip6-localhost\n' > "$root/etc/hosts"
  printf 'auto lo\niface lo inet loopback\n\nauto vec0\niface vec0 inet manual\n  up /usr/local/sbin/testbed-address\n' > "$root/etc/network/interfaces"
  cat > "$root/usr/local/sbin/testbed-address" <<'SCRIPT'
#!/bin/sh
set -e
for word in $(cat /proc/cmdline); do
  case $word in testbed.address=*) address=${word#*=} ;; testbed.name=*) name=${word#*=} ;; testbed.gateway=*) gateway=${word#*=} ;; esac
done
hostname "$name"
echo "$name" > /etc/hostname
sed -i "s/^127.0.1.1.*/127.0.1.1 $name/" /etc/hosts
ip link set vec0 up
ip addr replace "$address/24" dev vec0
ip route replace default via "$gateway"
SCRIPT
  chmod 755 "$root/usr/local/sbin/testbed-address"
}

# cloud-init as on every cloud image, with a seed on the disk; the network and the name are the machine's own affair.
write_machine_cloud() {
  local seed=$1/var/lib/cloud/seed/nocloud
  mkdir -p "$seed"
  printf 'instance-id: katafleet-machine\n' > "$seed/meta-data"
  printf '#cloud-config\nruncmd: [[touch, /var/lib/cloud-init-ran]]\n' > "$seed/user-data"
  printf 'datasource_list: [NoCloud]\nnetwork: {config: disabled}\npreserve_hostname: true\nssh_deletekeys: false\ndisable_root: false\nresize_rootfs: false\ngrowpart: {mode: off}\napt: {preserve_sources_list: true}\n' \
    > "$1/etc/cloud/cloud.cfg.d/99_testbed.cfg"
}

write_machine_keys() {
  local work=$1 root=$1/root
  rm -f "$root"/etc/ssh/ssh_host_*
  chroot "$root" ssh-keygen -A > /dev/null
  echo "katafleet-machine $(cut -d' ' -f1,2 "$root/etc/ssh/ssh_host_ed25519_key.pub")" > "$work/known_hosts"
  ssh-keygen -q -t ed25519 -N '' -C katafleet-machine -f "$work/key"
  mkdir -p "$root/root/.ssh"
  chmod 700 "$root/root/.ssh"
  cp "$work/key.pub" "$root/root/.ssh/authorized_keys"
}
