"""A tiny suite and a tiny implementation that does what it is told, to test the runner with."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

HELLO = {
    "protocol": "1.0", "name": "fake", "version": "1", "profiles": ["inspect", "read"], "options": [],
    "codecs": [], "digests": [], "dtypes": ["F32"],
}  # fmt: skip

INDEX = {
    "spec": "1.0-draft",
    "requirements": [
        {"id": "SCF-AA-001", "keyword": "MUST", "text": "A reader **MUST** do `this`.", "error": "root.digest",
         "verify": "case", "roles": ["reader"]},
        {"id": "SCF-AA-002", "keyword": "SHOULD NOT", "text": "A reader **SHOULD NOT** do that.", "error": None,
         "verify": "case", "roles": ["reader"]},
        {"id": "SCF-AA-003", "keyword": "MAY", "text": "A reader **MAY**.", "error": None, "verify": "case",
         "roles": ["reader"]},
        {"id": "SCF-AA-004", "keyword": "MUST", "text": "A writer **MUST** be good.", "error": None,
         "verify": "inspect", "roles": ["writer"]},
    ],
    "codes": {"root.digest": ["open"], "usage.invalid": ["any"], "state.layout": ["save", "plan"],
              "checkpoint.missing": ["open", "delete"], "checkpoint.exists": ["save", "commit"], "store.io": ["store"]},
}  # fmt: skip

FAKE = """
import json, os, sys, time
HELLO = json.loads(%r)
SCRIPT = json.loads(%r)
SOUND = {"result": "ok", "sound": True, "findings": []}
count = 0
def say(answer=SOUND):
    print(json.dumps({"id": request["id"], **answer}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    op = request["op"]
    answer = {"result": "ok"}
    if op == "hello":
        answer.update(HELLO)
    elif op != "bye":
        answer = SCRIPT.get(request.get("checkpoint", op), {"result": "error", "message": "unknown"})
    exec(answer) if isinstance(answer, str) else say(answer)
    if op == "bye":
        break
sys.exit(SCRIPT.get("exit", 0))
"""


def fake(folder: Path, script: dict, hello: dict | None = None) -> list[str]:
    """The command of an implementation that answers by checkpoint name; a text is run as Python, with ``say``."""
    path = folder / "fake.py"
    path.write_text(FAKE % (json.dumps({**HELLO, **(hello or {})}), json.dumps(script)))
    return [sys.executable, "-I", "-S", str(path)]


def as_text(command: list[str]) -> str:
    return shlex.join(command)


def verify_step(name: str, expect: dict | list | None = None) -> dict:
    """A step that asks to verify; by default it has to be sound."""
    request = {"op": "verify", "store": "$main", "checkpoint": name, "deep": True}
    return {"request": request, "expect": expect or {"result": "ok", "values": {"sound": True}}}


SOUND = {"result": "ok", "sound": True, "findings": []}
REFUSED = {"result": "rejected", "code": "root.digest", "phase": "open", "subject": "c", "message": "the digest"}


def write_case(suite: Path, name: str, area: str = "a", files: dict[str, bytes] | None = None, **members) -> None:
    """Add a case to a suite; by default it verifies a checkpoint of the name of the case."""
    folder = suite / area / name
    folder.mkdir(parents=True)
    record = {"id": name, "title": f"The case {name}", "requirements": ["SCF-AA-001"], "profile": "read", "kind": "valid",
              "steps": [verify_step(name)], **members}  # fmt: skip
    if record["kind"] == "invalid":
        record = {"fault": "something", "sibling": "good", **record}
    (folder / "case.json").write_text(json.dumps(record))
    for key, data in (files or {}).items():
        path = folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def write_index(suite: Path) -> None:
    suite.mkdir(parents=True, exist_ok=True)
    (suite / "index.json").write_text(json.dumps(INDEX))
