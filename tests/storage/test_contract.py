"""Every store that comes with the library passes the public contract."""

from __future__ import annotations

import itertools
import os
import shutil

import fsspec
import pytest

from pyckpt.storage.base import Store
from pyckpt.storage.fsspec_store import FsspecStore
from pyckpt.storage.local import LocalStore
from pyckpt.storage.memory import MemoryStore
from pyckpt.testing import StoreSuite

_names = itertools.count()


class TestMemory(StoreSuite):
    @pytest.fixture
    def store(self):
        store: Store = MemoryStore(f"contract-{next(_names)}")
        yield store
        store.clear()


class TestMemoryPrefix(StoreSuite):
    big = 10_000

    @pytest.fixture
    def store(self):
        name = f"contract-{next(_names)}"
        MemoryStore(name).put("outside", b"not below the prefix")
        MemoryStore(name).put("deep/erx", b"nor is this")
        yield MemoryStore(f"{name}/deep/er")
        MemoryStore(name).clear()


@pytest.mark.parametrize("io", ["buffered", "writeback", "direct"])
class TestLocal(StoreSuite):
    @pytest.fixture
    def store(self, tmp_path, io):
        return LocalStore(tmp_path / "made" / "on demand", io)


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="needs a tmpfs, which refuses direct IO on older kernels")
class TestLocalTmpfs(StoreSuite):
    @pytest.fixture
    def store(self):
        root = f"/dev/shm/pyckpt-test-{os.getpid()}-{next(_names)}"
        yield LocalStore(root, "direct")
        shutil.rmtree(root, ignore_errors=True)


class TestLocalThroughSymlink(StoreSuite):
    big = 10_000

    @pytest.fixture
    def store(self, tmp_path):
        (tmp_path / "real").mkdir()
        (tmp_path / "link").symlink_to("real")
        return LocalStore(tmp_path / "link")


class TestFsspecMemory(StoreSuite):
    @pytest.fixture
    def store(self):
        fs = fsspec.filesystem("memory")
        yield FsspecStore(f"memory://contract-{next(_names)}/run")
        fs.store.clear()
        fs.pseudo_dirs[:] = [""]


class TestFsspecFile(StoreSuite):
    @pytest.fixture
    def store(self, tmp_path):
        return FsspecStore(f"file://{tmp_path}/run")


class TestFsspecPair(StoreSuite):
    big = 10_000

    @pytest.fixture
    def store(self, tmp_path):
        return FsspecStore((fsspec.filesystem("file"), str(tmp_path / "run")))
