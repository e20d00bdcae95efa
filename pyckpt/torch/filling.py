"""One item of a checkpoint on its way into one object: what is to be read where, and what does not fit."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from pyckpt.engine.leaves import BoundItem, ItemView, Sink, Target, TensorRequest
from pyckpt.errors import Finding, LimitExceeded, PyckptError, StateMismatch, Unsupported
from pyckpt.format.geometry import Ints, Region
from pyckpt.format.tree import DTypeName, Flattened, Indexed, Node, Path, TensorRef, path_text
from pyckpt.torch import compare
from pyckpt.torch.dtypes import NAMES, PACKED, TYPES, registry_name, torch_dtype, widens
from pyckpt.torch.layout import Declared, Layout
from pyckpt.torch.param_names import ParamNames
from pyckpt.torch.per_rank import OnResize
from pyckpt.torch.pinned import pinned
from pyckpt.torch.placed import is_flattenable, is_ordinary, place
from pyckpt.torch.side_stream import SideStreams, side_streams
from pyckpt.torch.sink import DeviceSink, TensorSink

__all__ = ["BindOptions", "Filler", "Filling"]

DTypeRule = Literal["error", "widen", "cast"]
_FLOAT_CASTS = frozenset(name for name in TYPES if name != "F4")


@dataclass(frozen=True, slots=True)
class BindOptions:
    """How a checkpoint is matched with targets."""

    strict: bool = True
    """False: missing names are listed in ``skipped`` instead of refused. Unexpected ones are the engine's to judge."""
    map_key: Callable[[str], str] | None = None
    """Name in the target -> name in the checkpoint, for modules and optimizers."""
    dtype: DTypeRule = "error"
    per_rank: OnResize = "error"
    """For values per rank whose target says ``error`` or nothing itself."""
    rank: int = 0
    world_size: int = 1
    layout: Layout | None = None
    device: torch.device | str | None = None
    """Of tensors that are made anew; None: the CPU."""


