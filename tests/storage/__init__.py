"""Tests of the stores, with doubles that fail on demand: ``faulty`` for any store, ``faulty_os`` for local ones."""
