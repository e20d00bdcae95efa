"""Makes golden files of a version, once."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any, Final

from ..oracle.changing import register
from ..oracle.operations import perform
from ..runner.session import Session, command_of
from ..runner.suite import GOLDEN, CaseFile, SuiteError, load_cases

__all__ = ["CASES", "adopt", "write"]

Json = dict[str, Any]

CASES: Final = (
    "write-items-several", "write-bits-f32-nan", "write-blocks-several", "write-codec-planes", "write-codec-zstd",
    "write-digest-sha256", "write-entry-order", "write-keys-apart", "write-metadata-plain", "write-metadata-floats",
    "write-node-timestamp", "write-node-indexed", "write-node-flattened", "write-node-bigint",
    "write-regions-box-and-run", "write-rng", "write-root", "write-shape-empty", "write-subbyte-f6-rows",
    "write-tied", "write-asset-folders", "sharded-box-and-run", "sharded-grid-strided", "sharded-pipeline",
    "sharded-planes", "sharded-replicas", "sharded-rows-uneven", "sharded-union-indexed-tensors", "sharded-tied",
)  # fmt: skip
"""Cases of writing whose checkpoints are kept."""
_LARGEST: Final = 200_000


def write(command: str, target: Path = GOLDEN) -> list[str]:
    """Let an implementation write the checkpoints of CASES; the ids of what was made. SuiteError."""
    cases = load_cases()
    session = Session(command_of(command))
    try:
        hello = session.hello()
        prefix = f"{hello.name}-{hello.version}"
        return [_written(session, cases[name], prefix, target) for name in CASES]
    finally:
        session.close()


def _written(session: Session, case: CaseFile, prefix: str, target: Path) -> str:
    with tempfile.TemporaryDirectory() as folder:
        request = dict(next(step["request"] for step in case.steps if step["request"]["op"] == "write"))
        request["store"] = {"kind": "directory", "path": folder}
        response = session.request(request, case.timeout)
        if response["result"] != "ok":
            raise SuiteError(f"{case.id}: {response}")
        return adopt(Path(folder), case.id, prefix, f"{case.title}, as {prefix} wrote it", target)


def adopt(store: Path, name: str, prefix: str, title: str, target: Path = GOLDEN) -> str:
    """Keep a store as a golden file, with what the oracle reads in it; the id. SuiteError."""
    register()
    case_id = f"golden-{prefix}-{name}".lower().replace(".", "-")
    place = target / prefix / case_id
    if place.exists():
        raise SuiteError(f"{place} is there; golden files are never made anew")
    steps = []
    for checkpoint in sorted(path.parent.name for path in store.glob("*/checkpoint.json")):
        steps += _steps(store, checkpoint)
    record = {
        "id": case_id, "title": title, "requirements": ["SCF-LIMIT-001", "SCF-READ-001"], "profile": "read",
        "kind": "valid", "stores": {"main": {"from": "stores/main"}}, "steps": steps,
    }  # fmt: skip
    shutil.copytree(store, place / "stores" / "main")
    (place / "case.json").write_text(json.dumps(record, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return case_id


def _steps(store: Path, checkpoint: str) -> list[Json]:
    inspect = {"op": "inspect", "store": "$main", "checkpoint": checkpoint, "items": None, "expect": None}
    seen = _asked(inspect, store)
    steps = [{"request": inspect, "expect": {"result": "ok", "values": seen}}]
    for item, entry in seen["root"]["items"].items():
        read = {
            "op": "read", "store": "$main", "checkpoint": checkpoint, "item": item, "paths": None,
            "assets": sorted(entry["assets"]), "expect": None, "out": "$out", "verify": True,
        }  # fmt: skip
        steps.append({"request": read, "expect": {"result": "ok", "values": _asked(read, store)}})
    return steps


def _asked(request: Json, store: Path) -> Json:
    """What the oracle answers, with files as matchers of their content."""
    with tempfile.TemporaryDirectory() as out:
        placed = {**request, "store": {"kind": "directory", "path": str(store)}, "out": out}
        response = dict(perform(placed))
        if response.pop("result") != "ok":
            raise SuiteError(f"the oracle refuses the checkpoint: {response}")
        for each in (*response.get("tensors", ()), *response.get("assets", ())):
            if "file" in each:
                data = (Path(out) / each["file"]).read_bytes()
                each["file"] = {"$file": {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}}
        if sum(path.stat().st_size for path in store.rglob("*") if path.is_file()) > _LARGEST:
            raise SuiteError(f"golden files are small: at most {_LARGEST} bytes")
        response.pop("id", None)
        return response
