# shellcheck shell=bash
# Runs checks and suites, counts their results, and goes on after a failure. Needs messages.sh.

LONGEST_SUITE=7200         # seconds; the reporter ends a suite that hangs, unless its process can do nothing any more
PASSED=0
FAILED=0
SKIPPED=0
FAILURES=()
LEFT_OUT=()
FAILURE_FILES=()           # the test file of each of FAILURES; empty for a check
FAILED_FILES=()            # PASSED FAILED SKIPPED PATH of each file with a failed test
MOST_TRIED_AGAIN=3         # files; more failed files are no accident
UNSTEADY=()

# Runs a command that counts as one test. Returns 1 if it failed.
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
  FAILURE_FILES+=('')
  note "✗ $1"
}

# Counts a skipped test that this machine can't run. The reason is printed again at the end.
leave_out() {
  SKIPPED=$((SKIPPED + 1))
  LEFT_OUT+=("$1: $2")
  note "– $1 left out: $2"
}

# Runs the tests in files and below folders. A suite that dies before it counts, or fails without a failed test, is a failure.
mocha_suite() { # NAME FILE-OR-FOLDER...
  local file status=0
  file=$(mktemp)
  mocha_words "$file" "${@:2}"
  # In the background, so that this shell handles a signal at once: `timeout` keeps the terminal's signals from the suite.
  "${MOCHA[@]}" &
  wait "$!" || status=$?
  count_mocha "$1" "$file" "$status"
}

# Runs a suite beside the next ones, until `join_beside`, which prints its output. Several may run at once.
mocha_suite_beside() { # NAME FILE-OR-FOLDER...
  local file log
  file=$(mktemp) log=$(mktemp)
  mocha_words "$file" "${@:2}"
  "${MOCHA[@]}" > "$log" 2>&1 &
  BESIDE_PIDS+=("$!") BESIDE_NAMES+=("$1") BESIDE_FILES+=("$file") BESIDE_LOGS+=("$log")
}

# Runs a function beside the next suites; it counts as one test when it is joined. The function runs its commands by `endable`,
# so that they end with this script.
check_beside() { # NAME COMMAND...
  local log
  log=$(mktemp)
  (trap 'mocha_suite_ended; exit 143' TERM; "${@:2}") > "$log" 2>&1 &
  BESIDE_PIDS+=("$!") BESIDE_NAMES+=("$1") BESIDE_FILES+=('') BESIDE_LOGS+=("$log")
}
endable() { "$@" & wait "$!"; }
BESIDE_PIDS=() BESIDE_NAMES=() BESIDE_FILES=() BESIDE_LOGS=()

# Waits for the suites that run beside, all or the one with this name, and counts them. Returns 1 if one failed.
join_beside() { # [NAME]
  local at status answer=0
  for at in ${BESIDE_PIDS[@]+"${!BESIDE_PIDS[@]}"}; do
    if [ -n "${1:-}" ] && [ "$1" != "${BESIDE_NAMES[at]}" ]; then continue; fi
    status=0
    wait "${BESIDE_PIDS[at]}" || status=$?
    part "${BESIDE_NAMES[at]}, beside the others"
    cat "${BESIDE_LOGS[at]}"
    rm -f "${BESIDE_LOGS[at]}"
    if [ -n "${BESIDE_FILES[at]}" ]; then count_mocha "${BESIDE_NAMES[at]}" "${BESIDE_FILES[at]}" "$status"
    else check "${BESIDE_NAMES[at]}" [ "$status" -eq 0 ] || true; fi
    if [ "$status" -ne 0 ]; then answer=1; fi
    unset "BESIDE_PIDS[at]" "BESIDE_NAMES[at]" "BESIDE_FILES[at]" "BESIDE_LOGS[at]"
  done
  return "$answer"
}

# Prints the name of the next part, and the time since the start.
part() { heading "$1, after $((SECONDS / 60)) min $((SECONDS % 60)) s"; }

# Ends the running suites, for a script that ends early. The shell knows each suite from its start, so none is missed.
mocha_suite_ended() {
  local pid
  for pid in $(jobs -rp); do
    # Signals the whole process group: `timeout` does not pass on a signal that comes before it has started its suite.
    kill -- "-$pid" 2>/dev/null || kill "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
  BESIDE_PIDS=()
}

