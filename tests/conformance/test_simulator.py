"""The store simulator: the S3 subset as real clients use it, the journal, and the faults."""

from __future__ import annotations

import asyncio
import http.client
import io
import os
import socket
import threading
import time
import urllib.parse
from email.utils import parsedate_to_datetime

import pytest

from conformance.transactions.s3_body import BodyCut, decode_aws_chunks, read_body
from conformance.transactions.s3_faults import Fault
from conformance.transactions.s3_objects import S3Error
from conformance.transactions.simulator import Simulator


@pytest.fixture
def simulator():
    with Simulator() as found:
        yield found


class Client:
    """Plain HTTP, one request per connection."""

    def __init__(self, simulator):
        self.port = int(simulator.endpoint.rpartition(":")[2])

    def __call__(self, method, key="", query="", body=None, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            path = f"/store/{urllib.parse.quote(key)}" + (f"?{query}" if query else "")
            names = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, names)
            answer = connection.getresponse()
            return answer.status, dict(answer.headers), answer.read()
        finally:
            connection.close()


@pytest.fixture
def client(simulator):
    return Client(simulator)


# Objects


def test_put_get_head_delete(simulator, client):
    status, headers, _ = client("PUT", "a/b", body=b"0123456789")
    assert status == 200
    assert headers["ETag"] == '"781e5e245d69b566979b86e28d23f2c7"'
    assert client("GET", "a/b")[2] == b"0123456789"
    status, headers, body = client("HEAD", "a/b")
    assert (status, headers["Content-Length"], body) == (200, "10", b"")
    assert client("DELETE", "a/b")[0] == 204
    assert client("DELETE", "a/b")[0] == 204
    status, _, body = client("GET", "a/b")
    assert status == 404
    assert b"<Code>NoSuchKey</Code>" in body
    assert client("HEAD", "a/b")[0] == 404
    assert simulator.objects == {}


@pytest.mark.parametrize(
    ("asked", "status", "body", "told"),
    [
        ("bytes=2-4", 206, b"234", "bytes 2-4/10"),
        ("bytes=0-", 206, b"0123456789", "bytes 0-9/10"),
        ("bytes=8-99", 206, b"89", "bytes 8-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=-99", 206, b"0123456789", "bytes 0-9/10"),
        ("bytes=5-4", 200, b"0123456789", None),
        ("bytes=-", 200, b"0123456789", None),
        ("lines=1-2", 200, b"0123456789", None),
        ("bytes=0-1,3-4", 200, b"0123456789", None),
    ],
)
def test_ranges(client, asked, status, body, told):
    client("PUT", "k", body=b"0123456789")
    found, headers, content = client("GET", "k", Range=asked)
    assert (found, content, headers.get("Content-Range")) == (status, body, told)


@pytest.mark.parametrize(("content", "asked"), [(b"0123", "bytes=4-"), (b"0123", "bytes=-0"), (b"", "bytes=0-")])
def test_ranges_outside(client, content, asked):
    client("PUT", "k", body=content)
    status, _, body = client("GET", "k", Range=asked)
    assert status == 416
    assert b"InvalidRange" in body


def test_create_if_absent(simulator, client):
    assert client("PUT", "k", body=b"1", If_None_Match="*")[0] == 200
    status, _, body = client("PUT", "k", body=b"2", If_None_Match="*")
    assert status == 412
    assert b"<Code>PreconditionFailed</Code>" in body
    assert simulator.objects == {"k": b"1"}
    assert [request.conditional for request in simulator.requests] == [True, True]
    assert [request.outcome.stored is not None for request in simulator.requests] == [True, False]
    assert client("PUT", "k", body=b"3")[0] == 200
    assert simulator.requests[-1].outcome.replaced
    assert client("PUT", "k", body=b"4", If_None_Match='"abc"')[0] == 501
    assert simulator.objects == {"k": b"3"}


