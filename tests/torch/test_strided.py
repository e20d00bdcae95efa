"""Elements by their row-major place, of tensors with any strides, compared with plain indexing."""

from __future__ import annotations

from collections import Counter
from math import prod

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pyckpt.errors import UsageError
from pyckpt.format.geometry import Box, Region, region_copies
from pyckpt.format.windows import split_windows
from pyckpt.torch.strided import gather, put, strided_view

shapes = st.lists(st.integers(0, 6), max_size=4).map(tuple)


@st.composite
def strided(draw, shape, dtype=torch.int64):
    """A tensor of this shape: permuted, and narrowed out of a larger one."""
    order = draw(st.permutations(range(len(shape))))
    margins = [(draw(st.integers(0, 2)), draw(st.integers(0, 2))) for _ in shape]
    whole = [shape[d] + sum(margins[d]) for d in order]
    tensor = torch.full(whole, -1, dtype=dtype).permute([order.index(d) for d in range(len(shape))])
    for dim, (before, _) in enumerate(margins):
        tensor = tensor.narrow(dim, before, shape[dim])
    return tensor


@st.composite
def regions_in(draw, shape):
    low = [draw(st.integers(0, n)) for n in shape]
    high = [draw(st.integers(first, n)) for first, n in zip(low, shape)]
    box = draw(st.sampled_from([Box.whole(shape), Box(tuple(low), tuple(b - a for a, b in zip(low, high)))]))
    if draw(st.booleans()):
        return Region.of_box(box)
    start = draw(st.integers(0, box.volume))
    return Region(box, start, draw(st.integers(start, box.volume)))


def fill(tensor):
    tensor.copy_(torch.arange(tensor.numel()).reshape(tensor.shape))
    return tensor


def places(start, shape, strides):
    """Row-major places, one by one."""
    found = torch.full(shape, start)
    for axis, (count, stride) in enumerate(zip(shape, strides)):
        found = found + (torch.arange(count) * stride).reshape([-1] + [1] * (len(shape) - axis - 1))
    return found


def is_view_of(view, tensor):
    return view.untyped_storage().data_ptr() == tensor.untyped_storage().data_ptr()


@settings(max_examples=400, deadline=None)
@given(st.data(), shapes)
def test_copies_between_any_two_regions(data, shape):
    src, dst = data.draw(regions_in(shape)), data.draw(regions_in(shape))
    box = dst.box.size if dst.is_whole_run else (dst.elements,)
    tensor = data.draw(strided(box))
    expected = torch.full((dst.elements,), -1)
    for copy in region_copies(src, dst):
        values = torch.randint(0, 1000, copy.shape)
        expected[places(copy.dst_start, copy.shape, copy.dst_strides)] = values
        tensor_before = tensor._version
        put(tensor, copy.dst_start, copy.shape, copy.dst_strides, values)
        assert tensor._version > tensor_before
        assert torch.equal(gather(tensor, copy.dst_start, copy.shape, copy.dst_strides), values)
    assert torch.equal(tensor.reshape(-1), expected)
    outside = tensor._base if tensor._base is not None else tensor
    assert (outside == -1).sum() == outside.numel() - (expected != -1).sum()


