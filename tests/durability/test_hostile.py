"""Checkpoints made by an enemy, with every digest right: refused with the right code, in little memory and time."""

from __future__ import annotations

import struct

import msgpack
import pytest
import zstandard

from pyckpt.engine.open import open_root
from pyckpt.engine.verify import verify
from pyckpt.errors import PyckptError
from pyckpt.storage.memory import MemoryStore
from tests.durability.bounds import every_look
from tests.durability.cases import NAME
from tests.durability.forge import (
    change_manifest,
    change_root,
    frame,
    read_manifest,
    read_root,
    write_blocks,
    write_header,
    write_manifest,
    write_root,
)
from tests.durability.kill_points import save_one

HUGE = 2**53 - 1
SCHEMA = "manifest.schema"


@pytest.fixture
def store():
    opened = MemoryStore("hostile")
    opened.clear()
    save_one(opened, NAME)
    yield opened
    opened.clear()


def column(*values, kind="Q"):
    return struct.pack(f"<{len(values)}{kind}", *values)


def tensors(**columns):
    return lambda record: record["tensors"]["columns"].update(columns)


def shards(**columns):
    return lambda record: record["shards"]["columns"].update(columns)


def row(**members):
    return lambda record: record["objects"][0].update(members)


def rekeyed(**members):
    def change(record):
        del record["objects"][0]["key"]
        record["objects"][0].update(members)

    return change


def nested(depth):
    value = 0
    for _ in range(depth):
        value = [value]
    return value


def in_tree(value):
    return lambda record: record["tree"].update(x=value)


def in_record(**members):
    return lambda record: record.update(members)


