"""The tiling check, compared with counting every element."""

from __future__ import annotations

import itertools
from math import prod

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pyckpt.errors import Corrupt, LimitExceeded
from pyckpt.format import corners, runs
from pyckpt.format.geometry import Box, Region, cut_region
from pyckpt.format.tiling import check_tiling, tiles_exactly

shapes = st.lists(st.integers(0, 7), max_size=5).map(tuple)
full_shapes = st.lists(st.integers(1, 7), max_size=5).map(tuple)


@st.composite
def layouts_of(draw, shape):
    """Random recursive cutting into boxes, then into runs, in any order."""
    boxes = [Box.whole(shape)]
    for _ in range(draw(st.integers(0, 6))):
        box = boxes.pop(draw(st.integers(0, len(boxes) - 1)))
        cuts = [(d, at) for d in range(box.ndim) for at in range(1, box.size[d])]
        if not cuts:
            boxes.append(box)
            continue
        d, at = draw(st.sampled_from(cuts))
        for first, last in ((0, at), (at, box.size[d])):
            offset = tuple(o + first * (i == d) for i, o in enumerate(box.offset))
            size = tuple(last - first if i == d else s for i, s in enumerate(box.size))
            boxes.append(Box(offset, size))
    regions = []
    for box in boxes:
        bounds = draw(st.lists(st.integers(1, box.volume - 1), max_size=3, unique=True)) if box.volume > 1 else []
        regions += cut_region(Region.of_box(box), sorted(bounds))
    return draw(st.permutations(regions))


def counts(shape, regions):
    """How often each element is stored."""
    count = np.zeros(shape, np.int64)
    for region in regions:
        window = count[(..., *(slice(o, e) for o, e in zip(region.box.offset, region.box.end)))]
        flat = np.zeros(window.size, np.int64)
        flat[region.start : region.stop] = 1
        window += flat.reshape(window.shape)  # an Ellipsis keeps it a view, also of a scalar
    return count


def columns(shape, regions, dtype=np.int64, with_runs=True):
    table = (len(regions), len(shape))
    offset = np.array([r.box.offset for r in regions], dtype).reshape(table)
    size = np.array([r.box.size for r in regions], dtype).reshape(table)
    if not with_runs:
        return offset, size
    return offset, size, np.array([r.start for r in regions], dtype), np.array([r.stop for r in regions], dtype)


def damaged(draw, shape, regions):
    """The layout with one region dropped, doubled, or its box or run grown, shrunk or shifted."""
    i = draw(st.integers(0, len(regions) - 1))
    region = regions[i]
    kind = draw(st.sampled_from(["drop", "double", "box", "run"]))
    if kind == "drop":
        return regions[:i] + regions[i + 1 :]
    if kind == "double":
        return [*regions, region]
    if kind == "run":
        start = draw(st.integers(0, region.box.volume - 1))
        changed = Region(region.box, start, draw(st.integers(start + 1, region.box.volume)))
    else:
        offset = tuple(draw(st.integers(0, n - 1)) for n in shape)
        changed = Region.of_box(Box(offset, tuple(draw(st.integers(1, n - o)) for n, o in zip(shape, offset))))
    return [*regions[:i], changed, *regions[i + 1 :]]


@pytest.fixture(params=["corners", "random points"])
def method(request, monkeypatch):
    """Both ways of checking have to say the same."""
    if request.param == "random points":
        monkeypatch.setattr(corners, "MAX_CORNERS", 0)


@pytest.mark.usefixtures("method")
class TestAgainstCounting:
    @settings(max_examples=150, deadline=None, suppress_health_check=["function_scoped_fixture"])
    @given(st.data(), shapes)
    def test_every_exact_tiling_is_accepted(self, data, shape):
        regions = data.draw(layouts_of(shape))
        if 0 in shape:
            regions = regions[:1] if regions[0] == Region.whole(shape) else []
        assert tiles_exactly(shape, *columns(shape, regions))
        check_tiling(shape, regions)

    @settings(max_examples=300, deadline=None, suppress_health_check=["function_scoped_fixture"])
    @given(st.data(), full_shapes)
    def test_gaps_and_overlaps_are_refused(self, data, shape):
        regions = damaged(data.draw, shape, list(data.draw(layouts_of(shape))))
        count = counts(shape, regions)
        exact = bool((count == 1).all())
        assert tiles_exactly(shape, *columns(shape, regions)) == exact
        assert tiles_exactly(shape, *columns(shape, regions, np.uint64)) == exact
        assume(not exact)
        with pytest.raises(Corrupt) as caught:
            check_tiling(shape, regions, key="layers.0.weight")
        assert caught.value.code == "tiling.inexact"
        assert caught.value.key == "layers.0.weight"