def test_one_of_many_creates_wins(simulator):
    statuses = []

    def create(number):
        statuses.append(Client(simulator)("PUT", "k", body=bytes([number]) * 100_000, If_None_Match="*")[0])

    threads = [threading.Thread(target=create, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200] + [412] * 15
    assert len(set(simulator.objects["k"])) == 1


def test_conditional_get(client):
    _, headers, _ = client("PUT", "k", body=b"1")
    assert client("GET", "k", If_None_Match=headers["ETag"])[0] == 304
    assert client("GET", "k", If_Match=headers["ETag"])[0] == 200
    assert client("GET", "k", If_Match='"0"')[0] == 412


def test_names_are_percent_decoded(simulator, client):
    name = "a/ü b+%25?&=#"
    client("PUT", name, body=b"1")
    assert list(simulator.objects) == [name]
    assert client("GET", name)[2] == b"1"


def test_what_lies_outside_the_subset_is_refused(client):
    client("PUT", "k", body=b"1")
    for method, key, query, headers in (
        ("GET", "", "", {}),
        ("PUT", "", "", {}),
        ("POST", "k", "", {}),
        ("GET", "k", "uploadId=1", {}),
        ("PUT", "l", "", {"x_amz_copy_source": "/store/k"}),
        ("PUT", "l", "", {"If_Match": '"x"'}),
    ):
        assert client(method, key, query, **headers)[0] == 501


def test_buckets(simulator, client):
    assert client("HEAD")[0] == 200
    assert b"LocationConstraint" in client("GET", query="location")[2]
    other = http.client.HTTPConnection("127.0.0.1", client.port)
    other.request("GET", "/nobody/k")
    answer = other.getresponse()
    assert (answer.status, b"NoSuchBucket" in answer.read()) == (404, True)
    simulator.add_bucket("nobody")
    other.request("PUT", "/nobody/k", b"1")
    assert other.getresponse().status == 200
    other.close()
    assert (simulator.objects, simulator.dump("nobody")) == ({}, {"k": b"1"})


# Bodies


def test_aws_chunks(simulator, client):
    body = b"3;chunk-signature=ab\r\nabc\r\nA\r\n0123456789\r\n0;chunk-signature=cd\r\nx-amz-checksum-crc32:AAAA\r\n\r\n"
    length = {"x_amz_decoded_content_length": "13"}
    assert client("PUT", "k", body=body, Content_Encoding="aws-chunked", **length)[0] == 200
    assert client("PUT", "l", body=body, x_amz_content_sha256="STREAMING-UNSIGNED-PAYLOAD-TRAILER", **length)[0] == 200
    assert simulator.objects == {"k": b"abc0123456789", "l": b"abc0123456789"}
    assert simulator.requests[0].outcome.size == 13
    wrong = {"x_amz_decoded_content_length": "12"}
    assert client("PUT", "m", body=body, Content_Encoding="aws-chunked", **wrong)[0] == 400
    assert "m" not in simulator.objects


@pytest.mark.parametrize("raw", [b"", b"3\r\nab", b"3\r\nabcd\r\n0\r\n\r\n", b"x\r\n", b"-3\r\nabc\r\n", b"3\r\nabc\r\n"])
def test_damaged_aws_chunks(raw):
    with pytest.raises(S3Error):
        decode_aws_chunks(raw)


def test_http_chunks(simulator):
    body = b"3\r\nabc\r\n1;x=y\r\nd\r\n0\r\nTrailer: 1\r\n\r\n"
    assert read_body(io.BufferedReader(io.BytesIO(body)), {"transfer-encoding": "chunked"}) == b"abcd"
    with pytest.raises(BodyCut):
        read_body(io.BufferedReader(io.BytesIO(body[:6])), {"transfer-encoding": "chunked"})
    connection = http.client.HTTPConnection(simulator.endpoint.removeprefix("http://"))
    connection.request("PUT", "/store/k", iter([b"ab", b"cd"]))
    assert connection.getresponse().status == 200
    connection.close()
    assert simulator.objects == {"k": b"abcd"}


def raw_request(simulator, text, *, end=True):
    connection = socket.create_connection(("127.0.0.1", Client(simulator).port), timeout=5)
    connection.sendall(text)
    if end:
        connection.shutdown(socket.SHUT_WR)
    return connection


def test_half_a_body_makes_no_object(simulator):
    with raw_request(simulator, b"PUT /store/k HTTP/1.1\r\nContent-Length: 10\r\n\r\n01234") as connection:
        assert connection.recv(100) == b""
    assert simulator.settle()
    assert simulator.objects == {}
    (request,) = simulator.requests
    assert request.end is not None
    assert (request.outcome.status, request.outcome.acted) == (None, False)


def test_expect_100_continue(simulator):
    head = b"PUT /store/k HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
    with raw_request(simulator, head, end=False) as connection:
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"ab")
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
    assert simulator.objects == {"k": b"ab"}