SHA = "0" * 64
OTHER = f"other/model/{'0' * 16}-00000.safetensors"
MANIFESTS = {
    # the model has "w" F32 [300] and "b" I64 []; its shards lie at 4096 (b, 8 bytes) and 4104 (w)
    "tensors: most there can be": (lambda r: r["tensors"].update(count=2**32 - 2), SCHEMA),
    "tensors: too many": (lambda r: r["tensors"].update(count=2**64 - 1), SCHEMA),
    "tensors: negative": (lambda r: r["tensors"].update(count=-1), SCHEMA),
    "shards: most there can be": (lambda r: r["shards"].update(count=1 << 40), SCHEMA),
    "shards: too many": (lambda r: r["shards"].update(count=2**63), SCHEMA),
    "shape: 2^62 x 4": (tensors(ndim=b"\2\0", shape=column(2**62, 4)), SCHEMA),
    "shape: 2^32 x 2^32 wraps to 0": (tensors(ndim=b"\2\0", shape=column(2**32, 2**32)), SCHEMA),
    "shape: 2^63": (tensors(shape=column(2**63)), SCHEMA),
    "shape: 2^61 - 1 F32": (tensors(shape=column(2**61 - 1)), SCHEMA),
    "shape: larger than its shard": (tensors(shape=column(301)), SCHEMA),
    "ndim: 65": (tensors(ndim=b"\x41\0", shape=column(*[1] * 65)), SCHEMA),
    "dtype: out of range": (tensors(dtype=column(9, 0, kind="H")), SCHEMA),
    "names: the same": (tensors(name_size=column(1, 1, kind="H"), name=b"ww"), SCHEMA),
    "names: not UTF-8": (tensors(name_size=column(1, 1, kind="H"), name=b"w\xff"), SCHEMA),
    "names: past the end": (tensors(name_size=column(65535, 65535, kind="H")), SCHEMA),
    "offset: in the header": (shards(offset=column(4000, 4096)), SCHEMA),
    "offset: past the end": (shards(offset=column(2**62, 4096)), SCHEMA),
    "offset: 2^63": (shards(offset=column(2**63, 4096)), SCHEMA),
    "offset: one byte on": (shards(offset=column(4097, 5296)), SCHEMA),
    "offset: the same": (shards(offset=column(4096, 4096)), SCHEMA),
    "tensor: out of range": (shards(tensor=column(0, 7, kind="I")), SCHEMA),
    "tensor: descending": (shards(tensor=column(1, 0, kind="I")), SCHEMA),
    "object: out of range": (shards(object=column(0, 9, kind="I")), SCHEMA),
    "digests: too few": (shards(block_digest=b"x" * 32), SCHEMA),
    "digests: not whole": (shards(block_digest=b"x" * 63), SCHEMA),
    "codec: out of range": (shards(codec=column(9, 0, kind="H"), stored_size=column(1200, 8)), SCHEMA),
    "stored_size: 2^63 - 1": (shards(stored_size=column(2**63 - 1, 8)), SCHEMA),
    "boxes: outside": (shards(box_offset=column(2**62), box_size=column(2**62)), SCHEMA),
    "runs: outside": (shards(run_start=column(0, 0), run_stop=column(2**63 - 1, 1)), SCHEMA),
    "runs: reversed": (shards(run_start=column(300, 0), run_stop=column(0, 1)), SCHEMA),
    "runs: a hole": (shards(run_start=column(1, 0), run_stop=column(300, 1)), SCHEMA),
    "size: 2^62": (row(size=2**62), SCHEMA),
    "size: 2^64": (row(size=2**64 - 1), SCHEMA),
    "data_start: 0": (row(data_start=0), SCHEMA),
    "data_start: no multiple": (row(data_start=4095), SCHEMA),
    "block: 1": (row(block=1), SCHEMA),
    "block: 2^31": (row(block=2**31), SCHEMA),
    "block: 6000": (row(block=6000), SCHEMA),
    "key: upwards": (row(key=f"../{OTHER}"), SCHEMA),
    "key: upwards within": (row(key=f"model/../{'0' * 16}-00000.safetensors"), SCHEMA),
    "key: absolute": (row(key="/etc/passwd"), SCHEMA),
    "key: backslash": (row(key=f"model\\{'0' * 16}-00000.safetensors"), SCHEMA),
    "key: NUL": (row(key=f"model/{'0' * 16}-00000.safetensors\0"), SCHEMA),
    "key: of another item": (row(key=f"packed/{'0' * 16}-00000.safetensors"), SCHEMA),
    "key: the root": (row(key="checkpoint.json"), SCHEMA),
    "key: not a string": (row(key=["x"]), SCHEMA),
    "key: both": (row(store_key=OTHER), SCHEMA),
    "store_key: not listed": (rekeyed(store_key=OTHER), SCHEMA),
    "store_key: own name": (rekeyed(store_key=f"{NAME}/model/{'0' * 16}-00000.safetensors"), SCHEMA),
    "store_key: upwards": (rekeyed(store_key=f"../../etc/{'0' * 16}-00000.safetensors"), SCHEMA),
    "header_digest: none": (lambda r: r["objects"][0].pop("header_digest"), "digest.missing"),
    "objects: twice": (lambda r: r["objects"].append(dict(r["objects"][0])), SCHEMA),
    "digest: unknown": (row(digest="md5"), "digest.unsupported"),
    "dtype: unknown": (in_record(dtypes=["F99", "I64"], dtype_bits=[32, 64]), "dtype.unsupported"),
    "codecs: none": (in_record(codecs=[]), SCHEMA),
    "codecs: chain of five": (in_record(codecs=[[], [{"id": "zstd"}] * 5]), SCHEMA),
    "codecs: 70,000": (in_record(codecs=[[]] * 70_000), SCHEMA),
    "item: another": (in_record(item="other"), SCHEMA),
    "attempt: another": (in_record(attempt="f" * 16), SCHEMA),
    "scf: 2": (in_record(scf=2), SCHEMA),
    "tree: too deep": (in_tree(nested(70)), "tree.schema"),
    "tree: far too deep": (in_tree(nested(126)), "tree.schema"),
    "tree: a tensor that is not there": (in_tree(msgpack.ExtType(1, b"\x09\0\0\0")), "tree.schema"),
    "tree: a tensor of 3 bytes": (in_tree(msgpack.ExtType(1, b"\0\0\0")), "tree.schema"),
    "tree: a tensor nobody names": (lambda r: r["tree"].pop("w"), "tree.schema"),
    "tree: unknown extension": (in_tree(msgpack.ExtType(77, b"")), "tree.schema"),
    "tree: a tuple of more than there is": (in_tree(msgpack.ExtType(2, b"\xdd\xff\xff\xff\xff")), "manifest.syntax"),
    "tree: an integer of 1 MB": (in_tree(msgpack.ExtType(4, b"\x7f" * (1 << 20))), "tree.schema"),
    "tree: indexed by 2^62": (
        in_tree(msgpack.ExtType(6, msgpack.packb({"axis": "rank", "size": 2**62, "values": {}}))), "tree.schema"
    ),
    "tree: not a map": (in_record(tree=[]), "tree.schema"),
}  # fmt: skip