@settings(max_examples=200, deadline=None)
@given(st.data(), full_shapes)
def test_the_example_is_the_first_wrong_element(data, shape):
    regions = damaged(data.draw, shape, list(data.draw(layouts_of(shape))))
    count = counts(shape, regions)
    wrong = np.argwhere(count != 1)
    assume(len(wrong))
    with pytest.raises(Corrupt) as caught:
        check_tiling(shape, regions)
    times = int(count[tuple(wrong[0])])
    said = "missing" if times == 0 else f"stored {times} times"
    assert f"; element {wrong[0].tolist()} is {said}" in str(caught.value)
    stored = sum(region.elements for region in regions)
    if stored < prod(shape):
        assert f"at least {prod(shape) - stored} " in str(caught.value)
        assert "missing" in str(caught.value)
    elif stored > prod(shape):
        assert f"at least {stored - prod(shape)} " in str(caught.value)
        assert "stored twice" in str(caught.value)
    else:
        assert "as many stored twice" in str(caught.value)


def test_two_dimensional_layouts_exhaustively():
    """Up to three of the 18 boxes of a 2 by 3 tensor, in every combination."""
    shape = (2, 3)
    spans = [[(a, b) for a in range(n) for b in range(a + 1, n + 1)] for n in shape]
    boxes = [
        Region.of_box(Box((a[0], b[0]), (a[1] - a[0], b[1] - b[0]))) for a, b in itertools.product(spans[0], spans[1])
    ]
    accepted = 0
    for n in (1, 2, 3):
        for chosen in itertools.combinations_with_replacement(boxes, n):
            exact = bool((counts(shape, chosen) == 1).all())
            accepted += exact
            assert tiles_exactly(shape, *columns(shape, chosen, with_runs=False)) == exact
    assert accepted == 1 + 3 + 9


def test_tensors_without_elements():
    whole = Region.whole((0, 3))
    check_tiling((0, 3), [])
    check_tiling((0, 3), [whole])
    for regions in ([whole, whole], [Region.of_box(Box((0, 0), (0, 2)))], [Region.of_box(Box((0, 1), (0, 2)))]):
        assert not tiles_exactly((0, 3), *columns((0, 3), regions))
        with pytest.raises(Corrupt):
            check_tiling((0, 3), regions)


def test_scalars():
    scalar = Region.whole(())
    check_tiling((), [scalar])
    assert not tiles_exactly((), *columns((), []))
    assert not tiles_exactly((), *columns((), [scalar, scalar]))
    assert not tiles_exactly((), *columns((), [Region(Box.whole(()), 0, 2)]))
    with pytest.raises(Corrupt, match=r"element \[\] is stored 2 times"):
        check_tiling((), [scalar, scalar])


@pytest.mark.parametrize(
    ("region", "part"),
    [
        (Region.of_box(Box((3,), (3,))), "leaves the shape"),
        (Region.of_box(Box((0, 0), (1, 1))), "dimensions"),
        (Region.flat((5,), 2, 6), "run"),
        (Region.of_box(Box((2**63,), (2**63,))), "leaves the shape"),
        (Region.flat((5,), 2, 2), "empty"),
    ],
)
def test_regions_outside_or_empty_are_refused(region, part):
    with pytest.raises(Corrupt, match=part) as caught:
        check_tiling((5,), [Region.whole((5,)), region])
    assert caught.value.code == "tiling.inexact"


def test_hostile_columns_neither_pass_nor_overflow():
    u64 = lambda *rows: np.array(rows, np.uint64)
    top = 2**63
    assert not tiles_exactly((4,), u64([2**64 - 2], [0]), u64([2], [4]))
    assert not tiles_exactly((4,), u64([0], [4]), u64([4], [2**64 - 1]))
    assert not tiles_exactly((top - 1,), u64([top - 2], [0]), u64([top - 1], [1]))
    assert not tiles_exactly((4,), u64([0]), u64([4]), u64(0), u64(2**64 - 1))
    assert not tiles_exactly((4,), u64([0], [0]), u64([4], [4]), u64(0, top), u64(4, top + 1))
    assert not tiles_exactly((4,), u64([0]), u64([4]), u64(0), None)
    assert not tiles_exactly((4,), u64([0]), u64([4]), u64(0, 1), u64(4, 5))
    assert not tiles_exactly((4,), u64([0, 0]), u64([4, 4]))
    assert not tiles_exactly((4, 4), u64([0, 0]), u64([4, 4], [1, 1]))


