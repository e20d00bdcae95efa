"""Whole saves and loads on stores of fsspec, with and without codecs: its memory, and a server that speaks S3."""

from __future__ import annotations

import numpy as np
import pytest

from pyckpt.engine.coordinator import Single
from pyckpt.engine.load import load
from pyckpt.engine.options import LoadOptions, SaveOptions
from pyckpt.engine.save import Request, save
from pyckpt.engine.verify import verify
from pyckpt.errors import AlreadyExists
from pyckpt.numpy import FreshArrayBinder, collect_numpy
from pyckpt.storage.fsspec_store import FsspecStore


def roundtrip(store):
    rng = np.random.default_rng(0)
    value = {"model": {str(i): rng.standard_normal(5000 * i).astype(np.float32) for i in range(1, 6)}}
    value["x"] = {"step": 1, "t": np.arange(10)}
    for codec in ("none", "zstd"):
        name = f"step_{codec}"
        request = Request(lambda: collect_numpy(value), {"step": 1}, {"model": {"config.json": b"{}"}}, ("test", "0"))
        options = SaveOptions(codec=codec, block_bytes=8192, max_object_bytes=50_000)
        report = save(store, name, request, options=options, coordinator=Single())
        assert report.sequence == (1 if codec == "none" else 2)
        loaded = load(
            store, name, None, FreshArrayBinder(), items=None, options=LoadOptions(), coordinator=Single()
        ).values
        for key, array in value["model"].items():
            assert np.array_equal(loaded["model"][key], array)
        found = verify(store, name)
        assert found.ok, found.findings
        with pytest.raises(AlreadyExists):
            save(store, name, request, options=options, coordinator=Single())
        assert verify(store, name).ok


def test_fsspec_memory():
    roundtrip(FsspecStore("memory://roundtrip/run"))


def test_s3(s3_options):
    import s3fs

    s3fs.S3FileSystem(**s3_options).mkdir("engine-roundtrip")
    roundtrip(FsspecStore("s3://engine-roundtrip/run", **s3_options))
