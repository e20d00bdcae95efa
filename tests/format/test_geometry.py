"""Regions and copies, compared with plain indexing on small arrays."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import as_strided

from pyckpt.errors import UsageError
from pyckpt.format.copies import join_copies
from pyckpt.format.geometry import (
    Box,
    Copy,
    Region,
    check_region,
    cut_region,
    intersect,
    region_boxes,
    region_copies,
    run_boxes,
)
from tests.format.tilings import tilings

shapes = st.lists(st.integers(0, 7), max_size=5).map(tuple)


@st.composite
def boxes_in(draw, shape):
    low = [draw(st.integers(0, n)) for n in shape]
    high = [draw(st.integers(first, n)) for first, n in zip(low, shape)]
    return Box(tuple(low), tuple(b - a for a, b in zip(low, high)))


@st.composite
def regions_in(draw, shape):
    box = draw(st.one_of(st.just(Box.whole(shape)), boxes_in(shape)))
    if draw(st.booleans()):
        return Region.of_box(box)
    start = draw(st.integers(0, box.volume))
    return Region(box, start, draw(st.integers(start, box.volume)))


def memory_of(array, region):
    """What the region's memory holds, by plain indexing."""
    window = array[tuple(slice(o, o + s) for o, s in zip(region.box.offset, region.box.size))]
    return window.reshape(-1)[region.start : region.stop].copy()


def view(memory, start, shape, strides):
    """The strided view that a copy names; numpy itself checks nothing, so the bounds are checked here."""
    last = start + sum((n - 1) * s for n, s in zip(shape, strides))
    assert 0 <= start <= last < len(memory)
    return as_strided(memory[start:], shape, [s * memory.itemsize for s in strides])


def execute(copies, src, dst):
    written = np.zeros(len(dst), np.int64)
    for copy in copies:
        assert copy.elements > 0
        assert 1 not in copy.shape
        view(dst, copy.dst_start, copy.shape, copy.dst_strides)[...] = view(
            src, copy.src_start, copy.shape, copy.src_strides
        )
        view(written, copy.dst_start, copy.shape, copy.dst_strides)[...] += 1
    return written


def numbered(shape):
    return np.arange(1, prod(shape) + 1, dtype=np.int64).reshape(shape)


@settings(max_examples=250, deadline=None)
@given(st.data(), shapes)
def test_copies_equal_plain_indexing(data, shape):
    array = numbered(shape)
    src, dst = data.draw(regions_in(shape)), data.draw(regions_in(shape))
    got = np.zeros(dst.elements, np.int64)
    written = execute(region_copies(src, dst), memory_of(array, src), got)
    shared = np.isin(memory_of(array, dst), memory_of(array, src))
    assert np.array_equal(written, shared.astype(np.int64))
    assert np.array_equal(got, np.where(shared, memory_of(array, dst), 0))


@settings(max_examples=150, deadline=None)
@given(st.data(), shapes)
def test_resharding_between_any_two_layouts(data, shape):
    array = numbered(shape)
    stored = [(region, memory_of(array, region)) for region in data.draw(tilings(shape))]
    for dst in data.draw(tilings(shape)):
        got = np.zeros(dst.elements, np.int64)
        written = sum((execute(region_copies(src, dst), memory, got) for src, memory in stored), 0 * got)
        assert (written == 1).all()
        assert np.array_equal(got, memory_of(array, dst))


@settings(max_examples=250, deadline=None)
@given(st.data(), st.lists(st.integers(0, 5), max_size=5).map(tuple))
def test_run_boxes_are_few_and_follow_the_run(data, size):
    start = data.draw(st.integers(0, prod(size)))
    stop = data.draw(st.integers(start, prod(size)))
    boxes = run_boxes(size, start, stop)
    assert len(boxes) <= max(1, 2 * len(size) - 1)
    positions = np.arange(prod(size)).reshape(size)
    parts = [positions[tuple(slice(o, e) for o, e in zip(b.offset, b.end))].reshape(-1) for b in boxes]
    assert all(len(part) for part in parts)
    assert np.array_equal(np.concatenate([*parts, []]), np.arange(start, stop))


@settings(max_examples=100, deadline=None)
@given(st.data(), shapes)
def test_region_boxes_say_where_each_box_begins(data, shape):
    array = numbered(shape)
    region = data.draw(regions_in(shape))
    memory = memory_of(array, region)
    parts = region_boxes(region)
    for box, position in parts:
        assert np.array_equal(memory_of(array, Region.of_box(box)), memory[position : position + box.volume])
    assert sum(box.volume for box, _ in parts) == region.elements


@settings(max_examples=100, deadline=None)
@given(st.data(), shapes)
def test_intersection_is_what_both_hold(data, shape):
    a, b = data.draw(boxes_in(shape)), data.draw(boxes_in(shape))
    array = numbered(shape)
    both = np.intersect1d(memory_of(array, Region.of_box(a)), memory_of(array, Region.of_box(b)))
    shared = intersect(a, b)
    assert (shared is None) == (len(both) == 0)
    if shared is not None:
        assert np.array_equal(np.sort(memory_of(array, Region.of_box(shared))), both)