def test_wrong_tables_whose_corners_cancel_are_refused():
    """Each of these would pass if it weren't for the check of one bound."""
    i64 = lambda *rows: np.array(rows, np.int64)
    # A box of negative size takes back what another one stores twice.
    assert not tiles_exactly((4,), i64([0], [2], [3]), i64([4], [1], [-1]))
    # With n + 1 keys a row of n, outside the shape a corner has the key of another one: (0, 4) and (2, -4) that of (1, 0).
    row = [[0, 0], [0, 1]], [[1, 1], [1, 2]]
    assert tiles_exactly((2, 3), i64(*row[0], [1, 0]), i64(*row[1], [1, 3]))
    assert not tiles_exactly((2, 3), i64(*row[0], [0, 4]), i64(*row[1], [1, 3]))
    assert not tiles_exactly((3, 3), i64(*row[0], [2, -4], [2, 0]), i64(*row[1], [1, 3], [1, 3]))
    # Empty and backward runs join into a whole one.
    assert not tiles_exactly((4,), i64([0], [0]), i64([4], [4]), i64(0, 4), i64(4, 4))
    assert not tiles_exactly((4,), i64([0], [0]), i64([4], [4]), i64(0, 6), i64(6, 4))
    # Rows beyond the box come round to its beginning.
    assert not tiles_exactly((2, 4), i64([0, 0], [0, 0]), i64([2, 4], [2, 4]), i64(4, 8), i64(8, 12))
    assert not tiles_exactly((4,), i64([0]), i64([4]), i64(-4), i64(4))
    # 2**32 * (2**32 + 1) is 2**32 in 64 bits.
    huge = (2**32, 2**32 + 1)
    assert not tiles_exactly(huge, i64([0, 0]), i64(huge), i64(0), i64(2**32))


@pytest.mark.parametrize("shape", [(2**62, 2**62), (2**31, 2**31, 2**31), (2**63 - 1, 2, 2)])
def test_huge_shapes_stay_exact(shape):
    whole = Box.whole(shape)
    middle = [n // 2 for n in shape]
    parts = [
        Box(
            tuple(m * c for m, c in zip(middle, corner)),
            tuple(n - m if c else m for n, m, c in zip(shape, middle, corner)),
        )
        for corner in itertools.product((0, 1), repeat=len(shape))
    ]
    regions = [Region.of_box(part) for part in parts]
    assert sum(part.volume for part in parts) == whole.volume
    check_tiling(shape, regions)
    with pytest.raises(Corrupt, match=rf"element \[{', '.join(map(str, middle))}\] is missing"):
        check_tiling(shape, regions[:-1])
    grown = [
        *regions[:-1],
        Region.of_box(Box(tuple(m - 1 for m in middle), tuple(n - m for n, m in zip(shape, middle)))),
    ]
    with pytest.raises(Corrupt, match="stored 2 times"):
        check_tiling(shape, grown)


def test_huge_runs_stay_exact():
    shape = (2**21, 2**21, 2**20)
    cuts = [1, 2**20 + 7, 2**41 - 1, 2**61]
    left, right = (Box((0, c, 0), (2**21, 2**20, 2**20)) for c in (0, 2**20))
    regions = [*cut_region(Region.of_box(left), cuts[:3]), Region.of_box(right)]
    check_tiling(shape, regions)
    check_tiling(shape, cut_region(Region.whole(shape), cuts))
    off_by_one = [*regions[:1], Region(left, 2, regions[1].stop), *regions[2:]]
    with pytest.raises(Corrupt, match=r"1 is missing; element \[0, 0, 1\] is missing"):
        check_tiling(shape, off_by_one)


def test_many_cut_dimensions_take_linear_work():
    """60 cut dimensions have 2**60 corners each; the check may not list them."""
    shape = (2,) * 60
    parts, box = [], Box.whole(shape)
    for d in range(60):
        size = (*box.size[:d], 1, *box.size[d + 1 :])
        parts.append(Region.of_box(Box(box.offset, size)))
        box = Box((*box.offset[:d], 1, *box.offset[d + 1 :]), size)
    parts.append(Region.of_box(box))
    check_tiling(shape, parts)
    for wrong in (parts[:-1], [*parts, parts[7]], [*parts[:-1], parts[0]]):
        with pytest.raises(Corrupt):
            check_tiling(shape, wrong)


def test_partial_runs_are_spread_within_bounds(monkeypatch):
    monkeypatch.setattr(runs, "MAX_BOX_NUMBERS", 8)
    with pytest.raises(LimitExceeded) as caught:
        check_tiling((3, 4), [Region.flat((3, 4), 0, 5), Region.flat((3, 4), 6, 12)])
    assert caught.value.code == "limit.exceeded"
    check_tiling((3, 4), [Region.flat((3, 4), 5, 12), Region.flat((3, 4), 0, 5)])


def grid(rows, columns, edge=8):
    first = np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), -1).reshape(-1, 2) * edge
    return (rows * edge, columns * edge), first, np.full_like(first, edge)


def test_large_tables():
    shape, offset, size = grid(128, 128)
    assert tiles_exactly(shape, offset, size)
    shape, offset, size = grid(1_000_000, 1)
    assert tiles_exactly(shape, offset, size)
    shuffled = np.random.default_rng(0).permutation(offset)
    assert tiles_exactly(shape, shuffled, size)
    shuffled[17] += 1
    assert not tiles_exactly(shape, shuffled, size)
