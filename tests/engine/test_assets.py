"""Files kept with an item, what a weak store is told, and the paths of the lazy view."""

from __future__ import annotations

import numpy as np
import pytest

import pyckpt
from pyckpt.engine.coordinator import Single
from pyckpt.engine.leaves import ItemState
from pyckpt.engine.options import SaveOptions
from pyckpt.engine.save import Request, save
from pyckpt.errors import Corrupt, NotFound, StoreError
from pyckpt.format.tree import Flattened
from pyckpt.storage.local import LocalStore
from pyckpt.storage.memory import MemoryStore


@pytest.fixture(autouse=True)
def _numpy_only(monkeypatch):
    monkeypatch.setattr("pyckpt.frameworks._torch_wanted", lambda: False)


@pytest.fixture
def url(tmp_path):
    state = {"model": {"w": np.arange(5000, dtype=np.float32)}}
    pyckpt.save(tmp_path / "a", state, assets={"model": {"config.json": b'{"width":64}', "sub/vocab.txt": b"x"}})
    return tmp_path / "a"


def test_assets_come_back(url):
    opened = pyckpt.open(url)
    assert opened.asset_names("model") == ("config.json", "sub/vocab.txt")
    assert opened.asset("model", "config.json") == b'{"width":64}'
    with pytest.raises(NotFound, match="config.json"):
        opened.asset("model", "confg.json")
    with pytest.raises(NotFound) as found:
        opened.asset("other", "config.json")
    assert found.value.code == "item.missing"


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (lambda path: path.write_bytes(b'{"width":65}'), "asset.digest"),
        (lambda path: path.write_bytes(b"{}"), "asset.size"),
        (lambda path: path.write_bytes(b'{"width":64}x'), "asset.size"),
        (lambda path: path.unlink(), "asset.missing"),
    ],
)
def test_damaged_assets_are_refused(url, damage, code):
    damage(url / "model" / "config.json")
    with pytest.raises((Corrupt, NotFound)) as found:
        pyckpt.open(url).asset("model", "config.json")
    assert found.value.code == code


def test_verification_of_data_can_be_turned_off(url):
    path = next((url / "model").glob("*.safetensors"))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(Corrupt):
        pyckpt.open(url)["model"]["w"][:]
    assert pyckpt.open(url, verify=False)["model"]["w"][:10].tolist() == list(range(10))


class WeakStore(MemoryStore):
    conditional_put = "emulated"


def test_weak_stores_are_refused_until_accepted():
    store = WeakStore("weak")
    request = Request(lambda: [ItemState("model", "model", {"step": 1})], {}, {}, ("test", "0"))
    with pytest.raises(StoreError) as found:
        save(store, "a", request, options=SaveOptions(), coordinator=Single())
    assert found.value.code == "store.condition"
    assert not list(store.list(""))
    report = save(store, "a", request, options=SaveOptions(accept_weak_store=True), coordinator=Single())
    assert report.weak


def test_flattened_values_are_found_by_their_paths(tmp_path):
    tree = {"q": Flattened({"attributes": 1}, {"bits": 8})}
    request = Request(lambda: [ItemState("model", "model", tree)], {}, {}, ("test", "0"))
    assert not save(LocalStore(tmp_path), "a", request, options=SaveOptions(), coordinator=Single()).weak
    node = pyckpt.open(tmp_path / "a")["model"]["q"]
    assert node["inner"]["attributes"] == 1
    assert node["attributes"]["bits"] == 8