# Sets MOCHA to the command itself, not to a function, so that a signal to its process id reaches it.
mocha_words() { # TOTALS FILE-OR-FOLDER...
  MOCHA=(timeout --kill-after=10 "$LONGEST_SUITE" node_modules/.bin/mocha --recursive
    --reporter scripts/lib/mocha-totals.cjs --reporter-option "totals=$1" "${@:2}")
}

count_mocha() { # NAME TOTALS STATUS
  local passed failed skipped line
  if read -r passed failed skipped < "$2"; then
    PASSED=$((PASSED + passed))
    FAILED=$((FAILED + failed))
    SKIPPED=$((SKIPPED + skipped))
    while IFS= read -r line; do
      FAILURES+=("$1 › ${line#*$'\t'}")
      FAILURE_FILES+=("${line%%$'\t'*}")
    done < <(tail -n +2 "$2")
    if [ -s "$2.files" ]; then while read -r line; do FAILED_FILES+=("$line"); done < "$2.files"; fi
  else
    failed=0
  fi
  rm -f "$2" "$2.files"
  if [ "$3" -ne 0 ] && [ "$failed" -eq 0 ]; then fail "$1: mocha ended with $3"; fi
}

# Runs each file with a failed test once more, alone: a test with real engines may fail because of the engine or the machine.
# If the whole file passes now, its new result counts, and the totals call the failures of before unsteady.
try_again() {
  local entry path passed failed skipped passed_now failed_now skipped_now file status
  if [ "${#FAILED_FILES[@]}" -eq 0 ]; then return 0; fi
  if [ "${#FAILED_FILES[@]}" -gt "$MOST_TRIED_AGAIN" ]; then
    note "tests failed in ${#FAILED_FILES[@]} files: more than $MOST_TRIED_AGAIN are not tried again"
    return 0
  fi
  for entry in "${FAILED_FILES[@]}"; do
    read -r passed failed skipped path <<< "$entry"
    note "once more, alone: $path"
    file=$(mktemp)
    status=0
    mocha_words "$file" "$path"
    "${MOCHA[@]}" &
    wait "$!" || status=$?
    # More tests have passed, or as many, without one skipped more, if a hook after them had failed.
    if [ "$status" -eq 0 ] && read -r passed_now failed_now skipped_now < "$file" \
      && { [ "$passed_now" -gt "$passed" ] || { [ "$passed_now" -eq "$passed" ] && [ "$skipped_now" -le "$skipped" ]; }; }; then
      PASSED=$((PASSED + passed_now - passed))
      FAILED=$((FAILED + failed_now - failed))
      SKIPPED=$((SKIPPED + skipped_now - skipped))
      forgive "$path"
    fi
    rm -f "$file" "$file.files"
  done
}

# Moves the failures of a file to the unsteady ones.
forgive() {
  local at failures=() files=()
  for at in "${!FAILURES[@]}"; do
    if [ "${FAILURE_FILES[at]}" = "$1" ]; then UNSTEADY+=("${FAILURES[at]}")
    else failures+=("${FAILURES[at]}"); files+=("${FAILURE_FILES[at]}"); fi
  done
  FAILURES=(${failures[@]+"${failures[@]}"})
  FAILURE_FILES=(${files[@]+"${files[@]}"})
}

# Repeats the skipped and failed tests, then prints the totals alone on the last line of stdout. Returns 1 if a test failed.
print_totals() {
  local line
  for line in ${LEFT_OUT[@]+"${LEFT_OUT[@]}"}; do printf 'left out – %s\n' "$line"; done
  for line in ${UNSTEADY[@]+"${UNSTEADY[@]}"}; do printf 'unsteady, failed once and passed alone – %s\n' "$line"; done
  for line in ${FAILURES[@]+"${FAILURES[@]}"}; do printf 'failed – %s\n' "$line"; done
  printf '%d passed, %d failed, %d skipped\n' "$PASSED" "$FAILED" "$SKIPPED"
  [ "$FAILED" -eq 0 ]
}
