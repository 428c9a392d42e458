# shellcheck shell=bash
# Installs the Debian packages that a script needs. Needs messages.sh.
# A need is COMMAND:PACKAGE or /FILE:PACKAGE. It is met if the command or the file exists, from any package: docker-ce has a
# dockerd too, and docker.io would replace it.

# Prints the packages of the needs that are not met, one per line.
missing_packages() {
  local need
  for need in "$@"; do
    PATH=$PATH:/usr/sbin:/sbin command -v "${need%%:*}" >/dev/null || [ -f "${need%%:*}" ] || echo "${need#*:}"
  done
}

has_apt() { command -v apt-get >/dev/null && [ -e /etc/debian_version ]; }
is_root() { [ "$(id -u)" = 0 ]; }

# Installs the missing packages of the needs. Returns 1, with a message that says what to do, if it can't.
provide_packages() {
  local missing
  mapfile -t missing < <(missing_packages "$@" | sort -u)
  [ "${#missing[@]}" -gt 0 ] || return 0
  if ! has_apt; then
    note "not found on this machine, and it has no apt-get: ${missing[*]} (Debian's names). Install them and come back."
    return 1
  fi
  if ! is_root; then
    note "not root, so not installed: run  sudo apt-get install --no-install-recommends ${missing[*]}"
    return 1
  fi
  note "installing ${missing[*]}"
  local log
  log=$(mktemp)
  if [ -z "$(find /var/lib/apt/lists -name '*_Packages*' -print -quit 2>/dev/null)" ]; then run_apt update >"$log" 2>&1 || true; fi
  # Old package lists name files that the mirror has replaced: the second try updates the lists first.
  if run_apt install "${missing[@]}" >>"$log" 2>&1 \
    || { run_apt update >>"$log" 2>&1 && run_apt install "${missing[@]}" >>"$log" 2>&1; }; then
    rm -f "$log"
    hash -r
    return 0
  fi
  tail -n 15 "$log" >&2
  rm -f "$log"
  note "apt-get could not install: ${missing[*]}"
  return 1
}

# Unpacks PROGRAM:PACKAGE into a folder and adds that to the PATH. This is for daemons that an installed package would start, now and
# at every boot. Returns 1, with a message that says what to do, if it can't.
provide_unpacked() {
  local program=${1%%:*} package=${1#*:} folder=$2
  command -v "$program" >/dev/null && return 0
  PATH=$PATH:$folder/usr/bin
  [ -x "$folder/usr/bin/$program" ] && return 0
  if ! has_apt; then
    note "not found on this machine, and it has no apt-get: $program, of Debian's package $package. Put it on the PATH and come back."
    return 1
  fi
  note "unpacking $package"
  mkdir -p "$folder"
  unpack "$package" "$folder" || { run_apt update >/dev/null 2>&1 && unpack "$package" "$folder"; } && return 0
  note "apt-get could not download: $package"
  return 1
}

unpack() {
  local work status=0
  work=$(mktemp -d)
  chmod 755 "$work"
  (cd "$work" && apt-get -q download "$1" >/dev/null 2>&1 && dpkg-deb -x "$1"_*.deb "$2") || status=1
  rm -rf "$work"
  return "$status"
}

# --no-remove: a package that would remove another one (docker.io removes docker-ce) is not installed.
run_apt() {
  local verb=$1; shift
  local options=(-q -y -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0)
  if [ "$verb" = install ]; then options+=(--no-install-recommends --no-remove); fi
  DEBIAN_FRONTEND=noninteractive apt-get "$verb" "${options[@]}" "$@" </dev/null
}
