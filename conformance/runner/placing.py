"""Requests of a case with the places of a run put in (CASES.md, section "Steps")."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .materialise import Scene
from .suite import SuiteError

__all__ = ["Placed", "placed"]

Json = dict[str, Any]
_STORES = ("store", "to")


@dataclass(frozen=True)
class Placed:
    """A request as it is sent, without its id."""

    request: Json
    out: Path | None
    """Where the response's files go."""


def placed(request: Json, scene: Scene, digest: str | None) -> Placed:
    """Put stores, the directory for files and the digest of an earlier response in."""
    made = dict(request)
    for name in _STORES:
        if name in made:
            made[name] = _store(made[name], scene)
    if "writers" in made:
        made["writers"] = [
            {**writer, "store": _store(writer["store"], scene)} if "store" in writer else writer
            for writer in made["writers"]
        ]
    for name, value in made.items():
        if value == "$digest":
            if digest is None:
                raise SuiteError("a request has $digest, but no response before had a digest")
            made[name] = digest
    out = None
    if made.get("out") == "$out":
        out = scene.out()
        made["out"] = str(out)
    target = made.get("target")
    if isinstance(target, dict) and target.get("out") == "$out":
        out = scene.out()
        made["target"] = {**target, "out": str(out)}
    return Placed(made, out)


def _store(value: Any, scene: Scene) -> Any:
    return scene.message(value[1:]) if isinstance(value, str) and value.startswith("$") else value
