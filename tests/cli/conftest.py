import json
import os
import shutil
from dataclasses import dataclass

import numpy as np
import pytest

import pyckpt
from pyckpt.cli.main import main

from .writers import save_sharded


@dataclass
class Ran:
    status: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs the command line in this process, in a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")

    def run(*args):
        capsys.readouterr()
        status = main([str(arg) for arg in args])
        captured = capsys.readouterr()
        return Ran(status, captured.out, captured.err)

    return run


def layers(count, size=4):
    tensors = {"embed.weight": np.arange(8 * size, dtype=np.float32).reshape(8, size)}
    for number in range(count):
        for name in ("q", "k", "v"):
            tensors[f"layers.{number}.attn.{name}.weight"] = np.full((size, size), number, np.float32)
        tensors[f"layers.{number}.mlp.up.weight"] = np.ones((2 * size, size), np.float16)
        tensors[f"layers.{number}.norm.weight"] = np.ones(size, np.float32)
    tensors["head.weight"] = tensors["embed.weight"]
    return tensors


def state(count=3, shift=0.0):
    model = {name: value + np.asarray(shift, value.dtype) for name, value in layers(count).items()}
    model["head.weight"] = model["embed.weight"]
    moments = {name: {"exp_avg": value * 0, "step": 10 + at} for at, (name, value) in enumerate(model.items())}
    groups = {"0": {"params": frozenset(model), "options": {"lr": 1e-3, "betas": (0.9, 0.95), "foreach": None}}}
    return {
        "model": model,
        "optimizer": {"state": moments, "groups": groups},
        "rng": {"python": list(range(625)), "state": b"\0" * 5000, "text\x1b[31m": "\x1b[1mloud\u202e"},
    }


@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    """A store with two checkpoints; not to be changed."""
    store = tmp_path_factory.mktemp("saved") / "run"
    metadata = {"step": 100, "loss": float("nan"), "metrics": {"accuracy": [0.1, 0.2]}}
    assets = {"model": {"config.json": b"{}", "tokenizer/two words.txt": b"hello", "empty": b""}}
    pyckpt.save(store / "step_100", state(), metadata=metadata, assets=assets)
    pyckpt.save(store / "step_200", state(4, shift=1), metadata={"step": 200, "big": 10**30})
    return store


@pytest.fixture
def store(saved, tmp_path):
    """A copy of that store, to be damaged."""
    shutil.copytree(saved, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture(scope="session")
def sharded(tmp_path_factory):
    """A checkpoint of two writers; not to be changed."""
    store = tmp_path_factory.mktemp("sharded") / "run"
    save_sharded(str(store), "step_7")
    return store / "step_7"


def flip(path, at=-1):
    """Damages one byte of a file."""
    with open(path, "r+b") as file:
        file.seek(at, os.SEEK_END if at < 0 else os.SEEK_SET)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))


def find(folder, pattern):
    """The first file of a checkpoint that matches."""
    return min(folder.rglob(pattern))
