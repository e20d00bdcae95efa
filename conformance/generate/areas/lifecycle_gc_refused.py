"""Collections that end without removing anything, since it is not known what must stay."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..case import Case, checkpoint, rejected, step
from ..drafts_c import OTHER, attempt_of, carrier, damaged, simple, tombstone
from .lifecycle_gc import DEAD, GRACE, LIVE, aged, gc_case, without_root

__all__ = ["cases"]

_Row = tuple[str, str, tuple[str, ...], Mapping[str, bytes]]


def cases() -> Iterator[Case]:
    """Everything is old, and an attempt that died is there to be removed."""
    sound = simple(seed=3)
    garbage = {**checkpoint(LIVE), **attempt_of(DEAD, "d")}
    manifest = f"model/manifest-{sound.attempt}.msgpack.zst"
    files = checkpoint(sound, "b")
    flipped = bytes([files[f"b/{manifest}"][0] ^ 1]) + files[f"b/{manifest}"][1:]
    chain = carrier({"a": sound}, attempt=OTHER)
    lost = {key: data for key, data in without_root(sound, "a").items() if not key.endswith(".zst")}
    rows: tuple[_Row, ...] = (
        ("damaged-root", "A root of the store is damaged", ("root.digest",), checkpoint(damaged(sound), "b")),
        ("empty-root", "A root of the store has no bytes", ("root.syntax",), {"b/checkpoint.json": b""}),
        ("syntax-root", "A root of the store is no JSON", ("root.syntax",),
         checkpoint(sound.with_(text=lambda text: text[:-1]), "b")),
        ("schema-root", "A root of the store lacks a member", ("root.schema",),
         checkpoint(sound.with_(members=lambda root: root.pop("external")), "b")),
        ("version", "A root of the store is of another major version", ("version.unsupported",),
         checkpoint(sound.with_(sealed=lambda root: root.replace(b'{"scf":1,', b'{"scf":2,')), "b")),
        ("missing-manifest", "A manifest that a root names is gone", ("manifest.missing",),
         {key: data for key, data in files.items() if key != f"b/{manifest}"}),
        ("damaged-manifest", "A manifest that a root names is damaged", ("manifest.digest",),
         {**files, f"b/{manifest}": flipped}),
        ("long-manifest", "A manifest that a root names has another size", ("manifest.size",),
         {**files, f"b/{manifest}": files[f"b/{manifest}"] + b"x"}),
        ("broken-manifest", "A manifest that a root names is not of the format", ("manifest.syntax", "manifest.schema"),
         checkpoint(sound.with_item("model", raw=lambda raw: raw + b"\xc0"), "b")),
        ("carried-manifest", "A manifest that a root names in another checkpoint is gone", ("external.missing",),
         {**lost, **checkpoint(chain, "b")}),
    )  # fmt: skip
    for name, title, codes, more in rows:
        yield gc_case(
            f"refused-{name}", f"{title}: nothing is removed", ["SCF-GC-005"], {**garbage, **more},
            step("gc", rejected(*codes, "usage.invalid"), grace=GRACE), kind="invalid", sibling="gc-failed-attempt",
            fault=f"{title}.", after={"main": {"unchanged": True}},
        )  # fmt: skip
    for name, features in (
        ("write-feature", {"read": [], "write": ["x-new"]}),
        ("read-feature", {"read": ["x-new"], "write": ["x-new"]}),
        ("parts", {"read": ["manifest-parts"], "write": ["manifest-parts"]}),
    ):  # fmt: skip
        yield gc_case(
            f"refused-{name}", f"A root of the store has the unknown feature {features['write'][0]} ({name})",
            ["SCF-ROOT-024", "SCF-GC-005"], {**garbage, **checkpoint(sound.with_(features=features), "b")},
            step("gc", rejected("feature.unsupported"), grace=GRACE), kind="invalid", sibling="gc-failed-attempt",
            fault="A root has a feature that is not implemented.", after={"main": {"unchanged": True}},
        )  # fmt: skip
    stone = tombstone(sound, "b")
    key = next(iter(stone))
    half = {**garbage, **without_root(sound, "b"), key: stone[key][:200]}
    yield gc_case(
        "refused-young-tombstone", "A young tombstone is half written: nothing is removed",
        ["SCF-GC-005", "SCF-GC-002"], half,
        step("gc", rejected("root.digest", "usage.invalid"), grace=GRACE), kind="invalid",
        sibling="gc-young-tombstone", fault="A young tombstone is no sound root.", after={"main": {"unchanged": True}},
        stores=aged(half, ".tombstones/"),
    )  # fmt: skip
