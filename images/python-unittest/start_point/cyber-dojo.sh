#!/bin/bash
set -e
python3 -m unittest --verbose test_hiker
