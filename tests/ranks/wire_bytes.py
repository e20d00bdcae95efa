"""Bytes between ranks, counted where they are handed to the process group, and the fewest that two layouts allow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

from tests.ranks.layouts import Net, formula, local_part, shapes

__all__ = ["Counted", "Elements", "counted", "elements_of", "fewest"]

Elements = Mapping[str, set[int]]
"""Name -> numbers of the elements of the whole tensor that a rank has."""


BUFFERS = tuple(dict(Net().named_buffers()))


@dataclass
class Counted:
    """Bytes of the messages that this rank gave to the process group."""

    sent: int = 0
    received: int = 0


@contextmanager
def counted() -> Iterator[Counted]:
    """Counts all point-to-point messages of the block."""
    seen = Counted()
    real = dist.batch_isend_irecv

    def batch(operations: list[Any]) -> Any:
        for operation in operations:
            if operation.op is dist.isend:
                seen.sent += operation.tensor.nbytes
            else:
                assert operation.op is dist.irecv
                seen.received += operation.tensor.nbytes
        return real(operations)

    dist.batch_isend_irecv = batch
    try:
        yield seen
    finally:
        dist.batch_isend_irecv = real


def elements_of(layout: str, net: torch.nn.Module) -> Elements:
    """What this rank has of the model ``net`` in ``layout``: its values say which elements they are."""
    from torch.distributed.checkpoint.state_dict import get_model_state_dict

    named = get_model_state_dict(net) if layout.startswith("fsdp1") else dict(net.named_parameters())
    buffers = dict(net.named_buffers())
    out = {}
    for raw, tensor in (named | buffers).items():
        name = raw.replace("_fsdp_wrapped_module.", "").removeprefix("module.")
        shape, dtype = shapes()[name]
        count = torch.Size(shape).numel()
        if raw in buffers or name in BUFFERS:
            out[name] = set(range(count))
            continue
        whole = formula("embed.weight" if name == "head.weight" else name, "param", shape, dtype).reshape(-1).tolist()
        place = {value: number for number, value in enumerate(whole)}
        out[name] = {place[value] for value in local_part(tensor).reshape(-1).tolist()}
    return out


def fewest(source: str, have: Sequence[Elements], want: Sequence[Elements]) -> list[int]:
    """By rank, the bytes of the elements that it wants and does not have; ranks and layouts begin at 0."""
    sizes = {name: dtype.itemsize for name, (_, dtype) in shapes().items()}
    tied = not source.startswith("fsdp1")
    out = []
    for rank, (mine, wanted) in enumerate(zip(have, want, strict=True)):
        if source == "ddp-2" and rank > 0:
            # Every process has buffers of its own, and those of the first count.
            mine = {name: numbers for name, numbers in mine.items() if name not in BUFFERS}
        merged: dict[str, set[int]] = {}
        for name, numbers in wanted.items():
            merged.setdefault("embed.weight" if tied and name == "head.weight" else name, set()).update(numbers)
        out.append(sum(len(numbers - mine.get(name, set())) * sizes[name] for name, numbers in merged.items()))
    return out
