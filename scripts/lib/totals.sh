# shellcheck shell=bash
# Runs checks and suites, counts how they came out, and goes on after a failure. Needs messages.sh.

LONGEST_SUITE=${KATAFLEET_LONGEST_SUITE:-1200}         # seconds; a suite that hangs is a failure, and the others go on
PASSED=0
FAILED=0
SKIPPED=0
FAILURES=()
LEFT_OUT=()

# A command that counts as one test. Answers as the command did.
check() {
  local name=$1; shift
  if "$@"; then
    PASSED=$((PASSED + 1))
    note "✓ $name"
  else
    fail "$name"
    return 1
  fi
}

fail() {
  FAILED=$((FAILED + 1))
  FAILURES+=("$1")
  note "✗ $1"
}

# What this machine can't do counts as one skipped test, whose reason stands at the end.
leave_out() {
  SKIPPED=$((SKIPPED + 1))
  LEFT_OUT+=("$1: $2")
  note "– $1 left out: $2"
}

# All the *.test.ts below a folder. A suite that dies before it can count, or fails without a failed test, is a failure.
mocha_suite() {
  local name=$1 folder=$2 file status=0 passed failed skipped
  if [ -z "$(find "$folder" -name '*.test.ts' -print -quit 2>/dev/null)" ]; then
    note "no tests in $folder"
    return 0
  fi
  file=$(mktemp)
  timeout --kill-after=10 "$LONGEST_SUITE" node_modules/.bin/mocha --reporter scripts/lib/mocha-totals.cjs --reporter-option "totals=$file" "$folder/**/*.test.ts" || status=$?
  if read -r passed failed skipped < "$file"; then
    PASSED=$((PASSED + passed))
    FAILED=$((FAILED + failed))
    SKIPPED=$((SKIPPED + skipped))
    if [ "$failed" -gt 0 ]; then FAILURES+=("$name: $failed of its tests, see above"); fi
  else
    failed=0
  fi
  rm -f "$file"
  if [ "$status" -ne 0 ] && [ "$failed" -eq 0 ]; then fail "$name: mocha ended with $status"; fi
}

# Ends with the totals, alone on the last line of stdout. Answers 1 when anything failed.
print_totals() {
  local line
  for line in ${LEFT_OUT[@]+"${LEFT_OUT[@]}"}; do printf 'left out – %s\n' "$line"; done
  for line in ${FAILURES[@]+"${FAILURES[@]}"}; do printf 'failed – %s\n' "$line"; done
  printf '%d passed, %d failed, %d skipped\n' "$PASSED" "$FAILED" "$SKIPPED"
  [ "$FAILED" -eq 0 ]
}
