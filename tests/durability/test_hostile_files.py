"""Things in a store's directory that are no files, lead elsewhere, or are larger than anything should be."""

from __future__ import annotations

import os

import pytest

from pyckpt.engine.listing import list_checkpoints
from pyckpt.engine.open import open_root
from pyckpt.engine.verify import verify
from pyckpt.storage.local import LocalStore
from tests.durability.bounds import bounded
from tests.durability.cases import NAME, load_bytes
from tests.durability.kill_points import save_one


@pytest.fixture
def local(tmp_path):
    opened = LocalStore(tmp_path / "store")
    save_one(opened, NAME)
    (tmp_path / "secret").write_bytes(b"outside the store")
    return tmp_path / "store"


def replaced(path, make):
    if path.is_dir():
        path.rename(path.with_name("moved"))
    else:
        path.unlink()
    make(path)


UNREADABLE = {"store.io"}
ROOT_THINGS = {
    "pipe": (os.mkfifo, UNREADABLE),
    "directory": (lambda path: path.mkdir(), {"checkpoint.missing"}),
    "link to a secret": (lambda path: path.symlink_to(path.parents[2] / "secret"), UNREADABLE),
    "link to nothing": (lambda path: path.symlink_to("nowhere"), UNREADABLE),
    "link to itself": (lambda path: path.symlink_to("checkpoint.json"), UNREADABLE),
    "device": (lambda path: path.symlink_to("/dev/zero"), UNREADABLE),
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("case", ROOT_THINGS)
def test_a_root_that_is_no_file(local, case):
    make, codes = ROOT_THINGS[case]
    save_one(LocalStore(local), "good")
    replaced(local / NAME / "checkpoint.json", make)
    store = LocalStore(local)
    assert bounded(lambda: open_root(store, NAME)) == codes
    assert bounded(lambda: load_bytes(store)) == codes
    assert bounded(lambda: verify(store, NAME)) == codes
    assert [each.name for each in list_checkpoints(store) if each.root is not None] == ["good"]


@pytest.mark.timeout(20)
@pytest.mark.parametrize("thing", ["pipe", "directory", "link to a secret", "device"])
@pytest.mark.parametrize("ending", [".zst", ".safetensors", "config.json"])
def test_an_object_that_is_no_file(local, ending, thing):
    make, _ = ROOT_THINGS[thing]
    path = next(path for path in sorted((local / NAME / "model").iterdir()) if path.name.endswith(ending))
    replaced(path, make)
    store = LocalStore(local)
    kind = {".zst": "manifest", ".safetensors": "object"}.get(ending, "asset")
    codes = {"store.io", f"{kind}.missing"}
    assert bounded(lambda: load_bytes(store)) <= codes
    found = bounded(lambda: verify(store, NAME))
    assert found, "damage went unnoticed"
    assert found <= codes


@pytest.mark.parametrize("part", [NAME, f"{NAME}/model"])
def test_a_directory_that_leads_out_of_the_store(local, part):
    path = local / part
    outside = local.parent / "outside"
    path.rename(outside)
    path.symlink_to(outside)
    store = LocalStore(local)
    assert bounded(lambda: load_bytes(store)) == {"store.io"}
    assert bounded(lambda: verify(store, NAME)) == {"store.io"}
    assert [each.name for each in list_checkpoints(store) if each.root is not None] == ([] if part == NAME else [NAME])


def test_a_root_larger_than_any(local):
    path = local / NAME / "checkpoint.json"
    os.truncate(path, (64 << 20) + 1)
    assert bounded(lambda: open_root(LocalStore(local), NAME)) == {"limit.exceeded"}
    os.truncate(path, 1 << 40)
    assert bounded(lambda: load_bytes(LocalStore(local))) == {"limit.exceeded"}
    assert bounded(lambda: verify(LocalStore(local), NAME)) == {"limit.exceeded"}


def test_a_manifest_larger_than_it_should_be(local):
    path = next((local / NAME / "model").glob("manifest-*"))
    os.truncate(path, 1 << 40)
    assert bounded(lambda: load_bytes(LocalStore(local))) == {"manifest.size"}
