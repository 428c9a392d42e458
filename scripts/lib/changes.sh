# shellcheck shell=sh
# Changes a machine: prints each change, makes it once, records it in a list, and can undo the list. Plain sh, because nodes
# may be old. Needs: CHANGES, the file with the list; DRY, `yes` if nothing may be changed.
#
# The list has a line for each change, oldest first: `file PATH`, `folder PATH`, `kept PATH` (the former file is at
# PATH.before-katafleet), `user NAME`, `group NAME`, `member USER GROUP`, `service NAME`.

die() { printf '%s: %s\n' "$(basename -- "$0")" "$1" >&2; exit 1; }
warn() { printf '! %s\n' "$1" >&2; }
already() { printf '= %s\n' "$1"; }

# change TEXT COMMAND…: prints TEXT and, unless this is a dry run, runs COMMAND.
change() {
  if [ "$DRY" = yes ]; then printf '? would %s\n' "$1"; return 0; fi
  text=$1; shift
  "$@" || die "could not $text"
  printf '+ %s\n' "$text"
}

# Adds a line to the list. This is done before the change, so that a change that was interrupted can be undone too.
remember() {
  [ "$DRY" != yes ] || return 0
  [ -d "${CHANGES%/*}" ] || { mkdir -p "${CHANGES%/*}" && echo "folder ${CHANGES%/*}" >"$CHANGES"; } || die "could not make ${CHANGES%/*}"
  grep -qxF -- "$1" "$CHANGES" 2>/dev/null || { printf '%s\n' "$1" >>"$CHANGES" && on_disk "$CHANGES"; } \
    || die "could not write $CHANGES"
}
was_changed() { grep -qxF -- "$1" "$CHANGES" 2>/dev/null; }

# Writes a file to disk: without this, a power cut may leave it empty under its new name. An old sync takes no file and writes all.
on_disk() { sync "$1" 2>/dev/null || sync; }
# Writes all changes to disk, at the end of a script.
all_on_disk() { [ "$DRY" = yes ] || sync -f /etc 2>/dev/null || sync; }

is_as() { [ -e "$1" ] && [ "$(stat -c '%a %U:%G' -- "$1")" = "$2 $3" ]; }
set_as() { chown "$3" "$1" && chmod "$2" "$1"; }

# make_folder PATH MODE OWNER:GROUP. An existing folder keeps its mode and owner; new folders above it belong to root.
make_folder() {
  if [ -d "$1" ]; then already "the folder $1 is there"; return; fi
  [ -d "${1%/*}/" ] || [ "$DRY" = yes ] || make_folder_above "${1%/*}"
  remember "folder $1"
  change "make the folder $1" make_folder_now "$@"
}
make_folder_now() { mkdir -p "$1" && set_as "$@"; }
make_folder_above() {
  [ -d "${1%/*}/" ] || make_folder_above "${1%/*}"
  remember "folder $1"
  change "make the folder $1" make_folder_now "$1" 755 root:root
}

# put_file PATH MODE OWNER:GROUP, with the content on stdin. Writes the file as a whole or not at all, even if the power fails.
# $written has the paths that were changed.
written=' '
put_file() {
  new=$(mktemp) || die 'mktemp failed'
  cat >"$new"
  if [ -f "$1" ] && cmp -s "$new" "$1" && is_as "$@"; then already "$1 is as it should be"
  else
    if [ -e "$1" ] && ! was_changed "file $1" && ! was_changed "kept $1"; then
      change "keep what is at $1 as $1.before-katafleet" cp -pP "$1" "$1.before-katafleet"
      remember "kept $1"
    elif [ ! -e "$1" ]; then remember "file $1"; fi
    change "write $1" put_file_now "$new" "$@"
    written="$written$1 "
  fi
  rm -f "$new"
}
put_file_now() { cp "$1" "$2.new-katafleet" && set_as "$2.new-katafleet" "$3" "$4" && on_disk "$2.new-katafleet" && mv -f "$2.new-katafleet" "$2"; }

has_user() { getent passwd "$1" >/dev/null; }
has_group() { getent group "$1" >/dev/null; }
is_member() { case " $(id -nG "$1" 2>/dev/null) " in *" $2 "*) return 0 ;; *) return 1 ;; esac; }
home_of() { getent passwd "$1" | cut -d: -f6; }

# Creates a user without a valid password. It is `*` and not `!`, because sshd refuses locked accounts.
make_user() {
  if has_user "$1"; then already "the user $1 is there"; return; fi
  remember "user $1"
  change "make the user $1" useradd -m -U -s /bin/sh -p '*' "$1"
}
make_group() {
  if has_group "$1"; then already "the group $1 is there"; return; fi
  remember "group $1"
  change "make the group $1" groupadd "$1"
}
make_member() {
  if is_member "$1" "$2"; then already "$1 is in the group $2"; return; fi
  remember "member $1 $2"
  change "put $1 into the group $2" usermod -a -G "$2" "$1"
}

