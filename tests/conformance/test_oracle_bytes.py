"""The strict parsers of the oracle for bytes: MessagePack, trees, zstd frames, planes."""

from __future__ import annotations

import random
import struct

import msgpack
import pytest
import zstandard

from conformance.oracle import frame
from conformance.oracle.codecs import decode, decoder
from conformance.oracle.errors import Rejected
from conformance.oracle.limits import DEFAULT, Limits
from conformance.oracle.mpack import Ext, Float
from conformance.oracle.mpack import parse as unpack
from conformance.oracle.tree import read_tree


def top(tree: bytes, key: bytes = b"\xa4tree") -> bytes:
    return b"\x81" + key + tree


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b"\x00", 0),
        (b"\xcf" + bytes(7) + b"\x01", 1),
        (b"\xd3" + b"\xff" * 8, -1),
        (b"\xff", -1),
        (b"\xcf" + b"\xff" * 8, 2**64 - 1),
        (b"\xd9\x01a", "a"),
        (b"\xdb\x00\x00\x00\x01a", "a"),
        (b"\xc6\x00\x00\x00\x01a", b"a"),
        (b"\xdd\x00\x00\x00\x01\xc0", [None]),
        (b"\xdf\x00\x00\x00\x02\x01\xc2\xa11\xc3", {1: False, "1": True}),
        (b"\xcb\x7f\xf0\x00\x00\x00\x00\x00\x01", Float(0x7FF0000000000001)),
        (b"\xca\x3f\x80\x00\x00", Float(0x3FF0000000000000)),
        (b"\xca\x80\x00\x00\x01", Float(0xB6A0000000000000)),
        (b"\xca\xff\xc0\x00\x01", Float(0xFFF8000020000000)),
        (b"\xc9\x00\x00\x00\x04\x01\x07\x00\x00\x00", Ext(1, b"\x07\0\0\0")),
        (b"\xc7\x02\x02\x91\x01", Ext(2, [1])),
    ],
)
def test_every_encoding_of_a_value_is_read(raw, value):
    assert unpack(top(raw), DEFAULT) == {"tree": value}


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "manifest.syntax"),
        (b"\x90", "manifest.syntax"),
        (b"\x01", "manifest.syntax"),
        (b"\x80\x00", "manifest.syntax"),
        (top(b"\xc1"), "manifest.syntax"),
        (top(b"\xa2\xc3\x28"), "manifest.syntax"),
        (top(b"\xa3\xed\xa0\x80"), "manifest.syntax"),
        (top(b"\xa5abc"), "manifest.syntax"),
        (top(b"\xc4\x05abc"), "manifest.syntax"),
        (top(b"\xdd\xff\xff\xff\xff\x00"), "manifest.syntax"),
        (top(b"\xdf\x00\x00\x00\x01\x00"), "manifest.syntax"),
        (top(b"\xcd\x01"), "manifest.syntax"),
        (top(b"\x82\xa1a\x01\xa1a\x02"), "manifest.syntax"),
        (top(b"\x82\xa1a\x01\xd9\x01a\x02"), "manifest.syntax"),
        (top(b"\x82\x01\x01\xcc\x01\x02"), "manifest.syntax"),
        (b"\x82\xa4tree\x80\xa4tree\x80", "manifest.syntax"),
        (top(b"\x81\xc3\x01"), "manifest.syntax"),
        (top(b"\x81\xc0\x01"), "manifest.syntax"),
        (top(b"\x81\xc4\x01a\x01"), "manifest.syntax"),
        (top(b"\x81\xca\x3f\x80\x00\x00\x01"), "manifest.syntax"),
        (top(b"\x81\xd6\x01\x00\x00\x00\x00\x01"), "manifest.syntax"),
        (top(b"\x91" * 128 + b"\x90"), "manifest.syntax"),
        (top(b"\xc7\x05\x02\x92\x01\xa1a"), "manifest.syntax"),  # the payload leaves the bytes
        (top(b"\xc7\x02\x02\x92\x01\x02"), "manifest.syntax"),  # the array leaves the payload
        (top(b"\xd4\x02\xc1"), "manifest.syntax"),
        (top(b"\xd4\x0a\x00"), "tree.schema"),
        (top(b"\xd6\xff\x00\x00\x00\x00"), "tree.schema"),
        (top(b"\xd4\x00\x00"), "tree.schema"),
        (top(b"\xd6\x0a\x00\x00\x00\x00", b"\xa4else"), "tree.schema"),
        (top(b"\xd6\x01\x00\x00\x00\x00", b"\xa4else"), "manifest.schema"),
        (top(b"\x81\xa4tree\xd6\x01\x00\x00\x00\x00", b"\xa4else"), "manifest.schema"),
        (b"\x82\xa4tree\x80\xa4else\xd6\x01\x00\x00\x00\x00", "manifest.schema"),
        (top(b"\xc7\x00\x02"), "tree.schema"),
        (top(b"\xd5\x02\x90\x00"), "tree.schema"),
        (top(b"\xd4\x02\x80"), "tree.schema"),
        (top(b"\xd4\x06\x90"), "tree.schema"),
        (top(b"\xd4\x07\x01"), "tree.schema"),
    ],
)
def test_messagepack_outside_the_profile_is_refused(raw, code):
    with pytest.raises(Rejected) as caught:
        unpack(raw, DEFAULT)
    assert (caught.value.code, caught.value.phase) == (code, "manifest")


