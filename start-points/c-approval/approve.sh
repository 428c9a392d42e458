#!/bin/bash
# An approval test: what the program prints is received, and must be what was approved. To approve what was received,
# rename hiker.received.txt to hiker.approved.txt.
name=$1
touch "$name.approved.txt"
"./$name" > "$name.received.txt"
if cmp --silent "$name.approved.txt" "$name.received.txt"; then
  rm "$name.received.txt"
  echo 'All tests passed'
else
  diff --label approved --label received --unified "$name.approved.txt" "$name.received.txt"
  echo "Assertion 'what is received is approved' failed"
  exit 1
fi
