#!/usr/bin/env bash
# The tests, by the command that is given, with the conformance suite beside them: both mostly wait for processes. The
# suite takes what the tests leave of the processors. What it says is shown when it is done, and again if it has failed.
set -uo pipefail
log=.venv/conformance.log

suite() {
    nice -n 19 make --no-print-directory conformance > "$log" 2>&1
    local status=$?
    cat "$log"
    return $status
}

suite &
"$@"
tests=$?
if ! wait %1; then
    tail -n 60 "$log"
    echo "the conformance suite failed: $log"
    exit 1
fi
exit $tests
