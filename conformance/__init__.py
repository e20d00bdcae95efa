"""Conformance suite of the Sharded Checkpoint Format: cases as plain data, a runner, an oracle, and mutants of it."""