def test_messagepack_of_128_levels_is_read_and_extensions_are_no_level():
    assert unpack(top(b"\x91" * 126 + b"\x90"), DEFAULT)
    nested = b"\x90"
    for _ in range(126):
        nested = msgpack.packb(msgpack.ExtType(2, b"\x91" + nested))
    assert unpack(top(nested), DEFAULT)
    with pytest.raises(Rejected, match=r"manifest\.syntax"):
        unpack(top(msgpack.packb(msgpack.ExtType(2, b"\x91" + nested))), DEFAULT)


def test_extensions_in_extensions_do_not_overflow_the_stack():
    nested = b"\x90"
    for _ in range(20_000):
        nested = b"\xc9" + len(nested).to_bytes(4, "big") + b"\x02" + nested
    with pytest.raises(Rejected, match=r"tree\.schema"):
        unpack(top(nested), DEFAULT)


def test_the_number_of_values_is_a_limit_of_the_reader():
    raw = msgpack.packb({"a": [0] * 10, "b": {"c": 1}})
    assert unpack(raw, Limits(max_values=16))
    with pytest.raises(Rejected) as caught:
        unpack(raw, Limits(max_values=15))
    assert caught.value.code == "limit.exceeded"
    assert "max_values" in caught.value.message


def ext(code: int, payload: bytes) -> msgpack.ExtType:
    return msgpack.ExtType(code, payload)


def tree_of(**members) -> object:
    raw = msgpack.packb({"tree": members})
    return read_tree(unpack(raw, DEFAULT)["tree"], 0)


def packed(value) -> bytes:
    return msgpack.packb(value)


GOOD_NODES = [
    ext(3, bytes(16)),
    ext(4, bytes(8) + b"\x01"),
    ext(4, b"\xff" * 7 + b"\x7f\xff"),
    ext(4, bytes(4095) + b"\x01"),
    ext(5, struct.pack("<qIi", -1, 999_999_999, -86_399)),
    ext(5, struct.pack("<qIi", 0, 0, -(2**31))),
    ext(6, packed({"axis": "rank", "size": 2, "values": {1: "b", 0: "a"}})),
    ext(7, packed([])),
    ext(7, packed(["a", "b", "ä"])),
    ext(7, packed([-5, 0, 2**64 - 1])),
    ext(8, packed({"inner": {}, "attributes": None})),
    ext(9, b"UNKNOWN_9"),
]
BAD_NODES = [
    ext(1, bytes(3)),
    ext(1, bytes(5)),
    ext(1, bytes(4)),
    ext(3, bytes(15)),
    ext(4, b"\x01"),
    ext(4, b"\xff" * 8 + b"\x00"),
    ext(4, b"\xff" * 9),
    ext(4, bytes(8) + b"\x01\x00"),
    ext(4, bytes(4096) + b"\x01"),
    ext(5, bytes(12)),
    ext(5, struct.pack("<qIi", 0, 10**9, 0)),
    ext(5, struct.pack("<qIi", 0, 0, 86_400)),
    ext(5, struct.pack("<qIi", 0, 0, -(2**31) + 1)),
    ext(6, packed({"axis": "rank", "size": 2, "values": {0: "a"}})),
    ext(6, packed({"axis": "rank", "size": 1, "values": {0: "a", 1: "b"}})),
    ext(6, packed({"axis": "rank", "size": 1, "values": {"0": "a"}})),
    ext(6, packed({"axis": "rank", "size": 0, "values": {}})),
    ext(6, packed({"axis": "rank", "size": 2**32, "values": {0: "a"}})),
    ext(6, packed({"axis": 1, "size": 1, "values": {0: "a"}})),
    ext(6, packed({"axis": "rank", "size": 1, "values": {0: "a"}, "more": 1})),
    ext(6, packed({"axis": "rank", "values": {0: "a"}})),
    ext(7, packed(["b", "a"])),
    ext(7, packed(["a", "a"])),
    ext(7, packed(["a", 1])),
    ext(7, packed([True, 2])),
    ext(7, packed([1.0])),
    ext(8, packed({"inner": {}})),
    ext(8, packed({"inner": {1: None}, "attributes": None})),
    ext(8, packed({"inner": [], "attributes": None})),
    ext(9, b""),
    ext(9, b"9A"),
    ext(9, b"A" * 65),
    ext(9, b"F\xff"),
    ext(9, b"BF16\n"),
]


