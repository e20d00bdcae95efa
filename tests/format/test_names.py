from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyckpt.errors import UnsupportedState, UsageError
from pyckpt.format.geometry import Box, Region
from pyckpt.format.names import entry_name, escape_component, region_entry_name

# characters that the escape cares about are common, so that near-collisions are tried
texts = st.text(st.sampled_from("%/@#h_5F\x00\x1f\x7f2a") | st.characters(exclude_categories=["Cs"]), max_size=6)
paths = st.lists(texts | st.integers(-3, 30), min_size=1, max_size=4).map(tuple)


def test_examples():
    assert entry_name(("layers.0.weight",)) == "layers.0.weight"
    assert entry_name(("state", 0, "exp/avg")) == "state/#0/exp%2Favg"
    assert entry_name(("#0", "@", "%", "", "a#b", -3)) == "%230/%40/%25/%/a#b/#-3"
    assert entry_name(("a\n\x7f\x00",)) == "a%0A%7F%00"
    assert entry_name(("__metadata__",)) == "%5F_metadata__"
    assert entry_name(("__metadata__", "x")) == "__metadata__/x"
    assert entry_name(("é 日本",)) == "é 日本"


@given(st.lists(paths, min_size=2, max_size=40, unique=True))
def test_distinct_paths_have_distinct_names(all_paths):
    assert len({entry_name(path) for path in all_paths}) == len(all_paths)


@given(paths)
def test_a_name_says_its_path(path):
    def component(text):
        if text.startswith("#"):
            return int(text[1:])
        return "" if text == "%" else re.sub("%([0-9A-F]{2})", lambda match: chr(int(match[1], 16)), text)

    name = entry_name(path)
    assert tuple(component(text) for text in name.split("/")) == path
    assert "@" not in name
    assert not any(ord(character) < 32 or ord(character) == 127 for character in name)
    assert name not in {"__metadata__", ""}


@given(texts, texts)
def test_components_are_injective(first, second):
    assert (escape_component(first) == escape_component(second)) == (first == second)


def test_one_and_its_text_differ():
    assert entry_name((1,)) != entry_name(("1",)) != entry_name(("#1",)) != entry_name((1,))
    assert entry_name(("a", "b")) != entry_name(("a/b",))


def test_long_names_are_hashed():
    longest = ("é" * 30_000,)
    assert entry_name(longest) == "é" * 30_000
    beyond = {entry_name(("é" * 30_000 + end,)) for end in "abc"}
    assert len(beyond) == 3
    assert all(re.fullmatch("%h[0-9a-f]{64}", name) for name in beyond)


def test_the_empty_path_and_surrogates_are_refused():
    with pytest.raises(UsageError):
        entry_name(())
    with pytest.raises(UnsupportedState, match="surrogate"):
        entry_name(("a", "\ud800"))


def test_region_examples():
    shape = (4, 6)
    whole = Region(Box((0, 0), (4, 6)), 0, 24)
    assert region_entry_name("w", whole, shape, encoded=False) == "w"
    assert region_entry_name("w", whole, shape, encoded=True) == "w@[0:4,0:6]+enc"
    assert region_entry_name("w", Region(Box((2, 0), (2, 6)), 0, 12), shape, encoded=False) == "w@[2:4,0:6]"
    assert region_entry_name("w", Region(Box((0, 0), (4, 6)), 3, 9), shape, encoded=False) == "w@[0:4,0:6](3:9)"
    assert region_entry_name("w", Region(Box((0, 0), (4, 6)), 3, 9), shape, encoded=True) == "w@[0:4,0:6](3:9)+enc"
    scalar = Region(Box((), ()), 0, 1)
    assert region_entry_name("s", scalar, (), encoded=False) == "s"
    assert region_entry_name("s", scalar, (), encoded=True) == "s@[]+enc"
    assert region_entry_name("e", Region(Box((0,), (0,)), 0, 0), (0,), encoded=False) == "e"


@st.composite
def named_regions(draw):
    shape = (3, 4)
    offset = tuple(draw(st.integers(0, extent - 1)) for extent in shape)
    size = tuple(draw(st.integers(1, extent - low)) for extent, low in zip(shape, offset, strict=True))
    start = draw(st.integers(0, size[0] * size[1] - 1))
    stop = draw(st.integers(start + 1, size[0] * size[1]))
    return draw(texts), Region(Box(offset, size), start, stop), draw(st.booleans())


@given(st.lists(named_regions(), min_size=2, max_size=30, unique=True))
def test_distinct_regions_have_distinct_names(regions):
    names = {region_entry_name(entry_name((path,)), region, (3, 4), encoded=encoded) for path, region, encoded in regions}
    assert len(names) == len(regions)


def test_the_longest_entry_name_fits_16_bits():
    huge = 2**63 - 1
    box = Box((huge // 2,) * 64, (huge // 2,) * 64)
    name = region_entry_name("n" * 60_000, Region(box, huge - 1, huge), (huge,) * 64, encoded=True)
    assert len(name.encode()) < 2**16
