"""NumPy arrays of any strides and dtypes as targets of a load, without a second array of their size."""

from __future__ import annotations

import numpy as np
import pytest

import pyckpt
from pyckpt.format.copies import Copy
from pyckpt.numpy import ArraySink

CAST = pyckpt.LoadOptions(framework="numpy", dtype="cast")


@pytest.fixture(autouse=True)
def _numpy_only(monkeypatch):
    monkeypatch.setattr("pyckpt.frameworks._torch_wanted", lambda: False)


@pytest.mark.parametrize("codec", ["none", "planes"])
def test_every_order(tmp_path, codec):
    rng = np.random.default_rng(0)
    saved = rng.standard_normal((40, 60, 70)).astype(np.float32)
    targets = {
        "fortran": np.zeros(saved.shape, np.float32, order="F"),
        "middle": np.zeros((60, 70, 40), np.float32).transpose(2, 0, 1),
        "reversed": np.zeros(saved.shape, np.float32)[::-1, :, ::-1],
        "narrowed": np.zeros((43, 121, 71), np.float32)[2:-1, 1::2, 1:],
        "double": np.zeros(saved.shape, np.float64),
        "half": np.zeros(saved.shape, np.float16, order="F"),
        "big endian": np.zeros(saved.shape, ">f4"),
    }
    state = {"x": dict.fromkeys(targets, saved) | {"scalar": np.array(2.5)}}
    pyckpt.save(tmp_path / "s", state, options=pyckpt.SaveOptions(codec=codec, block_bytes=4096))
    scalar = np.zeros((), np.float32)
    report = pyckpt.load_report(tmp_path / "s", into={"x": targets | {"scalar": scalar}}, options=CAST).report
    for name, target in targets.items():
        assert np.array_equal(target, saved.astype(target.dtype)), name
    assert scalar == 2.5
    assert report.staging > 0


def test_places_that_no_view_can_say():
    """A run by steps of 6 through rows of 5: element by element."""
    array = np.zeros((5, 7), np.float64).T
    ArraySink(array, np.dtype(np.float32)).take(
        memoryview(np.arange(10, dtype=np.float32).tobytes()), (Copy((5,), 1, (2,), 4, (6,)),)
    )
    assert array.reshape(-1)[4:29:6].tolist() == [1, 3, 5, 7, 9]
    assert np.count_nonzero(array) == 5
