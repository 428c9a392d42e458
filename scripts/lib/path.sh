# shellcheck shell=bash
# Puts `katafleet` on the PATH. Needs messages.sh.

# Links the clone ROOT's bin/katafleet into FOLDER, a folder of the PATH, or prints the line that adds it to the PATH. Only
# replaces a link to a clone that is gone.
# Usage: offer_katafleet ROOT FOLDER
offer_katafleet() {
  local launcher=$1/bin/katafleet folder=$2 link=$2/katafleet
  if [ "$(readlink -f -- "$(command -v katafleet || true)")" = "$launcher" ]; then
    note "katafleet is on your PATH"
  elif is_on_path "$folder" && [ -w "$folder" ] && is_safe_for_all "$launcher" && is_free "$link"; then
    ln -sfn -- "$launcher" "$link"
    note "katafleet is on your PATH: $link leads to $launcher. To undo this: rm $link"
  else
    note "to have katafleet on your PATH, in this shell: export PATH=$(printf '%q' "$1/bin"):\$PATH"
  fi
}

is_on_path() { case :$PATH: in *":$1:"*) return 0 ;; *) return 1 ;; esac; }

# Whether the path is free (or a link to a clone that is gone), and no other katafleet is on the PATH.
is_free() {
  if command -v katafleet >/dev/null; then return 1; fi
  if [ -L "$1" ]; then [ ! -e "$1" ] && [[ $(readlink -- "$1") == */bin/katafleet ]]; else [ ! -e "$1" ]; fi
}

# Whether only this user and root can change the file and the folders above it, so that all users of the machine may run it.
is_safe_for_all() {
  local at=$1 owner mode
  while :; do
    read -r owner mode < <(stat -c '%u %a' -- "$at") || return 1
    if [ "$owner" != 0 ] && [ "$owner" != "$EUID" ]; then return 1; fi
    # In a folder with the sticky bit, others may create files but not replace them.
    if (( (8#$mode & 8#022) != 0 && (8#$mode & 8#1000) == 0 )); then return 1; fi
    if [ "$at" = / ]; then return 0; fi
    at=$(dirname -- "$at")
  done
}