@pytest.mark.parametrize("case", MANIFESTS)
def test_hostile_manifest(store, case):
    change, code = MANIFESTS[case]
    change_manifest(store, NAME, "model", change)
    found = every_look(store)
    assert found["list"] == set()
    late = code in ("digest.unsupported", "dtype.unsupported")
    accepted = {code, "tiling.inexact"} if case.startswith(("shape", "runs", "boxes")) else {code}
    for look in ("load", "verify") if late else ("inspect", "load", "verify", "shallow"):
        assert found[look] & accepted, found
        assert late or found[look] <= accepted, found


def packed(value):
    return frame(value), len(value)


BOMB = frame(bytes(256 << 20))
FRAMES = {
    "raw_size too small": (lambda raw: (frame(raw), len(raw) - 1), "manifest.frame"),
    "raw_size too large": (lambda raw: (frame(raw), len(raw) + 1), "manifest.frame"),
    "raw_size huge": (lambda raw: (frame(raw), HUGE), "limit.exceeded"),
    "raw_size 2 GiB, small frame": (lambda raw: (frame(raw), 2 << 30), "manifest.frame"),
    "a bomb that says it is small": (lambda raw: (frame(bytes(256 << 20), states=len(raw)), len(raw)), "manifest.frame"),
    "a frame that says it is huge": (lambda raw: (frame(raw, states=2**60), len(raw)), "manifest.frame"),
    "two frames": (lambda raw: (frame(raw) * 2, len(raw)), "manifest.frame"),
    "a skippable frame first": (lambda raw: (b"\x50\x2a\x4d\x18\4\0\0\0abcd" + frame(raw), len(raw)), "manifest.frame"),
    "bytes after": (lambda raw: (frame(raw) + b"\0", len(raw)), "manifest.frame"),
    "no content size": (
        lambda raw: (zstandard.ZstdCompressor(write_content_size=False).compress(raw), len(raw)), "manifest.frame"
    ),
    "not a frame": (lambda raw: (raw, len(raw)), "manifest.frame"),
    "nothing": (lambda raw: (b"", 0), "manifest.frame"),
    "array of 2^32 - 1": (lambda raw: packed(b"\xdd\xff\xff\xff\xff"), "manifest.syntax"),
    "map of 2^32 - 1": (lambda raw: packed(b"\xdf\xff\xff\xff\xff\xa1a"), "manifest.syntax"),
    "bin of 4 GiB": (lambda raw: packed(b"\xc6\xff\xff\xff\xff"), "manifest.syntax"),
    "100,000 arrays in each other": (lambda raw: packed(b"\x91" * 100_000), "limit.exceeded"),
    "one after the other": (lambda raw: packed(raw + b"\xc0"), "manifest.syntax"),
    "a key twice": (lambda raw: packed(b"\x82\xa1a\1\xa1a\2"), "manifest.syntax"),
    "a key that is an array": (lambda raw: packed(b"\x81\x90\1"), "manifest.syntax"),
    "not UTF-8": (lambda raw: packed(b"\x81\xa1\xff\1"), "manifest.syntax"),
    "cut off": (lambda raw: packed(raw[:-1]), "manifest.syntax"),
    "an unused byte of MessagePack": (lambda raw: packed(b"\xc1"), "manifest.syntax"),
}  # fmt: skip


