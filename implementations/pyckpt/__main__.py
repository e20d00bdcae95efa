"""The protocol of the conformance suite for pyckpt: one JSON object per line in, one out."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from importlib.util import find_spec

import pyckpt
from pyckpt.errors import PyckptError
from pyckpt.format.codecs import CODECS
from pyckpt.format.digest import DIGESTS
from pyckpt.format.dtypes import DTYPES
from stage import Stage

PROTOCOL = "1.0"
PROFILES = [
    "inspect", "read", "region-read", "integrity", "write", "sharded-write", "transaction", "lifecycle", "state",
]  # fmt: skip


def hello(request, stage):
    """Who this is, and what it offers."""
    if str(request.get("protocol", PROTOCOL)).split(".")[0] != PROTOCOL.split(".", maxsplit=1)[0]:
        return {"result": "rejected", "code": "usage.invalid", "phase": "plan", "subject": "protocol", "message": ""}
    options = ["s3", "unverified", "dry-run", "write-block", "weak-store", "carry", "copy"]
    options += [f"write-codec:{name}" for name in ("zstd", "planes")]
    options += [f"write-digest:{name}" for name in DIGESTS]
    options += [f"write-dtype:{name}" for name in DTYPES]
    nodes = ("tuple", "complex", "timestamp", "indexed", "set", "flattened", "dtype", "bytes", "list", "map", "nil")
    options += [f"write-node:{name}" for name in nodes]
    options += ["restore:model", "restore:optimizer", "restore:value", "restore:rng"]
    profiles = PROFILES if find_spec("torch") else [each for each in PROFILES if each != "state"]
    return {
        "protocol": PROTOCOL,
        "name": "pyckpt",
        "version": pyckpt.__version__,
        "profiles": profiles,
        "options": options,
        "codecs": list(CODECS),
        "digests": list(DIGESTS),
        "dtypes": list(DTYPES),
    }


def _operation(name):
    if name == "hello":
        return hello
    if name in ("write", "delete", "gc", "copy"):
        import writing

        return {"write": writing.write, "delete": writing.delete_, "gc": writing.gc, "copy": writing.copy}[name]
    if name == "restore":
        from restoring import restore

        return restore
    import reading

    operations = {
        "inspect": reading.inspect, "read": reading.read, "read_region": reading.read_region,
        "verify": reading.verify_, "list": reading.list_,
    }  # fmt: skip
    return operations.get(name)


def answer(request):
    """The response to one request."""
    stage = Stage()
    operation = _operation(request["op"])
    if operation is None:
        return {"result": "unsupported", "what": request["op"]}
    try:
        return {"result": "ok", **operation(request, stage)}
    except PyckptError as error:
        return {**stage.rejected(error), **getattr(error, "more", {})}
    except Exception as error:
        if type(error).__name__ == "Unsupported":
            return {"result": "unsupported", "what": str(error)}
        if type(error).__name__ == "_Fails":
            return {
                "result": "rejected", "code": "rank.failed", "phase": "save", "subject": "", "message": str(error),
            }  # fmt: skip
        traceback.print_exc()
        return {"result": "error", "message": f"{type(error).__name__}: {error}"}


def main():
    """Serves requests until the input ends."""
    logging.basicConfig(level=logging.ERROR)
    sys.set_int_max_str_digits(0)  # integers of messages are decimal text of any length
    for line in sys.stdin:
        request = json.loads(line)
        if request["op"] == "bye":
            response = {"result": "ok"}
        else:
            response = answer(request)
        print(json.dumps({"id": request["id"], **response}), flush=True)
        if request["op"] == "bye":
            return


main()
