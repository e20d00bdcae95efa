"""Tests of pyckpt; a package, so that one directory's doubles can be imported by another."""