@pytest.mark.parametrize("case", FRAMES)
def test_hostile_frame(store, case):
    make, code = FRAMES[case]
    stored, raw_size = make(msgpack.packb(read_manifest(store, NAME, "model")))
    write_manifest(store, NAME, "model", stored, raw_size=raw_size)
    found = every_look(store)
    accepted = {code, "limit.exceeded"} if code == "manifest.syntax" else {code, "manifest.syntax"}
    for look in ("inspect", "load", "verify", "shallow"):
        assert found[look], found
        assert found[look] <= (accepted if code in ("manifest.syntax", "limit.exceeded") else {code}), found


BLOCKS = {
    "a bomb that says it is small": [frame(bytes(16 << 20), states=4096), frame(bytes(704))],
    "a bomb that says what it is": [frame(bytes(16 << 20)), frame(bytes(704))],
    "a byte too many": [frame(bytes(4097)), frame(bytes(704))],
    "a byte too few": [frame(bytes(4095)), frame(bytes(704))],
    "says 2^62": [frame(bytes(4096), states=2**62), frame(bytes(704))],
    "not a frame": [b"x" * 50, frame(bytes(704))],
    "two frames": [frame(bytes(2048)) * 2, frame(bytes(704))],
}


@pytest.mark.parametrize("case", BLOCKS)
def test_hostile_block(store, case):
    write_blocks(store, NAME, "packed", BLOCKS[case])
    found = every_look(store)
    assert found["load"] == found["verify"] == {"block.codec"}
    assert found["inspect"] == found["shallow"] == set()


def test_a_forged_block_is_read_if_it_is_right(store):
    """The forge itself makes no damage of another kind."""
    write_blocks(store, NAME, "packed", [frame(bytes(4096)), frame(bytes(704))])
    assert every_look(store)["load"] == set()


def json_header(change):
    """The header with its JSON changed, of the same length."""

    def apply(header):
        text = change(header[8:].rstrip(b" "))
        assert len(text) <= len(header) - 8
        return header[:8] + text.ljust(len(header) - 8, b" ")

    return apply


HEADERS = {
    "length 2^64 - 1": lambda header: b"\xff" * 8 + header[8:],
    "length 0": lambda header: bytes(8) + header[8:],
    "length past the end": lambda header: (1 << 20).to_bytes(8, "little") + header[8:],
    "a byte less": lambda header: (len(header) - 9).to_bytes(8, "little") + header[8:],
    "tabs at the end": lambda header: header[:-1] + b"\t",
    "an array": json_header(lambda text: b"[]"),
    "deep": json_header(lambda text: text[:-1] + b',"x":' + b"[" * 1500 + b"]" * 1500 + b"}"),
    "an entry twice": json_header(lambda text: text[:-1] + b',"w":{"dtype":"U8","shape":[0],"data_offsets":[1208,1208]}}'),
    "one more entry": json_header(lambda text: text[:-1] + b',"x":{"dtype":"U8","shape":[0],"data_offsets":[1208,1208]}}'),
    "one more member": json_header(lambda text: text.replace(b'{"dtype"', b'{"more":1,"dtype"', 1)),
    "overlapping": json_header(lambda text: text.replace(b"[0,", b"[4,")),
    "another dtype": json_header(lambda text: text.replace(b'"F32"', b'"I32"')),
    "another shape": json_header(lambda text: text.replace(b"[300]", b"[3,100]")),
    "a shape of 2^62 x 4": json_header(lambda text: text.replace(b"[300]", b"[4611686018427387904,4]")),
    "a shape of a long integer": json_header(lambda text: text.replace(b"[300]", b"[" + b"9" * 2000 + b"]")),
    "a shape of floats": json_header(lambda text: text.replace(b"[300]", b"[300.0]")),
    "another name": json_header(lambda text: text.replace(b'"w"', b'"v"')),
    "infinity": json_header(lambda text: text.replace(b"[300]", b"[Infinity]")),
    "not UTF-8": json_header(lambda text: text.replace(b'"w"', b'"\xff"')),
}


@pytest.mark.parametrize("case", HEADERS)
def test_hostile_header(store, case):
    write_header(store, NAME, "model", HEADERS[case])
    found = every_look(store)
    assert found["verify"] == {"object.header"}, found
    # the manifest alone says where the bytes are
    assert found["load"] == found["inspect"] == found["shallow"] == set()


