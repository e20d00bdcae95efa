"""Google's storage through the engine, against a double: a server of the S3 protocol behind a translator of headers.

The engine speaks Google's XML interface, which is nearly S3's; no emulator has it. What this shows is that requests are
made as they should be, not that Google's servers answer them.
"""

from __future__ import annotations

import itertools
import re
from urllib.parse import urlsplit

import pytest

pytest.importorskip("obstore", reason="obstore is not installed")

from pyckpt.errors import StoreError, UsageError
from pyckpt.storage.objects import ObjectStore
from pyckpt.storage.objects_options import ObjectOptions
from pyckpt.storage.url import open_store
from pyckpt.testing import CheckpointSuite, StoreSuite
from tests.storage.faulty_net import FaultyNet

MIB = 1 << 20
_names = itertools.count()


@pytest.fixture(autouse=True)
def _numpy_only(monkeypatch):
    monkeypatch.setattr("pyckpt.frameworks._torch_wanted", lambda: False)


def as_s3(data):
    return re.sub(rb"(?i)x-goog-if-generation-match: 0\r\n", b"If-None-Match: *\r\n", data)


@pytest.fixture(scope="module")
def double(s3_endpoint):
    import boto3

    client = boto3.client("s3", endpoint_url=s3_endpoint, aws_access_key_id="k", aws_secret_access_key="s", region_name="us-east-1")
    client.create_bucket(Bucket="gcs")
    with FaultyNet(urlsplit(s3_endpoint).port, rewrite=as_s3) as net:
        yield net.endpoint


@pytest.fixture
def gs_url(double, monkeypatch):
    monkeypatch.setenv("GOOGLE_BEARER_TOKEN", "token")
    return f"gs://gcs/run-{next(_names)}?endpoint={double}&deadline=10&timeout=5"


class TestStore(StoreSuite):
    big = 17 * MIB + 123

    @pytest.fixture
    def store_url(self, gs_url):
        return gs_url


class TestCheckpoints(CheckpointSuite):
    @pytest.fixture
    def store_url(self, gs_url):
        return gs_url


def test_condition_is_asked_for(gs_url, double):
    store = open_store(gs_url)
    assert isinstance(store, ObjectStore)
    assert store.conditional_put == "native"
    with FaultyNet(urlsplit(double).port, rewrite=lambda data: data.replace(b"x-goog-if-generation-match", b"x-goog-none")) as deaf:
        assert ObjectStore("gs://gcs/deaf", ObjectOptions(endpoint=deaf.endpoint, bearer_token="token")).conditional_put == "emulated"


def test_environment(double, monkeypatch):
    monkeypatch.setenv("GOOGLE_BASE_URL", double)
    monkeypatch.setenv("GOOGLE_BEARER_TOKEN", "token")
    store = open_store("gs://gcs/environment")
    store.put("k", b"1")
    assert store.get("k", limit=1) == b"1"


def test_wrong_bucket(double):
    store = ObjectStore("gs://there-is-none/run", ObjectOptions(endpoint=double, anonymous=True, retries=1, deadline=1))
    with pytest.raises(StoreError, match="the bucket does not exist"):
        store.get("k", limit=1)


@pytest.mark.parametrize("url", ["gs://", "gs://b/run?region=x", "gs://b/run?account=x", "gs://b/run?service_account=/key"])
def test_refused_urls(url):
    with pytest.raises(UsageError):
        open_store(url)


def test_key_file_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match="GOOGLE_APPLICATION_CREDENTIALS"):
        open_store("gs://b/run", objects=ObjectOptions(service_account=str(tmp_path / "none.json")))
