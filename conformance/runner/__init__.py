"""Runs cases on an implementation, judges the answers and reports."""
