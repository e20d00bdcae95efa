"""Checks a whole checkpoint and lists everything that is wrong with it, in bounded memory and several threads.

The shallow check reads root and manifests and asks the store for the size of every object. The deep one reads every
byte: headers against the manifest, blocks against their digests, encoded blocks against what they decode to.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from threading import Lock

from pyckpt.engine.buffers import staging
from pyckpt.engine.futures import run_all
from pyckpt.engine.header_check import compare_header
from pyckpt.engine.open import OpenItem, descriptor_key, load_item, missing, root_bytes
from pyckpt.engine.options import Progress
from pyckpt.engine.read import open_object
from pyckpt.engine.report import VerifyReport
from pyckpt.errors import Corrupt, Finding, NotFound, PyckptError, Unsupported
from pyckpt.format.codecs import decode_block
from pyckpt.format.digest import digest_function
from pyckpt.format.keys import ROOT_NAME, join
from pyckpt.format.manifest import Manifest
from pyckpt.format.root import Descriptor, Root, decode_root
from pyckpt.storage.base import ObjectReader, Store
from pyckpt.storage.url import checkpoint_url

__all__ = ["verify"]

ASSET_BYTES = 8 << 20


def verify(
    store: Store, name: str, *, deep: bool = True, threads: int = 2, progress: Progress | None = None
) -> VerifyReport:
    """Verifies the checkpoint ``name``. Damage is listed in the report and never raised.

    Raises NotFound if there is no root, StoreError if the store fails.
    """
    begin = time.perf_counter()
    data = root_bytes(store, name)
    work = _Verification(store, name, deep=deep, progress=progress)
    digest = ""
    try:
        root = decode_root(data, checkpoint=name)
    except PyckptError as error:
        work.add(error, join(name, ROOT_NAME))
    else:
        digest = root.digest
        work.run(root, threads)
    work.findings.sort(key=lambda finding: (finding.key, finding.code, finding.message))
    return VerifyReport(
        checkpoint_url(store.url, name),
        digest,
        deep,
        tuple(work.findings),
        tuple(work.remarks),
        work.objects,
        work.bytes + len(data),
        time.perf_counter() - begin,
    )


@dataclass(slots=True)
class _Verification:
    """Findings and counters that all threads add to."""

    store: Store
    name: str
    deep: bool
    progress: Progress | None
    findings: list[Finding] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    objects: int = 0
    bytes: int = 0
    total: int = 0
    _lock: Lock = field(default_factory=Lock)

    def add(self, error: PyckptError, key: str) -> None:
        """Lists an error as a finding."""
        with self._lock:
            self.findings.append(Finding(error.code, error.key or key, error.message))

    def done(self, count: int) -> None:
        """Counts bytes that were checked."""
        with self._lock:
            self.bytes += count
            if self.progress is not None:
                self.progress(min(self.bytes, self.total), self.total)

    def run(self, root: Root, threads: int) -> None:
        """All checks that follow from a readable root."""
        self._externals(root)
        items = []
        for name, entry in root.items.items():
            try:
                items.append(load_item(self.store, self.name, name, root))
            except (Corrupt, Unsupported) as error:
                self.add(error, name)
            except PyckptError as error:
                if error.code in ("store.io", "store.condition"):
                    raise
                self.add(error, name)
            self.done(entry.manifest.size)
        for item in items:
            self._check_counts(item)
        jobs = [job for item in items for job in self._item_jobs(item)]
        for name, entry in root.items.items():
            jobs += [
                partial(self._asset, f"{name}/{asset}", descriptor) for asset, descriptor in entry.assets.items()
            ]
        with ThreadPoolExecutor(threads, thread_name_prefix="pyckpt-verify") as pool:
            run_all(pool, jobs)

    def _externals(self, root: Root) -> None:
        """An origin that is gone is worth a remark: what is used of it is checked object by object."""
        for external in root.external:
            key = join(external.checkpoint, ROOT_NAME)
            try:
                found = decode_root(root_bytes(self.store, external.checkpoint), checkpoint=external.checkpoint).digest
            except NotFound:
                self.remarks.append(f"{key}: this checkpoint lists one that is gone")
            except PyckptError as error:
                self.remarks.append(f"{key}: {error.message}")
            else:
                if found != external.digest:
                    self.remarks.append(f"{key}: expected the root {external.digest}, found {found}")

    def _check_counts(self, item: OpenItem) -> None:
        entry, tensors = item.entry, item.manifest.tensors
        nbytes = sum(tensors.nbytes_of(number) for number in range(len(tensors)))
        held = (len(tensors), len(item.manifest.shards), len(item.manifest.objects), nbytes)
        stated = (entry.tensors, entry.shards, entry.objects, entry.bytes)
        if held != stated:
            self.findings.append(
                Finding(
                    "manifest.schema",
                    item.name,
                    f"the root counts {stated} tensors, shards, objects and bytes, the manifest has {held}",
                )
            )

    def _item_jobs(self, item: OpenItem) -> Iterator[Callable[[], None]]:
        shards = _shards_by_object(item.manifest)
        for number, row in enumerate(item.manifest.objects):
            self.objects += 1
            self.total += row.size if self.deep else 0
            yield partial(self._object, item, number, shards[number])

    def _object(self, item: OpenItem, number: int, shards: Sequence[int]) -> None:
        row, key = item.manifest.objects[number], item.object_keys[number]
        try:
            if not self.deep:
                info = self.store.info(key)
                if info is None:
                    raise missing("object", row.store_key is not None, "a data object", key)
                if info.size != row.size:
                    raise Corrupt("object.size", f"expected {row.size} bytes, found {info.size}", key=key)
                return
            with open_object(self.store, key, row) as reader:
                self._header(item, number, shards, reader)
                self._blocks(item, number, shards, reader)
        except PyckptError as error:
            if error.code in ("store.io", "store.condition"):
                raise
            self.add(error, key)

    def _header(self, item: OpenItem, number: int, shards: Sequence[int], reader: ObjectReader) -> None:
        row, key = item.manifest.objects[number], item.object_keys[number]
        with staging.buffer(row.data_start) as buffer:
            header = buffer[: row.data_start]
            reader.read_into(0, [header])
            self.done(row.data_start)
            if digest_function(row.digest)(header) != row.header_digest:
                self.findings.append(
                    Finding("object.header_digest", key, f"bytes 0 to {row.data_start} are not those that were saved")
                )
                return
            try:
                compare_header(item.manifest, number, shards, bytes(header))
            except PyckptError as error:
                self.add(error, key)

    def _blocks(self, item: OpenItem, number: int, shards: Sequence[int], reader: ObjectReader) -> None:
        """Reads and checks every block of the shards."""
        table = item.manifest.shards
        row, key = item.manifest.objects[number], item.object_keys[number]
        digest = digest_function(row.digest)
        for shard in shards:
            at = int(table.offset[shard])
            first, _ = table.block_range(shard)
            chain = item.manifest.codecs[table.codec_of(shard)]
            decoded_sizes = table.decoded_sizes(shard) if chain else []
            for block, size in enumerate(table.stored_sizes(shard)):
                with staging.buffer(size) as buffer:
                    view = buffer[:size]
                    reader.read_into(at, [view])
                    if digest(view) != table.digest_of(first + block):
                        self.findings.append(
                            Finding(
                                "block.digest",
                                key,
                                f"block {block} of entry {table.entry_name(shard)!r}, bytes {at} to {at + size}: not "
                                "those that were saved",
                            )
                        )
                    elif chain:
                        self._decode(item, shard, block, view, decoded_sizes[block], key, row.digest)
                at += size
                self.done(size)

    def _decode(
        self, item: OpenItem, shard: int, block: int, view: memoryview, size: int, key: str, algorithm: str
    ) -> None:
        table = item.manifest.shards
        try:
            data = decode_block(item.manifest.codecs[table.codec_of(shard)], view, size)
        except PyckptError as error:
            self.add(error, key)
            return
        expected = table.decoded_digest_of(shard, block)
        if expected is not None and digest_function(algorithm)(data) != expected:
            self.findings.append(
                Finding("block.digest", key, f"block {block} of shard {shard} decodes to other bytes than were saved")
            )

    def _asset(self, what: str, descriptor: Descriptor) -> None:
        key = descriptor_key(self.name, descriptor)
        info = self.store.info(key)
        if info is None:
            self.add(missing("asset", descriptor.store_key is not None, f"the asset {what!r}", key), key)
        elif info.size != descriptor.size:
            self.findings.append(Finding("asset.size", key, f"expected {descriptor.size} bytes, found {info.size}"))
        elif self.deep and sha256_of(self.store, key, info.size) != descriptor.sha256:
            self.findings.append(Finding("asset.digest", key, f"expected sha256 {descriptor.sha256}"))
        self.done(descriptor.size if self.deep else 0)


def sha256_of(store: Store, key: str, size: int) -> str:
    """SHA-256 of an object as 64 hex digits, read piece by piece."""
    state = hashlib.sha256()
    with store.open_reader(key) as reader, staging.buffer(ASSET_BYTES) as buffer:
        for at in range(0, size, ASSET_BYTES):
            view = buffer[: min(ASSET_BYTES, size - at)]
            reader.read_into(at, [view])
            state.update(view)
    return state.hexdigest()


def _shards_by_object(manifest: Manifest) -> list[list[int]]:
    groups: list[list[int]] = [[] for _ in manifest.objects]
    offsets = manifest.shards.offset
    for shard, number in enumerate(manifest.shards.object.tolist()):
        groups[number].append(shard)
    for group in groups:
        group.sort(key=lambda shard: int(offsets[shard]))
    return groups
