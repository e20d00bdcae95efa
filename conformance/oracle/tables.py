"""Maps, tables and columns of a manifest (section 7.3), with the one code for what is wrong with them."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .errors import Rejected
from .limits import MAXINT
from .mpack import Packed, PackedMap

_WIDTH = {"B": 1, "H": 2, "I": 4, "Q": 8}


def fault(message: str) -> Rejected:
    """The refusal of a manifest by its schema."""
    return Rejected("manifest.schema", message)


def member(members: PackedMap, key: str, place: str) -> Packed:
    """The value of a required key (SCF-MAN-006)."""
    if key not in members:
        raise fault(f"{place}: {key} is absent")
    return members[key]


def text(members: PackedMap, key: str, place: str) -> str:
    """A required str."""
    value = member(members, key, place)
    if not isinstance(value, str):
        raise fault(f"{place}: {key} is no str")
    return value


def integer(members: PackedMap, key: str, place: str, least: int, most: int) -> int:
    """A required int in a range (SCF-CONV-003)."""
    value = member(members, key, place)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise fault(f"{place}: {key} is no int of {least} to {most}")
    return value


def array_of(members: PackedMap, key: str, place: str) -> list[Packed]:
    """A required array."""
    value = member(members, key, place)
    if not isinstance(value, list):
        raise fault(f"{place}: {key} is no array")
    return value


def map_of(value: Packed, place: str) -> PackedMap:
    """A value that has to be a map."""
    if not isinstance(value, dict):
        raise fault(f"{place} is no map")
    return value


@dataclass(frozen=True)
class Table:
    """A table: rows, and the bytes of each column."""

    name: str
    count: int
    columns: Mapping[str, bytes]

    @staticmethod
    def read(manifest: PackedMap, name: str, most: int) -> Table:
        """The table under this key; columns of unknown names are checked and passed over (SCF-CONV-007)."""
        members = map_of(member(manifest, name, "manifest"), name)
        count = integer(members, "count", name, 0, most)
        columns: dict[str, bytes] = {}
        for column, value in map_of(member(members, "columns", name), f"{name} columns").items():
            if not isinstance(column, str) or not isinstance(value, bytes):
                raise fault(f"{name}: a column is not str and bin")
            columns[column] = value
        return Table(name, count, columns)

    def bytes(self, column: str, size: int) -> bytes:
        """A required column of exactly this many bytes (SCF-MAN-008)."""
        if column not in self.columns:
            raise fault(f"{self.name}: the column {column} is absent")
        data = self.columns[column]
        if len(data) != size or size > MAXINT:
            raise fault(f"{self.name}: the column {column} has {len(data)} bytes, not {size}")
        return data

    def numbers(self, column: str, kind: str, count: int) -> array[Any]:
        """A required column of unsigned little-endian integers; `kind` is a type code of the module array."""
        numbers: array[Any] = array(kind)
        numbers.frombytes(self.bytes(column, count * _WIDTH[kind]))
        if sys.byteorder == "big":
            numbers.byteswap()
        return numbers

    def texts(self, column: str, sizes: array[Any]) -> list[str]:
        """A required column of texts of these sizes; each by itself is UTF-8."""
        data = self.bytes(column, sum(sizes))
        found = []
        at = 0
        for size in sizes:
            try:
                found.append(data[at : at + size].decode())
            except UnicodeDecodeError:
                raise fault(f"{self.name}: an element of {column} is not UTF-8") from None
            at += size
        return found

    def has(self, *columns: str) -> bool:
        """Whether these columns are there, which come together or not at all (SCF-MAN-019)."""
        there = [column in self.columns for column in columns]
        if any(there) and not all(there):
            raise fault(f"{self.name}: of {', '.join(columns)} not all are there")
        return all(there)