# Uploads in parts


def begin(client, key="k"):
    body = client("POST", key, "uploads")[2].decode()
    return body.partition("<UploadId>")[2].partition("<")[0]


def complete(client, upload, tags, key="k", **headers):
    parts = "".join(f"<Part><ETag>{tag}</ETag><PartNumber>{number}</PartNumber></Part>" for number, tag in tags)
    body = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
    return client("POST", key, f"uploadId={upload}", body=body, **headers)


def part(client, upload, number, body, key="k"):
    return client("PUT", key, f"partNumber={number}&uploadId={upload}", body=body)[1]["ETag"]


def test_parts():
    with Simulator(least_part=3) as simulator:
        client = Client(simulator)
        upload = begin(client)
        second = part(client, upload, 2, b"45")
        first = part(client, upload, 1, b"123")
        assert simulator.uploads == ("k",)
        assert complete(client, upload, [(2, second), (1, first)])[0] == 400
        assert complete(client, upload, [(1, first), (2, first)])[0] == 400
        assert complete(client, upload, [(1, first), (3, first)])[0] == 400
        assert complete(client, upload, [])[0] == 400
        assert simulator.objects == {}
        assert complete(client, upload, [(1, first), (2, second)])[0] == 200
        assert simulator.objects == {"k": b"12345"}
        assert simulator.uploads == ()
        assert complete(client, upload, [(1, first)])[0] == 404
        assert client("HEAD", "k")[1]["ETag"].endswith('-2"')
        small = begin(client)
        tags = [(number, part(client, small, number, b"12")) for number in (1, 2)]
        assert b"EntityTooSmall" in complete(client, small, tags)[2]
        assert client("DELETE", "other", f"uploadId={small}")[0] == 404
        assert client("DELETE", "k", f"uploadId={small}")[0] == 204
        assert client("DELETE", "k", f"uploadId={small}")[0] == 404
        assert client("PUT", "k", f"partNumber=0&uploadId={begin(client)}", body=b"1")[0] == 400
        assert simulator.objects == {"k": b"12345"}


def test_conditional_completion(simulator, client):
    client("PUT", "k", body=b"old")
    upload = begin(client)
    tags = [(1, part(client, upload, 1, b"new"))]
    assert complete(client, upload, tags, If_None_Match="*")[0] == 412
    assert simulator.objects == {"k": b"old"}
    assert complete(client, upload, tags)[0] == 200
    assert simulator.objects == {"k": b"new"}


@pytest.mark.parametrize("body", [b"", b"<x", b"<C><Part><PartNumber>1</PartNumber></Part></C>"])
def test_malformed_completion(client, body):
    upload = begin(client)
    part(client, upload, 1, b"1")
    assert client("POST", "k", f"uploadId={upload}", body=body)[0] == 400


# Weak servers