def test_contiguous_copies_are_one_range():
    whole = Region.whole((6, 4, 5))
    assert region_copies(whole, whole) == (Copy((120,), 0, (1,), 0, (1,)),)
    # Slabs along the first dimension, and runs of the same box: never more than one range.
    slab = Region.of_box(Box((2, 0, 0), (3, 4, 5)))
    assert region_copies(whole, slab) == (Copy((60,), 40, (1,), 0, (1,)),)
    assert region_copies(Region.flat((6, 4, 5), 7, 93), slab) == (Copy((53,), 33, (1,), 0, (1,)),)
    assert region_copies(Region.flat((6, 4, 5), 7, 93), Region.flat((6, 4, 5), 50, 120)) == (
        Copy((43,), 43, (1,), 0, (1,)),
    )


def test_equal_inner_dimensions_are_one():
    src, dst = Region.whole((4, 6, 5)), Region.of_box(Box((0, 2, 0), (4, 3, 5)))
    assert region_copies(src, dst) == (Copy((4, 15), 10, (30, 1), 0, (15, 1)),)


def test_pieces_of_a_run_join_where_they_lie_alike():
    # The run begins and ends outside the columns of the box, so its first and last row are rows like all others.
    src, dst = Region.flat((6, 10), 11, 58), Region.of_box(Box((0, 3), (6, 4)))
    assert region_copies(src, dst) == (Copy((5, 4), 2, (10, 1), 4, (4, 1)),)


def test_only_even_distances_join():
    rows = Copy((3, 4), 0, (10, 1), 0, (4, 1))
    assert join_copies(rows, Copy((2, 4), 30, (10, 1), 12, (4, 1))) == Copy((5, 4), 0, (10, 1), 0, (4, 1))
    assert join_copies(rows, Copy((4,), 30, (1,), 12, (1,))) == Copy((4, 4), 0, (10, 1), 0, (4, 1))
    assert join_copies(Copy((4,), 0, (1,), 0, (1,)), Copy((4,), 9, (1,), 5, (1,))) == Copy((2, 4), 0, (9, 1), 0, (5, 1))
    assert join_copies(rows, Copy((2, 4), 30, (11, 1), 12, (4, 1))) is None
    assert join_copies(rows, Copy((2, 4), 30, (10, 1), 13, (4, 1))) is None
    assert join_copies(rows, Copy((2, 4), 30, (10, 2), 12, (4, 1))) is None
    assert join_copies(rows, Copy((2, 5), 30, (10, 1), 12, (4, 1))) is None


def test_a_scalar_is_one_copy_without_dimensions():
    assert region_copies(Region.whole(()), Region.whole(())) == (Copy((), 0, (), 0, ()),)
    assert region_copies(Region.whole((3,)), Region.of_box(Box((2,), (1,)))) == (Copy((), 2, (), 0, ()),)
    assert Box.whole(()).volume == 1
    assert intersect(Box.whole(()), Box.whole(())) == Box.whole(())


def test_nothing_is_copied_between_empty_regions():
    assert region_copies(Region.whole((0, 3)), Region.whole((0, 3))) == ()
    assert region_copies(Region.whole((4,)), Region.flat((4,), 2, 2)) == ()
    assert region_copies(Region.flat((4,), 0, 2), Region.flat((4,), 2, 4)) == ()


def test_huge_numbers_stay_exact():
    shape = (2**40, 2**20)
    src = Region.flat(shape, 2**59 + 1, 2**60)
    dst = Region.of_box(Box((2**39, 1), (2, 3)))
    assert region_copies(src, dst) == (Copy((2, 3), 0, (2**20, 1), 0, (3, 1)),)
    assert len(run_boxes((2,) * 60, 1, 2**60 - 1)) == 118


def test_cut_region_keeps_box_and_order():
    region = Region(Box((1, 0), (3, 4)), 2, 11)
    parts = cut_region(region, [0, 4, 4, 9])
    assert [(part.start, part.stop) for part in parts] == [(2, 2), (2, 6), (6, 6), (6, 11), (11, 11)]
    assert {part.box for part in parts} == {region.box}
    assert cut_region(region, []) == (region,)


@pytest.mark.parametrize("bounds", [[-1], [10], [5, 4]])
def test_cut_region_refuses_positions_out_of_order(bounds):
    with pytest.raises(UsageError) as caught:
        cut_region(Region.flat((3, 4), 0, 9), bounds)
    assert caught.value.code == "state.layout"


@pytest.mark.parametrize(
    ("region", "part"),
    [
        (Region.whole((2, 3)), "dimensions"),
        (Region(Box((0,), (2, 3)), 0, 6), "dimensions"),
        (Region.of_box(Box((3,), (3,))), "leaves the shape"),
        (Region.of_box(Box((-1,), (3,))), "leaves the shape"),
        (Region(Box((3,), (-1,)), 0, 0), "leaves the shape"),
        (Region.flat((5,), 3, 2), "run"),
        (Region.flat((5,), -1, 2), "run"),
        (Region(Box((2,), (2,)), 0, 3), "run"),
    ],
)
def test_check_region_refuses_what_is_outside(region, part):
    with pytest.raises(UsageError, match=part) as caught:
        check_region(region, (5,))
    assert caught.value.code == "state.layout"


def test_check_region_accepts_what_is_inside():
    for region, shape in [
        (Region.whole(()), ()),
        (Region.whole((0,)), (0,)),
        (Region.of_box(Box((5,), (0,))), (5,)),
        (Region.flat((5, 2), 3, 10), (5, 2)),
    ]:
        check_region(region, shape)


def test_regions_of_different_tensors_are_refused():
    with pytest.raises(UsageError):
        region_copies(Region.whole((2, 3)), Region.whole((6,)))
    with pytest.raises(UsageError):
        run_boxes((2, 3), 0, 7)
