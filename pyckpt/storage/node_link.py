"""A node's directory, served to the other nodes of one job: a request and an answer at a time, over a socket.

Both ends prove that they know the job's token before anything is asked. What travels is MessagePack in frames whose
length is bounded; tensors come in pieces of a few MiB, and their digests are checked by whoever reads them.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

import msgpack

from pyckpt.errors import InvalidKey, LimitExceeded, StoreError
from pyckpt.storage.base import AlreadyThere, Bytes, ObjectInfo, ObjectMissing, ObjectShort, Store

__all__ = ["NodeClient", "NodeServer"]

PIECE_BYTES = 4 << 20
FRAME_BYTES = 1 << 30
"""A manifest or an asset goes whole."""
ANSWER_SECONDS = 60.0
CONNECT_SECONDS = 5.0
_NONCE_BYTES = 32


class NodeServer:
    """Serves a store until it is closed. ``open_to_all`` listens on every interface, otherwise on loopback alone."""

    def __init__(self, store: Store, token: bytes, *, open_to_all: bool) -> None:
        self._store = store
        self._token = token
        self._socket = socket.create_server(("" if open_to_all else "127.0.0.1", 0), backlog=128)
        self.port: int = self._socket.getsockname()[1]
        threading.Thread(target=self._accept, name="pyckpt-node", daemon=True).start()

    def close(self) -> None:
        """Takes no new connections; those that there are end with their clients."""
        # A plain close would leave the thread in accept.
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _accept(self) -> None:
        while True:
            try:
                accepted, _ = self._socket.accept()
            except OSError:
                return
            accepted.settimeout(None)
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = Connection(accepted.detach())
            threading.Thread(target=self._serve, args=(connection,), name="pyckpt-node", daemon=True).start()

    def _serve(self, connection: Connection) -> None:
        with connection, suppress(OSError, EOFError):
            if not _meet(connection, self._token, b"server", b"client"):
                return
            while True:
                request = msgpack.unpackb(connection.recv_bytes(FRAME_BYTES))
                connection.send_bytes(msgpack.packb(self._answer(*request)))

    def _answer(self, what: str, key: str, *rest: Any) -> list[Any]:
        try:
            return ["ok", self._do(what, key, *rest)]
        except ObjectMissing:
            return ["missing", None]
        except AlreadyThere:
            return ["there", None]
        except ObjectShort as error:
            return ["short", [error.offset, error.wanted, error.found]]
        except Exception as error:  # noqa: BLE001 - the other side has to hear of it, whatever it is
            return ["failed", str(error)]

    def _do(self, what: str, key: str, *rest: Any) -> Any:
        store = self._store
        if what == "read":
            offset, length = rest
            if not 0 <= length <= PIECE_BYTES:
                raise LimitExceeded("limit.exceeded", f"expected at most {PIECE_BYTES} bytes, found {length}", key=key)
            data = bytearray(length)
            store.read_into(key, offset, [memoryview(data)])
            return data
        if what == "info":
            return _packed(store.info(key))
        if what == "list":
            return [_packed(info) for info in store.list(key)]
        if what == "names":
            return store.list_names(key)
        if what == "put":
            return store.put(key, *rest)
        if what == "put_new":
            return store.put_new(key, *rest)
        if what == "delete":
            return store.delete(key)
        raise InvalidKey("key.invalid", f"expected a request, found {what!r}", key=key)


class NodeClient:
    """What another node's server gives. Thread-safe; raises StoreError if the node does not answer."""

    def __init__(self, node: str, addresses: Sequence[tuple[str, int]], token: bytes) -> None:
        self.node = node
        self._addresses = tuple(addresses)
        self._token = token
        self._idle: list[Connection] = []

    def info(self, key: str) -> ObjectInfo | None:
        """Size and time of an object, or None."""
        found = self._ask(key, "info")
        return None if found is None else ObjectInfo(*found)

    def list_names(self, prefix: str) -> list[str]:
        """Distinct first segments below a prefix."""
        return [str(name) for name in self._ask(prefix, "names")]

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """All objects below a prefix, sorted by key."""
        return (ObjectInfo(*row) for row in self._ask(prefix, "list"))

    def put(self, key: str, data: Bytes) -> None:
        """Creates or replaces a small object."""
        self._ask(key, "put", bytes(data))

    def put_new(self, key: str, data: Bytes) -> None:
        """Creates a small object. AlreadyThere."""
        self._ask(key, "put_new", bytes(data))

    def delete(self, key: str) -> None:
        """Removes an object."""
        self._ask(key, "delete")

    def read_into(self, key: str, offset: int, views: Sequence[memoryview]) -> None:
        """Fills the views piece by piece. ObjectMissing, ObjectShort."""
        for view in views:
            flat = view.cast("B")
            for at in range(0, len(flat), PIECE_BYTES):
                length = min(PIECE_BYTES, len(flat) - at)
                data = self._ask(key, "read", offset, length)
                if len(data) != length:
                    message = f"node {self.node} gave {len(data)} bytes instead of {length}"
                    raise StoreError("store.io", message, key=key)
                flat[at : at + length] = data
                offset += length

    def close(self) -> None:
        """Ends the connections."""
        while self._idle:
            self._idle.pop().close()

    def _ask(self, key: str, what: str, *rest: object) -> Any:
        try:
            connection = self._borrow()
            connection.send_bytes(msgpack.packb([what, key, *rest]))
            status, value = msgpack.unpackb(_patiently(connection))
        except (OSError, EOFError) as error:
            raise StoreError("store.io", f"node {self.node} does not answer: {error}", key=key) from error
        self._idle.append(connection)
        if status == "missing":
            raise ObjectMissing(key)
        if status == "there":
            raise AlreadyThere(key)
        if status == "short":
            raise ObjectShort(key, *value)
        if status != "ok":
            raise StoreError("store.io", f"node {self.node}: {value}", key=key)
        return value

    def _borrow(self) -> Connection:
        try:
            return self._idle.pop()
        except IndexError:
            return self._connect()

    def _connect(self) -> Connection:
        last: OSError | None = None
        for address in self._addresses:
            try:
                made = socket.create_connection(address, CONNECT_SECONDS)
            except OSError as error:
                last = error
                continue
            made.settimeout(None)
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = Connection(made.detach())
            if _meet(connection, self._token, b"client", b"server"):
                return connection
            connection.close()
            last = OSError("it does not know the token of this job")
        raise last or OSError("it has no address")


def _meet(connection: Connection, token: bytes, own: bytes, other: bytes) -> bool:
    """Whether the other side knows the token; it learns the same of this one.

    The role is part of the proof, so that nobody can hand one side's proof to the other.
    """
    nonce = secrets.token_bytes(_NONCE_BYTES)
    connection.send_bytes(nonce)
    if not connection.poll(CONNECT_SECONDS):
        return False
    connection.send_bytes(_proof(token, own, connection.recv_bytes(_NONCE_BYTES)))
    if not connection.poll(CONNECT_SECONDS):
        return False
    return hmac.compare_digest(connection.recv_bytes(64), _proof(token, other, nonce))


def _patiently(connection: Connection) -> bytes:
    if not connection.poll(ANSWER_SECONDS):
        raise OSError(f"no answer within {ANSWER_SECONDS:g} s")
    return connection.recv_bytes(FRAME_BYTES)


def _proof(token: bytes, role: bytes, nonce: bytes) -> bytes:
    return hmac.new(token, role + nonce, hashlib.sha256).digest()


def _packed(info: ObjectInfo | None) -> list[Any] | None:
    return None if info is None else [info.key, info.size, info.modified]
