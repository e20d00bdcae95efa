"""Makes the cases: the same bytes on every machine."""
