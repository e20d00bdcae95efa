"""What does not grow with the bytes: the coordinator's part of a save, and manifests of many shards. Simulated."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from benchmarks.harness.arms.base import Arm, Ways
from benchmarks.harness.state import State

__all__ = ["DcpCommit", "PyckptCommit", "PyckptManifest"]

ROW = 4096
"""Bytes of one shard."""
ATTEMPT = "0123456789abcdef"


class PyckptCommit(Arm):
    """From the packed tables of ``writers``, each with ``shards``, to a root in a store in memory."""

    kind = "pyckpt"

    def open(self, state: State, target: State) -> None:
        """Makes the tables: the first as a save makes it, the others like it, with rows and keys of their own."""
        super().open(state, target)
        self._packed = list(_packed_tables(self.options["writers"], self.options["shards"]))

    def ways(self, step: str) -> Ways:
        """One way to work."""
        return {"": self._commit} if step == "work" else {}

    def _commit(self, path: str) -> None:
        from pyckpt.engine.commit import Commit
        from pyckpt.engine.options import SaveOptions
        from pyckpt.engine.save import _commit
        from pyckpt.format.keys import attempt_marker_key, join
        from pyckpt.storage.memory import MemoryStore

        del path
        store = MemoryStore("benchmark")
        store.put(join("step", attempt_marker_key(ATTEMPT)), b"{}")
        commit = Commit(store, "step", ("benchmark", "1"), {}, None, ATTEMPT)
        try:
            _commit(commit, self._packed, {}, SaveOptions())
        finally:
            for info in list(store.list("step/")):
                store.delete(info.key)


class _Nothing:
    """The source of a shard that nobody writes."""

    nbytes = ROW


def _packed_tables(writers: int, shards: int) -> Iterator[bytes]:
    """What each writer would send: ``shards`` tensors in rows, one row for each writer."""
    from pyckpt.engine.fingerprint import Groups
    from pyckpt.engine.leaves import ItemState, Piece, TensorLeaf
    from pyckpt.engine.options import SaveOptions
    from pyckpt.engine.save_plan import plan_objects, plan_shards
    from pyckpt.engine.slots import number_leaves
    from pyckpt.engine.stored import StoredObject
    from pyckpt.engine.table import WriterTable, item_table, pack_table
    from pyckpt.format.geometry import Box, Region

    options, alone = SaveOptions(), Groups((0,), (0,))
    piece: Any = Piece(Region.of_box(Box((0, 0), (1, ROW))), _Nothing())  # type: ignore[arg-type]
    leaves = {f"layers.{number}.weight": TensorLeaf("U8", (writers, ROW), (piece,), ()) for number in range(shards)}
    item = ItemState("model", "model", leaves)
    slots = number_leaves(item)
    own = plan_shards([(item, slots)], rank=0, groups={"model": alone}, options=options)["model"]
    objects = plan_objects(
        "model", slots, own, attempt=ATTEMPT, rank=0, size=writers, first=0, threads=1, options=options
    )
    noise = np.random.default_rng(0)
    stored = []
    for each in objects:
        sizes = tuple(shard.nbytes for shard in each.shards)
        digests = noise.bytes(32 * len(sizes))
        stored.append(StoredObject(each, each.size, len(each.header), bytes(32), digests, sizes, None, None))
    table = item_table(item, slots, stored, (), prints=b"", group=(0,), options=options)
    for writer in range(writers):
        boxes = table.rows.box_offset.reshape(-1, 2).copy()
        boxes[:, 0] = writer
        keyed = tuple(replace(row, key=row.key.replace("-00000.", f"-{writer:05d}.")) for row in table.objects)
        rows = replace(table.rows, box_offset=boxes.ravel())
        yield pack_table(WriterTable({"model": replace(table, objects=keyed, rows=rows)}, ROW * shards, ()))


class DcpCommit(Arm):
    """The same work of DCP's coordinator: a global plan of all local ones, checked, and its metadata pickled."""

    def open(self, state: State, target: State) -> None:
        """Makes the local plans."""
        super().open(state, target)
        import torch
        from torch.distributed.checkpoint.default_planner import DefaultSavePlanner
        from torch.distributed.checkpoint.metadata import ChunkStorageMetadata, MetadataIndex, TensorProperties
        from torch.distributed.checkpoint.planner import SavePlan, TensorWriteData, WriteItem, WriteItemType

        writers, shards = self.options["writers"], self.options["shards"]
        size, properties = torch.Size((writers, ROW)), TensorProperties(dtype=torch.uint8)
        self._plans = []
        for writer in range(writers):
            first, part = torch.Size((writer, 0)), torch.Size((1, ROW))
            items = [
                WriteItem(
                    MetadataIndex(f"layers.{number}.weight", first),
                    WriteItemType.SHARD,
                    tensor_data=TensorWriteData(ChunkStorageMetadata(first, part), properties, size),
                )
                for number in range(shards)
            ]
            self._plans.append(SavePlan(items, planner_data={}))
        self._planner = DefaultSavePlanner

    def ways(self, step: str) -> Ways:
        """One way to work."""
        return {"": self._commit} if step == "work" else {}

    def _commit(self, path: str) -> None:
        del path
        _, metadata = self._planner().create_global_plan(self._plans)
        pickle.dumps(metadata)


class PyckptManifest(Arm):
    """A manifest of ``shards`` shards in a thousand tensors: built, encoded, opened and checked, asked, tiled."""

    kind = "pyckpt"

    def open(self, state: State, target: State) -> None:
        """Makes the manifest and its stored form."""
        super().open(state, target)
        from pyckpt.format.manifest import compress_manifest, encode_manifest

        self._manifest = self._build()
        raw = encode_manifest(self._manifest)
        self._raw_bytes, self._stored = len(raw), compress_manifest(raw)

    def settings(self) -> dict[str, Any]:
        """Sizes, too."""
        return {**self.options, "raw_bytes": self._raw_bytes, "stored_bytes": len(self._stored)}

    def ways(self, step: str) -> Ways:
        """One after the other, each measured."""
        if step != "work":
            return {}
        return {
            "build": self._work(self._build),
            "encode": self._work(self._encode),
            "open": self._work(partial(self._open, check=False)),
            "open and check the tiling": self._work(partial(self._open, check=True)),
            "find a tensor 1,000 times": self._work(self._find),
        }

    def _work(self, function: Any) -> Any:
        return lambda path: function() and None

    def _build(self) -> Any:
        from benchmarks.metadata import manifest_of

        tensors = min(1000, self.options["shards"])
        return manifest_of(tensors, self.options["shards"] // tensors)

    def _encode(self) -> Any:
        from pyckpt.format.manifest import compress_manifest, encode_manifest

        return compress_manifest(encode_manifest(self._manifest))

    def _open(self, *, check: bool) -> Any:
        from pyckpt.format.manifest import decode_manifest, decompress_manifest
        from pyckpt.format.manifest_check import check_manifest

        raw = decompress_manifest(self._stored, self._raw_bytes)
        manifest = decode_manifest(raw, item="model", attempt=ATTEMPT)
        if check:
            check_manifest(manifest)
        return manifest

    def _find(self) -> None:
        shards = self._manifest.shards
        for number in range(1000):
            shards.region(number * 7919 % len(shards))
