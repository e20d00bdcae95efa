import numpy as np
import pytest

from pyckpt.cli.shard_view import Held, pictures, region_text
from pyckpt.cli.tree_view import ASCII_GUIDES, TreeStyle, draw
from pyckpt.cli.twigs import fold, values_twig
from pyckpt.format.geometry import Box, Region
from pyckpt.format.tree import Indexed


def drawn(values, **style):
    twig = fold(values_twig("x", values))
    return ["".join(cell if isinstance(cell, str) else cell[0] for cell in line).rstrip() for line in draw(twig, TreeStyle(**style))]


def test_names_are_split_and_folded():
    values = {f"layers.{n}.{name}": n for n in range(12) for name in ("a", "b.c")} | {"layers.20.a": 1, "end": "z"}
    assert drawn(values) == [
        "├─ layers.",
        "│  ├─ {0..11}.  ×12",
        "│  │  ├─ a      int 0 … 11",
        "│  │  └─ b.c    int 0 … 11",
        "│  └─ 20.a      int 1",
        '└─ end          str "z"',
    ]


def test_unlike_siblings_stay_apart():
    values = {f"layers.{n}.a": 1.5 if n % 2 else 1 for n in range(6)}
    assert drawn(values) == [
        "└─ layers.",
        "   ├─ {0..4..2}.a  ×3  int   1",
        "   └─ {1..5..2}.a  ×3  float 1.5",
    ]


def test_named_ones_fold_only_in_numbers():
    assert drawn({"w1": 1, "w2": 2, "w3": 3}) == [
        "├─ w1         int 1",
        "├─ w2         int 2",
        "└─ w3         int 3",
    ]
    assert drawn({f"w{n}": n for n in range(5)}) == ["└─ w{0..4}  ×5  int 0 … 4"]


def test_alike_records_fold_by_name():
    values = {"s": {f"{n}_proj.weight": {"step": at, "on": True} for at, n in enumerate("qkv")}}
    assert drawn(values) == [
        "└─ s/",
        "   └─ {q,k,v}_proj.weight/  ×3",
        "      ├─ step               int  0 … 2",
        "      └─ on                 bool True",
    ]


def test_folds_within_folds_keep_the_whole_range():
    values = {f"l.{n}": {f"h{m}": n * 10 + m for m in range(4)} for n in range(3)}
    assert drawn(values)[-1].split() == ["└─", "h{0..3}", "×4", "int", "0", "…", "23"]


def test_keys_and_containers():
    values = {1: "a", "1": "b", "": {}, "a/b": [], "t": ({"x": None},), "i": Indexed("rank", 2, {0: 1, 1: 2})}
    assert drawn(values) == [
        '├─ #1             str  "a"',
        '├─ 1              str  "b"',
        "├─ %              map  empty",
        "├─ a%2Fb          list []",
        "├─ t/             tuple",
        "│  └─ #0/",
        "│     └─ x        none None",
        "└─ i/             one per rank",
        "   └─ #{0,1}  ×2  int  1 … 2",
    ]


def test_depth_and_most():
    values = {"a": {"b": {"c": 1}}, **{f"n{letter}": 0 for letter in "abcdefgh"}}
    assert drawn(values, depth=1, most=3, guides=ASCII_GUIDES) == [
        "|- a/         1 inside",
        "|- na         int 0",
        "|- nb         int 0",
        "`- … 6 more (--all shows them)",
    ]


def test_many_dots_do_not_recurse():
    twig = values_twig("x", {".".join("a" * 30000): 1, ".".join("a" * 30000) + "b": 1})
    assert len(list(draw(fold(twig), TreeStyle()))) >= 2


def test_width_is_kept():
    values = {f"a_rather_long_name_{n}.with_parts_{'x' * n}.weight": "text" * 10 for n in range(20)}
    assert max(map(len, drawn(values, width=80))) <= 80


def held(*regions):
    return [Held(at, region, ord(mark) - 65, mark, mark, 0, 0, "") for at, (mark, region) in enumerate(regions)]


def box(offset, size):
    return Region.of_box(Box(offset, size))


@pytest.mark.parametrize(
    ("shape", "shards", "rows"),
    [
        ((4,), [("A", box((0,), (1,))), ("B", box((1,), (3,)))], ["A" * 16 + "B" * 48]),
        ((3,), [("A", box((0,), (3,)))], ["A" * 63]),
        ((), [("A", box((), ()))], ["A" * 64]),
        ((2, 2), [("A", box((0, 0), (1, 2))), ("B", box((1, 0), (1, 2)))], ["A" * 64] * 4 + ["B" * 64] * 4),
        (
            (16, 64),
            [("A", box((0, 0), (8, 32))), ("B", box((0, 32), (8, 32))), ("C", box((8, 0), (8, 64)))],
            ["A" * 32 + "B" * 32] * 8 + ["C" * 64] * 8,
        ),
        ((2, 3, 4), [("A", box((0, 0, 0), (2, 1, 4))), ("B", box((0, 1, 0), (2, 2, 4)))], ["A" * 21 + "B" * 42]),
        ((2, 5), [("A", Region.flat((2, 5), 0, 7)), ("B", Region.flat((2, 5), 7, 10))], ["A" * 42 + "B" * 18]),
        ((10**15,), [("A", box((0,), (1,))), ("B", box((1,), (10**15 - 1,)))], ["B" * 64]),
    ],
)
def test_pictures(shape, shards, rows):
    (picture,) = pictures(shape, held(*shards))
    assert list(picture.rows) == rows


def test_a_picture_for_every_box_with_runs():
    shards = [("A", Region(Box((r, 0), (1, 4)), 0, 2)) for r in (0, 1)] + [("B", Region(Box((r, 0), (1, 4)), 2, 4)) for r in (0, 1)]
    found = list(pictures((2, 4), held(*shards)))
    assert [picture.rows for picture in found] == [("A" * 32 + "B" * 32,)] * 2
    assert "[1:2,0:4]" in found[1].title
    assert region_text(shards[0][1]) == "[0:1,0:4](0:2)"


def test_no_picture_of_nothing():
    assert list(pictures((0, 3), held(("A", box((0, 0), (0, 3)))))) == []
    assert list(pictures((0,), [])) == []


def test_every_shard_of_a_grid_is_found():
    shape = (8, 8)
    rng = np.random.default_rng(0)
    cuts = sorted(rng.choice(np.arange(1, 8), 3, replace=False).tolist())
    edges = [0, *cuts, 8]
    shards = [
        (chr(65 + at), box((low, 0), (high - low, 8))) for at, (low, high) in enumerate(zip(edges, edges[1:], strict=False))
    ]
    (picture,) = pictures(shape, held(*shards))
    assert [row[0] for row in picture.rows] == [mark for mark, region in shards for _ in range(region.box.size[0])]
