"""Reading from a store that fails: a failure is reported, never taken for absence or for the bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ...oracle.encode import Draft, Item
from ..case import Case, Expect, Json, checkpoint, ok, rejected, step
from ..drafts_c import made, simple
from ..expect import read_values, root_digest
from ..requests import listing

__all__ = ["cases", "failing", "s3_store"]

_ASSETS = {"config.json": b'{"hidden":8}'}
_DRAFT = Draft({"model": Item((made("w", (3000,)), made("v", (3,), seed=2)), assets=_ASSETS)})
_MIB = 1 << 20


def s3_store(*faults: Json, **members: Any) -> dict[str, Json]:
    """The store ``main`` behind the simulator, with faults."""
    return {"main": {"kind": "s3", **({"faults": list(faults)} if faults else {}), **members}}


def failing(key: str | None = None, kind: str = "fail", *, once: bool = False, **members: Any) -> Json:
    """A fault that befalls every request for a key, or the first one."""
    fault: Json = {"kind": kind, **members}
    if key is not None:
        fault["key"] = key
    return fault if once else {**fault, "persistent": True}


def cases() -> Iterator[Case]:
    """Over the simulator, and in directories with links."""
    yield from _sound()
    yield from _failures()
    yield from _short()
    yield from _limits()
    yield from _links()


def _read(expect: Expect | None = None, **request: Any) -> Json:
    good = ok(**read_values(_DRAFT.items["model"], assets=list(_ASSETS)))
    return step("read", good if expect is None else expect, **{"assets": list(_ASSETS), **request})


def _sound() -> Iterator[Case]:
    yield Case(
        "stores-s3-read", "A checkpoint behind S3", ["SCF-STORE-001", "SCF-STORE-006"], "read",
        [step("inspect", ok(root={"digest": root_digest(_DRAFT)})), _read()],
        files=checkpoint(_DRAFT), stores=s3_store(), options=["s3"],
    )  # fmt: skip
    many = {f"step_{number}": simple(sequence=1 + number * 3 % 7, seed=number) for number in range(7)}
    files = {key: data for name, draft in many.items() for key, data in checkpoint(draft, name).items()}
    yield Case(
        "stores-s3-pages", "A listing of several pages is listed to its end", ["SCF-STORE-007"], "inspect",
        [listing(*((name, draft.sequence) for name, draft in many.items()),
                 newest=max(many, key=lambda name: many[name].sequence))],
        files={**files, **{f"many/{number}": b"" for number in range(9)}}, stores=s3_store(page=2), options=["s3"],
    )  # fmt: skip
    yield Case(
        "stores-s3-missing", "A checkpoint that is not there", ["SCF-STORE-002", "SCF-ROOT-001"], "inspect",
        [step("inspect", rejected("checkpoint.missing"), checkpoint="d", items=[])], "invalid",
        "There is no root under this name.", "stores-s3-read", files=checkpoint(_DRAFT, "c"), stores=s3_store(),
        options=["s3"],
    )  # fmt: skip


def _failure(
    name: str, title: str, faults: Sequence[Json], request: Json, profile: str = "read",
    requirements: Sequence[str] = ("SCF-STORE-002", "SCF-STORE-013"),
) -> Case:  # fmt: skip
    return Case(
        f"stores-s3-{name}", title, requirements, profile, [request], "invalid", f"{title}.", "stores-s3-read",
        files=checkpoint(_DRAFT), stores=s3_store(*faults), options=["s3"], after={"main": {"unchanged": True}},
        timeout=60,
    )  # fmt: skip


def _failures() -> Iterator[Case]:
    refused = rejected("store.io")
    look = step("inspect", refused, items=[])
    for status in (403, 500, 503):
        yield _failure(
            f"root-{status}", f"The store answers {status} when the root is asked for",
            [failing("*checkpoint.json", status=status)], look, "inspect",
        )  # fmt: skip
    yield _failure(
        "root-dropped", "The connection ends when the root is asked for",
        [failing("*checkpoint.json", "drop_before")], look, "inspect",
    )  # fmt: skip
    item = step("inspect", refused)
    yield _failure("manifest-500", "The store fails when a manifest is asked for", [failing("*manifest-*")], item)
    for name, key in (("object", "*.safetensors"), ("asset", "*config.json")):
        yield _failure(
            f"{name}-500", f"The store fails when the {name} is asked for", [failing(key, status=500)], _read(refused)
        )
    yield _failure(
        "list-500", "The store fails when it is listed", [failing(operation="ListObjectsV2")],
        step("list", refused), "inspect",
    )  # fmt: skip
    shown = {"name": "c", "digest": None, "sequence": None, "code": "store.io"}
    yield _failure(
        "list-root-500", "The store fails when the root of a checkpoint is asked for, in a listing",
        [failing("*checkpoint.json", status=500)],
        step("list", [refused, ok(checkpoints=[shown], newest=None)]), "inspect", ["SCF-STORE-013", "SCF-LIST-001"],
    )  # fmt: skip


def _short() -> Iterator[Case]:
    """Answers that are shorter than what was asked for."""
    for kind, what in (("short", "is half of it"), ("cut", "ends in the middle")):
        rows = (
            ("root", "*checkpoint.json", step("inspect", rejected("store.io", "root.digest"), items=[])),
            ("manifest", "*manifest-*", step("inspect", rejected("store.io", "manifest.size"))),
            ("object", "*.safetensors", _read(rejected("store.io", "object.size"), paths=[["w"]], assets=[])),
            ("asset", "*config.json", _read(rejected("store.io", "asset.size"), paths=[])),
        )
        for name, key, request in rows:
            yield _failure(
                f"{kind}-{name}", f"The answer to the request for the {name} {what}",
                [failing(key, kind, operation="GetObject")], request, requirements=["SCF-STORE-001", "SCF-STORE-013"],
            )  # fmt: skip


def _limits() -> Iterator[Case]:
    for name, store in (("", {"main": {}}), ("s3-", s3_store())):
        main = {**store["main"], "pads": [{"path": "c/checkpoint.json", "byte": 32, "count": 64 * _MIB}]}
        yield Case(
            f"stores-{name}long-root", "A root of more than 64 MiB is not fetched whole",
            ["SCF-STORE-018", "SCF-ROOT-002"], "inspect",
            [step("inspect", rejected("limit.exceeded"), items=[])], "invalid",
            "The root's object has more than 64 MiB.", "stores-s3-read", files=checkpoint(_DRAFT),
            stores={"main": main}, options=["s3"] if name else [], memory=32 * _MIB, timeout=60,
        )  # fmt: skip
    key = f"c/model/manifest-{_DRAFT.attempt}.msgpack.zst"
    yield Case(
        "stores-long-manifest", "A manifest's object of a gibibyte is not fetched whole",
        ["SCF-DIG-003", "SCF-STORE-018"], "inspect", [step("inspect", rejected("manifest.size", "limit.exceeded"))],
        "invalid", "The manifest's object is longer than its descriptor says.", "stores-s3-read",
        files=checkpoint(_DRAFT), stores={"main": {"pads": [{"path": key, "byte": 0, "count": 1024 * _MIB}]}},
        memory=32 * _MIB, timeout=60,
    )  # fmt: skip


def _links() -> Iterator[Case]:
    """Symbolic links that lead out of a directory."""
    files = checkpoint(_DRAFT)
    refused = rejected("store.io")
    folder = "c/model/"
    inner = {
        "root": ("c/checkpoint.json", step("inspect", refused, items=[])),
        "manifest": (f"{folder}manifest-{_DRAFT.attempt}.msgpack.zst", step("inspect", refused)),
        "object": (f"{folder}{_DRAFT.attempt}-00000.safetensors", _read(refused, assets=[])),
        "asset": (f"{folder}config.json", _read(refused, paths=[])),
        "item": ("c/model", _read(refused)),
        "checkpoint": ("c", _read(refused)),
    }
    for name, (place, request) in inner.items():
        moved = [key for key in files if key == place or key.startswith(f"{place}/")]
        yield Case(
            f"stores-link-{name}", f"The {name} is a link that leads out of the store",
            ["SCF-STORE-010", "SCF-SEC-010"], "read", [request], "invalid", "A link of the store leads out of it.",
            "stores-directory",
            files={key: data for key, data in files.items() if key not in moved},
            stores={"main": {"links": {place: f"$outside/{place}"}}},
            more_files={"outside": {key: files[key] for key in moved}},
        )  # fmt: skip
    yield Case(
        "stores-directory", "The same checkpoint without links", ["SCF-STORE-001"], "read", [_read()], files=files
    )
    yield Case(
        "stores-link-loop", "The root is a link to itself", ["SCF-STORE-013", "SCF-STORE-002"], "inspect",
        [step("inspect", refused, items=[])], "invalid", "What lies at the root's key can't be opened.",
        "stores-directory", files={key: data for key, data in files.items() if key != "c/checkpoint.json"},
        stores={"main": {"links": {"c/checkpoint.json": "checkpoint.json"}}},
    )  # fmt: skip
    objects = [key for key in files if key.endswith(".safetensors")]
    yield Case(
        "stores-directory-at-key", "A directory lies at the key of a data object: there is no such object",
        ["SCF-STORE-002", "SCF-DIG-009"], "read", [_read(rejected("object.missing"), assets=[])], "invalid",
        "At the data object's key there is a directory.", "stores-directory",
        files={**{key: data for key, data in files.items() if key not in objects}, f"{objects[0]}/x": b""},
    )  # fmt: skip
