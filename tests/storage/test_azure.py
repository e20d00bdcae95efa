"""Azure's blob storage through the engine, against its emulator."""

from __future__ import annotations

import base64
import itertools

import pytest

pytest.importorskip("obstore", reason="obstore is not installed")

from pyckpt.errors import StoreError, UsageError
from pyckpt.storage.objects import ObjectStore
from pyckpt.storage.objects_options import ObjectOptions
from pyckpt.storage.url import open_store
from pyckpt.testing import StoreSuite
from pyckpt.testing.objects import write_object
from tests.storage.azurite import ACCOUNT, CONTAINER, KEY

MIB = 1 << 20
_names = itertools.count()


def options(server, **changes):
    given = {"endpoint": server.endpoint, "account": ACCOUNT, "account_key": KEY}
    return ObjectOptions(**{**given, **changes})


class TestAzurite(StoreSuite):
    big = 17 * MIB + 123  # two blocks

    @pytest.fixture
    def store(self, azurite):
        return ObjectStore(f"az://{CONTAINER}/contract-{next(_names)}/run", options(azurite))


def test_condition_is_native(azurite):
    store = ObjectStore(f"az://{CONTAINER}/native", options(azurite))
    assert store.conditional_put == "native"
    assert list(store.list("")) == []


def test_url_says_where(azurite, monkeypatch):
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", KEY)
    store = open_store(f"az://{CONTAINER}/x?endpoint={azurite.endpoint}&account={ACCOUNT}&deadline=5")
    assert isinstance(store, ObjectStore)
    store.put("k", b"1")
    assert store.get("k", limit=1) == b"1"


def test_options_go_before_the_environment(azurite, monkeypatch):
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "another")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", base64.b64encode(b"another").decode())
    monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", "http://127.0.0.1:9/another")
    store = ObjectStore(f"az://{CONTAINER}/x", options(azurite))
    store.put("k", b"2")
    assert store.get("k", limit=1) == b"2"


def test_wrong_key_and_wrong_container(azurite):
    hasty = {"retries": 1, "deadline": 1.0}
    wrong = base64.b64encode(b"wrong").decode()
    store = ObjectStore(f"az://{CONTAINER}/x", options(azurite, account_key=wrong, **hasty))
    for call in (lambda: store.get("c/x", limit=1), lambda: store.put_new("c/x", b""), lambda: write_object(store, "c/x", bytes(17 * MIB))):
        with pytest.raises(StoreError, match=r"c/x.*403.*AZURE_STORAGE_ACCOUNT_KEY") as caught:
            call()
        assert wrong not in str(caught.value)
    store = ObjectStore("az://there-is-none/x", options(azurite, **hasty))
    for call in (lambda: store.get("c/x", limit=1), lambda: store.list(""), lambda: store.list_names("")):
        with pytest.raises(StoreError, match=r"store\.io.*the container does not exist"):
            call()


@pytest.mark.parametrize(
    ("url", "given"),
    [
        ("az://", {}),
        ("az:///run", {}),
        ("az://c/run?account_key=x", {}),
        ("az://c/run?region=x", {"account": "a"}),
        ("az://c/run", {"account": "a", "access_key_id": "k", "secret_access_key": "s"}),
        ("az://c/run", {"account": "a", "account_key": KEY, "sas_token": "s"}),
        ("az://c/run", {"service_account": "/key.json"}),
        ("az://c/run", {}),
        ("s3://b/run?account=x", {}),
    ],
)
def test_refused_options(url, given, monkeypatch):
    for name in ("NAME", "KEY"):
        monkeypatch.delenv(f"AZURE_STORAGE_ACCOUNT_{name}", raising=False)
    with pytest.raises(UsageError):
        open_store(url, objects=ObjectOptions(**given))


def test_secrets_are_not_shown():
    assert "hidden" not in repr(ObjectOptions(account="a", account_key="hidden"))
    assert "hidden" not in repr(ObjectOptions(account="a", sas_token="hidden"))
