"""Requests that write, and cases of them: trees in the form of the protocol, and the options that they need."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Any

from .case import Case, Expect, Json, ok, rejected, step

__all__ = [
    "BLOCK",
    "Node",
    "boolean",
    "carried",
    "constant",
    "count",
    "integer",
    "item",
    "listing",
    "mapping",
    "mix",
    "names",
    "real",
    "region",
    "save",
    "sharded_case",
    "tensor",
    "text",
    "write_case",
    "writer",
]

Node = list[Any]
BLOCK = 4096
_MAIN = "main"
_PIECE = 10**4000


def integer(value: int) -> Node:
    """An integer or bigint node."""
    return ["int", _decimal(value)]


def _decimal(value: int) -> str:
    """Its digits, piece by piece: Python refuses to write very long integers in one go."""
    if abs(value) < _PIECE:
        return str(value)
    high, low = divmod(abs(value), _PIECE)
    return ("-" if value < 0 else "") + _decimal(high) + f"{low:04000d}"


def real(bits: int) -> Node:
    """A float node of this bit pattern."""
    return ["float", f"{bits:016x}"]


def text(value: str) -> Node:
    """A text node."""
    return ["text", value]


def boolean(*, value: bool) -> Node:
    """A boolean node."""
    return ["bool", value]


def component(value: str | int) -> Any:
    """A component of a path."""
    return value if isinstance(value, str) else {"int": str(value)}


def mapping(*pairs: tuple[str | int, Node]) -> Node:
    """A map node; keys in this order."""
    return ["map", [[component(key), node] for key, node in pairs]]


def mix(seed: int) -> Json:
    """Content that looks random."""
    return {"kind": "mix", "seed": seed}


def count(start: int = 0) -> Json:
    """Content that counts."""
    return {"kind": "count", "start": start}


def constant(bits: str) -> Json:
    """Content that is the same everywhere."""
    return {"kind": "constant", "bits": bits}


def region(offset: Sequence[int], size: Sequence[int], run: tuple[int, int] | None = None) -> Json:
    """A box, and a run in it."""
    return {"offset": list(offset), "size": list(size), "run": None if run is None else list(run)}


def tensor(
    name: str,
    shape: Sequence[int] = (4, 6),
    regions: Sequence[Json] | None = None,
    *,
    dtype: str = "F32",
    fill: Json | None = None,
) -> Node:
    """A tensor leaf of a writer's tree; the whole tensor unless regions are given."""
    record = {
        "id": name,
        "dtype": dtype,
        "shape": list(shape),
        "regions": [region([0] * len(shape), shape)] if regions is None else list(regions),
        "fill": fill or mix(zlib.crc32(name.encode())),
    }
    return ["tensor", record]


def flat(shape: Sequence[int], start: int, stop: int) -> list[Json]:
    """A run over all elements, as one region."""
    return [region([0] * len(shape), shape, (start, stop))] if prod(shape) else []


def item(
    kind: str = "model",
    *,
    codec: str = "none",
    digest: str | None = None,
    block: int | None = None,
    assets: Mapping[str, bytes] | None = None,
) -> Json:
    """What a request says of an item."""
    contents = {name: data.hex() for name, data in (assets or {}).items()}
    return {"kind": kind, "codec": codec, "digest": digest, "block": block, "assets": contents}


def writer(trees: Mapping[str, Node], **more: Any) -> Json:
    """One writer: item name -> tree; ``store`` or ``fault`` where it has them."""
    return {"trees": dict(trees), **more}


def save(
    *trees: Node,
    expect: Expect | None = None,
    spec: Json | None = None,
    items: Mapping[str, Json] | None = None,
    writers: Sequence[Json] | None = None,
    **request: Any,
) -> Json:
    """A step that writes the item ``model`` with one tree per writer, or the ``items`` of ``writers``."""
    members: Json = {
        "metadata": ["map", []],
        "parent": None,
        "deadline": 10,
        "items": dict(items) if items is not None else {"model": spec or item()},
        "writers": [writer({"model": tree}) for tree in trees] if writers is None else list(writers),
        "carry": {},
        "accept_weak": False,
    }
    return step("write", ok(_MAIN) if expect is None else expect, **{**members, **request})


def carried(checkpoint: str, name: str = "model") -> Json:
    """A member of ``carry``."""
    return {"checkpoint": checkpoint, "item": name}


def names(code: str, *about: str, others: Sequence[str] = ()) -> Expect:
    """A refusal that names what it is about, in its subject or in its message."""
    said: Json = {"$about": list(about)}
    return [rejected(code, *others, subject=said), rejected(code, *others, message=said)]


def listing(*found: tuple[str, int], newest: str | None) -> Json:
    """A step that lists: names with their sequences, all sound."""
    shown = [{"name": name, "sequence": sequence, "code": None} for name, sequence in found]
    return step("list", ok(checkpoints={"$set": shown}, newest=newest))


def write_case(name: str, title: str, requirements: Sequence[str], *steps: Json, **more: Any) -> Case:
    """A case of the profile ``write``, or another one; its options are those that its requests need."""
    options = sorted({*more.pop("options", ()), *(option for each in steps for option in _options(each["request"]))})
    return Case(name, title, requirements, more.pop("profile", "write"), steps, options=options, **more)


def sharded_case(name: str, title: str, requirements: Sequence[str], *steps: Json, **more: Any) -> Case:
    """The same of the profile ``sharded-write``."""
    return write_case(name, title, requirements, *steps, profile="sharded-write", **more)


def _options(request: Json) -> Iterator[str]:
    if request["op"] != "write":
        return
    for spec in request["items"].values():
        if spec["codec"] != "none":
            yield f"write-codec:{spec['codec']}"
        if spec["digest"]:
            yield f"write-digest:{spec['digest']}"
        if spec["block"]:
            yield "write-block"
    if request["carry"]:
        yield "carry"
    for each in request["writers"]:
        for tree in each["trees"].values():
            yield from _of_node(tree)


def _of_node(node: Node) -> Iterator[str]:
    kind, *rest = node
    if kind == "tensor":
        yield f"write-dtype:{rest[0]['dtype']}"
        return
    if kind not in ("map", "unsupported"):
        yield f"write-node:{kind}"
    for child in _children(kind, rest):
        yield from _of_node(child)


def _children(kind: str, rest: list[Any]) -> list[Node]:
    if kind == "map":
        return [child for _, child in rest[0]]
    if kind in ("list", "tuple"):
        return list(rest[0])
    if kind == "indexed":
        return list(rest[2].values() if isinstance(rest[2], dict) else rest[2])
    if kind == "flattened":
        return [*(child for _, child in rest[0]), rest[1]]
    return []
