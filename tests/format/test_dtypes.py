from __future__ import annotations

import dataclasses
import json
import struct

import numpy as np
import pytest
from safetensors import SafetensorError, safe_open

from pyckpt.errors import Unsupported, UsageError
from pyckpt.format.dtypes import DTYPES, DType, byte_count, dtype_of, is_whole_bytes


def test_registry_is_complete():
    assert set(DTYPES) == {
        "BOOL", "U8", "I8", "U16", "I16", "F16", "BF16", "U32", "I32", "F32", "U64", "I64", "F64", "C64", "F8_E4M3", "F8_E5M2",
        "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "F4", "F6_E2M3", "F6_E3M2", "C32", "C128",
    }  # fmt: skip
    assert all(name == dtype.name for name, dtype in DTYPES.items())


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=lambda dtype: dtype.name)
def test_containers_are_consistent(dtype):
    container = DTYPES[dtype.container]
    assert container.lanes == 1
    assert container.bits * dtype.lanes == dtype.bits
    assert dtype.item == container.item == max(1, container.bits // 8)


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=lambda dtype: dtype.name)
def test_the_reference_library_agrees_on_sizes(dtype, tmp_path):
    shape = [8, *([dtype.lanes] if dtype.lanes > 1 else [])]

    def opens(size):
        header = json.dumps({"x": {"dtype": dtype.container, "shape": shape, "data_offsets": [0, size]}}).encode()
        path = tmp_path / "x.safetensors"
        path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(size))
        try:
            with safe_open(path, "numpy") as file:
                return list(file.keys()) == ["x"]
        except SafetensorError:
            return False

    size = byte_count(dtype, 8)
    assert opens(size)
    assert not opens(size + 1)


@pytest.mark.parametrize(
    ("name", "numpy_dtype"),
    [("BOOL", "?"), ("U8", "u1"), ("I16", "i2"), ("F16", "f2"), ("U32", "u4"), ("F32", "f4"), ("I64", "i8"), ("F64", "f8"), ("C64", "c8"), ("C128", "c16")],
)
def test_numpy_agrees_on_sizes(name, numpy_dtype):
    assert byte_count(dtype_of(name), 7) == np.zeros(7, numpy_dtype).nbytes


@pytest.mark.parametrize("name", ["", "f32", "F31", "float32", "x" * 5000])
def test_unknown_dtype(name):
    with pytest.raises(Unsupported) as caught:
        dtype_of(name)
    assert caught.value.code == "dtype.unsupported"
    assert len(str(caught.value)) < 800


@pytest.mark.parametrize(("name", "elements", "expected"), [("F4", 2, 1), ("F4", 0, 0), ("F6_E2M3", 4, 3), ("C32", 3, 12), ("F64", 2**60, 2**63)])
def test_byte_counts_are_exact(name, elements, expected):
    assert byte_count(dtype_of(name), elements) == expected


@pytest.mark.parametrize(("name", "elements"), [("F4", 1), ("F4", 7), ("F6_E2M3", 2), ("F6_E3M2", 3)])
def test_shared_last_byte(name, elements):
    assert not is_whole_bytes(dtype_of(name), elements)
    with pytest.raises(UsageError) as caught:
        byte_count(dtype_of(name), elements)
    assert caught.value.code == "state.layout"


def test_negative_count():
    with pytest.raises(UsageError, match="usage.invalid"):
        byte_count(dtype_of("F32"), -1)


def test_the_registry_cannot_be_changed():
    with pytest.raises(TypeError):
        DTYPES["X"] = DTYPES["U8"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        DTYPES["U8"].bits = 16
    assert isinstance(DTYPES["U8"], DType)
