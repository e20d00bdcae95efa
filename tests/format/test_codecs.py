"""Blocks come back byte for byte, and damaged ones are refused without being unfolded."""

from __future__ import annotations

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from pyckpt.errors import Corrupt, Unsupported
from pyckpt.format.codecs import Codec, check_chain, decode_block, encode_block, planes, zstd

CHAINS = [(), (zstd(),), (planes(2),), (planes(4),), (planes(8),)]
RANDOM = np.random.default_rng(0)


@given(st.sampled_from(CHAINS), st.binary(min_size=1, max_size=200), st.integers(1, 40), st.integers(1, 5))
@settings(max_examples=200, deadline=None)
def test_round_trip(chain, data, repeat, level):
    block = data * repeat
    assert decode_block(chain, encode_block(chain, memoryview(block), level), len(block)) == block


def test_planes_container_is_exactly_this():
    block = b"ABCDEFGHI"
    assert encode_block((planes(4),), block) == (
        (b"\x00" + (2).to_bytes(8, "little")) * 4 + b"AE" + b"BF" + b"CG" + b"DH" + b"I"
    )
    assert encode_block((planes(4),), b"abc") == bytes(9) * 4 + b"abc"
    stored = encode_block((planes(2),), bytes([0, 1]) * 100_000)
    heads = stored[:18]
    assert heads[0] == heads[9] == 1
    first = int.from_bytes(heads[1:9], "little")
    assert zstandard.ZstdDecompressor().decompress(stored[18 : 18 + first]) == bytes(100_000)


def test_each_plane_is_compressed_only_if_it_gains():
    noise = RANDOM.integers(0, 256, 200_000, dtype=np.uint8)
    block = np.stack([noise, np.zeros_like(noise)], axis=1).tobytes()
    stored = encode_block((planes(2),), block)
    assert (stored[0], stored[9]) == (0, 1)
    assert len(noise) < len(stored) < len(noise) + 200
    assert decode_block((planes(2),), stored, len(block)) == block


def test_the_sample_decides_for_its_plane():
    plane = np.concatenate([RANDOM.integers(0, 256, 65_536, dtype=np.uint8), np.zeros(100_000, np.uint8)])
    block = np.stack([plane, plane], axis=1).tobytes()
    assert encode_block((planes(2),), block)[0] == 0


FRAME = zstandard.ZstdCompressor().compress(bytes(1000))
SKIPPABLE = b"\x50\x2a\x4d\x18\x04\x00\x00\x00abcd"


def frame_with_window(log):
    parameters = zstandard.ZstdCompressionParameters(window_log=log)
    writer = zstandard.ZstdCompressor(compression_params=parameters).compressobj(size=1000)
    return writer.compress(bytes(1000)) + writer.flush()


def hostile_window():
    # no single segment; window descriptor of 2^31; content size of 1000 in 2 bytes
    return b"\x28\xb5\x2f\xfd" + bytes([0x40, 21 << 3]) + (1000 - 256).to_bytes(2, "little") + b"\x43\x1f\x00\x00"


@pytest.mark.parametrize(
    "stored",
    [
        b"",
        FRAME[:-1],
        FRAME + b"\x00",
        FRAME + FRAME,
        FRAME + SKIPPABLE,
        SKIPPABLE + FRAME,
        SKIPPABLE,
        zstandard.ZstdCompressor(write_content_size=False).compress(bytes(1000)),
        zstandard.ZstdCompressor().compress(bytes(999)),
        zstandard.ZstdCompressor().compress(bytes(10**7)),
        zstandard.ZstdCompressor(dict_data=zstandard.ZstdCompressionDict(b"\x37\xa4\x30\xec" + bytes(1000), dict_type=zstandard.DICT_TYPE_RAWCONTENT)).compress(bytes(999)),
        hostile_window(),
    ],
)
def test_hostile_frames(stored):
    with pytest.raises(Corrupt) as caught:
        decode_block((zstd(),), stored, 1000)
    assert caught.value.code == "block.codec"


def test_the_window_alone_is_a_reason_to_refuse():
    good = bytearray(hostile_window())
    good[5] = 17 << 3  # 2^27
    assert decode_block((zstd(),), bytes(good), 1000) == bytes(1000)
    good[5] = (17 << 3) + 1
    with pytest.raises(Corrupt, match="window"):
        decode_block((zstd(),), bytes(good), 1000)


def test_a_frame_takes_no_memory_for_a_window_beyond_its_content():
    good = bytearray(hostile_window())
    good[5] = 17 << 3
    decoder = zstandard.ZstdDecompressor(max_window_size=1 << 27)
    assert decoder.decompress(bytes(good), allow_extra_data=False, read_across_frames=False) == bytes(1000)
    assert decoder.memory_size() < 1 << 20


def container(*heads, body=b""):
    return b"".join(bytes([mode]) + length.to_bytes(8, "little") for mode, length in heads) + body


@pytest.mark.parametrize(
    "stored",
    [
        b"",
        bytes(17),
        container((0, 2), (0, 2), body=b"abcd"),  # the tail is missing
        container((0, 2), (0, 2), body=b"ab"),
        container((0, 2), (0, 2), body=b"a"),
        container((0, 2), (0, 2), body=b"abcdef"),  # too much
        container((0, 2), (0, 1), body=b"abcd"),
        container((0, 3), (0, 2), body=b"abcdef"),
        container((2, 2), (0, 2), body=b"abcde"),
        container((1, 2), (0, 2), body=b"abcde"),
        container((0, 2**64 - 1), (0, 2), body=b"abcde"),
        container((0, 2**63), (0, 2**63), body=b"abcde"),
        container((1, len(FRAME)), (0, 2), body=FRAME + b"cde"),
    ],
)
def test_hostile_planes(stored):
    with pytest.raises(Corrupt) as caught:
        decode_block((planes(2),), stored, 5)
    assert caught.value.code == "block.codec"


def test_no_items_means_no_planes():
    assert decode_block((planes(8),), bytes(72) + b"abc", 3) == b"abc"
    with pytest.raises(Corrupt):
        decode_block((planes(8),), container((1, 0), *[(0, 0)] * 7, body=b"abc"), 3)


@given(st.sampled_from(CHAINS[1:]), st.binary(max_size=100), st.integers(1, 2**40))
@settings(max_examples=200, deadline=None)
def test_any_bytes(chain, stored, size):
    try:
        decode_block(chain, stored, min(size, 2**20))
    except Corrupt as error:
        assert error.code == "block.codec"


@given(st.sampled_from(CHAINS[1:]), st.data())
@settings(max_examples=200, deadline=None)
def test_damaged_bytes(chain, data):
    block = b"0123456789abcdef" * 20
    stored = bytearray(encode_block(chain, block))
    stored[data.draw(st.integers(0, len(stored) - 1))] = data.draw(st.integers(0, 255))
    try:
        assert len(decode_block(chain, bytes(stored), len(block))) == len(block)
    except Corrupt as error:
        assert error.code == "block.codec"


def test_unencoded_block_of_another_size():
    with pytest.raises(Corrupt):
        decode_block((), b"abc", 4)


@pytest.mark.parametrize(
    "chain", [(Codec("lz77"),), (zstd(), zstd()), (Codec("planes", {"item": 3}),), (Codec("planes"),), (Codec("planes", {"item": "4"}),)]
)
def test_unsupported(chain):
    with pytest.raises(Unsupported) as caught:
        check_chain(chain)
    assert caught.value.code == "codec.unsupported"
    with pytest.raises(Unsupported) as caught:
        decode_block(chain, b"x", 1)
    assert caught.value.code == "codec.unsupported"
