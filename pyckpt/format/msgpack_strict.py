"""MessagePack without its loose ends: one value and nothing after it, no duplicate keys, no invalid UTF-8.

Bytes are scanned before any object is made. The scan follows every declared length and count, into the payloads of
those extensions that hold a value themselves, so that what is then handed to the C decoder can neither overrun, nest
deeper, nor ask for more memory than the bytes that are there justify.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from typing import Any, Final

import msgpack

from pyckpt.errors import Corrupt, LimitExceeded
from pyckpt.format.show import show
from pyckpt.limits import MAX_MANIFEST_DEPTH, MAX_VALUES

__all__ = ["pack", "scan", "unpack"]

EXT_CODE: Final = "tree.schema"
"""What is wrong with an extension is wrong with the tree: nothing else in a record may hold one."""

_MAX_EXT_DEPTH: Final = 64


def pack(value: object, *, size_hint: int = 0) -> bytes:
    """The value as MessagePack; raises what ``msgpack`` raises for a type or range that it can't say.

    ``size_hint`` is about how many bytes there will be: without it a large buffer is moved each time it grows.
    """
    return bytes(msgpack.packb(value, use_bin_type=True, strict_types=True, buf_size=size_hint + (256 << 10)))


def unpack(
    data: bytes,
    *,
    ext_hook: Callable[[int, bytes], object] | None = None,
    nested: frozenset[int] = frozenset(),
    code: str,
    max_depth: int = MAX_MANIFEST_DEPTH,
    max_values: int = MAX_VALUES,
) -> Any:
    """The one value that ``data`` holds; ``str`` and ``int`` keys only, arrays as lists, bin as bytes.

    ``ext_hook(code, payload)`` makes the extensions; ``nested`` are the codes whose payload is itself one value, which
    the hook decodes by ``unpack_scanned``. Raises Corrupt with ``code`` (extensions: ``tree.schema``), LimitExceeded.
    """
    scan(data, nested=nested, code=code, max_depth=max_depth, max_values=max_values)
    return unpack_scanned(data, ext_hook=ext_hook, code=code)


def unpack_scanned(data: bytes, *, ext_hook: Callable[[int, bytes], object] | None, code: str) -> Any:
    """As ``unpack``, for bytes that ``scan`` has already followed, such as a nested payload."""

    def pairs_hook(pairs: list[tuple[Any, Any]]) -> dict[str | int, Any]:
        return _unique(pairs, code)

    try:
        return msgpack.unpackb(
            data,
            raw=False,
            strict_map_key=False,
            unicode_errors="strict",
            object_pairs_hook=pairs_hook,
            ext_hook=ext_hook or _no_extensions,
        )
    except UnicodeDecodeError as error:
        raise Corrupt(code, f"a string is not valid UTF-8: {error.reason}") from None
    except (msgpack.exceptions.UnpackException, ValueError, TypeError) as error:
        if isinstance(error, Corrupt):
            raise
        raise Corrupt(code, f"not well-formed MessagePack: {error}") from None


def _no_extensions(kind: int, payload: bytes) -> object:
    raise Corrupt(EXT_CODE, f"extension {kind} ({len(payload)} bytes) where none is allowed")


_KEY_TYPES: Final = frozenset({str, int})
_MIN_INT: Final = -(2**63)
_MAX_INT: Final = 2**64 - 1
"""What MessagePack itself can say; an integer beyond them comes from an extension, which is no key."""


def _unique(pairs: list[tuple[Any, Any]], code: str) -> dict[str | int, Any]:
    kinds = set(map(type, map(itemgetter(0), pairs)))
    if not kinds <= _KEY_TYPES:
        wrong = next(key for key, _ in pairs if type(key) not in _KEY_TYPES)
        raise Corrupt(code, f"a map key is {type(wrong).__name__}, expected str or int")
    if int in kinds and not all(_MIN_INT <= key <= _MAX_INT for key, _ in pairs if type(key) is int):
        raise Corrupt(code, "a map key is an extension, expected str or int")
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str | int] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise Corrupt(code, f"the map key {show(twice)} occurs twice")
    return result


def _fixed_sizes() -> tuple[int, ...]:
    """By first byte: bytes of a whole value that holds no other and states no length; 0 for all others."""
    sizes = [0] * 256
    for first in (*range(0x80), *range(0xE0, 0x100), 0xC0, 0xC2, 0xC3):
        sizes[first] = 1
    for first in range(0xA0, 0xC0):
        sizes[first] = 1 + (first & 31)
    sizes[0xCA:0xD4] = [5, 9, 2, 3, 5, 9, 2, 3, 5, 9]  # float 32 and 64, uint 8 to 64, int 8 to 64
    return tuple(sizes)


_FIXED: Final = _fixed_sizes()
_LENGTHS: Final = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
"""bin and str: bytes of the length that follows the first byte."""
_FIXEXT: Final = {0xD4: 1, 0xD5: 2, 0xD6: 4, 0xD7: 8, 0xD8: 16}
_EXT_LENGTHS: Final = {0xC7: 1, 0xC8: 2, 0xC9: 4}
_COUNTS: Final = {0xDC: (2, 1), 0xDD: (4, 1), 0xDE: (2, 2), 0xDF: (4, 2)}
"""array and map: bytes of the count that follows the first byte, values per counted entry."""


def scan(data: bytes, *, nested: frozenset[int], code: str, max_depth: int, max_values: int = MAX_VALUES) -> None:
    """Follows every length in ``data``; raises unless it is exactly one well-formed value within the limits."""
    size = len(data)
    position = 0
    left = 1  # values still to come in the innermost container
    end = size  # where the innermost extension payload, or the data, ends
    total = 0  # the outermost value is not counted
    depth = extensions = 0
    stack: list[tuple[int, int, bool]] = []  # left and end of what surrounds it; whether it is an extension
    fixed = _FIXED
    while True:
        while left == 0:
            if not stack:
                if position != size:
                    raise Corrupt(code, f"{size - position} bytes follow the value")
                return
            outer_left, outer_end, in_extension = stack.pop()
            if in_extension:
                if position != end:
                    raise Corrupt(code, f"{end - position} bytes follow the value in an extension's payload")
                extensions -= 1
            else:
                depth -= 1
            left, end = outer_left, outer_end
        left -= 1
        if position >= end:
            raise Corrupt(code, "truncated: the bytes end where a value is expected")
        first = data[position]
        step = fixed[first]
        if step:
            position += step
            if position > end:
                raise Corrupt(code, "truncated: a value reaches beyond the end")
            continue
        position += 1
        if first in _LENGTHS:
            width = _LENGTHS[first]
            position += width + int.from_bytes(data[position : position + width], "big")
            if position > end:
                raise Corrupt(code, "truncated: a string or byte array reaches beyond the end")
            continue
        if first in _FIXEXT or first in _EXT_LENGTHS:
            if first in _FIXEXT:
                length = _FIXEXT[first]
            else:
                width = _EXT_LENGTHS[first]
                length = int.from_bytes(data[position : position + width], "big")
                position += width
            position += 1
            if position + length > end:
                raise Corrupt(code, "truncated: an extension reaches beyond the end")
            kind = data[position - 1]
            if kind >= 128:
                raise Corrupt(EXT_CODE, f"extension {kind - 256} is not one of the tree's")
            if kind not in nested:
                position += length
                continue
            extensions += 1
            if extensions > _MAX_EXT_DEPTH:
                raise Corrupt(EXT_CODE, f"extensions nest deeper than {_MAX_EXT_DEPTH}")
            total += 1
            stack.append((left, end, True))
            left, end = 1, position + length
            continue
        if 0x80 <= first <= 0x9F:
            count = (first & 15) * (2 if first < 0x90 else 1)
        elif first in _COUNTS:
            width, values = _COUNTS[first]
            count = int.from_bytes(data[position : position + width], "big") * values
            position += width
        else:
            raise Corrupt(code, f"byte 0x{first:02x} begins no value")
        if count > end - position:
            raise Corrupt(code, f"truncated: {count} values declared, {end - position} bytes left")
        total += count
        if total > max_values:
            raise LimitExceeded("limit.exceeded", f"more than {max_values} values in one record")
        depth += 1
        if depth > max_depth:
            raise Corrupt(code, f"arrays and maps nest deeper than {max_depth}")
        stack.append((left, end, False))
        left = count
