#!/bin/bash
set -e
make --silent test
