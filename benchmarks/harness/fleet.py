"""The processes that drive a run: one that serves all ranks of this machine, or one for each rank under torchrun."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Protocol

__all__ = ["Alone", "Fleet", "Launched", "fleet"]


class Fleet(Protocol):
    """This driver among all."""

    lead: bool
    """It prints and writes the result."""
    tends_node: bool
    """It is the first on its machine, and drops the page cache there."""
    nodes: int

    def ranks_here(self, ranks: int) -> Sequence[int]:
        """Ranks of a group of so many whose workers this driver starts."""

    def local_rank(self, rank: int) -> int:
        """Number of the device of a rank."""

    def rendezvous(self, name: str, scratch: str) -> dict[str, Any]:
        """Where the ranks of one arm find each other; ``name`` is used once."""

    def share(self, value: Any) -> list[Any]:
        """The values (JSON) of all drivers, on every driver; none goes on before all have come."""


class Alone:
    """One driver on one machine."""

    lead = tends_node = True
    nodes = 1

    def ranks_here(self, ranks: int) -> Sequence[int]:
        """All of them."""
        return range(ranks)

    def local_rank(self, rank: int) -> int:
        """All are local."""
        return rank

    def rendezvous(self, name: str, scratch: str) -> dict[str, Any]:
        """A file."""
        return {"file": f"{scratch}/{name}"}

    def share(self, value: Any) -> list[Any]:
        """The only value."""
        return [value]


class Launched:
    """One driver for each rank of torchrun. They speak through its store: a process group would start threads, and
    processes with threads don't fork well."""

    def __init__(self) -> None:
        import torch.distributed as dist

        self.rank, self.world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        self.lead = self.rank == 0
        self.tends_node = os.environ["LOCAL_RANK"] == "0"
        self.nodes = int(os.environ.get("GROUP_WORLD_SIZE", "1"))
        self._address = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        self._used = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        served = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
        if not served:
            raise SystemExit("torchrun's own store is needed: start with --rdzv-backend=c10d or --standalone")
        self._store = dist.TCPStore(*self._address, is_master=False, timeout=timedelta(hours=1))
        self._turn = 0

    def ranks_here(self, ranks: int) -> Sequence[int]:
        """This driver's own, if the group has it."""
        return [self.rank] if self.rank < ranks else []

    def local_rank(self, rank: int) -> int:
        """As torchrun says."""
        del rank
        return int(os.environ["LOCAL_RANK"])

    def rendezvous(self, name: str, scratch: str) -> dict[str, Any]:
        """A corner of torchrun's store."""
        del scratch
        host, port = self._address
        return {"host": host, "port": port, "prefix": f"arm/{self._used}/{name}"}

    def share(self, value: Any) -> list[Any]:
        """Every driver writes its value and reads all."""
        self._turn += 1
        key = f"drivers/{self._used}/{self._turn}"
        self._store.set(f"{key}/{self.rank}", json.dumps(value))
        return [json.loads(self._store.get(f"{key}/{rank}")) for rank in range(self.world)]


def fleet() -> Fleet:
    """As this process was started."""
    return Launched() if "TORCHELASTIC_RUN_ID" in os.environ else Alone()
