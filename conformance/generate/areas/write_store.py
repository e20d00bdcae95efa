"""A save in a store that is not empty: taken names, sequences, leftovers, markers, freshness."""

from __future__ import annotations

from collections.abc import Iterator

from ...oracle.encode import Draft
from ..case import Case, checkpoint, ok, rejected, step
from ..drafts_c import OTHER, THIRD, attempt_of, damaged, simple, tombstone
from ..expect import root_digest
from ..requests import listing, mapping, mix, save, tensor, write_case

__all__ = ["cases"]

_TREE = mapping(("w", tensor("w")))
_MAXJSON = 2**53 - 1
ROOT = "c/checkpoint.json"


def cases() -> Iterator[Case]:
    """Saves beside others."""
    yield from _name_taken()
    yield from _sequences()
    yield from _leftovers()
    yield from _fresh()


def _name_taken() -> Iterator[Case]:
    taken = simple(attempt=OTHER)
    refused = save(_TREE, expect=rejected("checkpoint.exists"))
    yield write_case(
        "write-name-taken", "The name has a checkpoint: it stays as it is",
        ["SCF-COMMIT-002", "SCF-STORE-004"],
        refused, step("inspect", ok(root={"digest": root_digest(taken)}), items=[]),
        kind="invalid", sibling="write-one-tensor", fault="The name has a root of another attempt.",
        files=checkpoint(taken), after={"main": {"same": ["c/*"], "absent": ["c/.attempt-*"]}},
    )  # fmt: skip
    yield write_case(
        "write-name-taken-damaged", "The name has a root that is damaged: it stays as it is", ["SCF-COMMIT-002"],
        refused, kind="invalid", sibling="write-one-tensor", fault="The name has a damaged root.",
        files=checkpoint(damaged(taken)), after={"main": {"same": ["c/*"]}},
    )  # fmt: skip
    yield write_case(
        "write-name-taken-empty-root", "The name has a root without bytes: it stays as it is", ["SCF-COMMIT-002"],
        refused, kind="invalid", sibling="write-one-tensor", fault="An object without bytes lies at the root's key.",
        files={ROOT: b""}, after={"main": {"same": ["c/*"]}},
    )  # fmt: skip
    yield write_case(
        "write-twice", "A second save under the same name", ["SCF-COMMIT-002"],
        save(_TREE), save(mapping(("w", tensor("v", fill=mix(9)))), expect=rejected("checkpoint.exists")),
        listing(("c", 1), newest="c"), kind="invalid", sibling="write-one-tensor",
        fault="The name was saved by the step before.",
    )  # fmt: skip
    yield write_case(
        "write-after-refusal", "A refused save does not stand in the way of the next one",
        ["SCF-COMMIT-002", "SCF-LAYOUT-006"],
        save(mapping(("w", ["unsupported"])), expect=rejected("state.unsupported")), save(_TREE),
        listing(("c", 1), newest="c"),
    )  # fmt: skip


def _sequences() -> Iterator[Case]:
    first, last = simple(sequence=3, attempt=OTHER), simple(sequence=7, attempt=THIRD, seed=2)
    two = {**checkpoint(first, "z"), **checkpoint(last, "a")}
    sound = (("z", 3), ("a", 7))
    yield write_case(
        "write-sequence-first", "The first checkpoint of a store has the sequence 1", ["SCF-ROOT-012"],
        save(_TREE), listing(("c", 1), newest="c"),
    )  # fmt: skip
    yield write_case(
        "write-sequence", "One more than the highest of the store", ["SCF-ROOT-012", "SCF-STORE-007"],
        save(_TREE), listing(*sound, ("c", 8), newest="c"), files=two, after={"main": {"same": ["a/*", "z/*"]}},
    )  # fmt: skip
    yield write_case(
        "write-sequence-twice", "Two saves, one after the other", ["SCF-ROOT-012"],
        save(_TREE), save(_TREE, checkpoint="b"), listing(*sound, ("c", 8), ("b", 9), newest="b"), files=two,
    )  # fmt: skip
    broken = damaged(simple(sequence=90))
    foreign = simple(sequence=90, attempt=THIRD).with_(features={"read": ["x-new"], "write": ["x-new"]})
    later = simple(sequence=90).with_(sealed=lambda root: root.replace(b'{"scf":1,', b'{"scf":2,'))
    lost = (
        ("damaged", "a damaged root", broken, "root.digest"),
        ("feature", "a root with an unknown feature", foreign, "feature.unsupported"),
        ("version", "a root of another major version", later, "version.unsupported"),
    )
    for name, what, draft, code in lost:
        shown = [{"name": key, "sequence": number, "code": None} for key, number in (*sound, ("c", 8))]
        yield write_case(
            f"write-sequence-{name}", f"A root that can't be read does not count: {what}", ["SCF-ROOT-012"],
            save(_TREE), step("list", ok(checkpoints={"$set": [*shown, {"name": "d", "code": code}]}, newest="c")),
            files={**two, **checkpoint(draft, "d")}, after={"main": {"same": ["d/*"]}},
        )  # fmt: skip
    readable = simple(sequence=90).with_(features={"read": [], "write": ["x-new"]})
    yield write_case(
        "write-sequence-write-feature", "A root counts that only writers and collectors may not touch",
        ["SCF-ROOT-012", "SCF-COMPAT-003"],
        save(_TREE), listing(*sound, ("d", 90), ("c", 91), newest="c"),
        files={**two, **checkpoint(readable, "d")}, after={"main": {"same": ["d/*"]}},
    )  # fmt: skip
    gone = simple(sequence=90)
    files = checkpoint(gone, "d")
    del files["d/checkpoint.json"]
    yield write_case(
        "write-sequence-deleted", "A checkpoint that was deleted does not count", ["SCF-ROOT-012"],
        save(_TREE), listing(*sound, ("c", 8), newest="c"), files={**two, **files, **tombstone(gone, "d")},
    )  # fmt: skip
    yield write_case(
        "write-sequence-foreign", "Roots at other places do not count", ["SCF-ROOT-012"],
        save(_TREE), listing(*sound, ("c", 8), newest="c"),
        files={
            **two, **checkpoint(gone, "runs/d"), **checkpoint(gone, "ü"), "checkpoint.json": b"{}",
            **checkpoint(gone, ".tombstones"),
        },
    )  # fmt: skip
    yield from _last_sequence()


