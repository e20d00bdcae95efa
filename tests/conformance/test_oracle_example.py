"""The worked example of the specification, read by the oracle, and the protocol that it speaks."""

from __future__ import annotations

import io
import json
import re
import struct
from pathlib import Path

import pytest
from oracle_drafts import codes, draft, store_of

from conformance.oracle.dtypes import DTYPES
from conformance.oracle.errors import PHASES, Rejected
from conformance.oracle.limits import DEFAULT
from conformance.oracle.mpack import Float
from conformance.oracle.opening import open_item, open_root
from conformance.oracle.reading import read_region
from conformance.oracle.regions import Region, whole
from conformance.oracle.serve import serve
from conformance.oracle.store import DirectoryStore
from conformance.oracle.tree import DtypeNode, Indexed, MapNode, SetNode, Tensor, Timestamp, TupleNode
from conformance.oracle.verify import verify

SPEC = Path(__file__).parents[2] / "spec"
EXAMPLE = DirectoryStore(str(SPEC / "example"))
DIGEST = "952e011670d4d23d5ad894d2894fc626b01b8131d8008ff03c7af744e6f30b5e"


def rows(registry: str) -> list[list[str]]:
    lines = [line for line in (SPEC / "registries" / registry).read_text().splitlines() if line.startswith("| `")]
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines]


def ask(*requests: dict) -> list[dict]:
    lines = b"".join(json.dumps({"id": at, **request}).encode() + b"\n" for at, request in enumerate(requests))
    out = io.BytesIO()
    serve(io.BytesIO(lines), out)
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_tables_agree_with_the_registries():
    assert PHASES == {row[0]: tuple(row[1].split(", ")) for row in rows("error-codes.md")}
    expected = [(row[0], int(row[1]), row[2], int(row[3]), int(row[4])) for row in rows("dtypes.md")]
    assert sorted((d.name, d.bits, d.container, d.lanes, d.item) for d in DTYPES.values()) == sorted(expected)


def test_a_code_of_any_phase_needs_one():
    with pytest.raises(ValueError, match="phase"):
        Rejected("limit.exceeded", "too large")
    assert Rejected("limit.exceeded", "too large", phase="open").phase == "open"


def test_limits_agree_with_chapter_18():
    text = (SPEC / "18-limits-and-security.md").read_text()
    found = dict(re.findall(r"\| `(max_\w+)` \| (\d+) \| [^|]* \| reader \|", text))
    assert found == {name: str(getattr(DEFAULT, name)) for name in DEFAULT.__dataclass_fields__}


def test_the_example_is_sound():
    assert verify(EXAMPLE, "step_2", deep=True) == []
    assert verify(EXAMPLE, "step_2", deep=False) == []


def test_its_tree_and_root():
    root = open_root(EXAMPLE, "step_2", expect=DIGEST)
    assert (root.sequence, root.parent, root.metadata["step"], root.metadata["tokens"]) == (1, None, 2, 2**64)
    tree = open_item(EXAMPLE, root, "model").manifest.tree
    top = dict(tree.entries)
    assert top["embed.weight"] == top["head.weight"] == Tensor(0)
    assert top["extra"] == MapNode(
        (
            ("step", 2),
            ("betas", TupleNode((Float(0x3FECCCCCCCCCCCCD), Float(0x3FEFF7CED916872B)))),
            ("seed", 2**64),
            ("saved", Timestamp(1767323045, 0, 0)),
            ("cursor", Indexed("rank", (40, 300))),
            ("seen", SetNode(("books", "web"))),
            ("compute", DtypeNode("BF16")),
        ),
    )


def test_another_expected_digest_is_refused():
    with pytest.raises(Rejected) as caught:
        open_root(EXAMPLE, "step_2", expect="0" * 64)
    assert (caught.value.code, caught.value.phase) == ("root.digest", "open")


def test_its_tensors_and_the_region_of_section_19_9():
    item = open_item(EXAMPLE, open_root(EXAMPLE, "step_2"), "model")

    def read(name, kind):
        number = item.number((name,))
        row = item.manifest.tensors[number]
        data = read_region(item, number, whole(row.shape))
        return list(struct.unpack(f"<{len(data) // struct.calcsize(kind)}{kind}", data))

    assert read("embed.weight", "f") == read("head.weight", "f") == [1, 2, 3, 4, 5, 6, 7, 8]
    assert read("moment", "i") == [0, 1, 2, 10, 11, 12, 20, 21, 22, 30, 31, 32]
    assert read("scale", "d") == [65536.0]
    assert read("unused", "f") == []
    part = read_region(item, 1, Region((1, 1), (2, 2), 0, 4))
    assert struct.unpack("<4i", part) == (11, 12, 21, 22)


