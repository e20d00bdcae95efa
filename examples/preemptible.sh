#!/bin/sh
# Runs preemptible.py under torchrun and ends with 75 where it was told to stop: run me again.
#
#     STORE=runs/a STEPS=1000 RANKS=4 sh examples/preemptible.sh
#
# The ranks are told directly. torchrun, told to stop, would kill them after 30 seconds, saved or not, and ends with
# a status of its own. It gets its own session, because some executors signal the whole process group.
setsid torchrun --standalone --nproc-per-node "${RANKS:-1}" "$(dirname "$0")/preemptible.py" "$STORE" "$STEPS" &
torchrun=$!
stopped=
stop() {
    stopped=yes
    ranks=$(cat "/proc/$torchrun/task/$torchrun/children")
    kill -TERM ${ranks:-"$torchrun"}
}
trap stop TERM INT
wait "$torchrun"
status=$?
# A signal ends the wait before torchrun has ended.
while [ -n "$stopped" ] && kill -0 "$torchrun" 2>/dev/null; do
    wait "$torchrun"
    status=$?
done
[ -n "$stopped" ] && [ "$status" -ne 0 ] && status=75
exit "$status"
