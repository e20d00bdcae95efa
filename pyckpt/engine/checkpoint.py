"""A checkpoint as a lazy nested mapping: looking reads the manifest, slicing reads only what is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, TypeAlias

from pyckpt.engine.assets import read_asset
from pyckpt.engine.leaves import Target, TensorRequest
from pyckpt.engine.load_plan import plan_jobs, plan_reads
from pyckpt.engine.memory import MemorySink
from pyckpt.engine.open import OpenCheckpoint, OpenItem, open_root
from pyckpt.engine.read import read_jobs
from pyckpt.errors import NotFound, UsageError
from pyckpt.format.dtypes import byte_count, dtype_of
from pyckpt.format.geometry import Box, Ints, Region, check_region
from pyckpt.format.root import Root
from pyckpt.format.tree import Flattened, Indexed, Node, TensorRef
from pyckpt.storage.base import Store

__all__ = ["Checkpoint", "LazyMap", "LazyTensor", "Reading", "Wrap"]

Wrap: TypeAlias = Callable[[bytearray, str, Ints], Any]
"""Turns the bytes of a region, its dtype and its shape into an array of some framework."""

Index: TypeAlias = Any
"""An int, a slice, Ellipsis, or a tuple of them."""


class Checkpoint(Mapping[str, "LazyMap"]):
    """An opened checkpoint: item name -> its tree."""

    def __init__(self, opened: OpenCheckpoint, wrap: Wrap, *, verify: bool = True) -> None:
        self._opened = opened
        self._read = Reading(opened.store, wrap, verify)

    @classmethod
    def open(
        cls, store: Store, name: str, wrap: Wrap, *, expect: str | None = None, verify: bool = True
    ) -> Checkpoint:
        """Reads and checks the root, which has the digest ``expect`` if that is given.

        ``verify=False`` leaves the digests of blocks unchecked; roots and manifests are checked in any case. Raises
        NotFound, Corrupt ``root.*``, Unsupported.
        """
        return cls(open_root(store, name, expect=expect), wrap, verify=verify)

    def asset_names(self, item: str) -> tuple[str, ...]:
        """Names of the files kept with an item. Raises NotFound ``item.missing``."""
        return tuple(self._opened.entry(item).assets)

    def asset(self, item: str, name: str) -> bytes:
        """A file kept with an item, verified. Raises NotFound, Corrupt ``asset.*``."""
        return read_asset(self._opened, item, name)

    @property
    def url(self) -> str:
        """Where the checkpoint lies."""
        return self._opened.url

    @property
    def root(self) -> Root:
        """Everything that the root says."""
        return self._opened.root

    @property
    def digest(self) -> str:
        """SHA-256 of the root: the identity of the checkpoint."""
        return self._opened.root.digest

    @property
    def metadata(self) -> Mapping[str, object]:
        """User metadata (step, metrics, hyper-parameters, layout)."""
        return self._opened.root.metadata

    @property
    def items_by_kind(self) -> dict[str, str]:
        """Item name -> kind; ``other`` for a kind of a later version."""
        return {name: entry.known_kind for name, entry in self._opened.root.items.items()}

    def __getitem__(self, name: str) -> LazyMap:
        """One item. Raises NotFound ``item.missing``, Corrupt ``manifest.*``."""
        item = self._opened.item(name)
        return LazyMap(self._read, item, item.tree, ())

    def __iter__(self) -> Iterator[str]:
        return iter(self._opened.root.items)

    def __len__(self) -> int:
        return len(self._opened.root.items)

    def __repr__(self) -> str:
        return f"Checkpoint({self.url!r}, items={sorted(self._opened.root.items)})"


@dataclass(frozen=True, slots=True)
class Reading:
    """What it takes to read a tensor."""

    store: Store
    wrap: Wrap
    verify: bool = True


class LazyMap(Mapping[Any, Any]):
    """A map, list or tuple of a tree, by the components of its paths. Leaves are scalars or LazyTensor."""

    def __init__(self, reading: Reading, item: OpenItem, node: Node, path: tuple[str | int, ...]) -> None:
        self._reading = reading
        self._item = item
        self._node = _children(node)
        self._path = path

    def __getitem__(self, key: str | int) -> Any:
        """A child. Raises MissingKey (``tensor.missing``), which is a KeyError too."""
        try:
            child = self._node[key]
        except KeyError:
            raise MissingKey(self._item.name, (*self._path, key), self._node) from None
        return self._value(child, (*self._path, key))

    def _value(self, node: Node, path: tuple[str | int, ...]) -> Any:
        if isinstance(node, TensorRef):
            return LazyTensor(self._reading, self._item, node.index)
        if isinstance(node, (Mapping, list, tuple, Indexed, Flattened)):
            return LazyMap(self._reading, self._item, node, path)
        return node

    def __iter__(self) -> Iterator[str | int]:
        return iter(self._node)

    def __len__(self) -> int:
        return len(self._node)

    def __repr__(self) -> str:
        return f"LazyMap({self._item.name!r}, path={list(self._path)}, {len(self._node)} entries)"


class MissingKey(NotFound, KeyError):
    """No such key in an item's tree; also a KeyError, as a mapping's users expect."""

    def __init__(self, item: str, path: Sequence[str | int], have: Mapping[Any, Any]) -> None:
        near = get_close_matches(str(path[-1]), [str(key) for key in have], n=3)
        hint = f"did you mean {', '.join(near)}?" if near else f"{len(have)} keys here"
        text = "/".join(str(part) for part in path)
        super().__init__("tensor.missing", "the item has nothing under this key", key=f"{item}/{text}", hint=hint)


def _children(node: Node) -> Mapping[Any, Any]:
    if isinstance(node, Mapping):
        return node
    if isinstance(node, (list, tuple)):
        return dict(enumerate(node))
    if isinstance(node, Indexed):
        return node.values
    if isinstance(node, Flattened):
        return {"inner": node.inner, "attributes": node.attributes}
    return {}


class LazyTensor:
    """A tensor in a checkpoint; indexing reads just the blocks that the wanted elements lie in."""

    def __init__(self, reading: Reading, item: OpenItem, number: int) -> None:
        self._reading = reading
        self._item = item
        self.number = number
        """Number in the item's tensor table."""

    @property
    def dtype(self) -> str:
        """Name in the registry of dtypes."""
        return self._item.dtype(self.number)

    @property
    def shape(self) -> Ints:
        """Global shape."""
        return self._item.shape(self.number)

    @property
    def nbytes(self) -> int:
        """Decoded bytes of the whole tensor."""
        return byte_count(dtype_of(self.dtype), Box.whole(self.shape).volume)

    @property
    def name(self) -> str:
        """Name of the tensor in the data objects."""
        return self._item.manifest.tensors.name_of(self.number)

    def __getitem__(self, index: Index) -> Any:
        """Elements selected by integers, slices of step 1 and Ellipsis, as an array of the framework in use."""
        box, shape = _box(index, self.shape)
        region = Region.of_box(box)
        return self._reading.wrap(self.read(region), self.dtype, shape)

    def read(self, region: Region) -> bytearray:
        """Bytes of a region in row-major order, verified.

        Raises UsageError ``state.layout`` for a region that leaves the tensor or cuts a byte, Corrupt ``block.*`` or
        ``object.*``.
        """
        check_region(region, self.shape, dtype_of(self.dtype).bits)
        sink = MemorySink(byte_count(dtype_of(self.dtype), region.elements))
        request = TensorRequest((), self.number, Target(((region, sink),)))
        reads, sinks = plan_reads(self._item.manifest, [request])
        jobs = plan_jobs(reads, gap_bytes=0)
        if jobs:
            item = self._item
            verify = self._reading.verify
            read_jobs(
                self._reading.store, item.manifest, item.object_keys, jobs, sinks, threads=2, verify=verify
            )
        return sink.data

    def __repr__(self) -> str:
        return f"LazyTensor({self.name!r}, {self.dtype}, {list(self.shape)})"


