"""Dtypes and the tensor table of a manifest (sections 7.4 and 7.5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from .dtypes import DTYPES, Dtype
from .limits import MAX_DIMS, MAX_DTYPE_BITS, MAX_DTYPES, MAX_TENSORS, MAXINT
from .mpack import PackedMap
from .tables import Table, array_of, fault
from .tree import DTYPE_NAME


@dataclass(frozen=True, slots=True)
class ElementType:
    """A dtype of a manifest; `known` is its row of the registry, None if this program does not implement it."""

    name: str
    bits: int
    known: Dtype | None


@dataclass(frozen=True, slots=True)
class TensorRow:
    """One tensor."""

    number: int
    name: str
    dtype: ElementType
    shape: tuple[int, ...]

    @property
    def bits(self) -> int:
        """Bits of one element."""
        return self.dtype.bits

    @property
    def bytes(self) -> int:
        """Decoded bytes of the whole tensor."""
        return prod(self.shape) * self.dtype.bits // 8


def read_dtypes(manifest: PackedMap) -> list[ElementType]:
    """The dtypes by number; an unknown one needs its bits, and harms nobody else (SCF-MAN-010, SCF-MAN-011)."""
    listed = array_of(manifest, "dtypes", "manifest")
    names = [name for name in listed if isinstance(name, str) and DTYPE_NAME.fullmatch(name)]
    if len(listed) > MAX_DTYPES or len(names) != len(listed) or len(set(names)) != len(names):
        raise fault("dtypes is no array of distinct dtype names")
    if "dtype_bits" not in manifest:
        unknown = [name for name in names if name not in DTYPES]
        if unknown:
            raise fault(f"dtype_bits is absent, and the dtype {unknown[0]} is unknown")
        return [ElementType(name, DTYPES[name].bits, DTYPES[name]) for name in names]
    stated = array_of(manifest, "dtype_bits", "manifest")
    bits = [
        number
        for number in stated
        if isinstance(number, int) and not isinstance(number, bool) and 1 <= number <= MAX_DTYPE_BITS
    ]
    if len(bits) != len(stated) or len(bits) != len(names):
        raise fault("dtype_bits is no array of bits, one for each of dtypes")
    found = [ElementType(name, number, DTYPES.get(name)) for name, number in zip(names, bits, strict=True)]
    for dtype in found:
        if dtype.known is not None and dtype.known.bits != dtype.bits:
            raise fault(f"dtype_bits contradicts the registry for {dtype.name}")
    return found


def read_tensors(manifest: PackedMap, dtypes: Sequence[ElementType]) -> list[TensorRow]:
    """The tensor table (SCF-MAN-013)."""
    table = Table.read(manifest, "tensors", MAX_TENSORS)
    numbers = table.numbers("dtype", "H", table.count)
    dims = table.numbers("ndim", "B", table.count)
    sizes = table.numbers("name_size", "H", table.count)
    if max(numbers, default=-1) >= len(dtypes):
        raise fault("tensors: a dtype number is out of range")
    if max(dims, default=0) > MAX_DIMS:
        raise fault(f"tensors: a tensor has more than {MAX_DIMS} dimensions")
    shapes = table.numbers("shape", "Q", sum(dims))
    names = table.texts("name", sizes)
    if not all(names) or "__metadata__" in names or len(set(names)) != len(names):
        raise fault("tensors: a name is empty, repeated, or __metadata__")
    rows = []
    at = 0
    for number, name in enumerate(names):
        shape = tuple(shapes[at : at + dims[number]])
        at += dims[number]
        row = TensorRow(number, name, dtypes[numbers[number]], shape)
        _check_sizes(row)
        rows.append(row)
    return rows


def _check_sizes(row: TensorRow) -> None:
    """No order of multiplication overflows, and the tensor is a whole number of bytes (SCF-SEC-004, SCF-REG-006)."""
    if prod(size for size in row.shape if size) * row.bits > MAXINT:
        raise fault(f"tensor {row.name} is larger than the maximum")
    if prod(row.shape) * row.bits % 8:
        raise fault(f"tensor {row.name} is no whole number of bytes")
