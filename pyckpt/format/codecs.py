"""Codecs: how a block is made smaller before it is stored, and how any stored block is safely made whole again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from pyckpt.errors import Corrupt, Unsupported
from pyckpt.format.show import show
from pyckpt.format.zstd_frame import FrameError, compress_frame, decompress_frame

__all__ = ["CODECS", "DEFAULT_LEVEL", "Chain", "Codec", "check_chain", "decode_block", "encode_block", "planes", "zstd"]

DEFAULT_LEVEL: Final = 3
CODECS: Final = frozenset({"zstd", "planes"})
"""Ids of the codecs of format 1.0."""

Bytes = bytes | bytearray | memoryview

_SAMPLE: Final = 64 << 10
_WORTHWHILE: Final = 0.98
"""A plane whose sample stays above this part of its size is stored raw: decoding would cost more than it saves."""
_RAW, _ZSTD = 0, 1
_ENTRY: Final = 9
"""Bytes of a plane's entry in the container: mode u8, length u64."""
_ITEMS: Final = (2, 4, 8)


@dataclass(frozen=True, slots=True)
class Codec:
    """One step of a chain."""

    id: str
    params: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}), hash=False)


Chain = tuple[Codec, ...]
"""Codecs in the order in which a writer applies them; the empty one stores the bytes as they are."""


def zstd(level: int | None = None) -> Codec:
    """Zstandard; the level is only a note for people."""
    return Codec("zstd", {} if level is None else {"level": level})


def planes(item: int) -> Codec:
    """Byte planes, each compressed alone if that gains something: for floats of ``item`` bytes (2, 4 or 8)."""
    codec = Codec("planes", {"item": item})
    _item(codec)
    return codec


def check_chain(chain: Chain) -> None:
    """Raises Unsupported (codec.unsupported) for a chain that this library can't apply: more than one codec, too."""
    if len(chain) > 1:
        raise Unsupported("codec.unsupported", f"a chain of {len(chain)} codecs; format 1.0 has none of more than one")
    for codec in chain:
        if codec.id not in CODECS:
            raise Unsupported(
                "codec.unsupported",
                f"expected one of {sorted(CODECS)}, found {show(codec.id)}",
                hint="a newer pyckpt may know it; only the tensors that use it can't be read",
            )
        if codec.id == "planes":
            _item(codec)


def encode_block(chain: Chain, view: Bytes, level: int = DEFAULT_LEVEL) -> bytes:
    """The block as it is stored; ``view`` has at least one byte."""
    check_chain(chain)
    if not chain:
        return bytes(view)
    if chain[0].id == "zstd":
        return compress_frame(view, level)
    return _encode_planes(view, _item(chain[0]), level)


def decode_block(chain: Chain, data: Bytes, decoded_size: int) -> bytes:
    """The ``decoded_size`` bytes of a stored block; never allocates for more than that and the stored bytes.

    Raises Corrupt (block.codec) for bytes that are not a block of exactly this size, Unsupported for the chain.
    """
    check_chain(chain)
    if not chain:
        if len(data) != decoded_size:
            raise _corrupt(f"{len(data)} bytes, expected {decoded_size}")
        return bytes(data)
    try:
        if chain[0].id == "zstd":
            return decompress_frame(data, decoded_size)
        return _decode_planes(data, _item(chain[0]), decoded_size)
    except FrameError as error:
        raise _corrupt(f"the zstd frame {error}") from None


def _item(codec: Codec) -> int:
    item = codec.params.get("item")
    if type(item) is not int or item not in _ITEMS:
        raise Unsupported("codec.unsupported", f"planes of items of {show(item)} bytes, expected one of {_ITEMS}")
    return item


def _encode_planes(view: Bytes, item: int, level: int) -> bytes:
    source = np.frombuffer(view, dtype=np.uint8)
    count = len(source) // item
    split = np.ascontiguousarray(source[: count * item].reshape(count, item).T)
    heads, bodies = [], []
    for plane in split:
        body: bytes | memoryview = plane.data
        mode = _RAW
        if count and _gains(plane, level):
            packed = compress_frame(body, level)
            if len(packed) < count:
                body, mode = packed, _ZSTD
        heads.append(mode.to_bytes(1, "little") + len(body).to_bytes(8, "little"))
        bodies.append(body)
    return b"".join((*heads, *bodies, source[count * item :].tobytes()))


def _gains(plane: np.ndarray[Any, np.dtype[np.uint8]], level: int) -> bool:
    sample = plane[:_SAMPLE].data
    return len(compress_frame(sample, level)) < _WORTHWHILE * len(sample)


def _decode_planes(data: Bytes, item: int, decoded_size: int) -> bytes:
    view = memoryview(data)
    count = decoded_size // item
    tail = decoded_size - count * item
    position = item * _ENTRY
    if len(view) < position:
        raise _corrupt(f"{len(view)} bytes, too few for {item} planes")
    result = np.empty(decoded_size, dtype=np.uint8)
    split = result[: count * item].reshape(count, item)
    for plane in range(item):
        entry = view[plane * _ENTRY : (plane + 1) * _ENTRY]
        mode, length = entry[0], int.from_bytes(entry[1:], "little")
        if length > len(view) - tail - position:
            raise _corrupt(f"plane {plane} is said to have {length} bytes, which are not there")
        body = view[position : position + length]
        position += length
        if mode == _RAW and length == count:
            split[:, plane] = np.frombuffer(body, dtype=np.uint8)
        elif mode == _ZSTD and count:
            split[:, plane] = np.frombuffer(decompress_frame(body, count), dtype=np.uint8)
        else:
            raise _corrupt(f"plane {plane} has mode {mode} and {length} bytes for {count} items")
    if position + tail != len(view):
        raise _corrupt(f"{len(view) - position} bytes after the planes, expected {tail}")
    result[count * item :] = np.frombuffer(view[position:], dtype=np.uint8)
    return result.tobytes()


def _corrupt(message: str) -> Corrupt:
    return Corrupt("block.codec", message)
