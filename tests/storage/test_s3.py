"""The fsspec store against a real S3 protocol server."""

from __future__ import annotations

import itertools

import pytest

from pyckpt.errors import StoreError
from pyckpt.storage.base import AlreadyThere
from pyckpt.storage.fsspec_store import FsspecStore
from pyckpt.storage.url import open_store
from pyckpt.testing import StoreSuite
from pyckpt.testing.objects import write_object

_names = itertools.count()


@pytest.fixture
def bucket(s3_options):
    import s3fs

    fs = s3fs.S3FileSystem(**s3_options)
    name = f"bucket-{next(_names)}"
    fs.mkdir(name)
    return name


class TestS3(StoreSuite):
    big = (17 << 20) + 123  # more than one part of a multipart upload

    @pytest.fixture
    def store(self, bucket, s3_options):
        return FsspecStore(f"s3://{bucket}/run", **s3_options)


def test_store_at_the_root_of_a_bucket(bucket, s3_options):
    StoreSuite().test_listing(open_store(f"s3://{bucket}/", **s3_options))


def test_condition_is_native(bucket, s3_options):
    store = FsspecStore(f"s3://{bucket}/run", **s3_options)
    assert store.conditional_put == "native"
    assert list(store.list("")) == []


def test_two_clients_one_winner(bucket, s3_options):
    one = FsspecStore(f"s3://{bucket}/run", **s3_options)
    two = FsspecStore(f"s3://{bucket}/run", skip_instance_cache=True, **s3_options)
    assert one.list_names("") == []
    two.put_new("c/checkpoint.json", b"two")
    with pytest.raises(AlreadyThere):
        one.put_new("c/checkpoint.json", b"one")
    assert one.list_names("") == ["c"]  # no stale listing
    assert one.get("c/checkpoint.json", limit=100) == b"two"


def test_abort_of_a_multipart_upload(bucket, s3_options):
    store = FsspecStore(f"s3://{bucket}/run", **s3_options)
    writer = store.create_writer("a/big", 34 << 20)
    part = memoryview(bytearray(17 << 20))
    writer.write(0, [part])
    writer.write(len(part), [part])
    writer.abort()
    assert store.info("a/big") is None
    assert store._fs.list_multipart_uploads(bucket) == []


def test_missing_bucket_and_dead_server(s3_options):
    store = FsspecStore("s3://there-is-no-such-bucket/run", **s3_options)
    assert store.list_names("") == []
    assert store.info("x") is None
    options = {**s3_options, "client_kwargs": {"endpoint_url": "http://127.0.0.1:9"}, "config_kwargs": {"retries": {"max_attempts": 1}}}
    dead = FsspecStore("s3://bucket/run", **options)
    dead._fs.retries = 1
    with pytest.raises(StoreError, match=r"store\.io") as caught:
        dead.get("c/checkpoint.json", limit=10)
    assert caught.value.key == "c/checkpoint.json"


def test_write_object_under_used_name_replaces(bucket, s3_options):
    store = FsspecStore(f"s3://{bucket}/run", **s3_options)
    write_object(store, "k", b"1")
    write_object(store, "k", b"22")
    assert store.get("k", limit=9) == b"22"
