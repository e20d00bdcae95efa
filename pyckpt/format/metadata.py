"""User metadata as JSON, without loss.

Large integers are written as ``{"$int": …}``, NaN and infinities as ``{"$float": …}``. Names that begin with ``$`` get
one more ``$`` in front, so that no user's name can be taken for a tag. Every value has exactly one encoding: what could
be a plain JSON number must not be tagged, and the other way round.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

import numpy as np

from pyckpt.errors import UnsupportedState
from pyckpt.format.schema import Place, found
from pyckpt.limits import MAX_JSON_INT, MAX_ROOT_DEPTH

__all__ = ["MAX_INT_TEXT", "decode_metadata", "encode_metadata"]

MAX_INT_TEXT: Final = 4096
"""Longest decimal text of an integer, sign included."""

# the root's own object is the first level
_MAX_DEPTH = MAX_ROOT_DEPTH - 1
_MAX_INT_BITS = math.ceil(MAX_INT_TEXT * math.log2(10))
_DECIMAL = re.compile(r"-?[1-9][0-9]*")
_FLOATS: Final = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def encode_metadata(metadata: Mapping[str, object]) -> dict[str, object]:
    """The JSON object that says these Python values; ``decode_metadata`` gives them back.

    Tuples become arrays, numpy scalars the equal Python number. Raises ``UnsupportedState`` naming the path of a value
    that cannot be said, of a name that is not a string, and of nesting that is too deep or contains itself.
    """
    if not isinstance(metadata, Mapping):
        message = f"expected a mapping from names to values, found {type(metadata).__qualname__}"
        raise _unsupported((), message, "")
    return _encode_object(metadata, (), 1)


def _encode(value: object, path: Place, depth: int) -> object:
    if isinstance(value, np.generic):
        value = _plain_scalar(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _encode_text(value, path)
    if isinstance(value, int):
        return _encode_int(int.__index__(value), path, depth)
    if isinstance(value, float):
        return _encode_float(float.__float__(value), path, depth)
    if isinstance(value, Mapping):
        return _encode_object(value, path, depth)
    if isinstance(value, list | tuple):
        _check_depth(path, depth)
        return [_encode(element, (*path, index), depth + 1) for index, element in enumerate(value)]
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    expected = "expected None, a boolean, number, string, list, tuple or mapping"
    raise _unsupported(path, f"{expected}, found {kind}", _hint(value))


def _encode_object(value: Mapping[str, object], path: Place, depth: int) -> dict[str, object]:
    _check_depth(path, depth)
    members: dict[str, object] = {}
    for name, element in value.items():
        if not isinstance(name, str):
            message = f"expected names that are strings, found {name!r:.100} of type {type(name).__qualname__}"
            raise _unsupported(path, message, "use str() on the names")
        text = _encode_text(name, path)
        members[f"${text}" if text.startswith("$") else text] = _encode(element, (*path, text), depth + 1)
    return members


def _encode_text(value: str, path: Place) -> str:
    # str.__str__ also takes the text out of a subclass such as an enumeration
    text = str.__str__(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _unsupported(path, f"expected valid Unicode, found a lone surrogate in {text!a:.100}", "") from None
    return text


def _encode_int(value: int, path: Place, depth: int) -> object:
    if -MAX_JSON_INT <= value <= MAX_JSON_INT:
        return value
    _check_depth(path, depth)
    if value.bit_length() <= _MAX_INT_BITS:
        # the interpreter itself may have been told to refuse shorter texts
        with suppress(ValueError):
            text = str(value)
            if len(text) <= MAX_INT_TEXT:
                return {"$int": text}
    message = f"expected an integer of at most {MAX_INT_TEXT} characters, found one of {value.bit_length()} bits"
    raise _unsupported(path, message, "")


def _encode_float(value: float, path: Place, depth: int) -> object:
    if math.isfinite(value):
        return value
    _check_depth(path, depth)
    return {"$float": str(value)}


def _plain_scalar(value: np.generic) -> object:
    """The Python value that equals a numpy scalar, or the scalar itself if there is none."""
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, np.timedelta64):
        # numpy counts it among the integers, but the unit would be lost
        return value
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, np.floating):
        number = float(value)
        return number if number == value or (math.isnan(number) and np.isnan(value)) else value
    return value


def _check_depth(path: Place, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise _unsupported(
            path[:8], f"expected at most {_MAX_DEPTH} nested levels, found more", "does a value contain itself?"
        )


def _hint(value: object) -> str:
    if hasattr(value, "item") and hasattr(value, "shape"):
        return "give a number with .item(), or a list with .tolist()"
    if isinstance(value, set | frozenset):
        return "give a sorted list"
    return "give a string or a number, or keep it as an item of the checkpoint"


def _unsupported(path: Place, message: str, hint: str) -> UnsupportedState:
    place = "metadata" + "".join(f"[{component!a}]" for component in path)
    return UnsupportedState("state.unsupported", message, key=place, hint=hint)


def decode_metadata(value: object, report: Callable[[Place, str], None]) -> object:
    """The Python value of an encoded one, as parsed from JSON.

    ``report(path, message)`` is called for every value that no encoder may write; what stands in its place in the
    result has no meaning.
    """
    return _decode(value, (), report)


def _decode(value: object, path: Place, report: Callable[[Place, str], None]) -> object:
    if isinstance(value, dict):
        return _decode_object(value, path, report)
    if isinstance(value, list):
        return [_decode(element, (*path, index), report) for index, element in enumerate(value)]
    if type(value) is int and not -MAX_JSON_INT <= value <= MAX_JSON_INT:
        report(path, "expected an integer within 2^53-1 of zero, or the tag $int, found a larger plain integer")
    return value


def _decode_object(value: dict[str, object], path: Place, report: Callable[[Place, str], None]) -> object:
    members: dict[str, object] = {}
    for name, element in value.items():
        if name.startswith("$") and not name.startswith("$$"):
            if len(value) > 1:
                report(path, f"expected a tag to be alone in its object, found {name!a:.100} and other members")
            return _decode_tag(name, element, (*path, name), report)
        members[name.removeprefix("$")] = _decode(element, (*path, name), report)
    return members


def _decode_tag(name: str, value: object, path: Place, report: Callable[[Place, str], None]) -> object:
    if name == "$float":
        if isinstance(value, str) and value in _FLOATS:
            return _FLOATS[value]
        report(path, f'expected "nan", "inf" or "-inf", found {found(value)}')
    elif name == "$int":
        number = _large_int(value)
        if number is not None:
            return number
        report(path, f"expected the decimal text of an integer beyond 2^53-1, found {found(value)}")
    else:
        report(path, "expected the tag $int or $float, found another one")
    return None


def _large_int(text: object) -> int | None:
    if not isinstance(text, str) or len(text) > MAX_INT_TEXT or not _DECIMAL.fullmatch(text):
        return None
    try:
        number = int(text)
    except ValueError:
        # the interpreter itself has been told to refuse texts as long as this one
        return None
    return None if -MAX_JSON_INT <= number <= MAX_JSON_INT else number
