import datetime as dt
import math
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyckpt.cli.arguments import DURATION
from pyckpt.cli.folding import fold_names, names_text, ranges_text
from pyckpt.cli.text import age_text, clean, clip, count, duration_text, size_text, time_text, type_name, value_text
from pyckpt.format.tree import DTypeName, Timestamp


@given(st.text())
def test_nothing_unprintable_gets_through(text):
    assert clean(text).isprintable()
    assert value_text(text).isprintable()
    if text.isprintable():
        assert clean(text) == text


def test_clean_says_what_was_there():
    assert clean("a\x1b[2Jb\u202e\n\ud800") == "a\\x1b[2Jb\\u202e\\n\\ud800"


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1024**2 - 1, "1.0 MiB"), (13 * 2**30, "13.0 GiB"), (2**63, "8.0 EiB")],
)
def test_sizes(size, text):
    assert size_text(size) == text


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (None, "none", "None"),
        (True, "bool", "True"),
        (-3, "int", "-3"),
        pytest.param(10**5000, "int", "an integer of 16610 bits", id="huge"),
        (math.nan, "float", "nan"),
        (1e-5, "float", "1e-05"),
        ("it's", "str", '"it\'s"'),
        (b"\0" * 2048, "bytes", "2.0 KiB"),
        (1 + 2j, "complex", "(1+2j)"),
        ([1, 2.5], "list", "[1, 2.5]"),
        ((1, "a"), "tuple", '(1, "a")'),
        ([], "list", "[]"),
        (frozenset({3, 1, 2}), "set", "{1, 2, 3}"),
        (DTypeName("BF16"), "dtype", "BF16"),
        (Timestamp(10**12, 1, None), "time", "1000000000000 s after 1970"),
        (dt.datetime(2026, 1, 2, 3, 4, 5), "time", "2026-01-02 03:04:05"),
    ],
)
def test_values(value, kind, text):
    assert type_name(value) == kind
    assert value_text(value) == text


def test_long_values_are_cut():
    assert value_text(list(range(1000)), 20) == "1,000 values: 0, 1, 2, 3, 4, 5, 6, …"
    assert value_text("x" * 10**7, 20) == '"' + "x" * 18 + "…"
    assert clip("abc", 2) == "a…"


def test_small_texts():
    assert count(1, "tensor") == "1 tensor"
    assert count(1024, "tensor") == "1,024 tensors"
    assert time_text("2026-01-31T09:30:59.123Z") == "2026-01-31 09:30 UTC"
    assert time_text("2026-01-31T09:30:59Z", seconds=True) == "2026-01-31 09:30:59 UTC"
    assert [duration_text(each) for each in (86400, 5400, 1, 0, 0.5)] == [
        "1 day",
        "90 minutes",
        "1 second",
        "0 seconds",
        "0.5 seconds",
    ]


def test_ages():
    now = dt.datetime(2026, 1, 31, 12, tzinfo=dt.timezone.utc)
    texts = {"2026-01-31T11:59:59.5Z": "now", "2026-01-31T11:58:30Z": "90 s", "2026-01-31T09:00:00Z": "3 h"}
    texts |= {"2026-01-30T13:00:00Z": "23 h", "2025-01-31T12:00:00Z": "365 d", "2026-02-01T00:00:00Z": "now", "?": ""}
    assert {text: age_text(text, now) for text in texts} == texts


def test_durations():
    texts = {"90": 90, "1.5h": 5400, "2d": 172800, "3m": 180, "4s": 4, "1w": 604800}
    assert {text: DURATION.convert(text, None, None) for text in texts} == texts
    for text in ("", "-1", "1e3", "5x", "1 h", "nan", "9" * 20):
        with pytest.raises(Exception, match="duration"):
            DURATION.convert(text, None, None)


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ([3], "3"),
        ([0, 1], "{0,1}"),
        (range(32), "{0..31}"),
        (range(0, 31, 2), "{0..30..2}"),
        ([0, 1, 2, 7, 8, 9, 20], "{0..2,7..9,20}"),
        ([2**n for n in range(20)], "{1,2,4,8,16,…,524288}"),
    ],
)
def test_ranges(numbers, text):
    assert ranges_text(numbers) == text


def test_names_in_one():
    assert names_text(["q_proj.weight", "k_proj.weight"]) == "{q,k}_proj.weight"
    assert names_text(["mlp.up", "mlp.down"]) == "mlp.{up,down}"
    assert names_text(["a", "b"]) == "{a,b}"
    assert names_text(["w.a", "w"]) == "{w.a,w}"
    assert names_text([f"n_{letter}" for letter in "abcdefgh"]) == "n_{a,b,c,d,e,…,h}"


def expand(pattern):
    """What a shell makes of a pattern of ranges."""
    parts = []
    rest = pattern
    while rest:
        before, opened, rest = rest.partition("{")
        parts.append([before])
        if opened:
            inside, _, rest = rest.partition("}")
            numbers = []
            for piece in inside.split(","):
                first, *more = piece.split("..")
                last, step = (more + ["1"])[:2] if more else (first, "1")
                numbers += [str(number) for number in range(int(first), int(last) + 1, int(step))]
            parts.append(numbers)
    return ["".join(each) for each in product(*parts)]


@given(st.sets(st.tuples(st.integers(0, 3), st.sampled_from("ab"), st.integers(0, 3), st.integers(0, 2)), min_size=1))
def test_patterns_stand_for_exactly_their_names(rows):
    names = [f"l.{a}.{b}.x{c}.{d}" for a, b, c, d in rows]
    folded = fold_names(names)
    assert sorted(name for pattern, _ in folded for name in expand(pattern)) == sorted(names)
    assert all(len(expand(pattern)) == times for pattern, times in folded)


def test_fold_names():
    grid = [f"layers.{a}.experts.{b}.w" for a in range(4) for b in range(8)]
    assert fold_names(["x", *grid, "y01", "y02"]) == [
        ("x", 1),
        ("layers.{0..3}.experts.{0..7}.w", 32),
        ("y01", 1),
        ("y02", 1),
    ]
    assert len(fold_names([".".join(map(str, range(at, at + 5000))) for at in range(2)])) == 2
