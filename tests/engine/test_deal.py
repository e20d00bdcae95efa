"""Dealing replicas: everything once, all members agree, nobody is overloaded."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pyckpt.engine.deal import deal

sizes_of = st.lists(st.integers(0, 5000), max_size=30)
members_of = st.lists(st.integers(0, 40), min_size=1, max_size=6, unique=True).map(sorted)


@given(sizes_of, members_of, st.sampled_from([1, 8, 512]))
def test_every_byte_is_dealt_exactly_once(sizes, members, unit):
    dealt = deal(sizes, members, quantum=[unit] * len(sizes))
    for piece, size in enumerate(sizes):
        parts = [part for part in dealt if part.piece == piece]
        assert parts[0].start == 0
        assert parts[-1].stop == size
        assert all(a.stop == b.start for a, b in zip(parts, parts[1:]))
        assert all(part.start % unit == 0 for part in parts)
        assert all(part.writer in members for part in parts)


@given(sizes_of, members_of)
def test_whole_tensors_stay_whole_unless_larger_than_a_fair_share(sizes, members):
    fair = -(-sum(sizes) // len(members))
    dealt = deal(sizes, members, quantum=[1] * len(sizes))
    for piece, size in enumerate(sizes):
        if size <= fair:
            assert sum(part.piece == piece for part in dealt) == 1


@given(sizes_of, members_of)
def test_no_writer_has_more_than_twice_its_fair_share(sizes, members):
    dealt = deal(sizes, members, quantum=[1] * len(sizes))
    fair = -(-sum(sizes) // len(members))
    for member in members:
        assert sum(part.stop - part.start for part in dealt if part.writer == member) <= 2 * fair
