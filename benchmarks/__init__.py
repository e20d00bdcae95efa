"""Benchmarks: ratios to peers and to the hardware's limit, measured side by side in one run."""
