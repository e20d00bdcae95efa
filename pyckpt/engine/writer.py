"""One writer's part of a save: what it references, what it writes, and the table that tells the coordinator of both.

Shards go through in batches: looked up in the base, what is left laid out in objects, written. Mostly there is one
batch; there are two where the caller waits for the first, and another one if references are lost before the commit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from pyckpt.engine.base import Base, read_base
from pyckpt.engine.compare import Reference, find_references
from pyckpt.engine.coordinator import Coordinator
from pyckpt.engine.fingerprint import Groups, fingerprints
from pyckpt.engine.leaves import ItemState
from pyckpt.engine.open import OpenItem
from pyckpt.engine.options import SaveOptions
from pyckpt.engine.phases import Phases
from pyckpt.engine.save_plan import ObjectPlan, ShardPlan, chains_of, plan_objects, plan_shards
from pyckpt.engine.slots import Slot
from pyckpt.engine.stages import Stages, in_stages
from pyckpt.engine.stored import StoredObject
from pyckpt.engine.table import WriterTable, item_table, pack_table
from pyckpt.engine.threads import default_threads
from pyckpt.engine.write import Meter, write_objects
from pyckpt.errors import Corrupt
from pyckpt.format.codecs import Chain
from pyckpt.format.keys import join
from pyckpt.storage.base import Store

__all__ = ["Attempt", "Writer"]

_Listed = tuple[ObjectPlan, Sequence[Chain]]
_Batch = Mapping[str, Sequence[ShardPlan]]
"""Shards by item."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What every rank knows after the first round."""

    id: str
    marker: bytes
    """Content of the attempt marker."""
    groups: Mapping[str, Groups]
    """Item -> who holds the same tensors as this writer."""
    base: Base | None


@dataclass(slots=True)
class _Share:
    """What this writer contributes to one item so far."""

    state: ItemState
    slots: tuple[Slot, ...]
    stored: list[StoredObject] = field(default_factory=list)
    references: list[Reference] = field(default_factory=list)
    prints: bytes = b""


