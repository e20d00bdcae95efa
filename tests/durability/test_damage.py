"""Every byte of a checkpoint counts: any one of them changed, cut off, added or gone is found, and never loaded."""

from __future__ import annotations

import json
from concurrent.futures import Future
from functools import lru_cache

import numpy as np
import pytest

import pyckpt
from pyckpt.engine import load as load_module
from pyckpt.engine import open as open_module
from pyckpt.engine import read as read_module
from pyckpt.engine import verify as verify_module
from pyckpt.engine.coordinator import Single
from pyckpt.engine.listing import list_checkpoints
from pyckpt.engine.load import load
from pyckpt.engine.verify import verify
from pyckpt.errors import NotFound, PyckptError
from pyckpt.format.projection import manifest_to_json
from tests.durability.cases import METADATA, NAME, OPTIONS, build, load_bytes
from tests.durability.two_writers import BytesBinder

CASES = ("sharded", "encoded")
ROOT_CODES = {"root.syntax", "root.digest", "version.unsupported"}
MEMO = {}


class Inline:
    """An executor without threads: a hundred thousand checks would spend their time starting them."""

    def __init__(self, *args, **kwargs):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def submit(self, job):
        future = Future()
        try:
            future.set_result(job())
        except BaseException as error:  # noqa: BLE001
            future.set_exception(error)
        return future


def remembered(function, key):
    """A pure function that computes nothing twice; errors are not remembered."""

    def call(*args, **kwargs):
        known = (function.__name__, key(*args, **kwargs))
        if known not in MEMO:
            MEMO[known] = function(*args, **kwargs)
        return MEMO[known]

    return call


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    MEMO.clear()
    monkeypatch.setattr(verify_module, "ThreadPoolExecutor", Inline)
    monkeypatch.setattr(read_module, "ThreadPoolExecutor", Inline)
    decode = remembered(
        open_module.decode_item,
        lambda checkpoint, name, root, data, **options: (checkpoint, name, root.digest, data, repr(options)),
    )
    root = remembered(open_module.decode_root, lambda data, **options: (data, repr(options)))
    header = remembered(
        verify_module.compare_header, lambda manifest, number, shards, data: (manifest.attempt, manifest.item, number, data)
    )
    block = remembered(verify_module.decode_block, lambda chain, data, size: (repr(chain), bytes(data), size))
    pure = {"decode_item": decode, "decode_root": root, "compare_header": header, "decode_block": block}
    for module in (open_module, load_module, verify_module, read_module):
        for name, function in pure.items():
            if hasattr(module, name):
                monkeypatch.setattr(module, name, function)


@lru_cache
def made(case):
    return build(f"damage-{case}", case)


@pytest.fixture(params=CASES)
def case(request):
    whole = made(request.param)
    yield whole
    for key, data in whole.objects.items():
        whole.store.put(key, data)


def place(case, key, at):
    """Which codes a changed byte may show as, and whether a load must do without it."""
    kind = next(kind for kind, named in case.kinds().items() if named == key).split(":")[0]
    if kind == "root":
        if 19 <= at < 83:
            return {"root.digest", "root.syntax"}, True
        return (ROOT_CODES - {"root.digest"} if at < 85 else {"root.digest"}), True
    if kind == "manifest":
        return {"manifest.digest"}, True
    if kind == "asset":
        return {"asset.digest"}, False
    part = case.part_of(key, at)
    return {"object.header_digest"} if part == "header" else {"block.digest"}, part == "read"


def arrays():
    """Targets in the layout of the case ``encoded``."""
    return {"planes": {"p": np.zeros(1100, "f4")}, "frames": {"z": np.zeros(600, "i8")}}


def outcome(case, *, in_place=False, item=None):
    """Error of a load, of one item if it is given, or None if it gave exactly what was saved."""
    try:
        if item is not None:
            assert load_bytes(case.store, [item]) == {item: case.saved[item]}
        elif not in_place:
            assert load_bytes(case.store) == case.saved
        elif "planes" in case.saved:
            into = arrays()
            pyckpt.load(case.url, into=into, options=OPTIONS)
            loaded = {item: {name: a.tobytes() for name, a in values.items()} for item, values in into.items()}
            saved = {item: {name: leaf[2] for name, leaf in values.items()} for item, values in case.saved.items()}
            assert loaded == saved
        else:
            binders = {item: BytesBinder() for item in case.saved}
            done = load(
                case.store, NAME, lambda: binders, BytesBinder(), items=None, options=OPTIONS, coordinator=Single()
            )
            assert dict(done.values) == case.saved
    except PyckptError as error:
        return error
    return None


