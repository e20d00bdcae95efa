"""MessagePack by hand: any encoding of a value, so that cases can have long, odd and broken ones."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgpack

__all__ = ["Ext", "Raw", "ext", "long", "pack"]

_WIDTHS: Final = {
    1: (0xCC, 0xD0, "B", "b"),
    2: (0xCD, 0xD1, "H", "h"),
    4: (0xCE, 0xD2, "I", "i"),
    8: (0xCF, 0xD3, "Q", "q"),
}
_FIX: Final = {1: 0xD4, 2: 0xD5, 4: 0xD6, 8: 0xD7, 16: 0xD8}


@dataclass(frozen=True)
class Raw:
    """Bytes that stand for a value as they are; as a key of a map too."""

    data: bytes


@dataclass(frozen=True)
class Ext:
    """An extension value; the payload of bytes, or of one packed value."""

    code: int
    payload: Any


def pack(value: Any) -> bytes:
    """The shortest encoding."""
    match value:
        case Raw():
            return value.data
        case msgpack.ExtType():
            return ext(value.code, value.data)
        case Ext():
            return ext(value.code, value.payload if isinstance(value.payload, bytes) else pack(value.payload))
        case None:
            return b"\xc0"
        case bool():
            return b"\xc3" if value else b"\xc2"
        case int():
            return _integer(value)
        case float():
            return b"\xcb" + struct.pack(">d", value)
        case str():
            data = value.encode()
            return _head(len(data), 31, 0xA0, (0xD9, 0xDA, 0xDB)) + data
        case bytes():
            return _head(len(value), -1, 0, (0xC4, 0xC5, 0xC6)) + value
        case list() | tuple():
            return _head(len(value), 15, 0x90, (None, 0xDC, 0xDD)) + b"".join(map(pack, value))
        case Mapping():
            pairs = (pack(key) + pack(child) for key, child in value.items())
            return _head(len(value), 15, 0x80, (None, 0xDE, 0xDF)) + b"".join(pairs)
    raise TypeError(type(value))


def _head(size: int, most: int, fixed: int, codes: tuple[int | None, int, int]) -> bytes:
    if size <= most:
        return bytes([fixed | size])
    if size < 256 and codes[0] is not None:
        return bytes([codes[0], size])
    return bytes([codes[1]]) + size.to_bytes(2, "big") if size < 65536 else bytes([codes[2]]) + size.to_bytes(4, "big")


def _integer(value: int) -> bytes:
    if -32 <= value < 128:
        return struct.pack("b", value) if value < 0 else bytes([value])
    for width, (unsigned, signed, big, small) in _WIDTHS.items():
        if 0 <= value < 1 << 8 * width:
            return bytes([unsigned]) + struct.pack(">" + big, value)
        if -(1 << 8 * width - 1) <= value < 0:
            return bytes([signed]) + struct.pack(">" + small, value)
    raise ValueError(value)


def ext(code: int, payload: bytes, width: int | None = None) -> bytes:
    """An extension value: fixext where the size allows, else ext 8, 16 or 32; ``width`` 1, 2 or 4 forces these."""
    kind = struct.pack("b", code)
    size = len(payload)
    if width is None and size in _FIX:
        return bytes([_FIX[size]]) + kind + payload
    width = width or (1 if size < 256 else 2 if size < 65536 else 4)
    return bytes([{1: 0xC7, 2: 0xC8, 4: 0xC9}[width]]) + size.to_bytes(width, "big") + kind + payload


def long(value: Any) -> bytes:
    """The longest encoding of each value."""
    match value:
        case None | bool() | float() | Raw():
            return pack(value)
        case msgpack.ExtType():
            return ext(value.code, value.data, 4)
        case Ext():
            return ext(value.code, value.payload if isinstance(value.payload, bytes) else long(value.payload), 4)
        case int():
            return b"\xd3" + struct.pack(">q", value) if value < 1 << 63 else b"\xcf" + struct.pack(">Q", value)
        case str():
            return b"\xdb" + len(value.encode()).to_bytes(4, "big") + value.encode()
        case bytes():
            return b"\xc6" + len(value).to_bytes(4, "big") + value
        case list() | tuple():
            return b"\xdd" + len(value).to_bytes(4, "big") + b"".join(map(long, value))
        case Mapping():
            pairs = (long(key) + long(child) for key, child in value.items())
            return b"\xdf" + len(value).to_bytes(4, "big") + b"".join(pairs)
    raise TypeError(type(value))
