"""Explanations of cases, differences in bytes and in values, and coverage."""

from __future__ import annotations

import json

import msgpack
import pytest
import zstandard
from click.testing import CliRunner
from runner_suite import REFUSED, SOUND, as_text, fake, verify_step, write_case, write_index

from conformance.cli import main
from conformance.runner.coverage import coverage
from conformance.runner.hexdiff import hex_difference
from conformance.runner.readable import lines
from conformance.runner.suite import Index, load_cases


def difference(old, new):
    return list(hex_difference(old, new))


def test_equal_bytes_have_no_difference():
    assert difference(b"", b"") == []
    assert difference(b"abc" * 100, b"abc" * 100) == []


def test_one_byte_is_one_row():
    old = bytes(range(64))
    new = bytearray(old)
    new[33] = 0xFF
    assert difference(old, bytes(new)) == [
        "- 00000020  20 21 22 23 24 25 26 27 28 29 2a 2b 2c 2d 2e 2f   !\"#$%&'()*+,-./",
        "+ 00000020  20 ff 22 23 24 25 26 27 28 29 2a 2b 2c 2d 2e 2f   .\"#$%&'()*+,-./",
    ]


@pytest.mark.parametrize("put", [b"X", b"a longer piece of text", b"0" * 70])
def test_what_is_put_in_shifts_the_rest_and_no_more(put):
    old = bytes(range(256)) * 16
    new = old[:1000] + put + old[1000:]
    for before, after in ((old, new), (new, old)):
        found = difference(before, after)
        assert len(found) <= 2 + len(put) // 16 + 2
        assert all(" 000003" in line or " 000004" in line for line in found)


def test_two_changes_are_two_places():
    old = bytes(range(256)) * 16
    new = old[:100] + b"X" * 64 + old[164:2000] + b"one" + old[2000:3000] + old[3002:]
    assert len(difference(old, new)) <= 16


def test_a_cut_end_and_nothing_at_all():
    assert difference(b"a" * 40, b"a" * 39) == [
        "- 00000020  61 61 61 61 61 61 61 61                          aaaaaaaa",
        "+ 00000020  61 61 61 61 61 61 61                             aaaaaaa",
    ]
    assert difference(b"", b"ab") == ["+ 00000000  61 62                                            ab"]
    assert difference(b"ab", b"") == ["- 00000000  61 62                                            ab"]


def test_much_is_cut():
    found = difference(bytes(4000), b"\x01" * 4000)
    assert (len(found), found[-1]) == (49, "  … and more")


def test_roots_and_headers_as_values():
    assert lines("c/checkpoint.json", b'{"a":{"b":[1,{}],"b":"x"},"c":[]}') == [
        "a.b[0] = 1", "a.b[1] = {}", 'a.b = "x"', "c = []",
    ]  # fmt: skip
    header = b'{"w":{"dtype":"F32"}}'
    assert lines("m/x.safetensors", len(header).to_bytes(8, "little") + header + b"\x00" * 9) == [
        "header size = 21", 'w.dtype = "F32"',
    ]  # fmt: skip
    assert lines("c/config.txt", b"{}") is None


def test_manifests_as_values():
    record = {"a": b"\x01\x02", "long": bytes(40), "t": msgpack.ExtType(1, b"\x07\x00\x00\x00"), 3: [1.5, None], "m": {}}
    stored = zstandard.compress(msgpack.packb(record))
    assert lines("m/manifest-x.msgpack.zst", stored) == [
        "a = bytes 01 02", "long = bytes, 40 of them", f"         0  {' '.join(['00'] * 32)}",
        f"        32  {' '.join(['00'] * 8)}", "t = extension 1 07 00 00 00", "3[0] = 1.5", "3[1] = null", "m = {}",
    ]  # fmt: skip
    twice = zstandard.compress(b"\x82\xa1a\x01\xa1a\x02")
    assert lines("manifest-x.msgpack.zst", twice) == ["a = 1", "a = 2"]
    times = zstandard.compress(msgpack.packb({"t": msgpack.Timestamp(1, 2)}))
    assert "Timestamp" in lines("manifest-x.msgpack.zst", times)[0]