class Writer:
    """Stores what one rank has to store of the items that it collected."""

    def __init__(
        self,
        store: Store,
        checkpoint: str,
        collected: Sequence[tuple[ItemState, tuple[Slot, ...]]],
        attempt: Attempt,
        options: SaveOptions,
        coordinator: Coordinator,
        phases: Phases,
    ) -> None:
        self.keys: list[str] = []
        """Of data objects that were begun."""
        self._store, self._checkpoint, self._attempt = store, checkpoint, attempt
        self._options, self._coordinator, self._phases = options, coordinator, phases
        self._threads = options.threads or default_threads()
        self._shares = {state.name: _Share(state, slots) for state, slots in collected}
        self._base: Mapping[str, OpenItem] = {}
        self._meter = Meter(0, None)
        self._warnings: list[str] = []
        self._released = False

    def run(self, stages: Stages | None, release: Callable[[], None] | None) -> bytes:
        """Stores everything and gives the packed table. For ``stages`` and ``release`` see ``save.Request``."""
        collected = [(share.state, share.slots) for share in self._shares.values()]
        rank, groups = self._coordinator.rank, self._attempt.groups
        shards = plan_shards(collected, rank=rank, groups=groups, options=self._options)
        self._meter = Meter(sum(each.nbytes for own in shards.values() for each in own), self._options.progress)
        self._phases.end("plan")
        if self._attempt.base is not None:
            compared = [name for name in self._shares if not self._options.is_whole(name)]
            self._base, self._warnings = read_base(self._store, self._attempt.base, compared)
            self._phases.end("compare")
        if release is None:
            self._put(self._look_up(shards), stages)
            self._prove()
        else:
            self._put(self._look_up(self._of_stage(shards, first=True)), None)
            self._prove()
            release()
            self._released = True
            self._put(self._look_up(self._of_stage(shards, first=False)), None)
        self._base = {}
        table = self._table()
        self._phases.end("write")
        return table

    def write_lost(self, lost: Sequence[str]) -> bytes:
        """Writes what was referenced in the checkpoints ``lost`` after all; the new packed table.

        Raises Corrupt ``external.missing`` if the state may have changed since.
        """
        batch: dict[str, list[ShardPlan]] = {}
        for name, share in self._shares.items():
            gone = [each for each in share.references if each.origin in lost]
            share.references = [each for each in share.references if each.origin not in lost]
            batch[name] = [each.plan for each in gone]
            if self._released and any(share.slots[plan.tensor].leaf.stage == 0 for plan in batch[name]):
                raise Corrupt(
                    "external.missing",
                    f"deleted while the save ran: {', '.join(lost)}; what lies there can't be written any more",
                    key=name,
                    hint="save again, with enough staging_bytes for the whole state",
                )
        self._meter.expect(sum(plan.nbytes for plans in batch.values() for plan in plans))
        self._put(batch, None)
        table = self._table()
        self._phases.end("write")
        return table

    def _of_stage(self, shards: _Batch, *, first: bool) -> dict[str, list[ShardPlan]]:
        """The shards whose sources may change once the caller is let go, or all others."""
        return {
            name: [each for each in own if (self._shares[name].slots[each.tensor].leaf.stage == 0) is first]
            for name, own in shards.items()
        }

    def _look_up(self, batch: _Batch) -> _Batch:
        """What is left to write, after what the base has already."""
        base = self._attempt.base
        if base is None:
            return batch
        rest: dict[str, Sequence[ShardPlan]] = {}
        for name, shards in batch.items():
            share, before = self._shares[name], self._base.get(name)
            rest[name] = shards
            if before is not None and shards:
                rest[name], found, warnings = find_references(
                    self._store,
                    before,
                    base.origins,
                    share.slots,
                    shards,
                    options=self._options,
                    threads=self._threads,
                )
                share.references += found
                self._warnings += warnings
                self._meter.expect(-sum(each.plan.nbytes for each in found))
        self._phases.end("compare")
        return rest

    def _put(self, batch: _Batch, stages: Stages | None) -> None:
        """Lays shards out in objects and writes those."""
        plans = {name: self._objects(self._shares[name], shards) for name, shards in batch.items()}
        chains = {name: self._chains(name) for name in plans}
        listed = [(each, chains[name]) for name, objects in plans.items() for each in objects]
        self.keys += [join(self._checkpoint, each.key) for each, _ in listed]
        self._meter.expect(sum(each.size - sum(shard.nbytes for shard in each.shards) for each, _ in listed))
        self._phases.end("plan")
        write = partial(
            write_objects,
            self._store,
            self._checkpoint,
            threads=self._threads,
            options=self._options,
            meter=self._meter,
        )
        stored = iter(write(listed) if stages is None else _write_stages(listed, stages, write))
        for name, objects in plans.items():
            self._shares[name].stored += [next(stored) for _ in objects]
        self._phases.end("write")

    def _objects(self, share: _Share, shards: Sequence[ShardPlan]) -> list[ObjectPlan]:
        return plan_objects(
            share.state.name,
            share.slots,
            shards,
            attempt=self._attempt.id,
            rank=self._coordinator.rank,
            size=self._coordinator.size,
            first=len(share.stored),
            threads=self._threads,
            options=self._options,
        )

    def _chains(self, item: str) -> Sequence[Chain]:
        return chains_of(self._options.codec_of(item), self._options.codec_level)

    def _prove(self) -> None:
        """Fingerprints of what others claim to hold as well."""
        mode = self._options.replicas
        if self._coordinator.size > 1 and mode in ("sample", "full"):
            for name, share in self._shares.items():
                share.prints = fingerprints(share.slots, mode=mode, groups=self._attempt.groups[name])

    def _table(self) -> bytes:
        tables = {
            name: item_table(
                share.state,
                share.slots,
                share.stored,
                share.references,
                prints=share.prints,
                group=self._attempt.groups[name].plain,
                options=self._options,
            )
            for name, share in self._shares.items()
        }
        written = sum(each.size for share in self._shares.values() for each in share.stored)
        return pack_table(WriterTable(tables, written, tuple(self._warnings)))


def _write_stages(
    listed: Sequence[_Listed], stages: Stages, write: Callable[[Sequence[_Listed]], list[StoredObject]]
) -> list[StoredObject]:
    """Writes the objects of each stage once its sources can be read; what is stored, in the order of the plans."""
    parts = in_stages(stages, lambda stage: write([each for each in listed if each[0].stage == stage]))
    stored = {id(each.plan): each for part in parts for each in part}
    return [stored[id(plan)] for plan, _ in listed]
