# shellcheck shell=bash
# What the scripts say. Everything goes to stderr, so that stdout stays what a script was asked for.

heading() { printf '\n== %s\n' "$*" >&2; }
note() { printf '   %s\n' "$*" >&2; }
die() { printf '%s: %s\n' "$(basename -- "$0")" "$*" >&2; exit 1; }

# The comment at the head of a script is its help: from the second line to `set -euo pipefail`.
print_help() { sed -n '2,/^set -/p' "$1" | sed '$d; s/^# \{0,1\}//'; }
