"""Data objects that are gone, of another size, or with digests that nobody knows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ...oracle.encode import Draft, Item, Object, Shard
from ...oracle.encode_frame import plain_frame
from ...oracle.encode_region import Region
from ..case import Case, Json, checkpoint, ok, rejected, step
from ..drafts import ZSTD, B, W, one
from ..drafts_b import (
    KEY,
    box,
    damage,
    found,
    key,
    only,
    reading,
    region_step,
    region_value,
    sound,
    verify_step,
)
from ..expect import file, inspected, path
from ..forms import dtypes

__all__ = ["cases", "two"]

FOUR = ["dtype:BF16", "dtype:F32"]
UNKNOWN = "x-later-512"


def two(**changes: Any) -> Draft:
    """Tensor ``w`` in its two rows in two objects, ``b`` in the first of them."""
    shards = (
        Shard(0, box((0, 1), (0, 3))),
        Shard(1),
        Shard(0, box((1, 2), (0, 3)), object=1),
    )
    second = Object(number=1, **changes)
    return Draft({"model": Item((W, B), shards=shards, objects=(Object(), second))}, metadata={"step": 2})


def cases() -> Iterator[Case]:
    """All cases of this module."""
    yield sound(
        "integrity-two-objects", "A tensor in two objects, another one in the first alone", ["SCF-DIG-013"], two()
    )
    yield from _gone()
    yield from _sizes()
    yield from _unknown()
    yield from _unverified()


def _refused(
    name: str, title: str, fault: str, files: dict[str, bytes], steps: Sequence[Json], requirements: Sequence[str],
    profile: str = "read",
) -> Case:  # fmt: skip
    return Case(
        f"integrity-{name}", title, requirements, profile, steps, kind="invalid", fault=fault,
        sibling="integrity-two-objects", files=files, options=FOUR,
    )  # fmt: skip


def _region(region: Region, *codes: str) -> Json:
    return step("read_region", rejected(*codes), path=path(("w",)), regions=[region_value(region)])


def _gone() -> Iterator[Case]:
    draft = two()
    item = draft.items["model"]
    gone = checkpoint(draft.with_(drop=(key(1),)))
    yield _refused(
        "object-missing", "A data object is gone: tensors of the others are read, and the manifest is",
        "The second object is not in the store.", gone,
        [
            step("inspect", ok(**inspected(draft))),
            reading(item, [("b",)]),
            step("read", rejected("object.missing", phases=["read"]), paths=[["w"]]),
            step("read", rejected("object.missing", phases=["read"])),
        ],
        ["SCF-DIG-009", "SCF-READ-007", "SCF-OPEN-001"],
    )  # fmt: skip
    yield _refused(
        "object-missing-region", "A data object is gone: a region that needs it is refused",
        "The second object is not in the store.", gone,
        [_region(box((0, 2), (1, 2)), "object.missing"), _region(box((1, 2), (0, 3)), "object.missing")],
        ["SCF-DIG-009"], "region-read",
    )  # fmt: skip
    for deep in (True, False):
        name = "deep" if deep else "shallow"
        yield _refused(
            f"object-missing-verified-{name}", f"A data object is gone: a {name} verification finds it",
            "The second object is not in the store.", gone,
            [verify_step({"$set": [found("object.missing", key(1))]}, deep=deep)], ["SCF-DIG-013"], "integrity",
        )  # fmt: skip
    all_gone = checkpoint(draft.with_(drop=(key(0), key(1))))
    yield _refused(
        "all-objects-missing", "Both data objects are gone: each of them is a finding",
        "No data object is in the store.", all_gone,
        [
            step("inspect", ok(**inspected(draft))),
            verify_step({"$set": [found("object.missing", key(0)), found("object.missing", key(1))]}),
        ],
        ["SCF-DIG-013"], "integrity",
    )  # fmt: skip


def _sizes() -> Iterator[Case]:
    draft = two()
    item = draft.items["model"]
    whole_file = checkpoint(draft)[f"c/{key(1)}"]
    changed = {
        "longer": ("has a byte more", whole_file + b"\0"),
        "shorter": ("has a byte less", whole_file[:-1]),
        "without-data": ("has its header alone", whole_file[:4096]),
        "empty": ("has no bytes", b""),
        "cut-in-header": ("ends within its header", whole_file[:100]),
    }
    for name, (what, data) in changed.items():
        files = {**checkpoint(draft), f"c/{key(1)}": data}
        steps = [
            reading(item, [("b",)]),
            step("read", rejected("object.size", phases=["read"]), paths=[["w"]]),
        ]
        yield _refused(
            f"object-{name}", f"A data object {what}", f"The second object {what}.", files, steps,
            ["SCF-DIG-018", "SCF-READ-006"],
        )  # fmt: skip
        if name in ("longer", "shorter"):
            also = ("block.digest", "object.header_digest", "object.header", "block.codec")
            for deep in (True, False):
                depth = "deep" if deep else "shallow"
                findings = only("object.size", key(1), also=also if deep else ())
                yield _refused(
                    f"object-{name}-verified-{depth}", f"A data object {what}: a {depth} verification finds it",
                    f"The second object {what}.", files, [verify_step(findings, deep=deep)], ["SCF-DIG-013"],
                    "integrity",
                )  # fmt: skip


def _unknown() -> Iterator[Case]:
    draft = two(digest=UNKNOWN)
    item = draft.items["model"]
    files = checkpoint(draft)
    first = box((0, 1), (0, 3))
    for name, algorithm in (("unknown", UNKNOWN), ("upper-case", "SHA256"), ("weak", "crc32c")):
        made = two(digest=algorithm)
        yield _refused(
            f"digest-{name}", f"An object with digests by {algorithm}: tensors of the others are read",
            f"The digest {algorithm} is in no registry.", checkpoint(made),
            [
                step("inspect", ok(**inspected(made))),
                reading(made.items["model"], [("b",)]),
                step("read", rejected("digest.unsupported", phases=["plan", "read"]), paths=[["w"]]),
                step("read", rejected("digest.unsupported", phases=["plan", "read"])),
            ],
            ["SCF-MAN-016", "SCF-MAN-010", "SCF-COMPAT-005"],
        )  # fmt: skip
    yield _refused(
        "digest-unknown-region", "A region that needs a shard with a digest that nobody knows",
        f"The digest {UNKNOWN} is in no registry.", files,
        [_region(box((1, 2), (0, 1)), "digest.unsupported"), _region(box((0, 2), (0, 1)), "digest.unsupported")],
        ["SCF-MAN-016"], "region-read",
    )  # fmt: skip
    given = region_step(item, ("w",), [first])
    yield Case(
        "integrity-digest-unknown-elsewhere",
        "A region in an object whose digest is known, of a tensor that has another one",
        ["SCF-MAN-016"],
        "region-read",
        [{**given, "expect": [given["expect"], rejected("digest.unsupported", phases=["plan", "read"])]}],
        kind="acceptable",
        files=files,
        options=FOUR,
    )
    yield _refused(
        "digest-unknown-verified", "An object with a digest that nobody knows is not sound",
        f"The digest {UNKNOWN} is in no registry.", files, [verify_step(only("digest.unsupported", key(1), "w"))],
        ["SCF-DIG-014", "SCF-DIG-013"], "integrity",
    )  # fmt: skip
    yield _refused(
        "digest-unknown-missing", "An object with a digest that nobody knows, and it is gone",
        "The second object is not in the store.", checkpoint(draft.with_(drop=(key(1),))),
        [verify_step(only("object.missing", key(1), also=["digest.unsupported"]))], ["SCF-DIG-014", "SCF-DIG-013"],
        "integrity",
    )  # fmt: skip
    unchecked = reading(item, [("w",)], verify=False)
    outcomes = [unchecked["expect"], rejected("digest.unsupported", phases=["plan", "read"])]
    yield Case(
        "integrity-digest-unknown-unverified",
        "An object with a digest that nobody knows, without verification: read or refused",
        ["SCF-MAN-016"],
        "read",
        [{**unchecked, "expect": outcomes}],
        kind="acceptable",
        files=files,
        options=["unverified", *FOUR],
    )


def _unverified() -> Iterator[Case]:
    """Verification turned off for one request (SCF-DIG-007)."""
    draft = one(W, B)
    item = draft.items["model"]
    files = damage(draft, KEY, 4096 + 3)
    changed = bytes([*W.data[:3], W.data[3] ^ 1, *W.data[4:]])
    bare = {"path": ["w"], "dtype": "F32", "shape": [2, 3], "file": file(changed)}
    yield Case(
        "integrity-unverified",
        "Without verification a damaged block is delivered; the request after it is verified again",
        ["SCF-DIG-007", "SCF-MAN-025"],
        "read",
        [
            step("read", ok(tensors=[bare]), paths=[["w"]], verify=False),
            step("read", rejected("block.digest"), paths=[["w"]]),
            reading(item, [("b",)]),
        ],
        files=files,
        options=["unverified", *FOUR],
    )
    yield Case(
        "integrity-unverified-region",
        "A region without verification",
        ["SCF-DIG-007", "SCF-READ-004"],
        "region-read",
        [
            region_step(item, ("w",), [box((1, 2), (0, 3))], verify=False),
            _region(box((1, 2), (0, 3)), "block.digest"),
        ],
        files=files,
        options=["unverified", *FOUR],
    )
    coded = one(W, B, shards=(Shard(1), Shard(0, codec=1, encode=plain_frame)), codecs=((), (ZSTD,)))
    for name, at in (("magic", 6), ("content-size", 6 + 5), ("block-header", 6 + 6)):
        yield Case(
            f"integrity-unverified-{name}",
            f"Without verification a damaged frame is still no plain frame: {name}",
            ["SCF-CODEC-009", "SCF-DIG-007"],
            "read",
            [step("read", rejected("block.codec"), paths=[["w"]], verify=False)],
            kind="invalid",
            fault="A bit of the stored frame is changed.",
            sibling="codecs-zstd-size-of-1-byte",
            files=damage(coded, KEY, 4096 + at, flips=2),
            options=["unverified", *dtypes(coded)],
        )
    for name, which in (("manifest", "manifest.digest"), ("root", "root.digest")):
        place = "checkpoint.json" if name == "root" else "model/manifest-3f9c2a71d0b84e55.msgpack.zst"
        yield Case(
            f"integrity-unverified-{name}",
            f"A damaged {name} is refused without verification of blocks too",
            ["SCF-DIG-007", "SCF-DIG-004" if name == "manifest" else "SCF-ROOT-005"],
            "read",
            [step("read", rejected(which), paths=[["w"]], verify=False)],
            kind="invalid",
            fault=f"A bit of the {name} is changed.",
            sibling="integrity-unverified",
            files=damage(draft, place, 300),
            options=["unverified", *FOUR],
        )
    for name, wrong, code in (("size", b"\0", "object.size"), ("missing", None, "object.missing")):
        broken = checkpoint(draft)
        if wrong is None:
            del broken[f"c/{KEY}"]
        else:
            broken[f"c/{KEY}"] += wrong
        yield Case(
            f"integrity-unverified-object-{name}",
            f"A data object that is not as the manifest says is refused without verification too: {name}",
            ["SCF-DIG-018" if wrong else "SCF-DIG-009"],
            "read",
            [step("read", rejected(code), paths=[["w"]], verify=False)],
            kind="invalid",
            fault="The object has a byte more." if wrong else "The object is not in the store.",
            sibling="integrity-unverified",
            files=broken,
            options=["unverified", *FOUR],
        )
