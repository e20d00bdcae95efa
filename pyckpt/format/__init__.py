"""Bytes and integers of the format: pure, without IO, threads or frameworks."""
