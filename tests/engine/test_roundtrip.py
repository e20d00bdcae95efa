"""What is saved comes back bit for bit, whatever digest, codec, block, IO mode and object size were chosen."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import pyckpt
from pyckpt.errors import AlreadyExists, NotFound, PyckptError, StateMismatch, UsageError

NUMPY = pyckpt.LoadOptions(framework="numpy")


def state(seed: int = 0) -> dict[str, dict[str, object]]:
    rng = np.random.default_rng(seed)
    return {
        "model": {
            "layers.0.weight": rng.standard_normal((300, 70)).astype(np.float32),
            "layers.1.weight": rng.standard_normal((70, 300)),
            "half": rng.standard_normal(9001).astype(np.float16),
            "bytes": rng.integers(0, 256, 50_001, dtype=np.uint8),
            "flags": rng.integers(0, 2, 77).astype(bool),
            "scalar": np.array(3.5, np.float32),
            "empty": np.zeros((0, 4), np.int16),
            "complex": (rng.standard_normal(33) + 1j * rng.standard_normal(33)),
            "transposed": np.asfortranarray(rng.standard_normal((40, 50))),
            "nan": np.array([np.nan, -0.0, np.inf, 5e-324]),
        },
        "other": {"step": 7, "name": "run", "list": [1, (2.5, None)], "big": 2**90, "nested": {"a": np.arange(5)}},
    }


def same(a: object, b: object) -> bool:
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


def save(url, value, **options):
    return pyckpt.save(url, value, options=pyckpt.SaveOptions(**options)) if options else pyckpt.save(url, value)


@pytest.fixture(autouse=True)
def _numpy_only(monkeypatch):
    monkeypatch.setattr("pyckpt.frameworks._torch_wanted", lambda: False)


@pytest.mark.parametrize("codec", ["none", "zstd", "planes"])
@pytest.mark.parametrize("digest", ["blake3", "sha256"])
@pytest.mark.parametrize("block", [4096, 1 << 20])
def test_codecs_digests_and_blocks(tmp_path, codec, digest, block):
    url = tmp_path / "step"
    report = save(url, state(), codec=codec, digest=digest, block_bytes=block, threads=2)
    assert same(pyckpt.load(url, options=NUMPY), state())
    found = pyckpt.verify(url)
    assert found.ok, found.findings
    assert report.tensors == 11
    objects = [path for path in tmp_path.rglob("*.safetensors")]
    assert sum(path.stat().st_size for path in objects) == report.written


@pytest.mark.parametrize("io", ["buffered", "writeback", "direct"])
@pytest.mark.parametrize("codec", ["none", "zstd"])
def test_io_modes_write_the_same_bytes(tmp_path, io, codec):
    save(tmp_path / io / "step", state(), io=io, block_bytes=4096, codec=codec, threads=3)
    save(tmp_path / "reference" / "step", state(), io="buffered", block_bytes=4096, codec=codec, threads=1)
    mine = sorted((tmp_path / io).rglob("*.safetensors"))
    other = sorted((tmp_path / "reference").rglob("*.safetensors"))
    assert len(mine) == len(other) == 2
    for a, b in zip(mine, other):
        # the attempt is in the header; the data after it must be equal
        start = int.from_bytes(a.read_bytes()[:8], "little") + 8
        assert a.read_bytes()[start:] == b.read_bytes()[start:]
    assert pyckpt.verify(tmp_path / io / "step").ok


@pytest.mark.parametrize("sizes", [(1,), (4095, 1, 4097), (8 << 20,), ((8 << 20) + 1, 3, 12_345_678), (100_000,) * 90])
def test_direct_io_of_any_sizes(tmp_path, sizes):
    rng = np.random.default_rng(1)
    value = {"w": {str(i): rng.integers(0, 256, size, dtype=np.uint8) for i, size in enumerate(sizes)}}
    save(tmp_path / "step", value, io="direct", threads=2)
    assert pyckpt.verify(tmp_path / "step").ok
    assert same(pyckpt.load(tmp_path / "step", options=NUMPY), value)


def test_many_objects(tmp_path):
    report = save(tmp_path / "step", state(), max_object_bytes=60_000)
    assert len(list(tmp_path.rglob("*.safetensors"))) > 6
    assert same(pyckpt.load(tmp_path / "step", options=NUMPY), state())
    assert report.shards == 11


def test_in_place_and_partial(tmp_path):
    save(tmp_path / "step", state())
    target = {"model": {name: np.zeros_like(array) for name, array in state()["model"].items()}}
    keep = target["model"]["half"]
    pyckpt.load(tmp_path / "step", into=target)
    assert same(target["model"], state()["model"])
    assert target["model"]["half"] is keep
    assert same(pyckpt.load(tmp_path / "step", items=["other"], options=NUMPY), {"other": state()["other"]})


def test_all_mismatches_at_once_and_nothing_touched(tmp_path):
    save(tmp_path / "step", state())
    target = {"model": {name: np.zeros_like(array) for name, array in state()["model"].items()}}
    target["model"]["half"] = np.zeros(5, np.float16)
    target["model"]["flags"] = np.zeros(77, np.int8)
    target["model"]["layer.0.weight"] = target["model"].pop("layers.0.weight")
    with pytest.raises(StateMismatch) as caught:
        pyckpt.load(tmp_path / "step", into=target)
    text = str(caught.value)
    for word in ("half", "[9001]", "flags", "BOOL", "layer.0.weight", "layers.0.weight"):
        assert word in text
    assert not target["model"]["layers.1.weight"].any()


def test_names_are_taken_once(tmp_path):
    save(tmp_path / "step", state())
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(AlreadyExists) as caught:
        save(tmp_path / "step", state(1))
    assert caught.value.code == "checkpoint.exists"
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def test_assets_and_metadata(tmp_path):
    (tmp_path / "tokenizer.json").write_bytes(b"{}\r\n\xff")
    metadata = {"step": 3, "loss": float("nan"), "tokens": 2**63, "tags": ["a", None, True], "$odd": {"x": -0.0}}
    pyckpt.save(
        tmp_path / "run" / "step",
        state(),
        metadata=metadata,
        assets={"model": {"config.json": b"{}", "tok/tokenizer.json": tmp_path / "tokenizer.json"}},
    )
    opened = pyckpt.open(tmp_path / "run" / "step", framework="numpy")
    assert repr(opened.metadata) == repr(metadata)
    assert (tmp_path / "run/step/model/tok/tokenizer.json").read_bytes() == b"{}\r\n\xff"
    assert pyckpt.verify(opened.url).ok
    (tmp_path / "run/step/model/tok/tokenizer.json").write_bytes(b"{}\r\n\xfe")
    assert [finding.code for finding in pyckpt.verify(opened.url).findings] == ["asset.digest"]


def test_pinned_digest(tmp_path):
    report = save(tmp_path / "step", state())
    assert pyckpt.open(tmp_path / "step", framework="numpy", expect=report.digest).digest == report.digest
    with pytest.raises(PyckptError) as caught:
        pyckpt.load(tmp_path / "step", options=pyckpt.LoadOptions(expect="0" * 64, framework="numpy"))
    assert caught.value.code == "root.digest"


def test_stale_snapshot_is_noticed(tmp_path):
    first = save(tmp_path / "step_1", state())
    same_again = save(tmp_path / "step_2", state())
    fresh = save(tmp_path / "step_3", state(1))
    assert first.warnings == fresh.warnings == ()
    assert same_again.unchanged_shards == same_again.compared_shards > 0
    assert "stale" in same_again.warnings[0]
    assert (first.sequence, same_again.sequence, fresh.sequence) == (1, 2, 3)


def test_usage_errors(tmp_path):
    with pytest.raises(UsageError):
        pyckpt.SaveOptions(digest="md5")
    with pytest.raises(UsageError):
        pyckpt.SaveOptions(block_bytes=5000)
    with pytest.raises(NotFound):
        pyckpt.load(tmp_path / "nothing", options=NUMPY)
    save(tmp_path / "step", state())
    with pytest.raises(NotFound) as caught:
        pyckpt.load(tmp_path / "step", items=["modell"], options=NUMPY)
    assert "model" in str(caught.value)


def test_lazy_reads_touch_only_the_blocks_they_need(tmp_path, monkeypatch):
    from pyckpt.storage.local import LocalStore

    rows, columns = 512, 1024
    weight = np.arange(rows * columns, dtype=np.float32).reshape(rows, columns)
    save(tmp_path / "step", {"model": {"w": weight, "v": weight}}, block_bytes=4096)
    read = []
    real = LocalStore.open_reader

    def counting(self, key):
        reader = real(self, key)
        inner = reader.read_into

        class Counting:
            size = reader.size
            close = staticmethod(reader.close)

            def __enter__(self):
                return self

            def __exit__(self, *_):
                reader.close()

            @staticmethod
            def read_into(offset, views):
                read.append((key, offset, sum(len(view) for view in views)))
                inner(offset, views)

        return Counting()

    monkeypatch.setattr(LocalStore, "open_reader", counting)
    opened = pyckpt.open(tmp_path / "step", framework="numpy")["model"]["w"]
    assert all(key.endswith((".json", ".zst")) for key, _, _ in read)
    read.clear()
    assert np.array_equal(opened[128:130], weight[128:130])
    assert sum(size for _, _, size in read) == 2 * columns * 4
    for index in itertools.chain(
        [np.s_[...], np.s_[3], np.s_[-1, 5], np.s_[:, 7], np.s_[5:5], np.s_[10:20, 100:110], np.s_[..., 3:4]]
    ):
        assert np.array_equal(opened[index], weight[index])
    read.clear()
    _ = opened[100:101, 0:4]
    assert sum(size for _, _, size in read) == 4096
    with pytest.raises(KeyError):
        pyckpt.open(tmp_path / "step", framework="numpy")["model"]["ww"]


def test_an_array_that_shares_memory_is_stored_once(tmp_path):
    shared = np.ones((64, 64))
    report = save(tmp_path / "step", {"model": {"a": shared, "b": shared}})
    assert report.tensors == 1
    loaded = pyckpt.load(tmp_path / "step", options=NUMPY)["model"]
    assert loaded["a"] is loaded["b"]