def look(case):
    """What can be asked without reading data: the root's error if it has one; metadata is never wrong."""
    for listed in list_checkpoints(case.store):
        assert listed.name == NAME
        if listed.root is not None:
            assert dict(listed.root.metadata) == METADATA
    try:
        opened = open_module.open_root(case.store, NAME)
        assert dict(opened.root.metadata) == METADATA
    except PyckptError as error:
        return error
    for item in opened.root.items:
        try:
            json.dumps(manifest_to_json(opened.item(item).manifest))
        except PyckptError as error:
            return error
    return None


def check_flip(case, key, at, mask):
    data = bytearray(case.objects[key])
    data[at] ^= mask
    case.store.put(key, data)
    codes, needed = place(case, key, at)
    where = f"{key} byte {at} ^ {mask:#x}"
    found = verify(case.store, NAME, threads=1).findings
    assert [finding.code in codes for finding in found] == [True], f"{where}: {found}"
    assert found[0].key == key, f"{where}: {found}"
    if not key.endswith(".safetensors"):
        error = look(case)
        assert (error is None) == (not needed), where
        assert error is None or error.code in codes, f"{where}: {error}"
    if needed or not key.endswith(".safetensors"):
        for in_place in (False, True):
            error = outcome(case, in_place=in_place)
            assert (error is not None) == needed, f"{where}: {error}"
            assert error is None or error.code in codes, f"{where}: {error}"


def of_group(case, group):
    return [key for kind, key in case.kinds().items() if kind.startswith("object") == (group == "objects")]


def test_whole(case):
    report = verify(case.store, NAME)
    assert report.ok
    assert not report.remarks
    assert pyckpt.verify(case.url).ok
    assert outcome(case) is None
    assert outcome(case, in_place=True) is None
    assert look(case) is None
    parts = {part for spans in case.spans.values() for _, _, part in spans}
    assert {"header", "read"} <= parts
    if len(case.saved) and "model" in case.saved:
        assert "unassigned" in parts


def test_load_reads_no_header_and_no_unassigned_byte(case, monkeypatch):
    """So their damage can't matter to a load, and ``check_flip`` need not try each of them."""
    seen = []
    original = case.store.open_reader

    def open_reader(key):
        reader = original(key)
        read = reader.read_into

        def read_into(offset, views):
            seen.append((key, offset, offset + sum(map(len, views))))
            read(offset, views)

        monkeypatch.setattr(reader, "read_into", read_into, raising=False)
        return reader

    monkeypatch.setattr(case.store, "open_reader", open_reader, raising=False)
    monkeypatch.setattr(case.store, "read_into", None, raising=False)
    assert load_bytes(case.store) == case.saved
    assert seen
    for key, start, stop in seen:
        for at in range(start, stop):
            assert case.part_of(key, at) == "read"


@pytest.mark.parametrize("chunk", range(2))
@pytest.mark.parametrize("mask", [0xFF, 0x01, 0x20], ids=hex)
@pytest.mark.parametrize("group", ["records", "objects"])
def test_every_flipped_byte_is_found(case, group, mask, chunk):
    for key in of_group(case, group):
        for at in range(chunk, len(case.objects[key]), 2):
            check_flip(case, key, at, mask)
        case.store.put(key, case.objects[key])


@pytest.mark.parametrize("group", ["records", "objects"])
def test_every_truncation_is_found(case, group):
    kinds = {key: kind.split(":")[0] for kind, key in case.kinds().items()}
    for key in of_group(case, group):
        data = case.objects[key]
        for size in range(len(data)):
            case.store.put(key, data[:size])
            check_resized(case, key, kinds[key], f"{key} cut to {size} bytes")
        case.store.put(key, data)