def weak(**options):
    """Give the statuses of two conditional puts and of a conditional completion, and the last content."""
    with Simulator(**options) as simulator:
        client = Client(simulator)
        statuses = [client("PUT", "k", body=body, If_None_Match="*")[0] for body in (b"1", b"2")]
        upload = begin(client)
        statuses.append(complete(client, upload, [(1, part(client, upload, 1, b"3"))], If_None_Match="*")[0])
        return statuses, simulator.objects["k"]


def test_weak_servers():
    assert weak() == ([200, 412, 412], b"1")
    assert weak(ignore_multipart_conditions=True) == ([200, 412, 200], b"3")
    assert weak(ignore_conditions=True) == ([200, 200, 200], b"3")


# Listings


def names(body, tag="Key"):
    return [piece.partition("<")[0] for piece in body.decode().split(f"<{tag}>")[1:]]


def listing(client, **query):
    query = {"list-type": "2", **{name.replace("_", "-"): value for name, value in query.items()}}
    status, _, body = client("GET", query=urllib.parse.urlencode(query))
    assert status == 200
    return body


def test_listings(client):
    for key in ("a", "b/1", "b/2", "b/c/3", "b0", "d/4"):
        client("PUT", key, body=b"1")
    assert names(listing(client)) == ["a", "b/1", "b/2", "b/c/3", "b0", "d/4"]
    assert names(listing(client, prefix="b/")) == ["b/1", "b/2", "b/c/3"]
    assert names(listing(client, start_after="b/2")) == ["b/c/3", "b0", "d/4"]
    top = listing(client, delimiter="/")
    assert (names(top), names(top, "Prefix")) == (["a", "b0"], ["", "b/", "d/"])
    below = listing(client, delimiter="/", prefix="b/")
    assert (names(below), names(below, "Prefix")) == (["b/1", "b/2"], ["b/", "b/c/"])
    empty = listing(client, max_keys="0")
    assert (names(empty), b"<IsTruncated>false" in empty) == ([], True)


@pytest.mark.parametrize("limit", [1, 2, 3, 5])
@pytest.mark.parametrize("delimiter", ["", "/"])
def test_pages(limit, delimiter):
    with Simulator(page=limit) as simulator:
        client = Client(simulator)
        for key in ("a", "b/1", "b/2", "b/3", "b0", "c/1", "c/2", "d"):
            client("PUT", key, body=b"1")
        whole, token = [], ""
        while True:
            query = {"continuation_token": token} if token else {}
            body = listing(client, delimiter=delimiter, **query)
            found = names(body) + names(body, "Prefix")[1:]
            assert 0 < len(found) <= limit
            whole += found
            if b"<IsTruncated>false" in body:
                break
            (token,) = names(body, "NextContinuationToken")
        expected = ["a", "b/1", "b/2", "b/3", "b0", "c/1", "c/2", "d"] if not delimiter else ["a", "b/", "b0", "c/", "d"]
        assert sorted(whole) == expected


def test_odd_names_in_listings(client):
    for key in ("a&<b>", "ü 1+%"):
        client("PUT", key, body=b"1")
    assert names(listing(client)) == ["a&amp;&lt;b&gt;", "ü 1+%"]
    assert names(listing(client, encoding_type="url")) == ["a%26%3Cb%3E", "%C3%BC%201%2B%25"]
    assert client("GET", query="list-type=2&continuation-token=%21")[0] == 400
    assert client("GET", query="list-type=2&max-keys=-1")[0] == 400


def test_delete_several(simulator, client):
    for key in ("a&b", "c", "d"):
        client("PUT", key, body=b"1")
    body = b"<Delete><Object><Key>a&amp;b</Key></Object><Object><Key>zz</Key></Object></Delete>"
    status, _, answer = client("POST", query="delete", body=body)
    assert (status, names(answer)) == (200, ["a&amp;b", "zz"])
    assert simulator.requests[-1].outcome.removed == ("a&b", "zz")
    quiet = b"<Delete><Quiet>true</Quiet><Object><Key>c</Key></Object></Delete>"
    assert names(client("POST", query="delete", body=quiet)[2]) == []
    assert list(simulator.objects) == ["d"]


