"""Links and names that would lead out of the store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ...oracle.encode import manifest_key
from ..case import Case, checkpoint, ok, rejected, step
from ..drafts import basic
from ..expect import inspected

__all__ = ["cases"]


def cases() -> Iterator[Case]:
    """All cases of this module."""
    draft = basic()
    files = checkpoint(draft)
    manifest = f"c/{manifest_key('model')}"
    data = f"c/model/{draft.attempt}-00000.safetensors"
    whole: dict[str, Any] = {"assets": ["config.json"]}
    rows: tuple[tuple[str, str, str, Mapping[str, Any], list[str]], ...] = (
        ("root", "c/checkpoint.json", "inspect", {}, ["c/checkpoint.json"]),
        ("manifest", manifest, "inspect", {}, [manifest]),
        ("object", data, "read", {}, [data]),
        ("asset", "c/model/config.json", "read", whole, ["c/model/config.json"]),
        ("item", "c/model", "inspect", {}, [key for key in files if key.startswith("c/model/")]),
        ("checkpoint", "c", "inspect", {}, list(files)),
    )
    for name, place, op, request, moved in rows:
        outside = {f"store/{key}": files[key] for key in moved}
        steps = [step(op, rejected("store.io"), **request)]
        if op == "read":
            steps.insert(0, step("inspect", ok(**inspected(draft))))
        yield Case(
            f"hostile-link-{name}",
            f"A link in the store leads to bytes outside ({name})",
            ["SCF-SEC-010", "SCF-STORE-010"],
            op,
            steps,
            kind="invalid",
            fault=f"{place} is a symbolic link to a place outside the store.",
            sibling="root-plain",
            files={key: content for key, content in files.items() if key not in moved},
            more_files={"outside": outside},
            stores={"main": {"links": {place: f"$outside/store/{place}"}}},
            options=["dtype:BF16", "dtype:F32"] if op == "read" else [],
        )