@dataclass(slots=True)
class Filling:
    """Collects requests and findings for one item."""

    item: ItemView
    options: BindOptions
    names: ParamNames
    fill: Callable[[Filling, Node, Any, Path], Callable[[], Any]]
    """Binds a node to any target; it dispatches, and so closes the recursion between the modules."""
    declared_params: Mapping[int, Declared] = field(default_factory=dict)
    bound: BoundItem = field(default_factory=BoundItem)
    _fresh: dict[int, torch.Tensor] = field(default_factory=dict)
    _whole: dict[Ints, Region] = field(default_factory=dict)
    _streams: dict[torch.device, SideStreams | None] = field(default_factory=dict)

    def resize_rule(self, own: OnResize) -> OnResize:
        """What happens when the number of coordinates differs: the target's own rule, else that of the load."""
        return self.options.per_rank if own == "error" else own

    @property
    def rank(self) -> int:
        """This rank."""
        return self.options.rank

    @property
    def world_size(self) -> int:
        """Number of ranks that load together."""
        return self.options.world_size

    def key(self, path: Path) -> str:
        """The path as messages show it, with the item first."""
        return path_text((self.item.name, *path))

    def stored_name(self, name: str) -> str:
        """What the checkpoint calls ``name``."""
        return name if self.options.map_key is None else self.options.map_key(name)

    def differs(self, path: Path, message: str) -> None:
        """Adds a mismatch that is neither a missing nor an unexpected name."""
        self.bound.findings.append(Finding(compare.MISMATCH, path_text(path), message))

    def misses(self, path: Path, name: str, names: Collection[str]) -> None:
        """Adds a name of the target that the checkpoint lacks."""
        found = self.bound.findings if self.options.strict else self.bound.skipped
        found.append(compare.missing(path_text(path), name, names))

    def surprises(self, path: Path, name: str, names: Collection[str]) -> None:
        """Adds a name of the checkpoint that the target lacks."""
        self.bound.unexpected.append(compare.unexpected(path_text(path), name, names))

    def tensor(self, node: Node, target: torch.Tensor, path: Path, *, declared: Declared | None = None) -> None:
        """Plans the read of a tensor node into ``target``, or says why it doesn't fit."""
        if is_flattenable(target):
            self._flattened(node, target, path)
            return
        if not isinstance(node, TensorRef):
            self.differs(path, f"the checkpoint has a {type(node).__name__} where the target has a tensor")
            return
        if declared is None and is_ordinary(target) and self._fill_whole(node.index, target, path):
            return
        key = self.key(path)
        stored = self.item.dtype(node.index)
        placed = place(target, key, declared)
        shape = self.item.shape(node.index)
        if shape != placed.shape:
            self.bound.findings.append(compare.shape_differs(path_text(path), shape, placed.shape))
            return
        if self.fits(stored, target.dtype, path):
            self.request(node.index, path, placed.parts, torch_dtype(stored, key))

    def _fill_whole(self, tensor: int, target: torch.Tensor, path: Path) -> bool:
        """The one case that comes by the ten thousand: a plain tensor of the stored shape and dtype."""
        shape = tuple(target.shape)
        if self.item.shape(tensor) != shape or self.item.dtype(tensor) != NAMES.get(target.dtype):
            return False
        region = self._whole.get(shape)
        if region is None:
            region = self._whole[shape] = Region.whole(shape)
        sink = self._sink(target.detach(), target.dtype)
        self.bound.requests.append(TensorRequest(path, tensor, Target(((region, sink),))))
        return True

    def fits(self, stored: str, wanted: torch.dtype, path: Path) -> bool:
        """True if the dtype rule lets ``stored`` into ``wanted``; else a finding is added."""
        name = registry_name(wanted, self.key(path))
        rule = self.options.dtype
        if stored == name or (rule != "error" and widens(stored, name)):
            return True
        castable = stored in _FLOAT_CASTS and name in _FLOAT_CASTS and (stored[0] == "C") == (name[0] == "C")
        if rule == "cast" and castable:
            return True
        self.bound.findings.append(compare.dtype_differs(path_text(path), stored, name, rule))
        return False

    def request(
        self, tensor: int, path: Path, parts: tuple[tuple[Region, torch.Tensor], ...], stored: torch.dtype
    ) -> None:
        """Plans the read of regions into these views."""
        pieces = tuple((region, self._sink(view.detach(), stored)) for region, view in parts)
        self.bound.requests.append(TensorRequest(path, tensor, Target(pieces)))

    def _sink(self, tensor: torch.Tensor, stored: torch.dtype) -> Sink:
        if tensor.is_cpu:
            return TensorSink(tensor, stored)
        device = tensor.device
        if device not in self._streams:
            self._streams[device] = side_streams(device)
        streams = self._streams[device]
        return TensorSink(tensor, stored) if streams is None else DeviceSink(tensor, stored, streams)

    def fresh_tensor(self, ref: TensorRef, path: Path, device: torch.device | str | None = None) -> torch.Tensor:
        """A new tensor for a node, planned to be filled; the same one for every name of one tensor."""
        where = device if device is not None else self.options.device
        known = self._fresh.get(ref.index)
        if known is not None and device is None:
            return known
        key = self.key(path)
        dtype = torch_dtype(self.item.dtype(ref.index), key)
        shape = self.item.shape(ref.index)
        new = allocate(shape, dtype, where, key)
        parts = ((Region.whole(shape), new),)
        self.request(ref.index, path, parts, dtype)
        if device is None:
            self._fresh[ref.index] = new
        return new

    def fresh(self, node: Node, path: Path) -> Any:
        """The value of a node with new tensors in it, which hold their values once everything has been read."""
        if isinstance(node, TensorRef):
            return self.fresh_tensor(node, path)
        if isinstance(node, Mapping):
            return {key: self.fresh(value, (*path, key)) for key, value in node.items()}
        if isinstance(node, tuple):
            return tuple(self.fresh(value, (*path, i)) for i, value in enumerate(node))
        if isinstance(node, list):
            return [self.fresh(value, (*path, i)) for i, value in enumerate(node)]
        if isinstance(node, Indexed):
            values = {i: self.fresh(value, (*path, i)) for i, value in node.values.items()}
            return Indexed(node.axis, node.size, values)
        if isinstance(node, Flattened):
            inner = {name: self.fresh(value, (*path, "inner", name)) for name, value in node.inner.items()}
            return Flattened(inner, self.fresh(node.attributes, (*path, "attributes")))
        if isinstance(node, DTypeName):
            return TYPES.get(node.name, node)
        return node

    def _flattened(self, node: Node, target: Any, path: Path) -> None:
        names, attributes = target.__tensor_flatten__()
        if not isinstance(node, Flattened) or set(node.inner) != set(names):
            self.differs(path, f"the target is a {type(target).__name__} of {sorted(names)}, the checkpoint has none")
            return
        for name in names:
            self.tensor(node.inner[name], getattr(target, name), (*path, "inner", name))
        stored = self.fresh(node.attributes, (*path, "attributes"))
        if not same_plain(stored, attributes):
            self.differs(path, f"attributes: the checkpoint has {stored!r}, the target {attributes!r}")

    def result(self, finish: Callable[[], Any]) -> BoundItem:
        """What the engine gets, with ``finish`` as its last step."""

        def guarded() -> Any:
            try:
                return finish()
            except PyckptError:
                raise
            except Exception as error:  # a stored state may be anything, and load_state_dict any code
                raise StateMismatch(
                    compare.MISMATCH,
                    f"the target refused its state: {type(error).__name__}: {error}",
                    key=self.item.name,
                    hint="was it saved by another version of this object?",
                ) from error

        if self._streams:
            self.bound.staging = pinned
        for streams in self._streams.values():
            if streams is not None:
                streams.follow()
        self.bound.finish = guarded
        return self.bound


Filler = Callable[[Filling, Node, Any, Path], Callable[[], Any]]


def allocate(shape: Ints, dtype: torch.dtype, device: torch.device | str | None, key: str) -> torch.Tensor:
    """New memory for a stored tensor. ``LimitExceeded`` if there is not that much."""
    size = (*shape[:-1], shape[-1] // 2) if shape and dtype is PACKED and PACKED is not None else shape
    if dtype is PACKED and PACKED is not None and (not shape or shape[-1] % 2):
        raise Unsupported("dtype.unsupported", f"torch packs two numbers a byte; {list(shape)} is odd", key=key)
    try:
        return torch.empty(size, dtype=dtype, device=device)
    except (RuntimeError, MemoryError, OverflowError) as error:
        message = f"no memory for a tensor of {list(shape)} {dtype}: {error}"
        raise LimitExceeded("limit.exceeded", message, key=key) from error


def same_plain(a: Any, b: Any) -> bool:
    """Equality of plain values that does not mind sequences and tuples, nor torch's own size type."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return set(a) == set(b) and all(same_plain(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(same_plain(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, torch.Tensor) or isinstance(b, torch.Tensor):
        return a is b
    return type(a) is type(b) and bool(a == b)
