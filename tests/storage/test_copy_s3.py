"""Copies to, from and within a real S3 server, and through fsspec."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import fsspec
import numpy as np
import pytest

import pyckpt
from pyckpt.engine.copy import copy_checkpoint
from pyckpt.engine.verify import verify
from pyckpt.errors import Corrupt
from pyckpt.storage.fsspec_store import FsspecStore
from pyckpt.storage.local import LocalStore
from pyckpt.storage.url import open_store
from tests.durability.carried import save_carriers
from tests.durability.test_copy import contents

MIB = 1 << 20


@pytest.fixture
def saved(tmp_path):
    """A checkpoint of 24 MiB, in an object larger than a chunk and a part, and small ones."""
    rng = np.random.default_rng(0)
    state = {"model": {f"w{n}": rng.integers(0, 255, 3 * MIB + n, np.uint8) for n in range(8)}, "step": {"n": 1}}
    pyckpt.save(tmp_path / "run/step_1", state, assets={"model": {"config.json": b"{}"}})
    return LocalStore(tmp_path / "run")


def test_local_to_s3_to_memory_to_local(saved, tmp_path, weed_place, weed_environment):
    store = open_store(f"s3://{weed_place}")
    first = copy_checkpoint(saved, "step_1", store, threads=4)
    assert contents(store) == contents(saved)
    assert pyckpt.latest(f"s3://{weed_place}") == first.url == f"s3://{weed_place}/step_1"
    memory = open_store(f"memory://{weed_place}")
    second = copy_checkpoint(store, "step_1", memory, threads=4)
    back = open_store(tmp_path / "back")
    third = pyckpt.copy(second.url, tmp_path / "back/step_1")
    assert contents(back) == contents(saved)
    assert first.digest == second.digest == third.digest
    assert first.sent == second.sent == third.sent
    other = open_store(f"s3://{weed_place}-2")
    assert copy_checkpoint(store, "step_1", other).sent == first.sent
    assert verify(other, "step_1").ok


def test_a_copy_to_s3_sends_what_is_missing(saved, weed_place, weed_environment):
    store = open_store(f"s3://{weed_place}")
    copy_checkpoint(saved, "step_1", store)
    whole = contents(store)
    largest = max(whole, key=lambda key: len(whole[key]))
    store.delete("step_1/checkpoint.json")
    store.delete(largest)
    assert copy_checkpoint(saved, "step_1", store).sent == len(whole[largest]) + len(whole["step_1/checkpoint.json"])
    store.delete("step_1/checkpoint.json")
    bad = bytearray(whole[largest])
    bad[-1] ^= 1
    store.put(largest, bad)
    copy_checkpoint(saved, "step_1", store)
    assert contents(store) == whole


def test_damage_on_s3_is_not_copied(saved, tmp_path, weed_place, weed_environment):
    store = open_store(f"s3://{weed_place}")
    copy_checkpoint(saved, "step_1", store)
    key = max(store.list("step_1/"), key=lambda info: info.size).key
    data = bytearray(store.get(key, limit=64 * MIB))
    data[20 * MIB] ^= 1
    store.put(key, data)
    with pytest.raises(Corrupt) as caught:
        copy_checkpoint(store, "step_1", LocalStore(tmp_path / "back"))
    assert (caught.value.code, caught.value.key) == ("block.digest", key)
    assert not [path for path in (tmp_path / "back").rglob("*") if path.is_file()]


def test_through_fsspec(tmp_path):
    source = LocalStore(tmp_path / "run")
    save_carriers(source)
    store = FsspecStore((fsspec.filesystem("memory"), "/copies"))
    copy_checkpoint(source, "step_2", store)
    back = LocalStore(tmp_path / "back")
    copy_checkpoint(store, "step_2", back)
    assert contents(back) == contents(store)
    assert verify(back, "step_2").ok


SCRIPT = """
import sys
import pyckpt
print("begun", flush=True)
pyckpt.copy(sys.argv[1], sys.argv[2], threads=2)
"""


def test_a_process_that_is_killed_goes_on_where_it_stopped(tmp_path, weed_place, weed_environment):
    state = {"model": {f"w{n}": np.full(2 * MIB, n, np.uint8) for n in range(12)}}
    options = pyckpt.SaveOptions(max_object_bytes=3 * MIB)
    url = f"s3://{weed_place}/step_1"
    digest = pyckpt.save(tmp_path / "run/step_1", state, options=options).digest
    whole = contents(LocalStore(tmp_path / "run"))
    store = open_store(f"s3://{weed_place}")
    for delay in (0.02, 0.08):
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(tmp_path / "run/step_1"), url], stdout=subprocess.PIPE, env=os.environ
        )
        assert process.stdout.readline()
        time.sleep(delay)
        process.kill()
        process.communicate()
    kept = contents(store)
    assert kept.items() <= whole.items()
    report = pyckpt.copy(tmp_path / "run/step_1", url)
    assert report.digest == digest
    if not report.already_there:
        assert report.sent == sum(map(len, whole.values())) - sum(map(len, kept.values()))
    assert contents(store) == whole
