"""What a reader has to find in a checkpoint that was written by request: the tensors by the formula, and the assets."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from . import judge
from .suite import CaseFile

__all__ = ["WRITE_PROFILES", "expected_read", "writing_steps"]

Json = dict[str, Any]
Path = tuple[Any, ...]

WRITE_PROFILES = frozenset({"write", "sharded-write"})


def writing_steps(case: CaseFile) -> list[int]:
    """The steps (from 0) that write a checkpoint, if nothing else than success is expected of any step."""
    if case.profile not in WRITE_PROFILES or case.transaction is not None or case.record["kind"] != "valid":
        return []
    if any(not isinstance(step["expect"], dict) or step["expect"]["result"] != "ok" for step in case.steps):
        return []
    return [number for number, step in enumerate(case.steps) if step["request"]["op"] == "write"]


def expected_read(request: Json, item: str) -> Json:
    """The values of the response to a read of all tensors and assets of an item, as a case would expect them."""
    leaves: dict[str, Json] = {}
    for writer in request["writers"]:
        for path, tensor in _tensors((), writer["trees"].get(item, ["map", []])):
            leaves.setdefault(json.dumps(path), {"path": list(path), "tensor": tensor})
    assets = request["items"][item]["assets"]
    return {
        "tensors": {"$set": [_leaf(each["path"], each["tensor"]) for each in leaves.values()]},
        "assets": [{"name": name, "file": _file(bytes.fromhex(data))} for name, data in assets.items()],
    }


def _leaf(path: Sequence[Any], tensor: Json) -> Json:
    content = judge.content(tensor)
    return {"path": list(path), "dtype": tensor["dtype"], "shape": tensor["shape"], "file": _file(content)}


def _file(data: bytes) -> Json:
    return {"$file": {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}}


def _tensors(path: Path, node: Sequence[Any]) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """The tensor leaves of a tree with their paths (section 8.4)."""
    kind, *rest = node
    if kind == "tensor":
        yield path, rest[0]
    elif kind == "map":
        for component, inner in rest[0]:
            yield from _tensors((*path, component), inner)
    elif kind in ("list", "tuple"):
        for number, inner in enumerate(rest[0]):
            yield from _tensors((*path, {"int": str(number)}), inner)
    elif kind == "indexed":
        held = rest[2].items() if isinstance(rest[2], dict) else enumerate(rest[2])
        for number, inner in held:
            yield from _tensors((*path, {"int": str(number)}), inner)
    elif kind == "flattened":
        for name, inner in rest[0]:
            yield from _tensors((*path, "inner", name), inner)
        yield from _tensors((*path, "attributes"), rest[1])