def test_the_protocol_reads_it(tmp_path):
    store = {"kind": "directory", "path": str(SPEC / "example")}
    base = {"store": store, "checkpoint": "step_2", "item": "model", "expect": DIGEST}
    for place in ("all", "part"):
        (tmp_path / place).mkdir()
    hello, found, listed, read, part, deep, bye = ask(
        {"op": "hello", "protocol": "1.0"},
        {"op": "inspect", "items": None, **base},
        {"op": "list", "store": store},
        {"op": "read", "paths": None, "assets": ["config.json"], "out": str(tmp_path / "all"), **base},
        {
            "op": "read_region",
            "path": ["moment"],
            "regions": [{"offset": ["1", 1], "size": [2, 2], "run": [1, "3"]}, {"offset": [0, 0], "size": [0, 3]}],
            "out": str(tmp_path / "part"),
            **base,
        },
        {"op": "verify", "store": store, "checkpoint": "step_2", "deep": True},
        {"op": "bye"},
    )
    assert [one["result"] for one in (hello, found, listed, read, part, deep, bye)] == ["ok"] * 7
    assert hello["protocol"] == "1.0"
    assert set(hello["profiles"]) >= {"inspect", "read", "region-read", "integrity"}
    assert found["root"]["digest"] == DIGEST
    assert found["items"]["model"]["tensors"][1] == {"dtype": "I32", "shape": [4, 3]}
    assert ["cursor", ["indexed", "rank", 2, [["int", "40"], ["int", "300"]]]] in found["items"]["model"]["tree"][1][6][
        1
    ][1]
    assert listed["newest"] == "step_2"
    files = {tuple(one["path"]): one["file"] for one in read["tensors"]}
    assert files["embed.weight",] == files["head.weight",]
    assert (tmp_path / "all" / files["norm.weight",]).read_bytes().hex() == "803f00c0003f"
    assert (tmp_path / "all" / read["assets"][0]["file"]).read_bytes() == b'{"layers": 1}\n'
    assert [(tmp_path / "part" / name).read_bytes().hex() for name in part["files"]] == ["0c00000015000000", ""]
    assert (deep["sound"], deep["findings"]) == (True, [])


@pytest.mark.parametrize(
    ("request_", "code", "phase"),
    [
        ({"op": "inspect", "checkpoint": "../step_2"}, "key.invalid", "open"),
        ({"op": "inspect", "checkpoint": "step_3"}, "checkpoint.missing", "open"),
        ({"op": "inspect", "items": ["optimizer"]}, "item.missing", "open"),
        ({"op": "inspect", "expect": "0" * 64}, "root.digest", "open"),
        ({"op": "read_region", "item": "model", "path": ["none"], "regions": []}, "tensor.missing", "plan"),
        ({"op": "read_region", "item": "model", "path": ["extra"], "regions": []}, "tensor.missing", "plan"),
        (
            {"op": "read_region", "item": "model", "path": ["moment"], "regions": [{"offset": [0, 3], "size": [4, 1]}]},
            "state.layout",
            "plan",
        ),
        (
            {
                "op": "read_region",
                "item": "model",
                "path": ["moment"],
                "regions": [{"offset": [-1, 0], "size": [1, 1]}],
            },
            "state.layout",
            "plan",
        ),
        (
            {
                "op": "read_region",
                "item": "model",
                "path": ["moment"],
                "regions": [{"offset": [0, 0], "size": [1, 3], "run": [2, 1]}],
            },
            "state.layout",
            "plan",
        ),
        ({"op": "read", "item": "model", "assets": ["other.json"]}, "asset.missing", "read"),
        *(
            ({"op": "read_region", "item": "model", "path": path, "regions": regions}, "usage.invalid", "plan")
            for path, regions in (
                ("moment", []),
                ([1.5], []),
                ([{"int": 1, "text": 2}], []),
                ([{"int": True}], []),
                ([{"int": "1x"}], []),
                (["moment"], {}),
                (["moment"], [5]),
                (["moment"], [{"offset": 0, "size": [1, 1]}]),
                (["moment"], [{"offset": [0, 0], "size": ["9" * 5000, 1]}]),
                (["moment"], [{"offset": [0, 0], "size": [1, 1], "run": [0]}]),
            )
        ),
        ({"op": "inspect", "items": [1]}, "usage.invalid", "plan"),
        ({"op": "inspect", "checkpoint": 1}, "usage.invalid", "plan"),
        ({"op": "verify", "deep": 1}, "usage.invalid", "plan"),
        ({"op": "nothing"}, "usage.invalid", "plan"),
        ({"op": "hello", "protocol": "2.0"}, "usage.invalid", "plan"),
    ],
)
def test_the_protocol_refuses_with_code_and_phase(tmp_path, request_, code, phase):
    store = {"kind": "directory", "path": str(SPEC / "example")}
    (answer,) = ask({"store": store, "checkpoint": "step_2", "out": str(tmp_path), **request_})
    assert (answer["result"], answer["code"], answer["phase"]) == ("rejected", code, phase)
    assert answer["message"]


def test_a_store_of_an_unknown_kind_is_unsupported():
    (answer,) = ask({"op": "list", "store": {"kind": "tape"}})
    assert (answer["result"], answer["what"]) == ("unsupported", "tape")


def test_lines_that_are_no_requests_are_answered():
    out = io.BytesIO()
    serve(io.BytesIO(b"[]\nnonsense\n\xff\n" + b"[" * 100_000 + b"\n"), out)
    answers = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [one["result"] for one in answers] == ["rejected"] * 4


def test_verify_reports_a_missing_checkpoint_as_a_finding():
    (answer,) = ask(
        {
            "op": "verify",
            "store": {"kind": "directory", "path": str(SPEC / "example")},
            "checkpoint": "none",
            "deep": True,
        },
    )
    assert answer["findings"] == [{"code": "checkpoint.missing", "subject": "none"}]
    assert answer["sound"] is False


def test_every_flipped_bit_of_the_example_is_found():
    """Each byte that the root reaches is covered: one bit of every 29th byte is flipped."""
    objects = {one.key: EXAMPLE.get(one.key) for one in EXAMPLE.list("")}
    store = store_of(draft())
    for key, data in objects.items():
        for at in range(0, len(data), 29):
            changed = data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :]
            store.objects = {f"c/{each.partition('/')[2]}": value for each, value in objects.items()}
            store.objects[f"c/{key.partition('/')[2]}"] = changed
            assert codes(store), (key, at)