# Times, directories


def told(headers, name="Date"):
    return parsedate_to_datetime(headers[name]).timestamp()


def test_one_clock(simulator, client):
    simulator.clock.offset = -86400.0
    client("PUT", "k", body=b"1")
    _, headers, _ = client("GET", "k")
    assert abs(told(headers) - (time.time() - 86400)) < 5
    assert abs(told(headers, "Last-Modified") - told(headers)) < 5
    simulator.clock.offset = 0.0
    _, headers, _ = client("GET", "k")
    assert told(headers) - told(headers, "Last-Modified") > 86000
    simulator.set_age("k", 30)
    _, headers, _ = client("HEAD", "k")
    assert 29 <= told(headers) - told(headers, "Last-Modified") <= 35
    assert headers["Last-Modified"][17:25].encode() in listing(client)
    with pytest.raises(S3Error):
        simulator.set_age("nobody", 1)


def test_directories(simulator, client, tmp_path):
    source = tmp_path / "source"
    (source / "c" / "model").mkdir(parents=True)
    (source / "c" / "model" / "x").write_bytes(b"12")
    (source / "c" / "checkpoint.json").write_bytes(b"{}")
    os.utime(source / "c" / "checkpoint.json", (1_000_000_000, 1_000_000_000))
    simulator.load(source, prefix="run/")
    assert simulator.objects == {"run/c/checkpoint.json": b"{}", "run/c/model/x": b"12"}
    assert simulator.dump(prefix="run/c/") == {"checkpoint.json": b"{}", "model/x": b"12"}
    assert told(client("HEAD", "run/c/checkpoint.json")[1], "Last-Modified") == 1_000_000_000
    simulator.dump_tree(tmp_path / "copy", prefix="run/")
    assert (tmp_path / "copy" / "c" / "model" / "x").read_bytes() == b"12"
    assert (tmp_path / "copy" / "c" / "checkpoint.json").stat().st_mtime == 1_000_000_000
    assert simulator.requests[0].method == "HEAD"
    client("PUT", "run/x/../../y", body=b"1")
    with pytest.raises(ValueError, match="no path"):
        simulator.dump_tree(tmp_path / "copy", prefix="run/")


# The journal and the faults


def test_journal(simulator, client):
    client("PUT", "k", "x=1&y=", body=b"0123")
    client("GET", "k", Range="bytes=1-2")
    client("GET", "nobody")
    put, get, missing = simulator.requests
    assert (put.number, put.method, put.operation, put.bucket, put.key) == (1, "PUT", "PutObject", "store", "k")
    assert dict(put.query) == {"x": "1", "y": ""}
    assert (put.outcome.status, put.outcome.size, put.outcome.replaced, put.succeeded) == (200, 4, False, True)
    digest = "1be2e452b46d7a0d9656bbb1f768e8248eba1b75baed65f5d99eafa948899a6a"
    assert put.outcome.sha256 == put.outcome.stored == digest
    assert (get.range, get.outcome.span, get.outcome.acted) == ("bytes=1-2", (1, 3), True)
    assert (missing.outcome.status, missing.outcome.acted, missing.succeeded) == (404, False, False)
    assert [request.begin for request in simulator.requests] == [1, 3, 5]
    assert [request.end for request in simulator.requests] == [2, 4, 6]
    simulator.clear()
    assert simulator.requests == ()
    client("GET", "k")
    assert simulator.requests[0].number == 1


def outcome(client, *arguments, **options):
    """Give the status, or the name of the error if the connection ended early."""
    try:
        return client(*arguments, **options)[0]
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__