# start_service NAME [later]: starts the service at boot, by its systemd unit, else by its init script, which must be installed.
# Without `later`, systemd starts it now too, and sets started=yes.
started=no
uses_systemd() { [ -d /run/systemd/system ] && command -v systemctl >/dev/null 2>&1; }
start_service() {
  if uses_systemd && is_started "$@" && was_changed "service $1"; then already "$1 starts at boot"; return; fi
  if ! uses_systemd && was_changed "service $1"; then already "$1 starts at boot"; return; fi
  remember "service $1"
  if uses_systemd && [ -n "${2:-}" ]; then change "have $1 start at boot" enable_unit "$1"
  elif uses_systemd; then
    change "start $1, now and at boot" enable_unit "$1" --now
    # shellcheck disable=SC2034  # for scripts that source this
    started=yes
  elif command -v update-rc.d >/dev/null 2>&1; then change "have $1 start at boot" update-rc.d "$1" defaults
  elif command -v chkconfig >/dev/null 2>&1; then change "have $1 start at boot" chkconfig --add "$1"
  else warn "neither systemd, update-rc.d nor chkconfig is here: have /etc/init.d/$1 start called at boot yourself"; fi
}
# Whether systemd has enabled the service and, without `later`, started it. A unit that was just written must be read again first.
is_started() {
  case $written in *"/$1.service "*) return 1 ;; esac
  systemctl --quiet is-enabled "$1" 2>/dev/null && { [ -n "${2:-}" ] || systemctl --quiet is-active "$1"; }
}
enable_unit() { systemctl daemon-reload && systemctl --quiet enable ${2:+"$2"} "$1"; }
forget_service() {
  if uses_systemd; then systemctl --quiet disable --now "$1"; return; fi
  if [ -x "/etc/init.d/$1" ]; then "/etc/init.d/$1" stop >/dev/null || return; fi
  if command -v update-rc.d >/dev/null 2>&1; then update-rc.d -f "$1" remove
  elif command -v chkconfig >/dev/null 2>&1; then chkconfig --del "$1"; fi
}
# Removes a file. After the removal of a unit, systemd must read its files again to forget it.
forget_unit_file() { rm -f "$1" && case $1 in /etc/systemd/system/*) ! uses_systemd || systemctl daemon-reload ;; esac; }

# Undoes every change on the list, the newest first, and removes the list.
undo_changes() {
  if [ ! -f "$CHANGES" ]; then already "there is nothing to undo: no $CHANGES"; return; fi
  list=$(sed '1!G;h;$!d' "$CHANGES")
  while read -r kind subject group; do
    case $kind in
      file) if [ -e "$subject" ]; then change "remove $subject" forget_unit_file "$subject"; fi ;;
      kept) if [ -e "$subject.before-katafleet" ]; then change "put back what was at $subject" mv -f "$subject.before-katafleet" "$subject"; fi ;;
      folder) undo_folder "$subject" ;;
      user) if has_user "$subject"; then end_processes "$subject"; change "remove the user $subject" remove_user "$subject"; fi ;;
      group) if has_group "$subject"; then change "remove the group $subject" groupdel "$subject"; fi ;;
      member) if is_member "$subject" "$group"; then change "take $subject out of the group $group" remove_member "$subject" "$group"; fi ;;
      service) change "stop $subject, and no longer start it at boot" forget_service "$subject" ;;
      *) die "$CHANGES is wrong at '$kind $subject'" ;;
    esac
  done <<LIST
$list
LIST
  # If another of these scripts made the list's folder, only the list is removed here; the last script removes the folder.
  [ "$DRY" != yes ] || return 0
  if [ -f "$CHANGES" ]; then change "remove $CHANGES" rm -f "$CHANGES"; fi
  if [ -d "${CHANGES%/*}" ] && [ -z "$(ls -A "${CHANGES%/*}")" ]; then change "remove the folder ${CHANGES%/*}" rmdir "${CHANGES%/*}"; fi
}
remove_member() { gpasswd -d "$1" "$2" >/dev/null; }
# userdel complains about a missing mail box, so its output is printed only if the user is still there.
remove_user() {
  said=$(userdel -r "$1" 2>&1) || ! has_user "$1" || { printf '%s\n' "$said" >&2; return 1; }
}

# Ends a user's processes, by pid, because they would keep the user from being removed: connections whose key is removed.
end_processes() {
  pids=$(pids_of "$1")
  [ -n "$pids" ] || return 0
  names=
  for pid in $pids; do names="$names, $pid ($(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | head -c 60 | tr -c '[:print:]' '?'))"; done
  change "end what still runs as $1: ${names#, }" end_processes_now "$1"
}
end_processes_now() {
  for signal in TERM KILL; do
    tries=0
    while pids=$(pids_of "$1") && [ -n "$pids" ]; do
      # shellcheck disable=SC2086  # one pid a word
      if [ $tries = 0 ]; then kill -s $signal $pids 2>/dev/null; fi
      tries=$((tries + 1))
      [ $tries -le 5 ] || break
      sleep 1
    done
    [ -n "$pids" ] || return 0
  done
  echo "processes $pids of $1 do not end" >&2
  return 1
}
# Prints the pids of a user's processes. Processes with another root belong to containers that use the same number.
pids_of() {
  id=$(id -u "$1") || return
  root=$(stat -L -c %d:%i /)
  # shellcheck disable=SC2013  # paths without blanks
  for status in $(grep -l "^Uid:[[:space:]]*${id}[[:space:]]" /proc/[0-9]*/status 2>/dev/null); do
    pid=${status#/proc/} pid=${pid%/status}
    if [ "$(stat -L -c %d:%i "/proc/$pid/root" 2>/dev/null)" = "$root" ]; then echo "$pid"; fi
  done
}

# Removes a folder from the list; the folder of the list itself comes last.
undo_folder() {
  if [ "$1" = "${CHANGES%/*}" ]; then change "remove $CHANGES" rm -f "$CHANGES"; fi
  [ -d "$1" ] || return 0
  if [ "$DRY" = yes ] || [ -z "$(ls -A "$1")" ]; then change "remove the folder $1" rmdir "$1"
  else warn "the folder $1 stays: there is something in it"; fi
}
