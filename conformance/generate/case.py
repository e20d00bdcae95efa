"""A case as the generator describes it (CASES.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ..oracle.encode import Draft, build

__all__ = ["NAME", "Case", "Expect", "Files", "Json", "checkpoint", "ok", "rejected", "step"]

Json = dict[str, Any]
Files = Mapping[str, bytes]
Expect = Json | list[Json]
NAME = "c"
"""Name of the checkpoint in most cases."""


@dataclass(frozen=True)
class Case:
    """One case, and all bytes of its stores."""

    id: str
    title: str
    requirements: Sequence[str]
    """The main one first; its keyword is the level of the case."""
    profile: str
    steps: Sequence[Json]
    kind: Literal["valid", "invalid", "acceptable"] = "valid"
    fault: str | None = None
    """Of an invalid case: the one thing that is wrong."""
    sibling: str | None = None
    """Of an invalid case: the valid one that it was derived from."""
    files: Files = field(default_factory=dict)
    """Store-relative key -> bytes, of the store ``main``."""
    stores: Mapping[str, Json] | None = None
    """Further members of the stores (pads, links, ages, kind); ``from`` is set by the writer for stores with files."""
    more_files: Mapping[str, Files] = field(default_factory=dict)
    """Files of other stores than ``main``; the name ``outside`` is the directory beside the stores."""
    options: Sequence[str] = ()
    after: Mapping[str, Json] | None = None
    timeout: int | None = None
    memory: int | None = None
    transaction: Json | None = None


def checkpoint(draft: Draft, name: str = NAME) -> dict[str, bytes]:
    """A draft as files of a store."""
    return {f"{name}/{key}": data for key, data in build(draft).items()}


def step(op: str, expect: Expect, **request: Any) -> Json:
    """One step. ``store`` is $main unless given; ``checkpoint`` is NAME for operations on one checkpoint."""
    members: Json = {"op": op, "store": "$main"}
    if op not in ("list", "gc"):
        members["checkpoint"] = NAME
    defaults: dict[str, Json] = {
        "inspect": {"items": None, "expect": None},
        "read": {"item": "model", "paths": None, "assets": [], "expect": None, "out": "$out", "verify": True},
        "read_region": {"item": "model", "expect": None, "out": "$out", "verify": True},
        "verify": {"deep": True},
        "gc": {"dry_run": False},
    }
    members.update(defaults.get(op, {}))
    members.update(request)
    return {"request": members, "expect": expect}


def ok(audit: str | None = None, **values: Any) -> Json:
    """Expects success, and members that match ``values``."""
    expect: Json = {"result": "ok"}
    if values:
        expect["values"] = values
    if audit:
        expect["audit"] = audit
    return expect


def rejected(*codes: str, phases: Sequence[str] = (), **values: Any) -> Json:
    """Expects a refusal with one of the codes, in one of the phases; by default any that the registry has for them."""
    expect: Json = {"result": "rejected", "codes": list(codes)}
    if phases:
        expect["phases"] = list(phases)
    if values:
        expect["values"] = values
    return expect
