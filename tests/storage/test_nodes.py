"""Directories of two nodes as one store: the contract of all stores, and what only this one promises."""

from __future__ import annotations

import socket
import threading
from contextlib import ExitStack, suppress

import pytest

from pyckpt.errors import StoreError
from pyckpt.storage.base import AlreadyThere, ObjectMissing
from pyckpt.storage.local import LocalStore
from pyckpt.storage.node_link import PIECE_BYTES, NodeClient, NodeServer
from pyckpt.storage.nodes import NodeStore
from pyckpt.testing import StoreSuite
from pyckpt.testing.objects import write_object

TOKEN = b"t" * 32


@pytest.fixture
def nodes(tmp_path):
    """The store as each of two nodes sees it; both in this process, over real sockets."""
    with ExitStack() as stack:
        stores, servers = [], []
        for name in "ab":
            stores.append(NodeStore("/nvme/run", LocalStore(tmp_path / name), name))
            servers.append(NodeServer(stores[-1].local, TOKEN, open_to_all=False))
            stack.callback(servers[-1].close)
        for store, other, server in ((stores[0], "b", servers[1]), (stores[1], "a", servers[0])):
            store.join([NodeClient(other, [("127.0.0.1", server.port)], TOKEN)])
            stack.callback(store.leave)
        yield stores


class TestNodes(StoreSuite):
    @pytest.fixture
    def store(self, nodes):
        return nodes[0]


class TestOtherNode(StoreSuite):
    """All that is written lies on the other node."""

    @pytest.fixture
    def store(self, nodes):
        a, b = nodes
        a.create_writer, a.replace_writer = b.create_writer, b.replace_writer
        return a


def test_data_lies_on_its_node_and_all_else_on_both(nodes):
    a, b = nodes
    data = bytes(range(256)) * (PIECE_BYTES // 100)
    write_object(a, "c/m/x", data)
    a.put("c/m/manifest", b"m")
    a.put_new("c/checkpoint.json", b"root")
    assert (a.local.info("c/m/x") is None, b.local.info("c/m/x") is None) == (False, True)
    assert b.local.get("c/m/manifest", limit=10) == b"m"
    assert b.local.get("c/checkpoint.json", limit=10) == b"root"
    assert b.get("c/m/x", limit=len(data)) == data
    part = bytearray(PIECE_BYTES + 5)
    b.read_into("c/m/x", 77, [memoryview(part)])
    assert part == data[77 : 77 + len(part)]
    assert [info.key for info in b.list("")] == ["c/checkpoint.json", "c/m/manifest", "c/m/x"]
    with pytest.raises(AlreadyThere):
        b.put_new("c/checkpoint.json", b"other")
    b.delete("c/m/x")
    assert a.info("c/m/x") is None


def test_a_node_without_the_token_gets_nothing(nodes):
    port = nodes[0]._others[0]._addresses[0][1]
    with pytest.raises(StoreError, match="does not know the token"):
        NodeClient("b", [("127.0.0.1", port)], b"x" * 32).info("c/x")
    # Nor does one that hands the server's own proof back to it.
    with socket.create_connection(("127.0.0.1", port)) as one, socket.create_connection(("127.0.0.1", port)) as two:
        nonce = one.recv(32)
        two.recv(32)
        two.sendall(nonce)
        proof = two.recv(32)
        one.sendall(b"n" * 32 + proof)
        assert len(one.recv(32)) == 32
        one.settimeout(10)
        one.sendall((8).to_bytes(8, "little") + b"\x92\xa4info\xa1x")
        with suppress(ConnectionError):
            assert one.recv(32) == b"", "was answered"


def test_a_node_that_is_gone_is_named(nodes):
    gone = NodeClient("c", [("127.0.0.1", 1)], TOKEN)
    nodes[0].join([gone])
    with pytest.raises(StoreError, match="node c does not answer"):
        nodes[0].get("c/m/x", limit=10)
    with pytest.raises(StoreError, match="node c does not answer"):
        nodes[0].put("c/m/x", b"")


def test_many_threads_read_from_another_node(nodes):
    a, b = nodes
    data = bytes(range(251)) * 1000
    write_object(a, "c/m/x", data)
    failed = []

    def read(start):
        for at in range(start, start + 20):
            part = bytearray(1000)
            b.read_into("c/m/x", at * 100, [memoryview(part)])
            if part != data[at * 100 : at * 100 + 1000]:
                failed.append(at)

    threads = [threading.Thread(target=read, args=(20 * number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed


def test_keys_that_leave_the_directory_are_refused(nodes, tmp_path):
    (tmp_path / "secret").write_bytes(b"s")
    client = nodes[0]._others[0]
    with pytest.raises(StoreError, match=r"key\.invalid"):
        client.read_into("../secret", 0, [memoryview(bytearray(1))])
    with pytest.raises(StoreError):
        client.put("/etc/x", b"")
    with pytest.raises(ObjectMissing):
        client.read_into("no/such", 0, [memoryview(bytearray(1))])
