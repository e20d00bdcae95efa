"""The demo's comparison sees what it is there to see."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
import torch

DEMO = Path(__file__).resolve().parents[2] / "examples" / "demo"


@pytest.fixture
def reference(monkeypatch):
    monkeypatch.syspath_prepend(str(DEMO))
    monkeypatch.delitem(sys.modules, "reference", raising=False)
    import reference

    yield reference
    sys.modules.pop("reference", None)


def tensors():
    return {"a": torch.tensor([1.0, -0.0, math.nan]), "b": torch.arange(6, dtype=torch.int16).reshape(2, 3)}


VALUES = {"lr": 0.1, "taken": 3}


def test_equal_bits_are_equal(reference, tmp_path):
    reference.write_reference(tmp_path / "r.safetensors", tensors(), VALUES)
    assert reference.compare(tmp_path / "r.safetensors", tensors(), VALUES) == (2, 24, [])


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda now: now.update(a=torch.tensor([1.0, 0.0, math.nan])), ["a"]),
        (lambda now: now.update(b=now["b"].int()), ["b"]),
        (lambda now: now.update(b=now["b"].reshape(3, 2)), ["b"]),
        (lambda now: now.pop("a"), ["a"]),
        (lambda now: now.update(c=torch.zeros(1)), ["c"]),
    ],
)
def test_any_difference_is_found(reference, tmp_path, change, found):
    reference.write_reference(tmp_path / "r.safetensors", tensors(), VALUES)
    now = tensors()
    change(now)
    assert reference.compare(tmp_path / "r.safetensors", now, VALUES)[2] == found


def test_other_values_are_found(reference, tmp_path):
    reference.write_reference(tmp_path / "r.safetensors", tensors(), VALUES)
    found = reference.compare(tmp_path / "r.safetensors", tensors(), {**VALUES, "taken": 4})[2]
    assert found == ["values that are no tensors"]
