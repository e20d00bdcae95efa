"""Small checkpoints with something of everything, in memory, and the places that their bytes belong to."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pyckpt.engine.coordinator import Single
from pyckpt.engine.leaves import ItemState
from pyckpt.engine.load import load
from pyckpt.engine.open import open_root
from pyckpt.engine.options import LoadOptions, SaveOptions
from pyckpt.format.geometry import Region
from pyckpt.format.tree import DTypeName
from pyckpt.storage.base import Store
from pyckpt.storage.memory import MemoryStore
from tests.durability.two_writers import BytesBinder, columns, leaf, pattern, save_by_threads, whole

NAME = "step_1"
OPTIONS = LoadOptions(framework="numpy", threads=1, collective=False)
METADATA = {"step": 7, "loss": 0.125, "name": "ünïcode", "nan": float("inf"), "big": 2**80, "deep": [{"a": [None, True]}]}
ASSETS = {"model": {"config.json": b'{"layers": 2}', "sub/empty.txt": b""}}


def floats(count: int, seed: int) -> bytes:
    """Distinct finite numbers, F32."""
    return b"".join(struct.pack("<f", seed + at / 8) for at in range(count))


def _two_ranks(rank: int) -> list[ItemState]:
    w = floats(24, 3)
    flat = pattern(20, 4)
    halves = [columns(w, (4, 6), 4, 0, 3), columns(w, (4, 6), 4, 3, 6)]
    runs = [(Region.flat((10,), 0, 4), flat[:8]), (Region.flat((10,), 4, 10), flat[8:])]
    boxed = leaf("F32", (4, 6), [halves[rank]])
    tree: dict[str | int, Any] = {
        "w": boxed,
        "tied": boxed,
        "flat": leaf("BF16", (10,), [runs[rank]]),
        # plain on both, but the second writer has one plain tensor more: one copy is dropped and stays unassigned
        "plain": whole("I64", (3,), pattern(24, 5), replicas=None),
    }
    if rank == 0:
        tree |= {
            "scalar": whole("F64", (), pattern(8, 6)),
            "empty": whole("F32", (0, 5), b""),
            "bool": whole("BOOL", (3,), b"\1\0\1"),
            "f8": whole("F8_E4M3", (5,), pattern(5, 7)),
            "f4": whole("F4", (4, 2), pattern(4, 8)),
            "complex": whole("C128", (2,), pattern(32, 9)),
        }
    else:
        tree |= {"second": whole("U16", (2, 2), pattern(8, 10), replicas=None)}
    numbers: dict[str | int, Any] = {"epoch": 3, "best": -0.0, 5: (1, [2.5, None], b"raw"), "names": frozenset({"a", "b"})}
    numbers |= {"z": 1j, "large": -(2**70), "dtype": DTypeName("BF16")}
    return [ItemState("model", "model", tree), ItemState("numbers", "other", numbers)]


def _encoded(rank: int) -> list[ItemState]:
    del rank
    planes: dict[str | int, Any] = {"p": whole("F32", (1100,), floats(1100, 1))}
    frames: dict[str | int, Any] = {"z": whole("I64", (600,), np.arange(600, dtype="<i8").tobytes())}
    return [ItemState("planes", "optimizer", planes), ItemState("frames", "other", frames)]


@dataclass(slots=True)
class Case:
    """A committed checkpoint that can be damaged and mended."""

    store: MemoryStore
    objects: dict[str, bytes]
    """Every key of the store with its bytes."""
    saved: dict[str, Any]
    """What a load gives."""
    spans: dict[str, list[tuple[int, int, str]]] = field(default_factory=dict)
    """By key of a data object: first byte, end, and ``header``, ``read`` or ``unassigned``."""

    @property
    def url(self) -> str:
        return f"{self.store.url}/{NAME}"

    def kinds(self) -> dict[str, str]:
        """Short name that is the same in every process -> key."""
        named: dict[str, str] = {}
        for key in sorted(self.objects):
            _, item, *rest = key.split("/") if key.count("/") > 1 else (*key.split("/"), "")
            last = "/".join(rest)
            if item == "checkpoint.json":
                named["root"] = key
            elif last.startswith("manifest-"):
                named[f"manifest:{item}"] = key
            elif last.endswith(".safetensors"):
                named[f"object:{item}:{last[17:22]}"] = key
            else:
                named[f"asset:{item}:{last}"] = key
        return named

    def part_of(self, key: str, at: int) -> str:
        """What a byte of a data object is."""
        return next(part for first, last, part in self.spans[key] if first <= at < last)


def build(name: str, case: str) -> Case:
    """The checkpoint ``sharded`` (two writers, blake3) or ``encoded`` (planes and zstd, sha256) in a memory store."""
    store = MemoryStore(name)
    store.clear()
    if case == "sharded":
        states: list[Callable[[], list[ItemState]]] = [lambda: _two_ranks(0), lambda: _two_ranks(1)]
        options = SaveOptions(block_bytes=4096, threads=1)
        outcomes = save_by_threads(store, NAME, states, metadata=METADATA, assets=ASSETS, options=options)
    else:
        options = SaveOptions(
            digest="sha256", block_bytes=4096, threads=1, codec={"planes": "planes", "frames": "zstd"}
        )
        outcomes = save_by_threads(store, NAME, [lambda: _encoded(0)], metadata=METADATA, options=options)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
    objects = {info.key: store.get(info.key, limit=1 << 20) for info in store.list("")}
    made = Case(store, objects, load_bytes(store))
    opened = open_root(store, NAME)
    for item in opened.root.items:
        manifest, keys = opened.item(item).manifest, opened.item(item).object_keys
        for row, key in zip(manifest.objects, keys, strict=True):
            made.spans[key] = [(0, row.data_start, "header")]
        table = manifest.shards
        for shard in range(len(table)):
            start = int(table.offset[shard])
            part = "read" if shard < table.assigned else "unassigned"
            made.spans[keys[int(table.object[shard])]].append((start, start + int(table.stored[shard]), part))
    return made


def load_bytes(store: Store, items: Sequence[str] | None = None) -> dict[str, Any]:
    """The items, by default all, as trees of bytes."""
    return dict(
        load(store, NAME, None, BytesBinder(), items=items, options=OPTIONS, coordinator=Single()).values
    )
