"""Bytes with their meaning: annotated MessagePack and hex dumps for the worked example of chapter 19."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from example_state import TENSORS, BigInt, DType, Indexed, Ref, Set, Timestamp, Tuple

__all__ = ["Column", "Part", "dump", "joined", "parts_of"]

WIDTH = 16
"""Bytes in a line of a dump."""


@dataclass(frozen=True, slots=True)
class Part:
    """Some bytes and what they mean."""

    data: bytes
    note: str


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: MessagePack bin whose content has meanings of its own."""

    what: str
    """What is in it, such as ``5 u16``."""
    parts: tuple[Part, ...]


def joined(parts: Iterable[Part]) -> bytes:
    """The bytes alone."""
    return b"".join(part.data for part in parts)


def dump(parts: Sequence[Part], start: int = 0) -> str:
    """A fenced block: offset, up to 16 bytes, meaning. ``start`` is the offset of the first byte."""
    lines, at = [], start
    digits = len(str(start + sum(len(part.data) for part in parts)))
    for part in parts:
        for first in range(0, len(part.data), WIDTH):
            row = part.data[first : first + WIDTH].hex(" ")
            lines.append(f"{at + first:>{digits}}  {row:<47}  {'' if first else part.note}".rstrip())
        at += len(part.data)
    return "```\n" + "\n".join(lines) + "\n```"


def _integer(value: int) -> bytes:
    """The shortest encoding of a whole number from 0 on."""
    if value < 1 << 7:
        return bytes([value])
    for code, form in ((0xCC, ">B"), (0xCD, ">H"), (0xCE, ">I"), (0xCF, ">Q")):
        if value < 1 << 8 * struct.calcsize(form):
            return bytes([code]) + struct.pack(form, value)
    message = f"{value} is no integer node"
    raise ValueError(message)


def _short(value: int, *, fix: int | None, limit: int, codes: tuple[int | None, int, int]) -> bytes:
    """The head of a value with a length: within one byte where that goes, else a code and 1, 2 or 4 bytes."""
    if fix is not None and value < limit:
        return bytes([fix | value])
    for code, form in zip(codes, (">B", ">H", ">I"), strict=True):
        if code is not None and value < 1 << 8 * struct.calcsize(form):
            return bytes([code]) + struct.pack(form, value)
    message = f"{value} is too long"
    raise ValueError(message)


def _text(value: str) -> bytes:
    data = value.encode()
    return _short(len(data), fix=0xA0, limit=32, codes=(0xD9, 0xDA, 0xDB)) + data


def _bin(size: int) -> bytes:
    return _short(size, fix=None, limit=0, codes=(0xC4, 0xC5, 0xC6))


def _extension(code: int, size: int) -> bytes:
    fixed = {1: 0xD4, 2: 0xD5, 4: 0xD6, 8: 0xD7, 16: 0xD8}.get(size)
    head = bytes([fixed]) if fixed else _short(size, fix=None, limit=0, codes=(0xC7, 0xC8, 0xC9))
    return head + bytes([code])


def parts_of(value: object, *, lead: bytes = b"", label: str = "", depth: int = 0) -> list[Part]:
    """A value in the shortest MessagePack, cut where its meaning changes.

    ``lead`` (the key that the value belongs to) goes in front of the first part, ``label`` in front of its meaning.
    """
    head = "  " * depth + label

    def one(data: bytes, note: str) -> list[Part]:
        return [Part(lead + data, head + note)]

    def extension(code: int, name: str, inner: object) -> list[Part]:
        parts = parts_of(inner, depth=depth + 1)
        size = len(joined(parts))
        return [*one(_extension(code, size), f"{name}: extension {code}, {_count(size, 'byte')}"), *parts]

    if isinstance(value, int):
        return one(_integer(value), str(value))
    if isinstance(value, float):
        return one(b"\xcb" + struct.pack(">d", value), f"float {value!r}, big-endian")
    if isinstance(value, str):
        return one(_text(value), f'"{value}"')
    if isinstance(value, bytes):
        return one(_bin(len(value)) + value, f"bin, {_count(len(value), 'byte')}")
    if isinstance(value, Column):
        size = len(joined(value.parts))
        rows = [Part(part.data, "  " * (depth + 1) + part.note) for part in value.parts]
        return [*one(_bin(size), f"{value.what}, bin of {_count(size, 'byte')}"), *rows]
    if isinstance(value, list):
        parts = one(_short(len(value), fix=0x90, limit=16, codes=(None, 0xDC, 0xDD)), _array(len(value)))
        return parts + [part for each in value for part in parts_of(each, depth=depth + 1)]
    if isinstance(value, Mapping):
        parts = one(_short(len(value), fix=0x80, limit=16, codes=(None, 0xDE, 0xDF)), _map(len(value)))
        for key, each in value.items():
            named = _text(key) if isinstance(key, str) else _integer(key)
            shown = f'"{key}": ' if isinstance(key, str) else f"{key}: "
            parts += parts_of(each, lead=named, label=shown, depth=depth + 1)
        return parts
    if isinstance(value, Ref):
        return one(_extension(1, 4) + struct.pack("<I", value.tensor), f"tensor {value.tensor}, {_name(value)}")
    if isinstance(value, Tuple):
        return extension(2, "tuple", list(value.nodes))
    if isinstance(value, BigInt):
        data = value.payload()
        return [
            *one(_extension(4, len(data)), f"bigint: extension 4, {_count(len(data), 'byte')}"),
            Part(data, "  " * (depth + 1) + f"{value.value}, two's complement, little-endian"),
        ]
    if isinstance(value, Timestamp):
        data, inner = value.payload(), "  " * (depth + 1)
        return [
            *one(_extension(5, len(data)), "timestamp: extension 5, 16 bytes"),
            Part(data[:8], f"{inner}i64 seconds: {value.seconds}, {value.text}"),
            Part(data[8:12], f"{inner}u32 nanoseconds: {value.nanoseconds}"),
            Part(data[12:], f"{inner}i32 UTC offset: {value.offset}"),
        ]
    if isinstance(value, Indexed):
        members = {"axis": value.axis, "size": len(value.values), "values": dict(enumerate(value.values))}
        return extension(6, "indexed", members)
    if isinstance(value, Set):
        return extension(7, "set", list(value.elements))
    if isinstance(value, DType):
        data = value.name.encode("ascii")
        return one(_extension(9, len(data)) + data, f"dtype {value.name}: extension 9, {_count(len(data), 'byte')}")
    message = f"no node for {value!r}"
    raise TypeError(message)


def _name(ref: Ref) -> str:
    return f'"{TENSORS[ref.tensor].name}"'


def _array(count: int) -> str:
    return f"array, {_count(count, 'element')}"


def _map(count: int) -> str:
    return f"map, {_count(count, 'key')}"


def _count(count: int, what: str) -> str:
    return f"{count} {what}" + ("" if count == 1 else "s")
