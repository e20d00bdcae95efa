"""The tensors of an item, as columns: dtype, shape and name of each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import prod
from typing import Final

import numpy as np
import numpy.typing as npt

from pyckpt.errors import Corrupt
from pyckpt.format.columns import Int64s, Numbers, as_column, read_column, read_counts, starts_of, text_at
from pyckpt.format.dtypes import DTYPES
from pyckpt.format.geometry import Ints
from pyckpt.format.show import show
from pyckpt.limits import MAX_DIMS, MAX_INT, MAX_NAME_BYTES

__all__ = ["RESERVED_NAME", "TensorTable", "bits_of", "ragged_product"]

RESERVED_NAME: Final = b"__metadata__"
"""No tensor and no entry is called so: safetensors keeps this name for the header's own map."""


@dataclass(frozen=True, slots=True, eq=False)
class TensorTable:
    """Columns with one row per tensor; construction checks them all (Corrupt manifest.schema) and derives the rest."""

    dtypes: tuple[str, ...]
    """Names that the column ``dtype`` counts into; may include some that this library doesn't know."""
    bits: tuple[int, ...]
    """Bits per element of each of ``dtypes``."""
    dtype: Numbers
    ndim: Numbers
    shape: Numbers
    """The shapes of all tensors one after the other."""
    name_size: Numbers
    names: bytes
    """The names of all tensors one after the other, UTF-8."""
    shape_start: Int64s = field(init=False)
    name_start: Int64s = field(init=False)
    elements: Int64s = field(init=False)
    """Elements of each tensor; its sizes other than 0, and its bits, multiply to at most 2^63-1."""

    def __post_init__(self) -> None:
        self._check_dtypes()
        if self.ndim.size and int(self.ndim.max()) > MAX_DIMS:
            raise _corrupt(f"{int(self.ndim.max())} dimensions, at most {MAX_DIMS}")
        object.__setattr__(self, "shape_start", starts_of(self.ndim))
        object.__setattr__(self, "name_start", starts_of(self.name_size))
        if not len(self.dtype) == len(self.ndim) == len(self.name_size):
            raise _corrupt("columns of different length")
        if self.shape_start[-1] != len(self.shape) or self.name_start[-1] != len(self.names):
            raise _corrupt("shapes or names are not as long as their sizes say")
        self._check_names()
        object.__setattr__(self, "elements", self._count_elements())

    @classmethod
    def build(cls, rows: Iterable[tuple[str, str, Sequence[int]]]) -> TensorTable:
        """The table of these (name, dtype, shape), in this order."""
        numbers: dict[str, int] = {}
        dtype, shapes, names = [], [], []
        for name, dtype_name, shape in rows:
            dtype.append(numbers.setdefault(dtype_name, len(numbers)))
            shapes.append(shape)
            names.append(name.encode())
        if max(map(len, shapes), default=0) > MAX_DIMS or max(map(len, names), default=0) > MAX_NAME_BYTES:
            raise _corrupt(f"more than {MAX_DIMS} dimensions, or a name of more than {MAX_NAME_BYTES} bytes")
        dtypes = tuple(numbers)
        return cls(
            dtypes=dtypes,
            bits=bits_of(dtypes, None),
            dtype=np.array(dtype, dtype=np.uint16),
            ndim=np.array([len(shape) for shape in shapes], dtype=np.uint8),
            shape=np.array([size for shape in shapes for size in shape], dtype=np.int64),
            name_size=np.array([len(name) for name in names], dtype=np.uint16),
            names=b"".join(names),
        )

    @classmethod
    def from_columns(
        cls, dtypes: tuple[str, ...], bits: tuple[int, ...], count: int, columns: Mapping[str, bytes]
    ) -> TensorTable:
        """The table as the manifest holds it."""
        ndim = read_column(columns, "ndim", "u8", count, what="tensors")
        name_size, names = read_counts(columns, "name_size", "name", count, what="tensors")
        shape_count = int(ndim.sum(dtype=np.int64))
        return cls(
            dtypes=dtypes,
            bits=bits,
            dtype=read_column(columns, "dtype", "u16", count, what="tensors"),
            ndim=ndim,
            shape=read_column(columns, "shape", "u64", shape_count, what="tensors"),
            name_size=name_size,
            names=names,
        )

    def columns(self) -> dict[str, bytes]:
        """What ``from_columns`` reads."""
        return {
            "dtype": as_column(self.dtype, "u16"),
            "ndim": as_column(self.ndim, "u8"),
            "shape": as_column(self.shape, "u64"),
            "name_size": as_column(self.name_size, "u16"),
            "name": self.names,
        }

    def __len__(self) -> int:
        return len(self.dtype)

    def dtype_of(self, index: int) -> str:
        """Name of the tensor's dtype."""
        return self.dtypes[int(self.dtype[index])]

    def bits_of(self, index: int) -> int:
        """Bits of one element of the tensor."""
        return self.bits[int(self.dtype[index])]

    def shape_of(self, index: int) -> Ints:
        """Global shape of the tensor."""
        return tuple(self.shape[int(self.shape_start[index]) : int(self.shape_start[index + 1])].tolist())

    def name_of(self, index: int) -> str:
        """The name under which data objects list the tensor where it is whole."""
        return text_at(self.names, self.name_start, index, what="tensors")

    def nbytes_of(self, index: int) -> int:
        """Bytes of the whole tensor."""
        return int(self.elements[index]) * self.bits_of(index) // 8

    def element_bits(self) -> Int64s:
        """Bits of one element, for every tensor."""
        return np.array(self.bits or (0,), dtype=np.int64)[self.dtype]

    def _check_dtypes(self) -> None:
        if len(set(self.dtypes)) != len(self.dtypes):
            raise _corrupt("a dtype is listed twice")
        if self.dtype.size and int(self.dtype.max()) >= len(self.dtypes):
            raise _corrupt(f"dtype number {int(self.dtype.max())}, but only {len(self.dtypes)} dtypes are listed")

    def _check_names(self) -> None:
        count = len(self.name_size)
        if count == 0:
            return
        if int(self.name_size.min()) == 0:
            raise _corrupt("an empty name")
        try:
            text = self.names.decode()
        except UnicodeDecodeError as error:
            raise _corrupt(f"a name is not valid UTF-8: {error.reason}") from None
        # All of it is valid: then so is each name, unless a cut goes through a character.
        if len(text) != len(self.names):
            first_bytes = np.frombuffer(self.names, dtype=np.uint8)[self.name_start[:-1]]
            if bool(((first_bytes & 0xC0) == 0x80).any()):
                raise _corrupt("a name is not valid UTF-8: it begins inside a character")
        starts = self.name_start.tolist()
        names = self.names
        distinct = {names[start:stop] for start, stop in pairwise(starts)}
        if len(distinct) != count:
            raise _corrupt("two tensors have the same name")
        if RESERVED_NAME in distinct:
            raise _corrupt(f"a tensor has the name {RESERVED_NAME.decode()}")

    def _count_elements(self) -> Int64s:
        # sizes of 0 are left out of the bound, or its value would hang on the order in which sizes are multiplied
        sizes = np.maximum(self.shape, 1)
        product = ragged_product(sizes, self.ndim, self.shape_start)
        bits = self.element_bits()
        doubtful = _may_overflow(sizes, self.ndim, self.shape_start)
        doubtful |= product > MAX_INT // np.maximum(bits, 1)
        for index in np.flatnonzero(doubtful).tolist():
            shape = self.shape_of(index)
            if prod(size or 1 for size in shape) * self.bits_of(index) > MAX_INT:
                raise _corrupt(f"the sizes of tensor {index}, shape {list(shape)}, amount to more than 2^63-1 bits")
        elements = ragged_product(self.shape, self.ndim, self.shape_start)
        if bool(((elements & 7) * bits % 8 != 0).any()):
            raise _corrupt("a tensor does not end at the end of a byte")
        return elements


