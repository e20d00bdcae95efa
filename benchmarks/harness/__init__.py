"""The harness: arms of several libraries and the hardware's limits, in turn, on the same bytes."""
