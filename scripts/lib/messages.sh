# shellcheck shell=bash
# Prints the scripts' messages. All go to stderr, so that stdout has only a script's result.

heading() { printf '\n== %s\n' "$*" >&2; }
note() { printf '   %s\n' "$*" >&2; }
die() { printf '%s: %s\n' "$(basename -- "$0")" "$*" >&2; exit 1; }

# Prints a script's help: the comment at its head, from the second line to `set -euo pipefail`.
print_help() { sed -n '2,/^set -/p' "$1" | sed '$d; s/^# \{0,1\}//'; }
