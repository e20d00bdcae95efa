"""From leaves to a committed root, and from a manifest to filled memory; knows no framework."""
