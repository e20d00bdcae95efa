"""States that are saved and loaded: names, dtypes and shapes, and which part of each tensor a rank holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod, sqrt

__all__ = ["ITEM_BYTES", "Layout", "Region", "TensorSpec", "Workload", "llama", "many", "one"]

ITEM_BYTES = {"bfloat16": 2, "float32": 4}
Region = tuple[tuple[int, ...], tuple[int, ...]]
"""Offsets and sizes of a box in the global tensor."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One tensor of a state; the shape is the global one."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of the whole tensor."""
        return prod(self.shape) * ITEM_BYTES[self.dtype]


@dataclass(frozen=True, slots=True)
class Layout:
    """``Shard(dim)`` over so many ranks; tensors of one dimension by their only one. One rank holds everything."""

    ranks: int = 1
    dim: int = 0

    def dim_of(self, shape: Sequence[int]) -> int:
        """The dimension that a tensor of this shape is cut along."""
        return min(self.dim, len(shape) - 1)

    def region(self, shape: Sequence[int], rank: int) -> Region:
        """What the rank holds: chunks of equal size, the last ones smaller or empty, as torch cuts."""
        dim = self.dim_of(shape)
        chunk = -(-shape[dim] // self.ranks)
        start = min(rank * chunk, shape[dim])
        stop = min(start + chunk, shape[dim])
        offsets = tuple(start if at == dim else 0 for at in range(len(shape)))
        sizes = tuple(stop - start if at == dim else size for at, size in enumerate(shape))
        return offsets, sizes


@dataclass(frozen=True, slots=True)
class Workload:
    """A state by name."""

    title: str
    tensors: tuple[TensorSpec, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.nbytes for tensor in self.tensors)


def llama(nbytes: int = 2_000_000_000, layers: int = 6) -> Workload:
    """A Llama-like model with AdamW of about so many bytes: bf16 parameters, fp32 master copy and both moments."""
    hidden = max(64, 64 * round(16 * sqrt(nbytes / 2.0e9)))
    shapes = list(_llama_shapes(hidden, hidden * 11 // 4, layers, hidden * 125 // 4))
    tensors = [
        TensorSpec(f"{group}.{name}", dtype, shape)
        for group, dtype in (
            ("model", "bfloat16"),
            ("master", "float32"),
            ("exp_avg", "float32"),
            ("exp_avg_sq", "float32"),
        )
        for name, shape in shapes
    ]
    size = sum(tensor.nbytes for tensor in tensors)
    return Workload(f"Llama with AdamW, {_size(size)} in {len(tensors)} tensors", tuple(tensors))


def _llama_shapes(hidden: int, inner: int, layers: int, vocab: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield "embed_tokens.weight", (vocab, hidden)
    yield "lm_head.weight", (vocab, hidden)
    yield "norm.weight", (hidden,)
    for layer in range(layers):
        for name in "qkvo":
            yield f"layers.{layer}.self_attn.{name}_proj.weight", (hidden, hidden)
        yield f"layers.{layer}.mlp.gate_proj.weight", (inner, hidden)
        yield f"layers.{layer}.mlp.up_proj.weight", (inner, hidden)
        yield f"layers.{layer}.mlp.down_proj.weight", (hidden, inner)
        yield f"layers.{layer}.input_layernorm.weight", (hidden,)
        yield f"layers.{layer}.post_attention_layernorm.weight", (hidden,)


def many(count: int, nbytes: int) -> Workload:
    """So many bf16 tensors of ``nbytes`` each."""
    rows = max(1, nbytes // 32)
    tensors = tuple(
        TensorSpec(f"blocks.{number // 10}.sub{number % 10}.weight", "bfloat16", (rows, 16)) for number in range(count)
    )
    return Workload(f"{count:,} tensors of {_size(rows * 32)}", tensors)


def one(nbytes: int) -> Workload:
    """A single fp32 tensor."""
    rows = max(1, nbytes // 16384)
    return Workload(f"one tensor of {_size(rows * 16384)}", (TensorSpec("weight", "float32", (rows, 4096)),))


def _size(nbytes: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if nbytes >= size:
            return f"{nbytes / size:.3g} {unit}"
    return f"{nbytes / 1024:.3g} KiB" if nbytes >= 1024 else f"{nbytes} B"
