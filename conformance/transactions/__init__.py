"""Stores that fail on purpose: a simulated object store, and a killer of processes that work over a directory."""
