"""What the tests of crashes share: a small save, children that die at a given call, and what must hold afterwards."""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from pyckpt.engine.collect import collect_garbage
from pyckpt.engine.coordinator import Single
from pyckpt.engine.leaves import ItemState
from pyckpt.engine.listing import list_checkpoints
from pyckpt.engine.open import descriptor_key, open_root
from pyckpt.engine.options import SaveOptions
from pyckpt.engine.report import SaveReport
from pyckpt.engine.save import Request, save
from pyckpt.engine.verify import verify
from pyckpt.storage.base import Store
from pyckpt.storage.local import LocalStore
from tests.durability.two_writers import PROGRAM, whole

OPTIONS = SaveOptions(threads=1, block_bytes=4096, codec={"packed": "zstd"})
FOREIGN = {
    "notes.txt": b"mine",
    "plots/loss.png": b"mine too",
    "step_1/README": b"in a checkpoint",
    "step_1/model/extra.bin": b"beside objects",
    "step_2/model/0123.safetensors": b"like an object, but not quite",
    ".hidden/x": b"?",
}
"""Files of somebody else in the store."""


def items(seed: int) -> Callable[[], Sequence[ItemState]]:
    """A model, an item with a codec, and one without tensors; other values for other seeds."""

    def collect() -> Sequence[ItemState]:
        w = (np.arange(300, dtype="<f4") + seed).tobytes()
        z = np.full(600, seed, dtype="<i8").tobytes()
        return [
            ItemState("model", "model", {"w": whole("F32", (300,), w), "b": whole("I64", (), z[:8])}),
            ItemState("packed", "optimizer", {"z": whole("I64", (600,), z)}),
            ItemState("numbers", "other", {"seed": seed}),
        ]

    return collect


def save_one(store: Store, name: str, seed: int = 1) -> SaveReport:
    """Saves alone, with an asset."""
    assets = {"model": {"config.json": b"%d" % seed, "vocab/a.txt": b"same"}}
    request = Request(items(seed), {"seed": seed}, assets, PROGRAM)
    return save(store, name, request, options=OPTIONS, coordinator=Single())


def reachable(store: Store, name: str) -> set[str]:
    """Every key that a checkpoint consists of."""
    opened = open_root(store, name)
    keys = {f"{name}/checkpoint.json"}
    for item, entry in opened.root.items.items():
        keys.add(descriptor_key(name, entry.manifest))
        keys |= {descriptor_key(name, asset) for asset in entry.assets.values()}
        keys |= set(opened.item(item).object_keys)
    return keys


def check_listed(store: Store, expected: set[str]) -> None:
    """Exactly these checkpoints exist, and each is whole."""
    listed = list_checkpoints(store)
    assert {each.name for each in listed} == expected
    for each in listed:
        assert each.error is None, each.error
        report = verify(store, each.name, threads=1)
        assert report.ok, report.findings
        assert each.root is not None
        assert open_root(store, each.name).item("numbers").tree["seed"] == each.root.metadata["seed"]


def committed(store: Store) -> set[str]:
    """Names that have a root, by the plainest of looks."""
    return {info.key.split("/")[0] for info in store.list("") if info.key.endswith("/checkpoint.json")}


ASSETS = {"model/config.json", "model/vocab/a.txt"}


def check_collected(store: Store, root: Path | None = None, died: str = "") -> None:
    """Collection leaves exactly what the committed checkpoints consist of, and other people's files.

    ``died`` names a checkpoint whose save died: its assets look like anybody's files, and may stay.
    """
    collect_garbage(store, grace=0)
    expected = set().union(*(reachable(store, name) for name in committed(store)))
    foreign = dict(FOREIGN) if root is not None else {}
    keys = {info.key for info in store.list("")}
    assert keys >= expected | set(foreign)
    left = keys - expected - set(foreign) - {f"{died}/{asset}" for asset in ASSETS}
    # a tombstone stays while its name has a root, be it another one
    names = committed(store)
    assert not {key for key in left if not any(key.startswith(f".tombstones/{name}.") for name in names)}
    for key, data in foreign.items():
        assert store.get(key, limit=100) == data
    if root is not None:
        assert isinstance(store, LocalStore)
        store.remove_leftovers(store.now() + 1)
        assert {str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir()} == keys
        kept = {str(parent) for key in keys for parent in Path(key).parents}
        assert {str(path.relative_to(root)) for path in root.rglob("*") if path.is_dir()} <= kept


def add_foreign(root: Path) -> None:
    """Puts somebody else's files into the store's directory."""
    for key, data in FOREIGN.items():
        path = root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def killed(act: Callable[[], object]) -> bool:
    """Runs ``act`` in a child; True if it was killed, False if it came to its end."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        number = os.fork()
    if number == 0:
        code = 1
        try:
            act()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(number, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0
    return False