@pytest.mark.parametrize("more", [b"\0", b" ", b"\n", b"}", b"x" * 4096])
def test_added_bytes_are_found(case, more):
    kinds = {key: kind.split(":")[0] for kind, key in case.kinds().items()}
    for key, data in case.objects.items():
        case.store.put(key, data + more)
        check_resized(case, key, kinds[key], f"{key} with {more[:3]!r} after it")
        case.store.put(key, data)


def check_resized(case, key, kind, where):
    codes = {"root": {"root.digest", "root.syntax"}}.get(kind, {f"{kind}.size"})
    found = verify(case.store, NAME, threads=1).findings
    assert [finding.code in codes for finding in found] == [True], f"{where}: {found}"
    assert found[0].key == key, f"{where}: {found}"
    needed = kind != "asset"
    if kind == "object":
        # a load looks at the size before all else; the object's item is enough, and shows all codes
        error = outcome(case, item=key.split("/")[1])
        assert error is not None, where
        assert error.code == "object.size", f"{where}: {error}"
        return
    assert [finding.code in codes for finding in verify(case.store, NAME, deep=False, threads=1).findings] == [True]
    for in_place in (False, True):
        error = outcome(case, in_place=in_place)
        assert (error is not None) == needed, f"{where}: {error}"
        assert error is None or error.code in codes, f"{where}: {error}"
    error = look(case)
    assert (error is not None) == needed, f"{where}: {error}"


def test_a_missing_object_is_found(case):
    for kind, key in case.kinds().items():
        case.store.delete(key)
        kind = kind.split(":")[0]
        if kind == "root":
            with pytest.raises(NotFound) as caught:
                verify(case.store, NAME)
            assert caught.value.code == "checkpoint.missing"
            assert list_checkpoints(case.store) == []
            assert outcome(case).code == "checkpoint.missing"
        else:
            found = verify(case.store, NAME).findings
            assert [(finding.code, finding.key) for finding in found] == [(f"{kind}.missing", key)]
            assert not verify(case.store, NAME, deep=False).ok
            for in_place in (False, True):
                error = outcome(case, in_place=in_place)
                assert (None if error is None else error.code) == (None if kind == "asset" else f"{kind}.missing")
        case.store.put(key, case.objects[key])


def test_swapped_objects_are_found(case):
    """Each is whole in itself, but not where it belongs."""
    keys = [key for kind, key in case.kinds().items() if kind.startswith("object")]
    one, two = keys[:2]
    case.store.put(one, case.objects[two])
    case.store.put(two, case.objects[one])
    found = verify(case.store, NAME).findings
    assert {finding.key for finding in found} == {one, two}
    assert outcome(case).code in ("object.size", "block.digest")


def test_a_root_of_another_save_is_found(case):
    """The same state saved again: its root names manifests that are not here."""
    root = case.kinds()["root"]
    case.store.put(root, build("damage-other", "encoded" if "planes" in case.saved else "sharded").objects[root])
    assert {finding.code for finding in verify(case.store, NAME).findings} == {"manifest.missing"}
    assert outcome(case).code == "manifest.missing"


def test_two_damages_are_both_listed(case):
    keys = [key for kind, key in case.kinds().items() if kind.startswith("object")]
    for key in keys:
        data = bytearray(case.objects[key])
        data[-1] ^= 1
        data[100] ^= 1
        case.store.put(key, data)
    found = {(finding.code, finding.key) for finding in verify(case.store, NAME).findings}
    assert found == {(code, key) for key in keys for code in ("object.header_digest", "block.digest")}


def test_a_small_tensor_beside_an_encoded_one():
    """Shards below 4 KiB are stored plain, in the same object as the encoded ones."""
    state = {"item": {"large": np.arange(2000.0), "small": np.arange(3.0)}}
    pyckpt.save("memory://damage-mixed/a", state, options=pyckpt.SaveOptions(codec="zstd", collective=False))
    loaded = pyckpt.load("memory://damage-mixed/a", options=OPTIONS)
    assert np.array_equal(loaded["item"]["large"], state["item"]["large"])
    assert np.array_equal(loaded["item"]["small"], state["item"]["small"])
