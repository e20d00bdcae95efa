"""The bytes of a root (chapter 6)."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from .encode import seal
from .errors import Rejected
from .given_tree import Branch, Given, Leaf, shown_path, unsupported
from .limits import MAX_BIGINT_BYTES, MAX_JSON_DEPTH, MAX_ROOT_BYTES, MAXJSON
from .mpack import Float
from .tree import Path

SPEC = "1.0-draft"
WRITER = {"name": "scf-oracle", "version": SPEC}


def now() -> str:
    """The time as `created` has it (section 6.4)."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def root_bytes(members: Mapping[str, Any], checkpoint: str) -> bytes:
    """A root of these members, with its digest; `spec` and `writer` are this program's (SCF-COMPAT-007)."""
    every = {"spec": SPEC, "writer": WRITER, "features": {"read": [], "write": []}, **members}
    data = seal(json.dumps(every, ensure_ascii=False, separators=(",", ":"))[1:].encode())
    if len(data) > MAX_ROOT_BYTES:  # SCF-LIMIT-003
        raise Rejected("limit.exceeded", f"a root of {len(data)} bytes", subject=checkpoint, phase="commit")
    return data


def metadata_json(metadata: Branch) -> Any:
    """Metadata as the root stores it (section 6.8)."""
    return _json(metadata, (), 2)


def _json(node: Given, path: Path, level: int) -> Any:
    found = _scalar(node, path) if isinstance(node, Leaf) else None
    if level > MAX_JSON_DEPTH and (isinstance(found, dict) or not isinstance(node, Leaf)):  # SCF-LIMIT-003
        message = f"metadata {shown_path(path)} nests deeper than {MAX_JSON_DEPTH} levels"
        raise Rejected("limit.exceeded", message, subject=shown_path(path), phase="save")
    if isinstance(node, Leaf):
        return found
    if not isinstance(node, Branch) or node.kind not in {"map", "list"}:
        raise unsupported(path, "a value that metadata can't hold")
    children = [(more[0], _json(child, path + more, level + 1)) for more, child in node.children]
    if node.kind == "list":
        return [child for _, child in children]
    if not all(isinstance(name, str) for name, _ in children):
        raise unsupported(path, "metadata with a name that is no text")
    return {f"${name}" if str(name).startswith("$") else name: child for name, child in children}


def _scalar(node: Leaf, path: Path) -> Any:
    value = node.value
    if isinstance(value, Float):
        return _float(value)
    if value is None or isinstance(value, (bool, str)):
        return value
    if not isinstance(value, int):
        raise unsupported(path, f"a value of the kind {node.kind}, which metadata can't hold")
    if -MAXJSON <= value <= MAXJSON:
        return value
    if abs(value) >= 10**MAX_BIGINT_BYTES or len(str(value)) > MAX_BIGINT_BYTES:
        raise unsupported(path, f"an integer of more than {MAX_BIGINT_BYTES} characters")
    return {"$int": str(value)}


def _float(value: Float) -> Any:
    (number,) = struct.unpack(">d", value.bits.to_bytes(8, "big"))
    if math.isnan(number):
        return {"$float": "nan"}
    if math.isinf(number):
        return {"$float": "inf" if number > 0 else "-inf"}
    return number
