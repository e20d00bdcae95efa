"""Checkpoints that use objects of others, made by hand from saves of the same state."""

from __future__ import annotations

import numpy as np

from pyckpt.engine.coordinator import Single
from pyckpt.engine.leaves import ItemState
from pyckpt.engine.save import Request, save
from pyckpt.storage.base import Store
from tests.durability.forge import change_manifest, change_root, read_manifest, read_root
from tests.durability.kill_points import OPTIONS, save_one
from tests.durability.two_writers import PROGRAM, whole


def carry_item(store: Store, origin: str, name: str, item: str) -> None:
    """Makes ``name`` carry over an item of ``origin`` whole, assets included; its own objects become garbage."""
    entry = read_root(store, origin)["items"][item]
    for descriptor in (entry["manifest"], *entry["assets"].values()):
        descriptor["store_key"] = f"{origin}/{descriptor.pop('key')}"
    change_root(store, name, lambda root: root["items"].update({item: entry}))
    use(store, origin, name)


def use(store: Store, origin: str, name: str) -> None:
    """Lists ``origin`` in the root's ``external``."""
    digest = read_root(store, origin)["digest"]
    change_root(store, name, lambda root: root.update(external=[{"checkpoint": origin, "digest": digest}]))


def refer(store: Store, origin: str, name: str, item: str) -> None:
    """Makes the only object of an item one of ``origin``, of which it uses the first entry."""
    theirs = read_manifest(store, origin, item)["objects"][0]

    def change(record):
        row = record["objects"][0]
        row.pop("key")
        record["objects"][0] = {**row, **{k: v for k, v in theirs.items() if k != "key"}}
        record["objects"][0]["store_key"] = f"{origin}/{theirs['key']}"
        record["shards"]["columns"]["offset"] = theirs["data_start"].to_bytes(8, "little")

    use(store, origin, name)
    change_manifest(store, name, item, change)


def save_first_entry(store: Store, name: str) -> None:
    """Saves of what ``save_one`` saves only the tensor that comes first in the model's object."""

    def collect():
        b = np.full(600, 1, dtype="<i8").tobytes()[:8]
        return [ItemState("model", "model", {"b": whole("I64", (), b)}), ItemState("numbers", "other", {"seed": 1})]

    save(store, name, Request(collect, {"seed": 1}, {}, PROGRAM), options=OPTIONS, coordinator=Single())


def save_carriers(store: Store) -> None:
    """``step_1``; ``step_2``, which carries over an item of it; ``step_3``, which uses part of an object of it."""
    save_one(store, "step_1")
    save_one(store, "step_2")
    carry_item(store, "step_1", "step_2", "model")
    save_first_entry(store, "step_3")
    refer(store, "step_1", "step_3", "model")
