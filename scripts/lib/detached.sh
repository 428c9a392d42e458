# shellcheck shell=bash

# Starts a program that outlives this script, in a session of its own and without this script's open files and locks.
# Its output is appended to a log. Its pid is in $! afterwards.
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
