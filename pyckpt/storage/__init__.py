"""Stores: flat namespaces of keys with bytes, on a local disk, in memory, in buckets, or behind fsspec."""
