"""Stores that fail half way: unknown is not sound, and what failed is not damage (SCF-DIG-014)."""

from __future__ import annotations

from collections.abc import Iterator

from ..case import Case, Json, checkpoint, ok, rejected, step
from ..drafts_b import key, reading
from .integrity_objects import FOUR, two

__all__ = ["cases"]


def _store(operation: str, key: str) -> Json:
    """The store answers this operation on these keys with an error, always."""
    fault = {"kind": "fail", "operation": operation, "key": key, "persistent": True}
    return {"main": {"kind": "s3", "faults": [fault]}}


def cases() -> Iterator[Case]:
    """All cases of this module."""
    draft = two()
    item = draft.items["model"]
    files = checkpoint(draft)
    options = ["s3", *FOUR]
    unknown = [rejected("store.io"), ok(sound=False, findings={"$contains": [{"code": "store.io"}]})]
    places = {"data": f"c/{key(1)}", "manifest": "*.msgpack.zst", "root": "*/checkpoint.json"}
    for name, place in places.items():
        yield Case(
            f"integrity-store-fails-{name}",
            f"The store does not give the {name}: a verification says so, and not that the checkpoint is sound",
            ["SCF-DIG-014"],
            "integrity",
            [step("verify", unknown)],
            kind="invalid",
            fault=f"The store answers each request for the {name} with an error.",
            sibling="integrity-two-objects",
            files=files,
            stores=_store("GetObject", place),
            options=options,
            timeout=60,
        )
    yield Case(
        "integrity-store-fails-one-object",
        "The store does not give one object: tensors of the others are read",
        ["SCF-READ-006", "SCF-READ-007"],
        "read",
        [
            reading(item, [("b",)]),
            step("read", rejected("store.io"), paths=[["w"]]),
            step("read", rejected("store.io")),
        ],
        kind="invalid",
        fault="The store answers each request for the bytes of the second object with an error.",
        sibling="integrity-two-objects",
        files=files,
        stores=_store("GetObject", f"c/{key(1)}"),
        options=options,
        timeout=60,
    )
