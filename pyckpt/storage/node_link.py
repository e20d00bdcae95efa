"""A node's directory, served to the other nodes of one job: a request and an answer at a time, over a socket.

Both ends prove that they know the job's token before anything is asked. What travels is MessagePack in frames whose
length is bounded; tensors come in pieces of a few MiB, straight into the memory that they are for, and their digests
are checked by whoever reads them.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
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
"""As many as a proof has."""


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
            threading.Thread(target=self._serve, args=(accepted,), name="pyckpt-node", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        piece = bytearray(0)
        with connection, suppress(OSError, ValueError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if not _meet(connection, self._token, b"server", b"client"):
                return
            # A client keeps its connections for as long as it is there.
            connection.settimeout(None)
            while True:
                what, key, *rest = _receive(connection)
                if what == "read" and not piece:
                    piece = bytearray(PIECE_BYTES)
                answer = self._answer(piece, what, key, *rest)
                _send(connection, answer)
                if what == "read" and answer[0] == "ok":
                    connection.sendall(memoryview(piece)[: answer[1]])

    def _answer(self, piece: bytearray, what: str, key: str, *rest: Any) -> list[Any]:
        try:
            return ["ok", self._do(piece, what, key, *rest)]
        except ObjectMissing:
            return ["missing", None]
        except AlreadyThere:
            return ["there", None]
        except ObjectShort as error:
            return ["short", [error.offset, error.wanted, error.found]]
        except Exception as error:  # noqa: BLE001 - the other side has to hear of it, whatever it is
            return ["failed", str(error)]

    def _do(self, piece: bytearray, what: str, key: str, *rest: Any) -> Any:
        store = self._store
        if what == "read":
            offset, length = rest
            if not 0 <= length <= PIECE_BYTES:
                raise LimitExceeded("limit.exceeded", f"expected at most {PIECE_BYTES} bytes, found {length}", key=key)
            store.read_into(key, offset, [memoryview(piece)[:length]])
            return length
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
        self._idle: list[socket.socket] = []

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
                piece = flat[at : at + PIECE_BYTES]
                self._ask(key, "read", offset, len(piece), into=piece)
                offset += len(piece)

    def close(self) -> None:
        """Ends the connections."""
        while self._idle:
            self._idle.pop().close()

    def _ask(self, key: str, what: str, *rest: object, into: memoryview | None = None) -> Any:
        connection: socket.socket | None = None
        try:
            connection = self._borrow()
            _send(connection, [what, key, *rest])
            status, value = _receive(connection)
            if into is not None and status == "ok":
                _fill(connection, into)
        except OSError as error:
            if connection is not None:
                connection.close()
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

    def _borrow(self) -> socket.socket:
        try:
            return self._idle.pop()
        except IndexError:
            return self._connect()

    def _connect(self) -> socket.socket:
        last: OSError | None = None
        for address in self._addresses:
            try:
                connection = socket.create_connection(address, CONNECT_SECONDS)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if _meet(connection, self._token, b"client", b"server"):
                    connection.settimeout(ANSWER_SECONDS)
                    return connection
            except OSError as error:
                last = error
                continue
            connection.close()
            last = OSError("it does not know the token of this job")
        raise last or OSError("it has no address")


def _meet(connection: socket.socket, token: bytes, own: bytes, other: bytes) -> bool:
    """Whether the other side knows the token; it learns the same of this one.

    The role is part of the proof, so that nobody can hand one side's proof to the other.
    """
    connection.settimeout(CONNECT_SECONDS)
    nonce = secrets.token_bytes(_NONCE_BYTES)
    connection.sendall(nonce)
    connection.sendall(_proof(token, own, _exactly(connection, _NONCE_BYTES)))
    return hmac.compare_digest(_exactly(connection, _NONCE_BYTES), _proof(token, other, nonce))


def _send(connection: socket.socket, message: list[Any]) -> None:
    data: bytes = msgpack.packb(message)
    connection.sendall(len(data).to_bytes(8, "little") + data)


def _receive(connection: socket.socket) -> Any:
    length = int.from_bytes(_exactly(connection, 8), "little")
    if length > FRAME_BYTES:
        raise OSError(f"expected a message of at most {FRAME_BYTES} bytes, found {length}")
    return msgpack.unpackb(_exactly(connection, length))


def _exactly(connection: socket.socket, count: int) -> bytes:
    data = bytearray(count)
    _fill(connection, memoryview(data))
    return bytes(data)


def _fill(connection: socket.socket, view: memoryview) -> None:
    while view:
        count = connection.recv_into(view)
        if not count:
            raise ConnectionError("the connection has ended")
        view = view[count:]


def _proof(token: bytes, role: bytes, nonce: bytes) -> bytes:
    return hmac.new(token, role + nonce, hashlib.sha256).digest()


def _packed(info: ObjectInfo | None) -> list[Any] | None:
    return None if info is None else [info.key, info.size, info.modified]