def bits_of(dtypes: Sequence[str], stated: Sequence[int] | None) -> tuple[int, ...]:
    """Bits per element of each dtype: the registry's, or for a name that isn't in it what the manifest states."""
    bits: list[int] = []
    for index, name in enumerate(dtypes):
        known = DTYPES.get(name)
        if known is None and stated is None:
            raise _corrupt(f"dtype {show(name)} is not in the registry and dtype_bits doesn't say how wide it is")
        if known is not None and stated is not None and stated[index] != known.bits:
            raise _corrupt(f"dtype_bits says {stated[index]} for {name}, which has {known.bits}")
        bits.append(stated[index] if stated is not None else known.bits if known is not None else 0)
    return tuple(bits)


def ragged_product(numbers: Numbers, sizes: Numbers, starts: Int64s) -> Int64s:
    """Product of each of consecutive parts, 1 for an empty one; wraps around where it exceeds 64 bits."""
    count = len(sizes)
    result = np.ones(count, dtype=np.int64)
    if count and int(sizes.min()) == int(sizes.max()):
        for column in numbers.reshape(count, int(sizes[0])).T:
            result *= column
        return result
    rows = np.flatnonzero(sizes)
    if rows.size:
        # reduceat takes an empty part for a single number, so it only sees the others
        result[rows] = np.multiply.reduceat(numbers, starts[:-1][rows])
    return result


def _may_overflow(numbers: Numbers, sizes: Numbers, starts: Int64s) -> npt.NDArray[np.bool_]:
    """Which of the parts, of numbers of at least 1, have a product near or beyond 2^63."""
    result = np.zeros(len(sizes), dtype=np.bool_)
    rows = np.flatnonzero(sizes)
    if rows.size:
        at = starts[:-1][rows]
        with np.errstate(over="ignore"):
            estimate = np.multiply.reduceat(numbers.astype(np.float64), at)
        # 2^62 is far enough below 2^63 for a product that is rounded at each of at most 64 steps
        result[rows] = estimate > 2.0**62
    return result


def _corrupt(message: str) -> Corrupt:
    return Corrupt("manifest.schema", f"tensors: {message}")