def _last_sequence() -> Iterator[Case]:
    full = checkpoint(simple(sequence=_MAXJSON - 1, attempt=OTHER), "a")
    yield write_case(
        "write-sequence-last", "The greatest sequence that there may be", ["SCF-ROOT-012", "SCF-LIMIT-003"],
        save(_TREE), listing(("a", _MAXJSON - 1), ("c", _MAXJSON), newest="c"), files=full,
    )  # fmt: skip
    yield write_case(
        "write-sequence-none-left", "The store's highest sequence is the greatest that there may be",
        ["SCF-LIMIT-003"], save(_TREE, expect=rejected("limit.exceeded")), kind="invalid",
        sibling="write-sequence-last", fault="One more than the highest sequence is no integer of a root.",
        files=checkpoint(simple(sequence=_MAXJSON, attempt=OTHER), "a"), after={"main": {"absent": [ROOT]}},
    )  # fmt: skip


def _leftovers() -> Iterator[Case]:
    old = simple(attempt=OTHER, seed=4)
    yield write_case(
        "write-marker-removed", "No attempt marker is left after the commit", ["SCF-LAYOUT-011"],
        save(_TREE), after={"main": {"present": [ROOT], "absent": ["c/.attempt-*"]}},
    )  # fmt: skip
    yield write_case(
        "write-places", "Everything lies below the checkpoint's name", ["SCF-LAYOUT-004"],
        save(_TREE), after={"main": {"only": ["c/*"]}},
    )  # fmt: skip
    yield write_case(
        "write-beside-leftovers", "What another attempt at the name has left stays as it is",
        ["SCF-LAYOUT-006", "SCF-LAYOUT-007"], save(_TREE),
        files=attempt_of(old, "c"), after={"main": {"same": ["c/*"]}},
    )  # fmt: skip
    foreign = {
        "c/notes.txt": b"mine", "c/model/readme.md": b"mine", "c/model/model.safetensors": b"mine",
        "c/optimizer/x": b"mine", "readme.md": b"mine", "logs/events": b"mine", "c/checkpoint.json.bak": b"mine",
    }  # fmt: skip
    yield write_case(
        "write-beside-foreign", "Files of other programs stay as they are", ["SCF-LAYOUT-009", "SCF-LAYOUT-004"],
        save(_TREE), files=foreign, after={"main": {"same": ["*"]}},
    )  # fmt: skip
    gone: Draft = simple(attempt=OTHER)
    files = {key: data for key, data in checkpoint(gone, "c").items() if key != ROOT}
    yield write_case(
        "write-after-delete", "A name that was deleted is saved again", ["SCF-COMMIT-002", "SCF-LAYOUT-006"],
        save(_TREE), files={**files, **tombstone(gone, "c")}, after={"main": {"same": ["c/*", ".tombstones/*"]}},
    )  # fmt: skip


def _fresh() -> Iterator[Case]:
    """SCF-COMMIT-012: state that never changes is reported."""
    yield write_case(
        "write-unchanged", "The same state as in the newest checkpoint: a warning", ["SCF-COMMIT-012"],
        save(_TREE, checkpoint="a"), save(_TREE, expect=ok("main", warnings=["unchanged"])),
    )  # fmt: skip
    yield write_case(
        "write-changed", "One of two tensors has changed: no warning", ["SCF-COMMIT-012"],
        save(mapping(("w", tensor("w")), ("v", tensor("v", fill=mix(1)))), checkpoint="a"),
        save(
            mapping(("w", tensor("w")), ("v", tensor("v", fill=mix(2)))), expect=ok("main", warnings={"$equal": []})
        ),
    )  # fmt: skip