def item(**members):
    return lambda root: root["items"]["model"].update(members)


def manifest(**members):
    return lambda root: root["items"]["model"]["manifest"].update(members)


def asset(**members):
    return lambda root: root["items"]["model"]["assets"]["config.json"].update(members)


def renamed_asset(name):
    return lambda root: root["items"]["model"]["assets"].update({name: {"key": f"model/{name}", "size": 1, "sha256": SHA}})


def external(*names):
    return lambda root: root.update(external=[{"checkpoint": name, "digest": SHA} for name in names])


def by_store_key(key):
    def change(root):
        descriptor = root["items"]["model"]["manifest"]
        del descriptor["key"]
        descriptor["store_key"] = key

    return change


ROOTS = {
    "manifest: upwards": (manifest(key=f"../model/manifest-{'0' * 16}.msgpack.zst"), "root.schema"),
    "manifest: absolute": (manifest(key="/etc/passwd"), "root.schema"),
    "manifest: backslash": (manifest(key=f"model\\manifest-{'0' * 16}.msgpack.zst"), "root.schema"),
    "manifest: of another item": (manifest(key=f"packed/manifest-{'0' * 16}.msgpack.zst"), "root.schema"),
    "manifest: store_key not listed": (by_store_key(f"x/model/manifest-{'0' * 16}.msgpack.zst"), "root.schema"),
    "manifest: store_key of itself": (by_store_key(f"{NAME}/model/manifest-{'0' * 16}.msgpack.zst"), "root.schema"),
    "manifest: store_key upwards": (by_store_key(f"../model/manifest-{'0' * 16}.msgpack.zst"), "root.schema"),
    "manifest: both keys": (manifest(store_key=f"x/model/manifest-{'0' * 16}.msgpack.zst"), "root.schema"),
    "manifest: huge": (manifest(size=HUGE), "limit.exceeded"),
    "manifest: negative": (manifest(size=-1), "root.schema"),
    "manifest: short digest": (manifest(sha256="0" * 63), "root.schema"),
    "asset: upwards": (asset(key="../checkpoint.json"), "root.schema"),
    "asset: named upwards": (renamed_asset("../../x"), "root.schema"),
    "asset: named as an object": (renamed_asset(f"{'0' * 16}-00000.safetensors"), "root.schema"),
    "asset: huge": (asset(size=HUGE), "asset.size"),
    "item: upwards": (lambda r: r["items"].update({"../x": r["items"]["model"]}), "root.schema"),
    "item: the root": (lambda r: r["items"].update({"checkpoint.json": r["items"]["model"]}), "root.schema"),
    "items: 5000": (lambda r: r["items"].update({f"i{n}": {} for n in range(5000)}), "root.schema"),
    "counts: huge": (item(counts=dict.fromkeys(("tensors", "shards", "objects", "bytes"), HUGE)), SCHEMA),
    "raw_size: huge": (item(raw_size=HUGE), "limit.exceeded"),
    "sequence: 0": (lambda r: r.update(sequence=0), "root.schema"),
    "sequence: 2^53": (lambda r: r.update(sequence=2**53), "root.schema"),
    "attempt: upwards": (lambda r: r.update(attempt="../" * 5 + "x"), "root.schema"),
    "created: not a time": (lambda r: r.update(created="2024-13-45T99:99:99Z"), "root.schema"),
    "external: itself": (external(NAME), "root.schema"),
    "external: upwards": (external("../x"), "root.schema"),
    "external: twice": (external("a", "a"), "root.schema"),
    "external: the tombstones": (external(".tombstones"), "root.schema"),
    "features: unknown": (lambda r: r["features"].update(read=["x"], write=["x"]), "feature.unsupported"),
    "features: 100,000": (
        lambda r: r["features"].update(read=[f"f{n:06}" for n in range(100_000)], write=[]), "feature.unsupported"
    ),
    "metadata: unknown tag": (lambda r: r["metadata"].update(x={"$pickle": "cos\nsystem"}), "root.schema"),
    "metadata: an integer of 1 MB": (lambda r: r["metadata"].update(x={"$int": "9" * (1 << 20)}), "root.schema"),
    "metadata: a tag at the top": (lambda r: r.update(metadata={"$int": "5"}), "root.schema"),
    "metadata: 63 deep": (lambda r: r["metadata"].update(x=nested(63)), "root.syntax"),
    "metadata: 500 deep": (lambda r: r["metadata"].update(x=nested(500)), "root.syntax"),
    "writer: a list": (lambda r: r.update(writer=[]), "root.schema"),
    "items: a list": (lambda r: r.update(items=[]), "root.schema"),
}  # fmt: skip


