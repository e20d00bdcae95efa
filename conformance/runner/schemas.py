"""The schemas of the protocol, as checks of messages."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # it comes without types
from jsonschema.validators import extend  # type: ignore[import-untyped]
from referencing import Registry
from referencing.jsonschema import DRAFT202012

__all__ = ["PROTOCOL", "findings", "response_findings"]

PROTOCOL: Final = Path(__file__).resolve().parent.parent / "protocol"
_BASE: Final = "https://scf.invalid/conformance/1.0/"
_SHOWN: Final = 5
_NIL: Final = ["nil"]
"""What stands for a node that is checked by itself."""


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


def _split_node(node: Any) -> tuple[Any, list[Any]]:
    """A node of a tree with nil in the place of its children, and these."""
    match node:
        case ["list" | "tuple" as kind, list(children)]:
            return [kind, [_NIL] * len(children)], children
        case ["map", pairs] if _are_pairs(pairs):
            return ["map", [[name, _NIL] for name, _ in pairs]], [child for _, child in pairs]
        case ["flattened", pairs, attributes] if _are_pairs(pairs):
            children = [*(child for _, child in pairs), attributes]
            return ["flattened", [[name, _NIL] for name, _ in pairs], _NIL], children
        case ["indexed", axis, size, list(children)]:
            return ["indexed", axis, size, [_NIL] * len(children)], children
        case ["indexed", axis, size, dict(held)]:
            return ["indexed", axis, size, dict.fromkeys(held, _NIL)], list(held.values())
    return node, []


def _are_pairs(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, list) and len(each) == 2 for each in value)


def _split_pattern(pattern: Any) -> tuple[Any, list[Any]]:
    """A pattern of expected values with null in the place of its parts, and these."""
    if isinstance(pattern, list):
        return [None] * len(pattern), pattern
    if not isinstance(pattern, dict):
        return pattern, []
    for name in _OF_PATTERNS & pattern.keys():
        if isinstance(pattern[name], list):
            return {**pattern, name: [None] * len(pattern[name])}, pattern[name]
    if any(name.startswith("$") for name in pattern):
        return pattern, []
    return dict.fromkeys(pattern), list(pattern.values())


_OF_PATTERNS: Final = frozenset({"$set", "$contains", "$any"})
_DEEP: Final[dict[str, Callable[[Any], tuple[Any, list[Any]]]]] = {
    "#/$defs/node": _split_node,
    "#/$defs/pattern": _split_pattern,
}
_plain_ref: Final = Draft202012Validator.VALIDATORS["$ref"]


def _ref(validator: Any, ref: str, instance: Any, schema: Any) -> Iterator[Any]:
    """The keyword $ref; trees and patterns are checked one level at a time, as deep ones would exhaust the stack."""
    split = _DEEP.get(ref[ref.index("#") :]) if "#" in ref else None
    if split is None:
        yield from _plain_ref(validator, ref, instance, schema) or ()
        return
    pending = [] if instance is _NIL else [instance]
    while pending:
        level, parts = split(pending.pop())
        yield from _plain_ref(validator, ref, level, schema) or ()
        pending += parts


@cache
def _validator(schema: str) -> Any:
    name, _, part = schema.partition("#")
    made = extend(Draft202012Validator, {"$ref": _ref})
    return made({"$ref": f"{_BASE}{name}.schema.json#{part}"}, registry=_registry())


@cache
def _registry() -> Registry[Any]:
    """All schemas; without ``$schema``, which would bring the keywords of that draft back."""
    contents = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(PROTOCOL.glob("*.schema.json"))]
    plain = [{name: value for name, value in each.items() if name != "$schema"} for each in contents]
    found: Registry[Any] = Registry()
    return found.with_resources([(each["$id"], DRAFT202012.create_resource(each)) for each in plain])
