"""Roots, manifests and headers as lines of text, whatever is wrong with them: for people who compare two of them."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Iterator
from typing import Any, Final

import msgpack
import zstandard

__all__ = ["lines"]

_LARGEST: Final = 16 << 20
_ROW: Final = 32


class _Members(list[tuple[Any, Any]]):
    """Members of an object or map, those with the same name too."""


def lines(key: str, data: bytes) -> list[str] | None:
    """The values in an object, one a line with its place; None for objects that have no such form."""
    name = key.rpartition("/")[2]
    try:
        if name.endswith(".json"):
            return list(_lines("", json.loads(data, object_pairs_hook=_Members)))
        if name.endswith(".msgpack.zst"):
            return list(_lines("", _unpacked(_decompressed(data))))
        if name.endswith(".safetensors"):
            (size,) = struct.unpack_from("<Q", data)
            text = data[8 : 8 + min(size, len(data))].decode()
            return [f"header size = {size}", *_lines("", json.loads(text, object_pairs_hook=_Members))]
    except (ValueError, struct.error, RecursionError, zstandard.ZstdError, msgpack.UnpackException) as error:
        return [f"not readable: {type(error).__name__}: {error}"]
    return None


def _decompressed(data: bytes) -> bytes:
    """All that the frames hold, up to a bound."""
    decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 31)
    with decompressor.stream_reader(io.BytesIO(data)) as reader:
        return reader.read(_LARGEST)


def _unpacked(raw: bytes) -> Any:
    return msgpack.unpackb(
        raw,
        object_pairs_hook=_Members,
        ext_hook=msgpack.ExtType,
        strict_map_key=False,
        unicode_errors="surrogateescape",
    )


def _lines(place: str, value: Any) -> Iterator[str]:
    if isinstance(value, _Members):
        if not value:
            yield f"{place or '.'} = {{}}"
        for name, inner in value:
            shown = name if isinstance(name, str) else repr(name)
            yield from _lines(f"{place}.{shown}" if place else shown, inner)
    elif isinstance(value, list):
        if not value:
            yield f"{place} = []"
        for number, inner in enumerate(value):
            yield from _lines(f"{place}[{number}]", inner)
    elif isinstance(value, msgpack.ExtType):
        yield from _bytes(f"{place} = extension {value.code}", value.data)
    elif isinstance(value, bytes):
        yield from _bytes(f"{place} = bytes", value)
    else:
        yield f"{place} = {json.dumps(value, default=repr)}"


def _bytes(head: str, data: bytes) -> Iterator[str]:
    if len(data) <= _ROW:
        yield f"{head} {data.hex(' ')}"
        return
    yield f"{head}, {len(data)} of them"
    for at in range(0, len(data), _ROW):
        yield f"    {at:6d}  {data[at : at + _ROW].hex(' ')}"