def _box(index: Index, shape: Ints) -> tuple[Box, Ints]:
    """Box of the elements that an index selects, and the shape of the result (integers drop their dimension)."""
    parts = list(index) if isinstance(index, tuple) else [index]
    if parts.count(Ellipsis) > 1:
        raise UsageError("usage.invalid", "an index has one Ellipsis at most")
    if Ellipsis in parts:
        at = parts.index(Ellipsis)
        parts[at : at + 1] = [slice(None)] * (len(shape) - len(parts) + 1)
    parts += [slice(None)] * (len(shape) - len(parts))
    if len(parts) > len(shape):
        raise UsageError("usage.invalid", f"{len(parts)} indices for a tensor of {len(shape)} dimensions")
    offset, size, kept = [], [], []
    for part, length in zip(parts, shape, strict=True):
        if isinstance(part, slice):
            start, stop, step = part.indices(length)
            if step != 1:
                raise UsageError("usage.invalid", f"a lazy tensor is sliced with step 1, not {step}")
            offset.append(start)
            size.append(max(0, stop - start))
            kept.append(size[-1])
            continue
        place = part + length if part < 0 else part
        if not 0 <= place < length:
            raise UsageError("usage.invalid", f"index {part} is outside a dimension of size {length}")
        offset.append(place)
        size.append(1)
    return Box(tuple(offset), tuple(size)), tuple(kept)