def test_fail(simulator, client):
    simulator.plan(Fault(kind="fail", at=2), Fault(kind="fail", at=1, method="PUT", key="b/*", status=500))
    assert [client("PUT", "a", body=b"1")[0] for _ in range(3)] == [200, 503, 200]
    assert client("GET", "b/1")[0] == 404
    status, _, body = client("PUT", "b/c/1", body=b"1")
    assert (status, b"<Code>InternalError</Code>" in body) == (500, True)
    assert client("PUT", "b/c/1", body=b"1")[0] == 200
    assert [request.fault is not None for request in simulator.requests] == [False, True, False, False, True, False]
    assert [request.outcome.acted for request in simulator.requests[:2]] == [True, False]


def test_outage(simulator, client):
    simulator.plan(Fault(kind="fail", at=2, persistent=True))
    assert [client("GET", "k")[0] for _ in range(4)] == [404, 503, 503, 503]
    assert client("HEAD", "k")[0] == 503
    simulator.plan()
    assert client("GET", "k")[0] == 404


def test_dropped_connections(simulator, client):
    simulator.plan(Fault(kind="drop_before", operation="PutObject"), Fault(kind="drop_after", operation="PutObject", at=2))
    assert outcome(client, "PUT", "a", body=b"1") == "RemoteDisconnected"
    assert simulator.objects == {}
    assert outcome(client, "PUT", "a", body=b"1", If_None_Match="*") == "RemoteDisconnected"
    assert simulator.objects == {"a": b"1"}
    assert outcome(client, "PUT", "a", body=b"1", If_None_Match="*") == 412
    assert [(request.outcome.status, request.outcome.acted) for request in simulator.requests] == [
        (None, False),
        (None, True),
        (412, False),
    ]


def test_kills(simulator, client):
    with pytest.raises(ValueError, match="on_kill"):
        simulator.plan(Fault(kind="kill_before"))
    seen = []
    simulator.on_kill = lambda: seen.append(simulator.objects)
    simulator.plan(Fault(kind="kill_before", key="a"), Fault(kind="kill_after", key="b"))
    assert outcome(client, "PUT", "a", body=b"1") == "RemoteDisconnected"
    assert outcome(client, "PUT", "b", body=b"1") == "RemoteDisconnected"
    assert seen == [{}, {"b": b"1"}]
    assert simulator.objects == {"b": b"1"}


def test_stall(simulator, client):
    simulator.plan(Fault(kind="stall", seconds=0.3))
    began = time.monotonic()
    thread = threading.Thread(target=client, args=("PUT", "a"), kwargs={"body": b"1"})
    thread.start()
    while not simulator.requests:
        time.sleep(0.001)
    assert client("PUT", "b", body=b"2")[0] == 200
    assert (list(simulator.objects), simulator.requests[0].end) == (["b"], None)
    thread.join()
    assert time.monotonic() - began >= 0.3
    stalled, other = simulator.requests
    assert stalled.begin < other.begin < other.end < stalled.end
    assert stalled.outcome.status == 200


def test_damaged_answers(simulator, client):
    client("PUT", "k", body=b"0123456789")
    simulator.plan(Fault(kind="cut", method="GET"), Fault(kind="short", method="GET", at=2))
    assert outcome(client, "GET", "k") == "IncompleteRead"
    status, headers, body = client("GET", "k", Range="bytes=2-5")
    assert (status, headers["Content-Length"], body) == (206, "2", b"23")
    assert client("GET", "k")[2] == b"0123456789"


def test_settle(simulator, client):
    simulator.plan(Fault(kind="stall", seconds=0.2))
    with raw_request(simulator, b"PUT /store/k HTTP/1.1\r\nContent-Length: 1\r\n\r\n1"):
        pass
    assert simulator.settle()
    assert simulator.objects == {"k": b"1"}
    with raw_request(simulator, b"", end=False):
        assert not simulator.settle(0.1)


def test_runs_only_while_entered():
    simulator = Simulator()
    with pytest.raises(RuntimeError):
        _ = simulator.endpoint
    with simulator:
        port = Client(simulator).port
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=1).close()