@pytest.mark.parametrize("case", ROOTS)
def test_hostile_root(store, case):
    change, code = ROOTS[case]
    change_root(store, NAME, change)
    found = every_look(store)
    assert found["verify"] == found["shallow"] == {code}, found
    rooted = code.startswith(("root.", "feature."))
    assert found["list"] == ({code} if rooted else set()), found
    if code.startswith("asset.") or case.startswith("counts"):
        assert found["load"] == set()
    else:
        assert found["load"] == found["inspect"] == {code}, found
    if rooted:
        with pytest.raises(PyckptError):
            open_root(store, NAME)


TEXTS = {
    "a member twice": (b'"spec":"1","spec":"1"}', "root.syntax"),
    "NaN": (b'"x":NaN}', "root.syntax"),
    "1e999": (b'"x":1e999}', "root.syntax"),
    "an integer of 5 MB": (b'"x":' + b"9" * (5 << 20) + b"}", "root.syntax"),
    "half a surrogate": (b'"x":"\\ud800"}', "root.syntax"),
    "not UTF-8": (b'"x":"\xff"}', "root.syntax"),
    "a million arrays": (b'"x":' + b"[" * 1_000_000 + b"}", "root.syntax"),
    "something after": (b'"x":1}{}', "root.syntax"),
    "cut off": (b'"x":', "root.syntax"),
    "nothing": (b"", "root.syntax"),
    "200,000 empty arrays": (b'"x":[' + b"[]," * 200_000 + b"[]]}", None),
    "another major": (None, "version.unsupported"),
}


@pytest.mark.parametrize("case", TEXTS)
def test_hostile_text(store, case):
    text, code = TEXTS[case]
    if text is None:
        store.put(f"{NAME}/checkpoint.json", b'{"scf":2,"digest":"' + b"0" * 64 + b'"}')
    else:
        write_root(store, NAME, text)
    found = every_look(store)
    # a record that is long but well-formed lacks members
    assert found["list"] == found["load"] == found["verify"] == {code or "root.schema"}, found


def test_checkpoints_that_point_at_each_other(store):
    """Externals are looked at, never followed: a circle ends nowhere."""
    save_one(store, "other")
    for name, origin in ((NAME, "other"), ("other", NAME)):
        change_root(store, name, lambda root, origin=origin: root.update(external=[{"checkpoint": origin, "digest": SHA}]))
    found = every_look(store)
    assert found == dict.fromkeys(found, set())
    assert verify(store, NAME).remarks


def test_manifests_that_borrow_from_each_other(store):
    """A's item is B's and B's is A's, by way of nothing: a manifest is where its descriptor says, in one step."""
    save_one(store, "other")
    roots = {name: read_root(store, name) for name in (NAME, "other")}
    for name, origin in ((NAME, "other"), ("other", NAME)):
        members = read_root(store, name)
        descriptor = dict(roots[origin]["items"]["model"]["manifest"])
        descriptor["store_key"] = f"{origin}/{descriptor.pop('key')}"
        members["items"]["model"]["manifest"] = descriptor
        members["external"] = [{"checkpoint": origin, "digest": roots[origin]["digest"]}]
        write_root(store, name, members)
    found = every_look(store)
    assert found == dict.fromkeys(found, set())


def test_the_forge_makes_good_roots(store):
    """So that what is refused above is refused for what was changed."""
    members = read_root(store, NAME)
    write_root(store, NAME, members)
    change_manifest(store, NAME, "model", lambda record: None)
    write_header(store, NAME, "model", lambda header: header)
    found = every_look(store)
    assert found == dict.fromkeys(found, set())
