"""What one writes without a library for it: every tensor gathered on rank 0, then scattered to its new layout."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import torch
import torch.distributed as dist

from benchmarks.rank_model import DTYPE, LLAMA, Boxes

__all__ = ["GatherScatter"]


class GatherScatter:
    """Tensor by tensor, so that rank 0 holds no more than one of them whole. Replicas send nothing twice.

    All ranks make it and run it together.
    """

    def __init__(
        self,
        have: Mapping[str, Boxes],
        want: Mapping[str, Boxes],
        local: Mapping[str, torch.Tensor],
        device: torch.device,
    ) -> None:
        self._have, self._want, self._local, self._device = have, want, local, device
        self._groups: dict[tuple[int, ...], Any] = {}
        for name in have:
            for members in (self._senders(name), self._receivers(name)):
                if members not in self._groups:
                    self._groups[members] = dist.new_group(list(members))

    def run(self) -> dict[str, torch.Tensor]:
        """This rank's tensors in the new layout."""
        made = {}
        for name in self._have:
            part = self._scatter(name, self._gather(name))
            if part is not None:
                made[name] = part
        return made

    def _senders(self, name: str) -> tuple[int, ...]:
        """The lowest rank that has each distinct box, and rank 0."""
        first: dict[Any, int] = {}
        for rank, box in enumerate(self._have[name]):
            if box is not None and prod(box[1]):
                first.setdefault(box, rank)
        return tuple(sorted({0, *first.values()}))

    def _receivers(self, name: str) -> tuple[int, ...]:
        return tuple(sorted({0, *(rank for rank, box in enumerate(self._want[name]) if box is not None)}))

    def _gather(self, name: str) -> torch.Tensor | None:
        """The whole tensor, on rank 0."""
        senders, rank = self._senders(name), dist.get_rank()
        if rank not in senders:
            return None
        boxes = self._have[name]
        room = max(prod(box[1]) for box in boxes if box is not None)
        own = self._padded(self._local[name].reshape(-1), room)
        if rank != 0:
            dist.gather(own.view(torch.uint8), None, dst=0, group=self._groups[senders])
            return None
        parts = [torch.empty(room, dtype=DTYPE, device=self._device) for _ in senders]
        into = [part.view(torch.uint8) for part in parts]
        dist.gather(own.view(torch.uint8), into, dst=0, group=self._groups[senders])
        whole = torch.empty(LLAMA[name], dtype=DTYPE, device=self._device)
        for sender, part in zip(senders, parts, strict=True):
            offset, size = boxes[sender]  # type: ignore[misc]
            whole[_slices(offset, size)] = part[: prod(size)].view(size)
        return whole

    def _scatter(self, name: str, whole: torch.Tensor | None) -> torch.Tensor | None:
        """This rank's part of what rank 0 has."""
        receivers, rank = self._receivers(name), dist.get_rank()
        if rank not in receivers:
            return None
        boxes = self._want[name]
        wanted = [boxes[each] for each in receivers]
        group, own = self._groups[receivers], boxes[rank]
        if all(box is None or box[1] == LLAMA[name] for box in wanted):
            part = torch.empty(LLAMA[name], dtype=DTYPE, device=self._device) if whole is None else whole
            dist.broadcast(part.view(torch.uint8), 0, group=group)
            return part if own is not None else None
        room = max(prod(box[1]) for box in wanted if box is not None)
        part = torch.empty(room, dtype=DTYPE, device=self._device)
        parts = None
        if whole is not None:
            cut = [whole[_slices(*box)].reshape(-1) if box is not None else part[:0] for box in wanted]
            parts = [self._padded(each, room).view(torch.uint8) for each in cut]
        dist.scatter(part.view(torch.uint8), parts, src=0, group=group)
        return part[: prod(own[1])].view(own[1]) if own is not None else None

    def _padded(self, flat: torch.Tensor, room: int) -> torch.Tensor:
        if flat.numel() == room:
            return flat.contiguous()
        padded = torch.empty(room, dtype=flat.dtype, device=flat.device)
        padded[: flat.numel()] = flat
        return padded


def _slices(offset: tuple[int, ...], size: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(slice(first, first + count) for first, count in zip(offset, size, strict=True))
