import shutil

import numpy as np
import pytest

import pyckpt
from pyckpt.engine.copy import copy_checkpoint
from pyckpt.storage.local import LocalStore

from .conftest import flip


@pytest.fixture
def tiers(tmp_path):
    stores = [LocalStore(tmp_path / name) for name in ("fast", "slow", "cold")]
    for step in (1, 2, 3, 4, 5):
        pyckpt.save(f"{stores[0].url}/step-{step}", {"m": {"w": np.full(500, step)}}, metadata={"step": step})
    for step in (1, 2, 3, 4):
        copy_checkpoint(stores[0], f"step-{step}", stores[1])
    next((tmp_path / "slow" / "step-3").rglob("*.safetensors")).unlink()
    flip(tmp_path / "slow" / "step-2" / "checkpoint.json", 40)
    (tmp_path / "slow" / "step-4" / "checkpoint.json").unlink()
    return [store.url for store in stores]


def test_each_checkpoint_has_a_state_on_each_tier(run, tiers):
    ran = run("list", *tiers)
    assert ran.status == 1
    lines = ran.out.splitlines()
    assert lines[0].split() == ["tier", "0", tiers[0]]
    rows = {words[0]: words[5:] for words in map(str.split, lines) if words and words[0].startswith("step-")}
    assert rows == {
        "step-5": ["complete", "-", "-"],
        "step-4": ["complete", "copying", "-"],
        "step-3": ["complete", "1", "missing", "objects", "-"],
        "step-2": ["complete", "damaged", "root", "-"],
        "step-1": ["complete", "complete", "-"],
    }
    assert list(rows) == ["step-5", "step-4", "step-3", "step-2", "step-1"]


def test_states_as_json(run, tiers, tmp_path):
    value = run("list", *tiers, "--json").json
    assert value["stores"] == tiers
    first = value["checkpoints"][0]
    assert (first["name"], first["step"], first["sequence"]) == ("step-5", 5, 5)
    assert first["digest"] == pyckpt.open(f"{tiers[0]}/step-5").digest
    states = {each["name"]: [tier["state"] for tier in each["tiers"]] for each in value["checkpoints"]}
    assert states["step-3"] == ["complete", "missing objects", "absent"]
    assert value["checkpoints"][2]["tiers"][1] == {
        "store": tiers[1],
        "state": "missing objects",
        "findings": 1,
        "error": "object.missing",
    }
    # A step that was saved anew is another checkpoint, and a first tier that is gone is no error of the command.
    pyckpt.delete(f"{tiers[0]}/step-1")
    pyckpt.save(f"{tiers[0]}/step-1", {"m": {"w": np.zeros(5)}})
    states = [
        [tier["state"] for tier in each["tiers"]]
        for each in run("list", *tiers, "--json").json["checkpoints"]
        if each["name"] == "step-1"
    ]
    assert states == [["complete", "absent", "absent"], ["absent", "complete", "absent"]]
    shutil.rmtree(tiers[0])
    ran = run("list", *tiers, "--json")
    assert {each["name"]: each["tiers"][1]["state"] for each in ran.json["checkpoints"]}["step-1"] == "complete"
    assert ran.json["checkpoints"][-1]["name"] == "step-2"
    assert ran.json["checkpoints"][-1]["digest"] is None


def test_a_store_that_does_not_answer_is_unknown(run, tiers, monkeypatch):
    from pyckpt.errors import StoreError

    def off(self, *arguments):
        raise StoreError("store.io", "down", key=self.url)

    listing = LocalStore.list_names
    monkeypatch.setattr(
        LocalStore, "list_names", lambda self, prefix: off(self) if self.url == tiers[1] else listing(self, prefix)
    )
    ran = run("list", *tiers, "--json")
    assert ran.status == 1
    assert {each["tiers"][1]["state"] for each in ran.json["checkpoints"]} == {"unknown"}
    monkeypatch.setattr(LocalStore, "list_names", off)
    assert run("list", *tiers).status != 0
