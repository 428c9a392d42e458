/** An `ssh` that connects nowhere: it runs the line on this machine, and writes to the file LOG for which connection it was called. */
export const fakeSsh = `#!/bin/sh
words="$*" control= op=session
while [ $# -gt 1 ]; do
  case $1 in -S) control=$2; shift ;; -M) op=master ;; -O) op=$2; shift ;; esac
  shift
done
echo "$op $control" >> "$LOG"
case $op in
  master) [ ! -e "$LOG.hang" ] || exec sleep 60; [ ! -e "$LOG.refuse" ] || { cat "$LOG.refuse" >&2; exit 255; }; : > "$control" ;;
  exit) rm -f "$control" ;;
  session) [ -e "$control" ] || { echo 'mux: no such connection' >&2; exit 255; }; exec sh -c "exec $1" ;;
esac
`;
