"""``index.json``: what the cases need of the specification, so that they can be used without its text."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

__all__ = ["index"]

SPEC: Final = Path(__file__).resolve().parent.parent.parent / "spec"
_MEMBERS: Final = ("id", "keyword", "text", "error", "verify", "roles")
_ROW: Final = re.compile(r"^\| `([a-z]+\.[a-z_]+)` \| ([a-z, ]+) \|", re.MULTILINE)


def index(spec: Path = SPEC) -> bytes:
    """The bytes of the index: version of the specification, requirements, error codes with their phases."""
    requirements = json.loads((spec / "requirements.json").read_text(encoding="utf-8"))
    record: dict[str, Any] = {
        "spec": (spec / "VERSION").read_text(encoding="utf-8").strip(),
        "requirements": [{name: each[name] for name in _MEMBERS} for each in requirements],
        "codes": _codes((spec / "registries" / "error-codes.md").read_text(encoding="utf-8")),
    }
    return (json.dumps(record, ensure_ascii=False, indent=1) + "\n").encode()


def _codes(registry: str) -> dict[str, list[str]]:
    found = {code: phases.split(", ") for code, phases in _ROW.findall(registry)}
    if not found:
        raise ValueError("the registry of error codes has no row")
    return found
