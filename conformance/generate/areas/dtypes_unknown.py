"""Dtypes of later versions: what does not use them is read (SCF-MAN-009, SCF-MAN-010, SCF-COMPAT-005)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ...oracle.encode import Draft, Item, Shard, Tensor
from ...oracle.encode_frame import plain_frame
from ..case import Case, checkpoint, ok, rejected, step
from ..drafts import ZSTD, B, W, content, tensor
from ..drafts_b import KEY, box, cut, found, reading, region_value, verify_step
from ..expect import inspected, path
from ..forms import refused

__all__ = ["LATER", "cases"]

LATER = "X_LATER_24"
KNOWN = ["dtype:BF16", "dtype:F32"]
X = Tensor("x", LATER, (2, 4), content(24, 5), bits=24)


def _draft(x: Tensor = X, *shards: Shard, **changes: Any) -> Draft:
    """Tensors ``w``, ``x`` of an unknown dtype, and ``b``."""
    given = (Shard(0), *(shards or (Shard(1),)), Shard(2))
    tree = {"w": tensor(0), "x": tensor(1), "b": tensor(2), "step": 2}
    item = Item((W, x, B), shards=given, tree=tree, dtype_bits=True)
    return Draft({"model": replace(item, **changes)})


def cases() -> Iterator[Case]:
    """All cases of this module."""
    coded = (Shard(1, codec=1, encode=plain_frame),)
    forms: dict[str, tuple[str, Draft]] = {
        "whole": ("whole", _draft()),
        "boxes": ("in boxes", _draft(X, Shard(1, box((0, 1), (0, 4))), Shard(1, box((1, 2), (0, 4))))),
        "runs": ("in runs", _draft(X, *(Shard(1, each) for each in cut((2, 4), 3)))),
        "encoded": ("in encoded blocks", _draft(X, *coded, codecs=((), (ZSTD,)))),
        "of-12-bits": ("of 12 bits", _draft(Tensor("x", "X_LATER_12", (2, 4), content(12, 5), bits=12))),
        "of-1-bit": ("of one bit", _draft(Tensor("x", "X_LATER_1", (16,), b"\x12\x34", bits=1))),
        "of-65536-bits": ("of 65536 bits", _draft(Tensor("x", "X_LATER_65536", (1,), content(8192), bits=65536))),
        "of-blocks": ("of several blocks", _draft(Tensor("x", LATER, (3000,), content(9000), bits=24))),
        "empty": ("without elements", _draft(Tensor("x", LATER, (0, 3), b"", bits=24))),
    }
    for name, (what, draft) in forms.items():
        item = draft.items["model"]
        yield Case(
            f"dtypes-unknown-{name}",
            f"A tensor of an unknown dtype, {what}: tree, table and all other tensors are read",
            ["SCF-MAN-010", "SCF-COMPAT-005", "SCF-MAN-011"],
            "read",
            [step("inspect", ok(**inspected(draft))), reading(item, [("w",), ("b",)])],
            files=checkpoint(draft),
            options=KNOWN,
        )
        yield _refused(f"unknown-{name}-wanted", f"A tensor of an unknown dtype, {what}, that is wanted", name, draft)
    yield _refused(
        "unknown-among-wanted", "All tensors are wanted, one of an unknown dtype", "whole", _draft(), every=True
    )
    yield refused(
        "dtypes-unknown-region",
        "A region of a tensor of an unknown dtype",
        f"The dtype {LATER} is in no registry.",
        "dtype.unsupported",
        ["SCF-MAN-009"],
        "dtypes-unknown-whole",
        _draft(),
        op="read_region",
        phases=["plan", "read"],
        request={"path": path(("x",)), "regions": [region_value(box((0, 1), (0, 4)))]},
        options=KNOWN,
    )
    verified = _draft()
    yield Case(
        "dtypes-unknown-verified",
        "A checkpoint with an unknown dtype is not sound, and its blocks are checked all the same",
        ["SCF-DIG-014", "SCF-DIG-013", "SCF-OBJ-007"],
        "integrity",
        [verify_step({"$set": [found("dtype.unsupported", "x")]})],
        kind="invalid",
        fault=f"The dtype {LATER} is in no registry.",
        sibling="objects-plain",
        files=checkpoint(verified),
        options=KNOWN,
    )
    files = checkpoint(verified)
    damaged = bytearray(files[f"c/{KEY}"])
    at = bytes(damaged).index(X.data)
    damaged[at] ^= 1
    yield Case(
        "dtypes-unknown-damaged",
        "A damaged block of a tensor of an unknown dtype",
        ["SCF-DIG-013", "SCF-DIG-014"],
        "integrity",
        [verify_step({"$set": [found("dtype.unsupported", "x"), found("block.digest", "x", KEY)]})],
        kind="invalid",
        fault="A byte of the tensor of the unknown dtype is changed.",
        sibling="objects-plain",
        files={**files, f"c/{KEY}": bytes(damaged)},
        options=KNOWN,
    )


def _refused(name: str, title: str, sibling: str, draft: Draft, *, every: bool = False) -> Case:
    wanted = None if every else [["x"]]
    dtype = draft.items["model"].tensors[1].dtype
    request = step("read", rejected("dtype.unsupported", phases=["plan", "read"]), paths=wanted)
    return Case(
        f"dtypes-{name}",
        title,
        ["SCF-MAN-009"],
        "read",
        [request],
        kind="invalid",
        fault=f"The dtype {dtype} is in no registry.",
        sibling=f"dtypes-unknown-{sibling}",
        files=checkpoint(draft),
        options=KNOWN,
    )
