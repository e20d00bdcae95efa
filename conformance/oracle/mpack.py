"""Strict MessagePack of section 7.2; extension values only under the top key `tree`."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Union

from .errors import Rejected, beyond
from .limits import MAX_MANIFEST_DEPTH, Limits


@dataclass(frozen=True, slots=True)
class Float:
    """A binary64, by its bits: NaN payloads and the sign of zero are kept and compared."""

    bits: int


@dataclass(frozen=True, slots=True)
class Ext:
    """An extension value; the payload of tuple, indexed, set and flattened is already parsed."""

    code: int
    payload: bytes | list[Packed] | PackedMap


Packed = Union[None, bool, int, Float, str, bytes, "list[Packed]", "dict[str | int, Packed]", Ext]
PackedMap = dict[str | int, Packed]

REGISTERED = range(1, 10)
TENSOR, TUPLE, COMPLEX, BIGINT, TIMESTAMP, INDEXED, SET, FLATTENED, DTYPE = REGISTERED
_ARRAY_INSIDE = {TUPLE, SET}
_MAP_INSIDE = {INDEXED, FLATTENED}
_NEVER_USED = 0xC1


def parse(raw: bytes, limits: Limits) -> PackedMap:
    """The top map of a manifest's raw bytes (SCF-MAN-004)."""
    parser = _Parser(raw, limits)
    top = parser.top()
    if parser.at != len(raw):
        raise _syntax(f"something follows the map at byte {parser.at}")
    return top


def _syntax(message: str) -> Rejected:
    return Rejected("manifest.syntax", message)


