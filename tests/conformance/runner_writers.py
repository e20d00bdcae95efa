"""Tiny writers for the runner's tests: they put a prepared checkpoint into a store, rightly or wrongly."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from conformance.runner.session import Session
from conformance.runner.snapshot import of_directory

ORACLE = [sys.executable, "-m", "conformance.oracle"]
OK = {"result": "ok"}


def write_request(seed: int = 1, name: str = "step_1", **members) -> dict:
    """A request to write one tensor, one asset and a scalar."""
    tensor = {"id": "w", "dtype": "F32", "shape": [2, 3], "fill": {"kind": "mix", "seed": seed},
              "regions": [{"offset": [0, 0], "size": [2, 3], "run": None}]}  # fmt: skip
    return {
        "op": "write", "store": "$main", "checkpoint": name, "metadata": ["map", []], "parent": None, "deadline": 10,
        "items": {"model": {"kind": "model", "codec": "none", "digest": None, "block": None,
                            "assets": {"config.json": "7b7d"}}},
        "writers": [{"trees": {"model": ["map", [["w", ["tensor", tensor]], ["n", ["int", "5"]]]]}}],
        "carry": {}, "accept_weak": False, **members,
    }  # fmt: skip


def prepare(folder: Path, request: dict) -> dict:
    """Let the oracle write a checkpoint below a folder; gives its response."""
    folder.mkdir(parents=True, exist_ok=True)
    session = Session(ORACLE)
    try:
        return session.request({**request, "store": {"kind": "directory", "path": str(folder)}}, 30)
    finally:
        session.close()


def files_of(folder: Path) -> dict[str, bytes]:
    return {key: (folder / key).read_bytes() for key in of_directory(folder).objects}


WRITER = """
import http.client, json, os, pathlib, sys
HELLO, RESPONSE, PREPARED, STYLE = json.loads(%r)
PREPARED = pathlib.Path(PREPARED)

class Directory:
    def __init__(self, store):
        self.top = store["path"]
    def put(self, key, data):
        path = os.path.join(self.top, key)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb", buffering=0) as file:
            file.write(data)
    def create(self, key, data):
        path = os.path.join(self.top, key)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        made = os.path.join(self.top, ".tmp-%%016x" %% os.getpid())
        with open(made, "wb", buffering=0) as file:
            file.write(data)
        try:
            os.link(made, path)
            return True
        except FileExistsError:
            with open(path, "rb") as file:
                return file.read() == data
    def delete(self, key):
        try:
            os.unlink(os.path.join(self.top, key))
        except FileNotFoundError:
            pass

class Bucket:
    def __init__(self, store):
        self.host, self.bucket = store["endpoint"].removeprefix("http://"), store["bucket"]
    def send(self, method, key, data=None, headers={}):
        connection = http.client.HTTPConnection(self.host, timeout=5)
        try:
            connection.request(method, f"/{self.bucket}/{key}", data, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            return 599, b""
        finally:
            connection.close()
    def put(self, key, data):
        status, _ = self.send("PUT", key, data)
        if status != 200:
            raise OSError(status)
    def create(self, key, data):
        status, _ = self.send("PUT", key, data, {"If-None-Match": "*"})
        if status == 200:
            return True
        status, there = self.send("GET", key)
        if status != 200:
            raise OSError(status)
        return there == data
    def delete(self, key):
        if self.send("DELETE", key)[0] >= 300:
            raise OSError

def write(store, root, others):
    if STYLE == "nothing":
        return RESPONSE
    place = (lambda key, data: store.put(key, data) or True) if STYLE == "in-place" else store.create
    if STYLE == "root-first" and not place(*root):
        return EXISTS
    for key, data in others:
        store.put(key, data)
    if STYLE == "swallows" and isinstance(store, Bucket):
        store.send("PUT", *root, {"If-None-Match": "*"})
        return RESPONSE
    if STYLE in ("wrecks", "mends"):
        old = pathlib.Path(store.top, "step_0/checkpoint.json").read_bytes()
        store.put("step_0/checkpoint.json", b"gone")
        if STYLE == "mends":
            store.put("step_0/checkpoint.json", old)
    return RESPONSE if place(*root) else EXISTS

EXISTS = {"result": "rejected", "code": "checkpoint.exists", "phase": "commit", "subject": "", "message": "there"}
IO = {"result": "rejected", "code": "store.io", "phase": "store", "subject": "", "message": "failed"}
for line in sys.stdin:
    request = json.loads(line)
    answer = {"result": "ok"}
    if request["op"] == "hello":
        answer.update(HELLO)
    elif request["op"] == "write":
        store = (Directory if request["store"]["kind"] == "directory" else Bucket)(request["store"])
        files = [(path.relative_to(PREPARED).as_posix(), path.read_bytes()) for path in sorted(PREPARED.rglob("*")) if path.is_file()]
        root = next(each for each in files if each[0].endswith("checkpoint.json"))
        try:
            answer = write(store, root, [each for each in files if each is not root])
        except OSError as error:
            answer = IO if STYLE != "errs" else {"result": "error", "message": repr(error)}
    print(json.dumps({"id": request["id"], **answer}), flush=True)
    if request["op"] == "bye":
        break
"""


def writer(folder: Path, prepared: Path, response: dict, style: str = "right") -> list[str]:
    """The command of a writer that puts the prepared checkpoint into the store."""
    hello = {"protocol": "1.0", "name": style, "version": "1", "options": ["s3"], "codecs": [], "digests": [], "dtypes": [],
             "profiles": ["inspect", "read", "write", "sharded-write", "transaction"]}  # fmt: skip
    said = {name: value for name, value in response.items() if name != "id"}
    path = folder / f"{style}.py"
    path.write_text(WRITER % json.dumps([hello, said, str(prepared), style]))
    return [sys.executable, "-I", "-S", str(path)]
