"""One case: what is saved, by which arms, where, and in which layouts."""

from __future__ import annotations

from dataclasses import dataclass, field

from benchmarks.harness.arms import ArmSpec
from benchmarks.harness.workloads import Layout, Workload

__all__ = ["Case"]


@dataclass(frozen=True, slots=True)
class Case:
    """All arms of a case take turns on the same bytes."""

    name: str
    """As it is chosen on the command line."""
    workload: Workload
    arms: tuple[ArmSpec, ...]
    where: str = "disk"
    """``disk``, ``memory`` for a file system without a disk, or ``store`` for an object store."""
    steps: tuple[str, ...] = ("save", "load")
    save: Layout = field(default_factory=Layout)
    load: Layout = field(default_factory=Layout)

    @property
    def title(self) -> str:
        """For people."""
        place = {"disk": "on disk", "memory": "in a file system in memory", "store": "in an object store"}[self.where]
        if self.steps == ("work",):
            return self.workload.title
        if self.save == self.load:
            ranks = f", {self.save.ranks} ranks" if self.save.ranks > 1 else ""
            return f"{self.workload.title}{ranks}, {place}"
        moved = f"Shard({self.save.dim}) of {self.save.ranks} ranks → Shard({self.load.dim}) of {self.load.ranks}"
        return f"{self.workload.title}, {moved}, {place}"
