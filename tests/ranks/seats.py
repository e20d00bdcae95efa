"""Some ranks of a world, with the groups and meshes that a layout over them needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

__all__ = ["Seats"]


@dataclass(frozen=True)
class Seats:
    """The ranks ``first .. first + size - 1`` of the default process group, on which a layout lies."""

    first: int
    size: int

    @classmethod
    def all(cls) -> Seats:
        """The whole world."""
        return cls(0, dist.get_world_size() if dist.is_initialized() else 1)

    @property
    def place(self) -> int:
        """Number of this rank among them; outside of ``range(size)`` if it is none of them."""
        return (dist.get_rank() if dist.is_initialized() else 0) - self.first

    def __contains__(self, rank: int) -> bool:
        return self.first <= rank < self.first + self.size

    def found(self) -> None:
        """Makes all groups and meshes that a layout may want; to be called by every rank of the world alike."""
        self.group()
        self.mesh(self.size)
        if self.size == 4:
            self.mesh(2, 2)

    def group(self) -> Any:
        """The process group of these ranks; None is that of the whole world."""
        if self == Seats.all():
            return None
        known = _groups.get(self)
        if known is None:
            known = _groups[self] = dist.new_group([self.first + place for place in range(self.size)])
        return known

    def mesh(self, *sizes: int) -> Any:
        """A mesh of these sizes over the ranks."""
        from torch.distributed.device_mesh import DeviceMesh

        names = ("outer", "inner")[-len(sizes) :] if len(sizes) == 2 else ("all",)
        known = _meshes.get((self, sizes))
        if known is None:
            ranks = torch.arange(self.first, self.first + self.size).view(sizes)
            known = _meshes[self, sizes] = DeviceMesh("cpu", ranks, mesh_dim_names=names)
        return known


_groups: dict[Seats, Any] = {}
_meshes: dict[tuple[Seats, tuple[int, ...]], Any] = {}
"""Those of this process: each makes process groups, and one of a kind is enough."""
