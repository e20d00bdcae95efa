"""Writes a data object with encoded shards, whose size is known only after the last block.

Room for the header is kept free and filled at the end. A store that takes an object only from front to back gets it
from a temporary file.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import IO

from pyckpt.engine.buffers import staging
from pyckpt.engine.options import SaveOptions
from pyckpt.engine.save_plan import ObjectPlan, ShardPlan
from pyckpt.engine.stored import StoredObject
from pyckpt.format.codecs import Chain, encode_block
from pyckpt.format.digest import digest_function
from pyckpt.format.safetensors import Entry, build_header, parse_header
from pyckpt.storage.base import Store

__all__ = ["write_encoded"]

COPY_BYTES = 8 << 20
GROWTH = 1 << 20
"""Room per shard for what a codec may add to bytes that don't compress."""


def write_encoded(
    store: Store, key: str, plan: ObjectPlan, chains: Sequence[Chain], options: SaveOptions
) -> StoredObject:
    """Encodes, digests and writes one object durably; on any error it is taken back."""
    writer = store.create_writer(key, None)
    try:
        if store.parallel_writes and writer.alignment == 1:
            stored, header = _encode(plan, chains, options, lambda at, data: writer.write(at, [memoryview(data)]))
            writer.write(0, [memoryview(header)])
        else:
            with tempfile.TemporaryFile() as spool:
                stored, header = _encode(plan, chains, options, lambda at, data: _write_at(spool, at, data))
                _write_at(spool, 0, header)
                _copy(spool, stored.size, writer.write, writer.alignment)
        writer.close(stored.size)
    except BaseException:
        with suppress(OSError):
            writer.abort()
        raise
    return stored


def _write_at(file: IO[bytes], at: int, data: bytes) -> None:
    file.seek(at)
    file.write(data)


def _copy(
    spool: IO[bytes], size: int, write: Callable[[int, Sequence[memoryview]], None], alignment: int
) -> None:
    spool.seek(0)
    with staging.buffer(COPY_BYTES) as buffer:
        for at in range(0, size, COPY_BYTES):
            count = min(COPY_BYTES, size - at)
            filled = spool.readinto(buffer[:count])  # type: ignore[attr-defined]
            if filled != count:
                raise shutil.Error(f"temporary file ended after {at + filled} of {size} bytes")
            padded = -(-count // alignment) * alignment
            buffer[count:padded] = bytes(padded - count)
            write(at, [buffer[:padded]])


def _encode(
    plan: ObjectPlan, chains: Sequence[Chain], options: SaveOptions, write: Callable[[int, bytes], None]
) -> tuple[StoredObject, bytes]:
    digest, block = digest_function(options.digest), options.block_bytes
    room = len(_header(plan, [_at_most(shard) for shard in plan.shards]))
    at = room
    digests: list[bytes] = []
    decoded: list[bytes] = []
    block_sizes: list[int] = []
    sizes: list[int] = []
    with staging.buffer(block) as buffer:
        for shard in plan.shards:
            begin = at
            view = shard.source.view()
            for start in range(0, shard.nbytes, block):
                count = min(block, shard.nbytes - start)
                first = shard.source_start + start
                if view is not None:
                    part = view[first : first + count]
                else:
                    part = buffer[:count]
                    shard.source.read_into(first, part)
                data = encode_block(chains[shard.chain], part, options.codec_level) if shard.chain else bytes(part)
                digests.append(digest(data))
                if shard.chain:
                    block_sizes.append(len(data))
                    decoded.append(digest(part))
                write(at, data)
                at += len(data)
            shard.source.close()
            sizes.append(at - begin)
    header = _pad(_header(plan, sizes), room)
    parse_header(header, at)
    return (
        StoredObject(
            plan,
            at,
            room,
            digest(header),
            b"".join(digests),
            tuple(sizes),
            tuple(block_sizes),
            b"".join(decoded),
        ),
        header,
    )


def _at_most(shard: ShardPlan) -> int:
    """More than a shard can have once it is encoded."""
    return shard.nbytes + shard.nbytes // 8 + GROWTH if shard.chain else shard.nbytes


def _header(plan: ObjectPlan, sizes: Sequence[int]) -> bytes:
    metadata, _ = parse_header(plan.header, plan.size)
    entries = []
    at = 0
    for shard, size in zip(plan.shards, sizes, strict=True):
        entries.append(_entry(shard, at, at + size))
        at += size
    return build_header(entries, metadata)


def _entry(shard: ShardPlan, begin: int, end: int) -> Entry:
    if shard.chain:
        return Entry(shard.entry, "U8", (end - begin,), begin, end)
    return Entry(shard.entry, shard.dtype.container, shard.header_shape, begin, begin + shard.nbytes)


def _pad(header: bytes, size: int) -> bytes:
    """Fills a header up with spaces to ``size`` bytes, its length field included."""
    text = header[8:]
    return (size - 8).to_bytes(8, "little") + text + b" " * (size - 8 - len(text))
