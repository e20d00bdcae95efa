"""Brings the nodes of a job together whose directories are one tier, over the conversation of their ranks."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress

import msgpack

from pyckpt.engine.collect import GRACE_SECONDS
from pyckpt.engine.coordinator import Coordinator
from pyckpt.engine.rounds import round_trip
from pyckpt.errors import RankError, UsageError
from pyckpt.storage.local import LocalStore
from pyckpt.storage.node_link import NodeClient, NodeServer
from pyckpt.storage.nodes import NodeStore
from pyckpt.storage.url import open_store

__all__ = ["Nodes", "open_node_store"]


def open_node_store(url: str, node: Callable[[], str] | None, *, io: str) -> NodeStore:
    """This node's part of a tier, not joined with the others yet. Raises UsageError unless it is a directory."""
    name = node() if node is not None else os.environ.get("GROUP_RANK", "") or socket.gethostname()
    store = open_store(url.replace("{node}", name), io=io)
    if not isinstance(store, LocalStore):
        raise UsageError("usage.invalid", "expected a directory for scope='node'", key=url)
    return NodeStore(url, store, name)


class Nodes:
    """The nodes of a job, as one rank sees them. All ranks make one, with their conversation."""

    def __init__(self, store: NodeStore, coordinator: Coordinator) -> None:
        """Tells the other nodes where this one is served, and joins theirs. Raises RankError on all ranks."""
        self._store = store
        self._server: NodeServer | None = None
        os.makedirs(store.local.root, exist_ok=True)
        seen = os.stat(store.local.root)
        own = [store.node, socket.gethostname(), seen.st_dev, seen.st_ino]
        answer = round_trip(coordinator, "nodes", lambda: msgpack.packb(own), _leaders)
        leaders, token, one_machine = msgpack.unpackb(answer)

        def tell() -> bytes:
            if leaders[store.node] == coordinator.rank:
                # Collection sees the nodes through the store, and no file that a writer which died has left half-done.
                store.local.remove_leftovers(store.local.now() - GRACE_SECONDS)
            if len(leaders) > 1 and leaders[store.node] == coordinator.rank:
                self._server = NodeServer(store.local, token, open_to_all=not one_machine)
            hosts = ["127.0.0.1"] if one_machine else _own_addresses()
            port = 0 if self._server is None else self._server.port
            packed: bytes = msgpack.packb([[host, port] for host in hosts])
            return packed

        told = msgpack.unpackb(round_trip(coordinator, "addresses", tell, lambda rows: msgpack.packb(list(rows))))
        others = []
        for node, leader in sorted(leaders.items()):
            if node != store.node:
                addresses = [(str(host), int(port)) for host, port in msgpack.unpackb(told[leader])]
                others.append(NodeClient(node, addresses, token))
        store.join(others)

    def close(self, coordinator: Coordinator | None) -> None:
        """Stops serving. With a conversation, once all ranks have come here: rank 0 may still read from this node."""
        if coordinator is not None:
            with suppress(RankError):
                round_trip(coordinator, "leave", lambda: b"", lambda _: b"")
        self._store.leave()
        if self._server is not None:
            self._server.close()


def _leaders(told: Sequence[bytes]) -> bytes:
    """Node -> the lowest of its ranks, a token, and whether all are one machine. RankError for two directories."""
    rows = [msgpack.unpackb(each) for each in told]
    leaders: dict[str, int] = {}
    for rank, (node, host, *directory) in enumerate(rows):
        first = leaders.setdefault(node, rank)
        if rows[first][1:] != [host, *directory]:
            raise RankError(
                "store.split",
                f"rank {rank} and rank {first} say that they are on node {node!r}, and see different directories",
                key=f"rank {rank}",
                hint="give the tier node=, a function that gives a name for each node",
            )
    packed: bytes = msgpack.packb([leaders, secrets.token_bytes(32), len({row[1] for row in rows}) == 1])
    return packed


def _own_addresses() -> list[str]:
    """Where the other machines may find this one, best guess first."""
    found = []
    master = os.environ.get("MASTER_ADDR", "")
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        # Nothing is sent; the system only says which of its addresses it would send from.
        probe.connect((master, 9))
        found.append(probe.getsockname()[0])
    with suppress(OSError):
        found += socket.gethostbyname_ex(socket.gethostname())[2]
    return [each for each in dict.fromkeys(found) if not each.startswith("127.")] or [socket.gethostname()]