@pytest.mark.parametrize("node", GOOD_NODES)
def test_nodes_are_read(node):
    assert tree_of(a=node).entries[0][0] == "a"


@pytest.mark.parametrize("node", BAD_NODES)
def test_payloads_of_another_form_are_refused(node):
    with pytest.raises(Rejected) as caught:
        tree_of(a=node)
    assert caught.value.code == "tree.schema"


def test_nodes_end_at_level_64():
    def nested(depth, inner):
        for _ in range(depth):
            inner = [inner]
        return inner

    assert tree_of(a=nested(62, []))
    assert tree_of(a=nested(62, 1))
    with pytest.raises(Rejected, match=r"tree\.schema"):
        tree_of(a=nested(63, 1))


SIZES = [0, 1, 100, 255, 256, 65791, 65792, 200_000]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("level", [1, 19])
@pytest.mark.parametrize("checksum", [False, True])
def test_frames_of_the_library_are_read(size, level, checksum):
    data = random.Random(size).randbytes(size // 2) + bytes(size - size // 2)
    stored = zstandard.ZstdCompressor(level=level, write_checksum=checksum).compress(data)
    assert frame.decompress(stored, size) == data


MAGIC = b"\x28\xb5\x2f\xfd"
RAW4 = b"\x21\x00\x00abcd"
"""A last block of the four bytes abcd, as they are."""


def windowed(log: int, size: int, blocks: bytes) -> bytes:
    """A frame with a window of 2^log bytes and a content size of 4 bytes."""
    return MAGIC + b"\x80" + bytes([(log - 10) << 3]) + size.to_bytes(4, "little") + blocks


@pytest.mark.parametrize(
    ("stored", "size"),
    [
        (MAGIC + b"\x20\x04" + RAW4, 4),
        (MAGIC + b"\x21\x00\x04" + RAW4, 4),  # a dictionary of the number 0
        (MAGIC + b"\x23\x00\x00\x00\x00\x04" + RAW4, 4),
        (MAGIC + b"\xe0" + (4).to_bytes(8, "little") + RAW4, 4),
        (MAGIC + b"\x20\x04\x00\x00\x00" + RAW4, 4),  # an empty block before
        (MAGIC + b"\x20\x04\x23\x00\x00a", 4),  # one byte, repeated
        (MAGIC + b"\x20\x00\x01\x00\x00", 0),
        (windowed(27, 4, RAW4), 4),
        (windowed(10, 1024, b"\x01\x20\x00" + bytes(1024)), 1024),
    ],
)
def test_plain_frames(stored, size):
    frame.check(stored, size)
    assert len(frame.decompress(stored, size)) == size


@pytest.mark.parametrize(
    ("stored", "size"),
    [
        (b"", 4),
        (MAGIC, 4),
        (MAGIC + b"\xe0\x04", 4),
        (windowed(10, 3, RAW4), 3),
        (b"\x27" + MAGIC[1:] + b"\x20\x04" + RAW4, 4),
        (b"\x50\x2a\x4d\x18\x00\x00\x00\x00" + MAGIC + b"\x20\x04" + RAW4, 4),  # a skippable frame before
        (MAGIC + b"\x20\x04" + RAW4 + b"\x50\x2a\x4d\x18\x00\x00\x00\x00", 4),
        (MAGIC + b"\x20\x04" + RAW4 + b"\x00", 4),
        (MAGIC + b"\x20\x04" + RAW4 + MAGIC + b"\x20\x04" + RAW4, 4),
        (MAGIC + b"\x20\x04" + RAW4[:-1], 4),
        (MAGIC + b"\x20\x04" + RAW4[:2], 4),
        (MAGIC + b"\x20\x04" + RAW4, 5),
        (MAGIC + b"\x20\x05" + RAW4, 5),  # the blocks give less
        (MAGIC + b"\x20\x03" + RAW4, 3),  # the blocks give more
        (MAGIC + b"\x20\x04" + b"\x19\x00\x00abc" + b"\x09\x00\x00d", 4),  # something follows the last block
        (MAGIC + b"\x20\x04" + b"\x20\x00\x00abcd", 4),  # no last block
        (MAGIC + b"\x20\x04" + b"\x27\x00\x00abcd", 4),  # a block of the reserved type
        (MAGIC + b"\x28\x04" + RAW4, 4),  # the reserved bit
        (MAGIC + b"\x21\x07\x04" + RAW4, 4),  # a dictionary
        (MAGIC + b"\x22\x00\x01\x04" + RAW4, 4),
        (MAGIC + b"\x24\x04" + RAW4, 4),  # a checksum that is not there
        (MAGIC + b"\x24\x04" + RAW4 + bytes(5), 4),
        (MAGIC + b"\x00\x58" + RAW4, 4),  # no content size
        (MAGIC + b"\x00\x58\x01\x00\x00", 0),
        (windowed(28, 4, RAW4), 4),
        (MAGIC + b"\x80" + bytes([(27 - 10) << 3 | 1]) + (4).to_bytes(4, "little") + RAW4, 4),
        (windowed(10, 1025, b"\x09\x20\x00" + bytes(1025)), 1025),  # a block larger than the window
        (MAGIC + b"\xa0" + (2**27 + 1).to_bytes(4, "little") + b"\x03\x00\x10a" * 1025, 2**27 + 1),
    ],
)
def test_what_is_no_plain_frame(stored, size):
    with pytest.raises(frame.FrameFault):
        frame.check(stored, size)
    with pytest.raises(frame.FrameFault):
        frame.decompress(stored, size)


def test_damage_within_a_frame_is_refused():
    data = bytes(range(256)) * 40
    plain = zstandard.ZstdCompressor(write_checksum=True).compress(data)
    for at in (len(plain) - 1, len(plain) // 2):
        with pytest.raises(frame.FrameFault):
            frame.decompress(plain[:at] + bytes([plain[at] ^ 1]) + plain[at + 1 :], len(data))
    chunks = zstandard.ZstdCompressor().compressobj()
    with pytest.raises(frame.FrameFault, match="absent"):
        frame.decompress(chunks.compress(data) + chunks.flush(), len(data))


def test_a_frame_that_claims_too_much_takes_no_memory():
    claim = 2**31 - 1
    lie = b"\x28\xb5\x2f\xfd\xa0" + claim.to_bytes(4, "little") + b"\x01\x00\x00"
    with pytest.raises(frame.FrameFault):
        frame.decompress(lie, claim)


PLANES_DECODED = b"".join(struct.pack("<f", 1 + n / 32) for n in range(32)) + b"\xaa\xbb"
PLANES_STORED = (
    bytes.fromhex(
        "010a00000000000000" * 2 + "002000000000000000" + "010a00000000000000" + "28b52ffd202003010000" * 2,
    )
    + bytes(PLANES_DECODED[2:128:4])
    + bytes.fromhex("28b52ffd20200301003f" + "aabb")
)


def planes(item: int, stored: bytes, size: int) -> bytes:
    return decode(decoder(({"id": "planes", "item": item},)), stored, size, "block")


def test_the_example_of_planes():
    assert len(PLANES_STORED) == 100
    assert planes(4, PLANES_STORED, 130) == PLANES_DECODED


def test_planes_that_do_not_add_up_are_refused():
    def header(*pairs):
        return b"".join(bytes([mode]) + length.to_bytes(8, "little") for mode, length in pairs)

    good = header((0, 2), (0, 2)) + b"acbd" + b"e"
    assert planes(2, good, 5) == b"abcde"
    assert planes(8, header(*[(0, 0)] * 8) + b"abc", 3) == b"abc"
    bad = [
        (good[:-1], 5),
        (good + b"x", 5),
        (good, 4),
        (good, 6),
        (header((2, 2), (0, 2)) + b"acbde", 5),
        (header((0, 1), (0, 3)) + b"acbde", 5),
        (header((0, 2**64 - 1), (0, 5)) + b"acbde", 5),
        (header((1, 2), (0, 2)) + b"acbde", 5),
        (b"\x00" * 17, 5),
        (header((1, 0), (0, 0)) + b"a", 1),
    ]
    for stored, size in bad:
        with pytest.raises(Rejected) as caught:
            planes(2, stored, size)
        assert caught.value.code == "block.codec"


def test_chains_that_are_not_implemented():
    for chain in (
        ({"id": "lz4"},),
        ({"id": "zstd"}, {"id": "zstd"}),
        ({"id": "planes"},),
        ({"id": "planes", "item": 3},),
        ({"id": "planes", "item": True},),
        ({"id": "planes", "item": Float(0x4010000000000000)},),
    ):
        assert decoder(chain) is None
    assert decoder(({"id": "zstd", "level": "high", "x-more": []},)) is not None
