"""Moves data objects from store to store in chunks: read, checked, written, in several threads with bounded memory.

A chunk is cut at the bounds of blocks, so that each can be checked by itself. Writers that want whole pages get them: a
chunk reads on to the end of the page that it ends in, and what it has taken from its neighbour that way is compared in
the end with what the neighbour has checked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from threading import Condition, Lock

from pyckpt.engine.buffers import staging
from pyckpt.engine.copy_plan import DataObject, chunks_of
from pyckpt.engine.copy_stitch import StitchedReader
from pyckpt.engine.futures import run_all
from pyckpt.engine.open import missing
from pyckpt.errors import Corrupt
from pyckpt.format.digest import DIGESTS, digest_function
from pyckpt.storage.base import ObjectMissing, ObjectReader, ObjectShort, ObjectWriter, Store

__all__ = ["Counter", "find_wrong", "send_objects"]

Counter = Callable[[int], None]
"""Told of bytes that are done."""


class _Gate:
    """What the threads of one pass tell each other: whose turn it is to write, and that it is over."""

    def __init__(self) -> None:
        self.condition = Condition()
        self.is_shut = False

    def wait_for(self, is_time: Callable[[], bool]) -> bool:
        """Waits until it is time; False if all is over."""
        with self.condition:
            self.condition.wait_for(lambda: self.is_shut or is_time())
            return not self.is_shut

    def shut(self) -> None:
        """Nobody waits any more, and nothing begins."""
        with self.condition:
            self.is_shut = True
            self.condition.notify_all()


def send_objects(
    source: Store, target: Store, objects: Sequence[DataObject], *, threads: int, count: Counter
) -> None:
    """Copies the objects, each whole and durable when this returns, in the place of what may lie at its key.

    Raises Corrupt ``object.*``, ``block.digest``, ``external.missing`` for what is wrong with the source, StoreError.
    Objects that were complete by then stay, of others nothing does.
    """
    # What a manifest says of another checkpoint's object need not be covered by digests: there must be as many bytes
    # before they are cut into chunks.
    foreign = [partial(_check_size, source, each) for each in objects if each.is_external and each.stitch is None]
    with ThreadPoolExecutor(threads, thread_name_prefix="pyckpt-look") as pool:
        run_all(pool, foreign)
    gate = _Gate()
    work = [_Transfer(source, target, each, gate, count) for each in objects]
    jobs = [partial(each.run, number) for each in work for number in range(len(each.chunks))]
    try:
        _run(gate, threads, jobs)
    finally:
        for each in work:
            each.end()


def find_wrong(
    source: Store, target: Store, objects: Sequence[DataObject], *, threads: int, count: Counter
) -> set[str]:
    """Reads objects that the target has with their sizes, and gives the keys of those that are not what they should be.

    What no digest covers is compared with the source.
    """
    work = [_Comparison(source, target, each, count) for each in objects]
    try:
        _run(_Gate(), threads, [partial(each.run, number) for each in work for number in range(len(each.chunks))])
    finally:
        for each in work:
            each.end()
    return {what.target for what, each in zip(objects, work, strict=True) if each.is_wrong}


def _run(gate: _Gate, threads: int, jobs: Sequence[Callable[[], None]]) -> None:
    def guarded(job: Callable[[], None]) -> None:
        if gate.is_shut:
            return
        try:
            job()
        except BaseException:
            gate.shut()
            raise

    with ThreadPoolExecutor(threads, thread_name_prefix="pyckpt-copy") as pool:
        try:
            run_all(pool, [partial(guarded, job) for job in jobs])
        except BaseException:
            # An interrupt included: the pool would else do all that is waiting before it ends.
            gate.shut()
            raise


class _Transfer:
    """One object on its way."""

    def __init__(self, source: Store, target: Store, what: DataObject, gate: _Gate, count: Counter) -> None:
        self.chunks = chunks_of(what.cover)
        self._source = source
        self._target = target
        self._what = what
        self._gate = gate
        self._count = count
        self._lock = Lock()
        self._reader: ObjectReader | None = None
        self._writer: ObjectWriter | None = None
        self._next = 0
        self._left = len(self.chunks)
        self._heads: dict[int, bytes] = {}
        self._ahead: dict[int, bytes] = {}

    def run(self, number: int) -> None:
        """Brings one chunk over; the last one to end completes the object."""
        start, stop = self.chunks[number]
        reader, writer = self._open()
        unit, size = writer.alignment, self._what.size
        base, first = start // unit * unit, -(-start // unit) * unit
        last = -(-stop // unit) * unit
        with staging.buffer(last - base) as buffer:
            end = min(last, size) - base
            read_source(reader, self._what, base, buffer[:end])
            buffer[end : last - base] = bytes(last - base - end)
            check_blocks(self._what, start, stop, buffer[start - base : stop - base])
            if unit > 1:
                self._heads[number] = bytes(buffer[start - base : min(start + unit, stop) - base])
                self._ahead[number] = bytes(buffer[stop - base : end])
            if not self._target.parallel_writes and not self._gate.wait_for(lambda: self._next == number):
                return
            if last > first:
                writer.write(first, [buffer[first - base : last - base]])
        with self._gate.condition:
            self._next += 1
            self._left -= 1
            is_last = self._left == 0
            self._gate.condition.notify_all()
        self._count(stop - start)
        if is_last:
            self._complete(writer)

    def _open(self) -> tuple[ObjectReader, ObjectWriter]:
        with self._lock:
            if self._reader is None:
                self._reader = open_source(self._source, self._what)
            if self._writer is None:
                self._writer = self._target.replace_writer(self._what.target, self._what.size)
            return self._reader, self._writer

    def _complete(self, writer: ObjectWriter) -> None:
        for number, ahead in self._ahead.items():
            follows = number + 1
            checked = b""
            while len(checked) < len(ahead):
                checked += self._heads[follows]
                follows += 1
            if checked[: len(ahead)] != ahead:
                where = self.chunks[number][1]
                message = f"two reads of the bytes from {where} on gave different bytes"
                raise Corrupt("block.digest", message, key=self._what.key)
        writer.close(self._what.size)
        self._writer = None
        self.end()

    def end(self) -> None:
        """Drops what was begun and not completed. No chunk may be under way."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        if self._writer is not None:
            with suppress(OSError):
                self._writer.abort()
            self._writer = None