@settings(max_examples=400, deadline=None)
@given(st.data(), shapes.filter(prod))
def test_any_even_places(data, shape):
    """Strides that no copy of regions would have: diagonals, every third, rows that overlap a border."""
    tensor = fill(data.draw(strided(shape)))
    start = data.draw(st.integers(0, tensor.numel() - 1))
    room, counts, strides = tensor.numel() - 1 - start, [], []
    for _ in range(data.draw(st.integers(0, 3))):
        stride = data.draw(st.integers(1, max(1, room)))
        count = data.draw(st.integers(1, min(6, room // stride + 1)))
        room -= (count - 1) * stride
        counts.append(count)
        strides.append(stride)
    counts, strides = tuple(counts), tuple(strides)
    expected = places(start, counts, strides)
    assert torch.equal(gather(tensor, start, counts, strides), expected)
    view = strided_view(tensor, start, counts, strides)
    if view is not None:
        assert is_view_of(view, tensor) and torch.equal(view, expected)
    if expected.unique().numel() == expected.numel():
        put(tensor, start, counts, strides, -expected)
        flat = torch.arange(tensor.numel())
        flat[expected] *= -1
        assert torch.equal(tensor.reshape(-1), flat)


def test_cases_that_regions_bring_about_need_no_index():
    """Of thousands of copies between regions of strided tensors none is done element by element."""
    counts = Counter()

    @settings(max_examples=600, deadline=None, database=None)
    @given(st.data(), shapes.filter(prod))
    def count(data, shape):
        src, dst = data.draw(regions_in(shape)), data.draw(regions_in(shape))
        if dst.is_whole_run:
            for copy in region_copies(src, dst):
                zeros = (0,) * len(copy.shape)
                windows = split_windows(dst.box.size or (1,), copy.dst_start, copy.shape, copy.dst_strides, 0, zeros)
                counts["indexed" if windows is None else "view" if len(windows) == 1 else "views"] += 1

    count()
    assert not counts["indexed"]
    assert counts["view"] > counts["views"]


def test_few_windows():
    assert len(split_windows((4, 6, 5), 7, (97,), (1,), 0, (1,))) == 5
    assert len(split_windows((4, 6, 5), 0, (120,), (1,), 0, (1,))) == 1
    assert len(split_windows((4, 6, 5), 0, (4, 13), (30, 1), 0, (13, 1))) == 2
    assert len(split_windows((1000, 7), 3, (999, 7), (7, 1), 0, (7, 1))) == 2
    for start, shape, strides in [(0, (121,), (1,)), (119, (2,), (1,)), (0, (5, 30), (30, 1)), (120, (), ())]:
        with pytest.raises(UsageError, match=r"leave a tensor of \[4, 6, 5\]"):
            split_windows((4, 6, 5), start, shape, strides, 0, strides)


def test_views_are_views():
    whole = fill(torch.empty(4, 6))
    assert is_view_of(gather(whole, 0, (24,), (1,)), whole)
    assert is_view_of(gather(whole.T, 0, (4,), (1,)), whole)
    assert strided_view(whole.T, 0, (24,), (1,)) is None
    assert torch.equal(gather(whole.T, 0, (24,), (1,)), whole.T.reshape(-1))
    assert torch.equal(gather(torch.arange(3).expand(4, 3), 2, (8,), (1,)), torch.tensor([2, 0, 1, 2, 0, 1, 2, 0]))
    assert strided_view(whole, 0, (0, 3), (3, 1)).shape == (0, 3)
    assert strided_view(torch.tensor(5.0), 0, (), ()).item() == 5
    assert gather(torch.tensor(5.0), 0, (1,), (1,)).shape == (1,)
    images = fill(torch.empty(2, 3, 4, 5).to(memory_format=torch.channels_last))
    assert torch.equal(gather(images, 17, (80,), (1,)), torch.arange(17.0, 97.0))


@pytest.mark.filterwarnings("ignore:ComplexHalf support is experimental")
@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "bfloat16", "bool", "uint16", "complex32", "complex64", "complex128"])
def test_every_width(dtype):
    dtype = getattr(torch, dtype)
    words = torch.randint(0, 2, (5, 7 * dtype.itemsize), dtype=torch.uint8)  # small enough to be no NaN
    values = words.view(dtype).reshape(5, 7)
    target = torch.empty(7, 5, dtype=dtype).T
    put(target, 0, (35,), (1,), values.reshape(-1))
    assert torch.equal(target.contiguous().view(torch.uint8), words)
    diagonal = torch.zeros(5, 7, dtype=dtype).T
    put(diagonal, 4, (5,), (6,), values[:, 0])  # runs from row to row: indexed
    assert split_windows((7, 5), 4, (5,), (6,), 0, (1,)) is None
    for row, expected in zip([4, 10, 16, 22, 28], values[:, 0]):
        assert diagonal.reshape(-1)[row].item() == expected.item()
    assert torch.equal(gather(diagonal, 4, (5,), (6,)).view(torch.uint8), values[:, 0].contiguous().view(torch.uint8))


def test_casts_and_pending_conjugation():
    target = torch.zeros(3, 4, dtype=torch.bfloat16).T
    put(target, 1, (2, 3), (3, 1), torch.tensor([[1.5, 2, 3], [4, 5, 6]], dtype=torch.float64))
    assert target.reshape(-1).tolist() == [0, 1.5, 2, 3, 4, 5, 6, 0, 0, 0, 0, 0]
    z = torch.zeros(2, 3, dtype=torch.complex64)
    put(z.conj().T, 0, (6,), (1,), torch.arange(6) * (1 + 2j))
    assert torch.equal(z.conj().T.reshape(-1), torch.arange(6) * (1 + 2j))
    put(z.conj().imag, 0, (6,), (1,), torch.arange(6.0))
    assert torch.equal(z.conj().imag.reshape(-1), torch.arange(6.0))
    assert torch.equal(gather(z.conj().imag.T, 0, (6,), (1,)), z.conj().imag.T.reshape(-1))
    put(z, 0, (6,), (1,), (torch.arange(6) * 1j).conj())
    assert torch.equal(z.reshape(-1), torch.arange(6) * -1j)
    assert torch.equal(gather(z.conj(), 1, (2, 2), (2, 1)), z.conj().reshape(-1)[1:5].reshape(2, 2))


@pytest.mark.parametrize("stored", [torch.float32, torch.float64])
@pytest.mark.parametrize("made_in", [True, False])
@pytest.mark.parametrize("written_in", [True, False])
def test_inference_mode(made_in, written_in, stored):
    with torch.inference_mode(made_in):
        tensor = torch.zeros(3, 4).T
    with torch.inference_mode(written_in):
        put(tensor, 0, (12,), (1,), torch.arange(12, dtype=stored))
        put(tensor, 0, (3,), (4,), torch.tensor([7, 8, 9], dtype=stored))
        assert gather(tensor, 0, (12,), (1,)).tolist() == [7, 1, 2, 3, 8, 5, 6, 7, 9, 9, 10, 11]
    assert made_in or tensor._version > 0


def test_autograd_sees_the_change():
    leaf = torch.ones(3, 4, requires_grad=True)
    squared = (leaf * leaf).sum()
    put(leaf.T, 0, (12,), (1,), torch.zeros(12))
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        squared.backward()
    assert not gather(leaf, 0, (12,), (1,)).requires_grad