# Real clients


@pytest.fixture
def s3fs_of(simulator):
    s3fs = pytest.importorskip("s3fs")
    return s3fs.S3FileSystem(
        key="test", secret="test", client_kwargs={"endpoint_url": simulator.endpoint}, skip_instance_cache=True
    )


def test_s3fs(simulator, s3fs_of):
    fs = s3fs_of
    fs.pipe_file("store/run/a", b"0123456789")
    assert fs.cat_file("store/run/a", start=2, end=5) == b"234"
    fs.pipe_file("store/run/c/checkpoint.json", b"{}", mode="create")
    with pytest.raises(FileExistsError):
        fs.pipe_file("store/run/c/checkpoint.json", b"[]", mode="create")
    with fs.open("store/run/big", "wb", block_size=5 << 20) as file:
        for value in range(4):
            file.write(bytes([value]) * (3 << 20))
    operations = [request.operation for request in simulator.requests]
    assert operations.count("UploadPart") >= 2
    assert simulator.objects["run/big"] == b"".join(bytes([value]) * (3 << 20) for value in range(4))
    assert fs.info("store/run/big")["size"] == 12 << 20
    assert fs.ls("store/run", detail=False, refresh=True) == ["store/run/a", "store/run/big", "store/run/c"]
    assert fs.find("store") == ["store/run/a", "store/run/big", "store/run/c/checkpoint.json"]
    assert not fs.exists("store/nobody")
    with pytest.raises(FileNotFoundError):
        fs.cat_file("store/nobody")
    fs.rm_file("store/run/a")
    fs.rm("store/run", recursive=True)
    assert simulator.objects == {}


def test_s3fs_retries(simulator, s3fs_of):
    simulator.plan(Fault(kind="fail", method="PUT"), Fault(kind="drop_before", method="PUT", at=2))
    s3fs_of.pipe_file("store/a", b"1")
    assert [request.outcome.status for request in simulator.requests if request.method == "PUT"] == [503, None, 200]


def test_aiobotocore(simulator):
    session = pytest.importorskip("aiobotocore.session")
    from botocore.exceptions import ClientError

    async def work():
        options = {"region_name": "us-east-1", "aws_access_key_id": "test", "aws_secret_access_key": "test"}
        async with session.get_session().create_client("s3", endpoint_url=simulator.endpoint, **options) as client:
            await client.put_object(Bucket="store", Key="k", Body=b"1", IfNoneMatch="*")
            with pytest.raises(ClientError) as caught:
                await client.put_object(Bucket="store", Key="k", Body=b"2", IfNoneMatch="*")
            return caught.value.response["ResponseMetadata"]["HTTPStatusCode"]

    assert asyncio.run(work()) == 412
    assert simulator.objects == {"k": b"1"}


def test_boto3(simulator, monkeypatch):
    boto3 = pytest.importorskip("boto3")
    from boto3.s3.transfer import TransferConfig

    for name, value in simulator.environment().items():
        monkeypatch.setenv(name, value)
    client = boto3.session.Session().client("s3")
    content = os.urandom(12 << 20)
    config = TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20)
    client.upload_fileobj(io.BytesIO(content), "store", "big", Config=config)
    client.put_object(Bucket="store", Key="sum", Body=io.BytesIO(b"1"), ChecksumAlgorithm="SHA256")
    assert simulator.objects == {"big": content, "sum": b"1"}
    assert client.get_object(Bucket="store", Key="big", Range="bytes=100-199")["Body"].read() == content[100:200]
    found = client.list_objects_v2(Bucket="store", Prefix="s")
    assert [entry["Key"] for entry in found["Contents"]] == ["sum"]
    client.delete_objects(Bucket="store", Delete={"Objects": [{"Key": "big"}, {"Key": "sum"}]})
    assert simulator.objects == {}
    client.close()
