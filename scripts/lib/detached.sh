# shellcheck shell=bash

# Starts a program that goes on after this script ends: in its own session, without this script's open files and locks.
# Appends its output to a log. Afterwards $! has its pid.
start_detached() {
  local log=$1; shift
  (
    for descriptor in /proc/self/fd/*; do
      descriptor=${descriptor##*/}
      if [ "$descriptor" -gt 2 ]; then exec {descriptor}>&- || true; fi
    done 2>/dev/null
    exec setsid "$@" </dev/null >>"$log" 2>&1
  ) &
  disown
}
