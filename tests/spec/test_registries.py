"""The registries, and the table of limits, say what the library does."""

from __future__ import annotations

import re

import codec_example
import pytest
import registry as tool

import pyckpt.limits
from pyckpt.format.codecs import CODECS, check_chain, decode_block, planes, zstd
from pyckpt.format.digest import DIGESTS, digest
from pyckpt.format.dtypes import DTYPES
from pyckpt.format.root import IMPLEMENTED_FEATURES_READ, IMPLEMENTED_FEATURES_WRITE
from pyckpt.format.tree_encode import EXT


@pytest.fixture(scope="module")
def registries(spec):
    return tool.load_registries(spec / "registries")


def test_dtypes(registries):
    stated = {
        name: (int(row["bits"]), row["container"], int(row["lanes"]), int(row["item"]))
        for name, row in registries["dtypes"].items()
    }
    assert stated == {
        name: (dtype.bits, dtype.container, dtype.lanes, dtype.item) for name, dtype in DTYPES.items()
    }


def test_digests(registries):
    assert registries["digests"].keys() == DIGESTS
    for name, row in registries["digests"].items():
        assert len(digest(name, b"")) == int(row["bytes"])


def test_codecs(registries):
    assert registries["codecs"].keys() == CODECS
    check_chain((zstd(3),))
    for item in (2, 4, 8):
        assert f"{item}" in registries["codecs"]["planes"]["parameters"]
        check_chain((planes(item),))


def test_extension_codes(registries):
    stated = {row["name"]: int(code) for code, row in registries["tree-extensions"].items()}
    assert stated == {name.lower(): value for name, value in vars(EXT).items() if name.isupper()}


def test_reserved_features_are_not_implemented(registries):
    for name, row in registries["features"].items():
        if row["status"] == "reserved":
            assert name not in IMPLEMENTED_FEATURES_READ | IMPLEMENTED_FEATURES_WRITE
    assert registries["features"].keys() >= IMPLEMENTED_FEATURES_READ | IMPLEMENTED_FEATURES_WRITE


def test_limits(spec):
    table, _ = tool.parse_tables((spec / "18-limits-and-security.md").read_text())
    rows = table.as_dict()
    library = {name.lower(): value for name, value in vars(pyckpt.limits).items() if name.isupper()}
    assert {name: int(row["value"]) for name, row in rows.items()} == library
    assert {row["kind"] for row in rows.values()} == {"format", "reader", "writer"}


def test_codes_in_the_table_of_limits_are_registered(spec, registries):
    table, _ = tool.parse_tables((spec / "18-limits-and-security.md").read_text())
    for row in table.as_dict().values():
        codes = re.findall(r"[a-z]+\.[a-z_]+", row["beyond it"])
        assert set(codes) <= registries["error-codes"].keys()
        assert bool(codes) == (row["kind"] != "writer")


TABLE = "# Cats\n\n| name | sound |\n| --- | :-: |\n| `tom` | a \\| b |\n| `x` and `y` | - |\n"


def test_tables_are_parsed():
    (table,) = tool.parse_tables("```\n| no | table |\n| --- | --- |\n```\n" + TABLE)
    assert (table.heading, table.columns) == ("Cats", ("name", "sound"))
    assert table.as_dict() == {"tom": {"name": "tom", "sound": "a | b"}, "`x` and `y`": {"name": "`x` and `y`", "sound": "-"}}
    assert tool.registry_problems(TABLE) == []


@pytest.mark.parametrize(
    ("row", "message"),
    [("| `tom` | b |", "given twice"), ("| jim | |", "empty cell"), ("| jim |", "1 cells"), ("| a | b | c |", "3 cells")],
)
def test_incomplete_tables_are_refused(tmp_path, row, message):
    path = tmp_path / "cats.md"
    path.write_text(TABLE + row + "\n")
    with pytest.raises(ValueError, match=message):
        tool.load_registry(path)


def test_page_without_a_table_is_refused(tmp_path):
    (tmp_path / "cats.md").write_text("# Cats\n")
    with pytest.raises(ValueError, match="no table"):
        tool.load_registries(tmp_path)


def test_library_decodes_the_example_of_the_codecs_chapter():
    assert decode_block((planes(codec_example.ITEM),), codec_example.ENCODED, len(codec_example.DECODED)) == (
        codec_example.DECODED
    )
