"""The schemas of the protocol, as checks of messages."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # it comes without types
from referencing import Registry, Resource

__all__ = ["PROTOCOL", "findings", "response_findings"]

PROTOCOL = Path(__file__).resolve().parent.parent / "protocol"
_SHOWN = 5


def findings(schema: str, message: Any) -> list[str]:
    """What is wrong with a message by a schema (``request``, ``response#/$defs/read``); empty if nothing is."""
    return list(_texts(schema, message))


def response_findings(request: dict[str, Any], response: Any) -> list[str]:
    """What is wrong with the form of a response to this request."""
    name = request["op"]
    if name == "restore":
        name = f"restore-{request['target']['kind']}"
    return findings(f"response#/$defs/{name}", response)


def _texts(schema: str, message: Any) -> Iterator[str]:
    for number, error in enumerate(_validator(schema).iter_errors(message)):
        if number == _SHOWN:
            yield "and more"
            return
        yield f"{_place(error.absolute_path)}: {_short(error.message)}"


def _place(path: Any) -> str:
    return ".".join(map(str, path)) or "the message"


def _short(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:120]} … {text[-70:]}"


@cache
def _validator(schema: str) -> Draft202012Validator:
    name, _, part = schema.partition("#")
    return Draft202012Validator({"$ref": f"{_BASE}{name}.schema.json#{part}"}, registry=_registry())


_BASE = "https://scf.invalid/conformance/1.0/"


@cache
def _registry() -> Registry[Any]:
    contents = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(PROTOCOL.glob("*.schema.json"))]
    found: Registry[Any] = Registry()
    return found.with_resources([(each["$id"], Resource.from_contents(each)) for each in contents])