class _Comparison:
    """One object of the target that is read to see whether it is what it should be."""

    def __init__(self, source: Store, target: Store, what: DataObject, count: Counter) -> None:
        self.chunks = chunks_of(what.cover)
        self.is_wrong = False
        self._source = source
        self._target = target
        self._what = what
        self._count = count
        self._lock = Lock()
        self._reader: ObjectReader | None = None

    def run(self, number: int) -> None:
        """Looks at one chunk, unless it is known already that the object is wrong."""
        if self.is_wrong:
            return
        start, stop = self.chunks[number]
        try:
            reader = self._open()
            with staging.buffer(stop - start) as buffer:
                data = buffer[: stop - start]
                reader.read_into(start, [data])
                check_blocks(self._what, start, stop, data)
                for begin, end in self._what.cover.uncovered(start, stop):
                    self._compare(begin, data[begin - start : end - start])
        except (_Differs, Corrupt, ObjectShort, ObjectMissing):
            self.is_wrong = True
            return
        self._count(stop - start)

    def _open(self) -> ObjectReader:
        with self._lock:
            if self._reader is None:
                self._reader = self._target.open_reader(self._what.target)
            if self._reader.size != self._what.size:
                raise _Differs
            return self._reader

    def _compare(self, at: int, data: memoryview) -> None:
        with staging.buffer(len(data)) as buffer, open_source(self._source, self._what) as reader:
            read_source(reader, self._what, at, buffer[: len(data)])
            if buffer[: len(data)] != data:
                raise _Differs

    def end(self) -> None:
        """Closes what is open."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None


class _Differs(Exception):
    """The target has other bytes than the source."""


def open_source(source: Store, what: DataObject) -> ObjectReader:
    """Opens an object of the source. Raises Corrupt ``object.missing``, ``external.missing`` or ``object.size``."""
    try:
        reader = source.open_reader(what.key)
    except FileNotFoundError as error:
        raise missing("object", what.is_external, "a data object", what.key) from error
    if reader.size != what.source_size:
        found = reader.size
        reader.close()
        raise Corrupt("object.size", f"expected {what.source_size} bytes, found {found}", key=what.key)
    return reader if what.stitch is None else StitchedReader(what.stitch, reader, what.size)


def _check_size(source: Store, what: DataObject) -> None:
    open_source(source, what).close()


def read_source(reader: ObjectReader, what: DataObject, at: int, into: memoryview) -> None:
    try:
        reader.read_into(at, [into])
    except ObjectShort as error:
        raise Corrupt("object.size", str(error), key=what.key) from error
    except ObjectMissing as error:
        raise missing("object", what.is_external, "a data object", what.key) from error


def check_blocks(what: DataObject, start: int, stop: int, data: memoryview) -> None:
    """Refuses bytes that are not those that were saved; an algorithm that isn't known here checks nothing."""
    if what.cover.algorithm not in DIGESTS:
        return
    digest = digest_function(what.cover.algorithm)
    for begin, end, expected in what.cover.within(start, stop):
        if digest(data[begin - start : end - start]) != expected:
            if begin == 0:
                raise Corrupt("object.header_digest", f"bytes 0 to {end} are not those that were saved", key=what.key)
            raise Corrupt(
                "block.digest",
                f"{what.cover.block_name(begin)}, bytes {begin} to {end}: not those that were saved",
                key=what.key,
                hint="restore the object from a copy; nothing at the target refers to what was copied so far",
            )
