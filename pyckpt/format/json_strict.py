"""JSON from strangers: everything that parsers disagree about is refused.

Refused are duplicate member names, NaN and infinities (also numbers that overflow to one), lone surrogates, invalid
UTF-8, a byte order mark, integers of more than 4,300 digits, deep nesting, and anything after the value.
"""

from __future__ import annotations

import json
import math
import re
from typing import Final, NoReturn

import numpy as np

from pyckpt.errors import Corrupt, LimitExceeded
from pyckpt.limits import MAX_JSON_DIGITS

__all__ = ["parse_json"]

_CHUNK = 1 << 20
_STEP = np.zeros(256, dtype=np.int8)
_STEP[[ord("["), ord("{")]] = 1
_STEP[[ord("]"), ord("}")]] = -1
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")


def parse_json(data: bytes, *, max_bytes: int, max_depth: int, code: str, key: str = "") -> object:
    """The value of a JSON text: dict, list, str, int, float, bool or None; numbers without ``. e E`` are integers.

    Raises ``LimitExceeded`` if ``data`` has more than ``max_bytes``, and ``Corrupt`` with ``code`` for all else.
    ``max_depth`` counts open brackets and is checked before the parser runs.
    """
    if len(data) > max_bytes:
        raise LimitExceeded("limit.exceeded", f"expected at most {max_bytes} bytes of JSON, found {len(data)}", key=key)
    if _depth_exceeds(data, max_depth):
        raise Corrupt(code, f"expected at most {max_depth} nested arrays and objects, found more", key=key)
    try:
        value: object = _DECODER.decode(data.decode("utf-8"))
        if _SURROGATE_ESCAPE.search(data):
            _refuse_surrogates(value)
    except ValueError as error:
        raise Corrupt(code, f"expected strict JSON, found {error!s:.300}", key=key) from None
    return value


def _depth_exceeds(data: bytes, limit: int) -> bool:
    """Whether more than ``limit`` brackets are ever open at once, in linear time and constant memory per chunk."""
    if data.count(b"[") + data.count(b"{") <= limit:
        return False
    # Without escaped backslashes and then escaped quotes, every quote left opens or closes a string. Text that isn't
    # JSON can deceive this count, but only after the place where the parser stops.
    bare = np.frombuffer(data.replace(b"\\\\", b"").replace(b'\\"', b""), dtype=np.uint8)
    depth, inside = 0, 0
    for start in range(0, len(bare), _CHUNK):
        chunk = bare[start : start + _CHUNK]
        quotes = np.cumsum(chunk == ord('"'), dtype=np.int32) + inside
        depths = np.cumsum(_STEP[chunk] * (quotes & 1 == 0), dtype=np.int32) + depth
        if depths.max() > limit:
            return True
        depth, inside = int(depths[-1]), int(quotes[-1]) & 1
    return False


def _members(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise ValueError(f"the member name {name!a:.200} twice in one object")
            seen.add(name)
    return members


def _integer(token: str) -> int:
    if len(token.removeprefix("-")) > MAX_JSON_DIGITS:
        raise ValueError(f"an integer of more than {MAX_JSON_DIGITS} digits")
    return int(token)


def _number(token: str) -> float:
    number = float(token)
    if math.isinf(number):
        raise ValueError(f"the number {token:.40} beyond binary64")
    return number


def _constant(token: str) -> NoReturn:
    raise ValueError(f"the token {token}")


def _refuse_surrogates(value: object) -> None:
    pending = [value]
    while pending:
        node = pending.pop()
        if isinstance(node, str):
            if _SURROGATE.search(node):
                raise ValueError(f"a lone surrogate in {node!a:.200}")
        elif isinstance(node, dict):
            pending.extend(node)
            pending.extend(node.values())
        elif isinstance(node, list):
            pending.extend(node)


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_members, parse_int=_integer, parse_float=_number, parse_constant=_constant
)