class _Parser:
    """A position in the raw bytes; `end` is where the bytes at hand end, which in a payload is the payload's end.

    Recursion is bounded by the depth of the profile (SCF-SEC-006).
    """

    def __init__(self, raw: bytes, limits: Limits) -> None:
        self.raw = raw
        self.at = 0
        self.end = len(raw)
        self.limits = limits
        self.values = 0
        self.in_tree = False

    def top(self) -> PackedMap:
        """The outermost value, which is a map."""
        size = self.map_size(self.byte())
        if size is None:
            raise _syntax("the manifest is no map")
        return self.map(size, 1)

    def take(self, size: int) -> bytes:
        """The next bytes; a declared length has to fit in what is left (SCF-CONV-004)."""
        if size > self.end - self.at:
            raise _syntax(f"{size} bytes are declared at byte {self.at}, and fewer are left")
        self.at += size
        return self.raw[self.at - size : self.at]

    def byte(self) -> int:
        """The next byte."""
        return self.take(1)[0]

    def big(self, width: int) -> int:
        """An unsigned integer of MessagePack's own, big-endian."""
        return int.from_bytes(self.take(width), "big")

    def count(self, elements: int) -> None:
        """Check a declared number of elements against the bytes left and the limit (SCF-CONV-004, SCF-SEC-003)."""
        if elements > self.end - self.at:
            raise _syntax(f"{elements} elements are declared at byte {self.at}, and fewer bytes are left")
        self.values += elements
        if self.values > self.limits.max_values:
            raise beyond("max_values", self.limits.max_values, self.values, phase="manifest")

    def map_size(self, first: int) -> int | None:
        """Members of the map that the first byte begins, None if it begins no map."""
        if first & 0xF0 == 0x80:
            return first & 0x0F
        return self.big(2 << (first - 0xDE)) if first in {0xDE, 0xDF} else None

    def array_size(self, first: int) -> int | None:
        """Elements of the array that the first byte begins, None if it begins no array."""
        if first & 0xF0 == 0x90:
            return first & 0x0F
        return self.big(2 << (first - 0xDC)) if first in {0xDC, 0xDD} else None

    def value(self, depth: int) -> Packed:
        """Any value; `depth` is the level of the array or map that it is in."""
        first = self.byte()
        size = self.map_size(first)
        if size is not None:
            return self.map(size, depth + 1)
        size = self.array_size(first)
        if size is not None:
            return self.array(size, depth + 1)
        if 0xC7 <= first <= 0xC9 or 0xD4 <= first <= 0xD8:
            length = 1 << (first - 0xD4) if first >= 0xD4 else self.big(1 << (first - 0xC7))
            return self.extension(length, depth)
        return self.scalar(first)

    def scalar(self, first: int) -> bool | int | Float | str | bytes | None:
        """A value that holds no others."""
        if first <= 0x7F:
            return first
        if first >= 0xE0:
            return first - 0x100
        if first & 0xE0 == 0xA0:
            return self.text(first & 0x1F)
        if first == 0xC0:
            return None
        if first in {0xC2, 0xC3}:
            return first == 0xC3
        if 0xC4 <= first <= 0xC6:
            return self.take(self.big(1 << (first - 0xC4)))
        if first == 0xCA:
            return Float(_widened(self.big(4)))
        if first == 0xCB:
            return Float(self.big(8))
        if 0xCC <= first <= 0xCF:
            return self.big(1 << (first - 0xCC))
        if 0xD0 <= first <= 0xD3:
            return int.from_bytes(self.take(1 << (first - 0xD0)), "big", signed=True)
        if 0xD9 <= first <= 0xDB:
            return self.text(self.big(1 << (first - 0xD9)))
        raise _syntax(f"the byte 0x{_NEVER_USED:02x} occurs at byte {self.at - 1}")

    def text(self, size: int) -> str:
        """A string, which is valid UTF-8."""
        try:
            return self.take(size).decode()
        except UnicodeDecodeError:
            raise _syntax(f"a string that ends at byte {self.at} is not UTF-8") from None

    def array(self, size: int, depth: int) -> list[Packed]:
        """The elements of an array of this level."""
        self.enter(depth)
        self.count(size)
        return [self.value(depth) for _ in range(size)]

    def map(self, size: int, depth: int) -> PackedMap:
        """The members of a map of this level, in stored order; no two keys are equal."""
        self.enter(depth)
        self.count(2 * size)
        members: PackedMap = {}
        for _ in range(size):
            key = self.key()
            if key in members:
                raise _syntax(f"a map has the key {key!r} twice")
            if depth == 1:
                self.in_tree = key == "tree"
            members[key] = self.value(depth)
        return members

    def key(self) -> str | int:
        """A map key: text or integer, whatever the encoding."""
        first = self.byte()
        is_text = first & 0xE0 == 0xA0 or 0xD9 <= first <= 0xDB
        is_integer = first <= 0x7F or first >= 0xE0 or 0xCC <= first <= 0xD3
        key = self.scalar(first) if is_text or is_integer else None
        if not isinstance(key, (str, int)):
            raise _syntax(f"a map key that ends at byte {self.at} is neither text nor integer")
        return key

    def enter(self, depth: int) -> None:
        """Check the level of an array or map."""
        if depth > MAX_MANIFEST_DEPTH:
            raise _syntax(f"arrays and maps nest deeper than {MAX_MANIFEST_DEPTH} levels")

    def extension(self, length: int, depth: int) -> Ext:
        """An extension value; it is no level, but the array or map in its payload is."""
        code = int.from_bytes(self.take(1), "big", signed=True)
        if code not in REGISTERED:  # SCF-TREE-001
            raise Rejected("tree.schema", f"extension code {code} is not registered")
        if not self.in_tree:  # SCF-MAN-027
            raise Rejected("manifest.schema", f"an extension value (code {code}) outside tree")
        if code not in _ARRAY_INSIDE | _MAP_INSIDE:
            return Ext(code, self.take(length))
        if length > self.end - self.at:
            raise _syntax(f"an extension of {length} bytes is declared at byte {self.at}, and fewer are left")
        outer, self.end = self.end, self.at + length
        payload = self.payload(code, depth)
        if self.at != self.end:
            raise Rejected("tree.schema", f"something follows the value in an extension of code {code}")
        self.end = outer
        return Ext(code, payload)

    def payload(self, code: int, depth: int) -> list[Packed] | PackedMap:
        """The one array or map in a payload (SCF-TREE-006)."""
        if self.at == self.end:
            raise Rejected("tree.schema", f"an extension of code {code} is empty")
        self.count(1)
        first = self.byte()
        if first == _NEVER_USED:
            raise _syntax(f"the byte 0x{_NEVER_USED:02x} occurs at byte {self.at - 1}")
        size = self.array_size(first) if code in _ARRAY_INSIDE else None
        if size is not None:
            return self.array(size, depth + 1)
        size = self.map_size(first) if code in _MAP_INSIDE else None
        if size is not None:
            return self.map(size, depth + 1)
        raise Rejected("tree.schema", f"an extension of code {code} has another payload than its own")


def _widened(bits: int) -> int:
    """The bits of the binary64 of the same value as a binary32; of a NaN sign and mantissa are kept."""
    if bits & 0x7F800000 == 0x7F800000:
        return (bits & 0x80000000) << 32 | 0x7FF << 52 | (bits & 0x7FFFFF) << 29
    (value,) = struct.unpack(">f", bits.to_bytes(4, "big"))
    return int.from_bytes(struct.pack(">d", value), "big")