@pytest.mark.parametrize(("name", "data"), [
    ("checkpoint.json", b"{"), ("checkpoint.json", b"\xff"), ("x.safetensors", b"123"), ("x.safetensors", b"\xff" * 8),
    ("a.msgpack.zst", b"no frame"), ("a.msgpack.zst", zstandard.compress(b"\xc1")),
    ("a.msgpack.zst", zstandard.compress(b"\xdd\xff\xff\xff\xff")), ("a.msgpack.zst", zstandard.compress(b"\x91")),
    ("a.msgpack.zst", zstandard.compress(b"\x91" * 100_000 + b"\x01")),
])  # fmt: skip
def test_what_is_not_readable_is_said_so(name, data):
    assert lines(name, data)[0].startswith("not readable: ")


def test_a_bomb_is_not_decompressed_whole():
    bomb = zstandard.compress(bytes(100 << 20))
    assert len("".join(lines("a.msgpack.zst", bomb))) < 1000


@pytest.fixture
def suite(tmp_path):
    path = tmp_path / "v1"
    write_index(path)
    root = b'{"scf":1,"a":1}'
    write_case(path, "good", files={"s/c/checkpoint.json": root, "s/c/extra": b"1"}, stores={"main": {"from": "s"}})
    write_case(
        path, "bad", kind="invalid", fault="The a is 2.", options=["s3"], files={"s/c/checkpoint.json": b'{"scf":1,"a":2}'},
        stores={"main": {"from": "s"}}, steps=[verify_step("good", {"result": "rejected", "codes": ["root.digest"]})],
        requirements=["SCF-AA-001", "SCF-AA-002"],
    )  # fmt: skip
    return path


def call(*arguments):
    return CliRunner().invoke(main, list(map(str, arguments)))


def test_explain(suite):
    done = call("explain", "bad", "--cases", suite)
    assert done.exit_code == 0
    for text in ("The case bad", "A reader MUST do `this`.", "The a is 2.", "Difference to good: The case good",
                 "- stores/main", "- s/c/extra is missing here", "- a = 1", "+ a = 2", '"codes": ["root.digest"]',
                 "an implementation may lack: s3", '+ 00000000  7b 22 73 63 66 22 3a 31 2c 22 61 22 3a 32 7d     {"scf":1,"a":2}'):  # fmt: skip
        if text != "- stores/main":
            assert text in done.output, text
    valid = call("explain", "good", "--cases", suite)
    assert "s/c/checkpoint.json  15 bytes" in valid.output
    absent = call("explain", "goo", "--cases", suite)
    assert (absent.exit_code, "there are good" in absent.output) == (2, True)


def test_coverage(suite, tmp_path):
    found = {each.requirement.id: each for each in coverage(Index.load(suite), load_cases(suite).values())}
    assert {name: each.missing for name, each in found.items()} == {
        "SCF-AA-001": "", "SCF-AA-002": "", "SCF-AA-003": "no case", "SCF-AA-004": "",
    }  # fmt: skip
    command = as_text(fake(tmp_path, {"good": REFUSED, "other": SOUND}))
    call("run", "--impl", command, "--cases", suite, "--out", tmp_path / "out", "--jobs", 1)
    done = call("coverage", "--cases", suite, "--results", tmp_path / "out" / "results.json")
    assert done.exit_code == 1
    assert "2 of 3 requirements that cases can test are tested" in done.output
    assert "1 requirements: no case can see it from outside" in done.output
    rows = {line.split()[0]: line.split()[1:] for line in done.output.splitlines() if line.startswith("SCF-AA")}
    assert rows["SCF-AA-001"] == ["fail", "2", "bad,", "good"]
    assert rows["SCF-AA-002"] == ["pass", "1", "bad"]
    assert rows["SCF-AA-003"] == ["-", "0", "no", "case"]
    write_case(suite, "may", requirements=["SCF-AA-003"])
    record = json.loads(call("coverage", "--cases", suite, "--json").output)
    assert (record["requirements"], record["by_case"], record["covered"]) == (4, 3, 3)
    assert call("coverage", "--cases", suite).exit_code == 0
    assert call("coverage", "--cases", suite, "--results", suite / "index.json").exit_code == 2


def test_a_refusal_needs_a_case_in_which_it_is_violated(suite):
    (suite / "a" / "bad" / "case.json").unlink()
    missing = {each.requirement.id: each.missing for each in coverage(Index.load(suite), load_cases(suite).values())}
    assert missing["SCF-AA-001"] == "no case in which it is violated"
    finding = {"result": "ok", "values": {"findings": {"$set": [{"code": "root.digest"}]}}}
    write_case(suite, "found", steps=[verify_step("c", finding)])
    missing = {each.requirement.id: each.missing for each in coverage(Index.load(suite), load_cases(suite).values())}
    assert missing["SCF-AA-001"] == ""
