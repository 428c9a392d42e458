#!/bin/bash
set -e
make --silent hiker
./approve.sh hiker
