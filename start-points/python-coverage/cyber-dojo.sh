#!/bin/bash
# The report comes back as coverage.txt, and as pages below htmlcov/.
python3 -m coverage run --branch --source . --omit 'test_*' -m unittest --verbose test_hiker
status=$?
python3 -m coverage report --show-missing > coverage.txt
python3 -m coverage html --quiet
exit $status
