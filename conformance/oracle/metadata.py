"""The user's values in a root (section 6.8), with their types."""

from __future__ import annotations

import math
import re
from typing import Union

from .errors import Rejected
from .json_profile import Json, JsonObject
from .limits import MAX_BIGINT_BYTES, MAXJSON

Value = Union[None, bool, int, float, str, "list[Value]", "dict[str, Value]"]

_DECIMAL = re.compile(r"-?[1-9][0-9]*")
_FLOATS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def decode(metadata: JsonObject) -> dict[str, Value]:
    """The values that the metadata of a root stands for (SCF-ROOT-025, SCF-ROOT-026)."""
    if any(_is_tag(name) for name in metadata):
        raise _fault("metadata itself is a tag")
    return _members(metadata)


def _value(value: Json) -> Value:
    if isinstance(value, dict):
        return _tag(value) if any(_is_tag(name) for name in value) else _members(value)
    if isinstance(value, list):
        return [_value(element) for element in value]
    if isinstance(value, int) and not -MAXJSON <= value <= MAXJSON:
        raise _fault("an integer token outside the range of plain integers")
    return value


def _members(members: JsonObject) -> dict[str, Value]:
    return {name.removeprefix("$"): _value(value) for name, value in members.items()}


def _is_tag(name: str) -> bool:
    return name.startswith("$") and not name.startswith("$$")


def _tag(members: JsonObject) -> int | float:
    if len(members) != 1:
        raise _fault("a tag has another member beside it")
    ((name, value),) = members.items()
    if name == "$float" and isinstance(value, str) and value in _FLOATS:
        return _FLOATS[value]
    if name == "$int" and isinstance(value, str) and len(value) <= MAX_BIGINT_BYTES and _DECIMAL.fullmatch(value):
        number = int(value)
        if not -MAXJSON <= number <= MAXJSON:
            return number
    raise _fault(f"the tag {name} is unknown, or its value is")


def _fault(message: str) -> Rejected:
    return Rejected("root.schema", message, subject="metadata")
