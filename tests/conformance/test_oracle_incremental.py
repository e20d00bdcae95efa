"""What pyckpt saves by reference, as the oracle reads it: an implementation that shares no code with it."""

from __future__ import annotations

import numpy as np
import pytest

import pyckpt
from conformance.oracle.opening import open_root
from conformance.oracle.reach import reached
from conformance.oracle.store import DirectoryStore
from conformance.oracle.verify import verify


@pytest.mark.parametrize("codecs", [["none", "none", "none"], ["zstd", "none", "planes"]])
def test_references_are_sound(tmp_path, monkeypatch, codecs):
    """SCF-REF-004, SCF-REF-005, SCF-OBJ-008: rows, headers and blocks of the origin; external is what is used."""
    monkeypatch.setattr("pyckpt.frameworks._torch_wanted", lambda: False)
    base = np.random.default_rng(0).standard_normal(9000).round(2)
    for step, codec in enumerate(codecs):
        late = np.zeros(5000)
        late[step:] = step // 2
        state = {"model": {"base": base, "tied": base, "late": late, "tiny": np.arange(3), "step": np.full(4, step)}}
        options = pyckpt.SaveOptions(reference="newest", codec=codec, block_bytes=4096)
        pyckpt.save(tmp_path / f"s{step}", state, options=options, assets={"model": {"config.json": b"{}"}})
    pyckpt.save(tmp_path / "s3", {"x": {"v": base}}, carry={"model": "s2", "old": ("s1", "model")})
    store = DirectoryStore(str(tmp_path))
    needs = {}
    for name in ("s0", "s1", "s2", "s3"):
        assert verify(store, name, deep=True) == []
        root = open_root(store, name)
        needs[name] = set(root.external)
        assert needs[name] == {key.partition("/")[0] for key in reached(store, root)} - {name}
    assert needs == {"s0": set(), "s1": {"s0"}, "s2": {"s0"}, "s3": {"s0", "s1", "s2"}}
