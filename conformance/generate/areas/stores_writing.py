"""Writing, deleting and collecting in a store that fails, or that does not keep what it promises."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ..case import Case, Expect, Json, checkpoint, ok, rejected, step
from ..drafts_c import OLD, OTHER, asset, attempt_of, simple, tombstone
from ..expect import read_values
from ..requests import item, listing, mapping, save, sharded_case, tensor, write_case
from .lifecycle_gc import DEAD, GRACE, LIVE, collected
from .stores_reading import failing, s3_store

__all__ = ["cases"]

_ROOT = "c/checkpoint.json"
_TREE = mapping(("w", tensor("w")))
_OLD = simple(attempt=OTHER, sequence=3)
_NO_ROOT = {"main": {"absent": [_ROOT], "same": ["*"]}}


def cases() -> Iterator[Case]:
    """All over the simulator, but for links."""
    yield from _writes()
    yield from _roots()
    yield from _markers()
    yield from _conditions()
    yield from _deletions()
    yield from _collections()
    yield from _links()


def _write(
    name: str, title: str, requirements: Sequence[str], *faults: Json, expect: Expect | None = None, **more: Any
) -> Case:
    if more.get("kind") == "invalid":
        more = {"fault": f"{title}.", "sibling": "stores-s3-write", **more}
    files = {**checkpoint(_OLD, "a"), **more.pop("more", {})}
    return write_case(
        f"stores-s3-{name}", title, requirements, save(_TREE, expect=expect), files=files, stores=s3_store(*faults),
        options=["s3"], timeout=60, **more,
    )  # fmt: skip


def _writes() -> Iterator[Case]:
    yield write_case(
        "stores-s3-write", "A save behind S3, with an asset", ["SCF-STORE-006", "SCF-COMMIT-002", "SCF-STORE-004"],
        save(_TREE, spec=item(assets={"config.json": b"{}"})), listing(("a", 3), ("c", 4), newest="c"),
        files=checkpoint(_OLD, "a"), stores=s3_store(), options=["s3"], after={"main": {"same": ["a/*"]}}, timeout=60,
    )  # fmt: skip
    yield sharded_case(
        "stores-s3-write-sharded", "A save of two writers behind S3", ["SCF-STORE-006", "SCF-LAYOUT-010"],
        save(*(
            mapping(("w", tensor("w", (4, 6), [{"offset": [row, 0], "size": [2, 6], "run": None}]))) for row in (0, 2)
        )),
        stores=s3_store(), options=["s3"], timeout=60,
    )  # fmt: skip
    yield write_case(
        "stores-s3-write-pages", "The highest sequence is on the last page of a listing",
        ["SCF-ROOT-012", "SCF-STORE-007"], save(_TREE), listing(("a", 3), ("b", 5), ("z", 9), ("c", 10), newest="c"),
        files={
            **checkpoint(_OLD, "a"), **checkpoint(simple(sequence=5), "b"), **checkpoint(simple(sequence=9), "z")
        },
        stores=s3_store(page=2), options=["s3"], timeout=60,
    )  # fmt: skip
    yield write_case(
        "stores-s3-write-taken", "The name is taken behind S3", ["SCF-COMMIT-002", "SCF-STORE-004"],
        save(_TREE, expect=rejected("checkpoint.exists")), kind="invalid", sibling="stores-s3-write",
        fault="The name has a root.", files=checkpoint(_OLD), stores=s3_store(), options=["s3"],
        after={"main": {"same": ["c/*"]}}, timeout=60,
    )  # fmt: skip
    failed = rejected("store.io", "save.aborted")
    rows: tuple[tuple[str, str, list[Json]], ...] = (
        ("lookup", "The store fails when the root's key is looked up", [failing(f"*{_ROOT}", status=500)]),
        ("list", "The store fails when it is listed", [failing(operation="ListObjectsV2")]),
        ("objects", "The store fails when a data object is created",
         [failing("*.safetensors", method=method) for method in ("PUT", "POST")]),
        ("manifests", "The store fails when a manifest is created",
         [failing("*manifest-*", method=method) for method in ("PUT", "POST")]),
        ("old-root", "The store fails when the root of another checkpoint is asked for",
         [failing("*a/checkpoint.json", status=500)]),
    )  # fmt: skip
    for name, title, faults in rows:
        yield _write(
            f"write-{name}-fails", f"{title}: no checkpoint", ["SCF-STORE-013", "SCF-COMMIT-003"]
            if name != "lookup" else ["SCF-STORE-013", "SCF-STORE-002"],
            *faults, expect=failed, kind="invalid", after=_NO_ROOT,
        )  # fmt: skip


def _roots() -> Iterator[Case]:
    """The creation of the root is in doubt (section 4.5)."""
    put = {"method": "PUT", "key": f"*{_ROOT}"}
    yield _write(
        "root-answer-lost", "The root is created, and the answer is lost: it is the committer's own",
        ["SCF-STORE-017", "SCF-COMMIT-010"], failing(kind="drop_after", once=True, **put),
        after={"main": {"present": [_ROOT], "same": ["a/*"]}},
    )  # fmt: skip
    either = [ok("main"), rejected("store.io", "save.aborted")]
    for name, title, fault in (
        ("lost", "The request for the root's creation is lost", failing(kind="drop_before", once=True, **put)),
        ("503", "The store refuses the root once, by 503", failing(once=True, status=503, **put)),
        ("409", "The store refuses the root once, by 409", failing(once=True, status=409, **put)),
    ):  # fmt: skip
        yield _write(
            f"root-request-{name}", f"{title}: it is created, or the save has failed", ["SCF-STORE-017"], fault,
            expect=either, kind="acceptable", after={"main": {"same": ["a/*"]}},
        )  # fmt: skip
    yield _write(
        "root-race", "Another save of the name is committed behind the first look at it",
        ["SCF-STORE-017", "SCF-STORE-004", "SCF-COMMIT-002"],
        *(failing(f"*{_ROOT}", once=True, method=method, status=404) for method in ("HEAD", "GET")),
        expect=rejected("checkpoint.exists"), kind="invalid", more=checkpoint(simple(seed=8)),
        after={"main": {"same": ["*"]}},
    )  # fmt: skip


def _markers() -> Iterator[Case]:
    marker = "*/.attempt-*"
    yield _write(
        "marker-gone", "The attempt marker is gone before the root is created", ["SCF-COMMIT-009"],
        *(failing(marker, method=method, status=404) for method in ("HEAD", "GET")),
        expect=rejected("save.aborted", "store.split", "store.condition", "store.io"), kind="invalid", after=_NO_ROOT,
    )  # fmt: skip
    for name, status in (("fails", 503), ("absent", 404)):
        yield _write(
            f"marker-removal-{name}", f"The marker's removal behind the commit is answered by {status}",
            ["SCF-COMMIT-010"] if status == 503 else ["SCF-STORE-008", "SCF-COMMIT-010"],
            failing(marker, method="DELETE", status=status), after={"main": {"present": [_ROOT]}},
        )  # fmt: skip
    yield _write(
        "marker-put-fails", "The attempt marker can't be created: nothing is written", ["SCF-STORE-013"],
        failing(marker, method="PUT"), expect=rejected("store.io", "store.condition", "save.aborted"), kind="invalid",
        after={"main": {"same": ["*"], "absent": ["c/*"]}},
    )  # fmt: skip


def _conditions() -> Iterator[Case]:
    weak = s3_store(ignore_conditions=True)
    yield write_case(
        "stores-s3-weak-refused", "The store overwrites where it should refuse: no save without the user's leave",
        ["SCF-STORE-014"], save(_TREE, expect=rejected("store.condition")), kind="invalid", sibling="stores-s3-write",
        fault="The store ignores conditions.", files=checkpoint(_OLD, "a"), stores=weak, options=["s3"],
        after=_NO_ROOT, timeout=60,
    )  # fmt: skip
    yield write_case(
        "stores-s3-weak-accepted", "The same with the user's leave: the report says so",
        ["SCF-STORE-016", "SCF-STORE-015"],
        save(_TREE, accept_weak=True, expect=ok("main", weak=True)), files=checkpoint(_OLD, "a"), stores=weak,
        options=["s3", "weak-store"], after={"main": {"same": ["a/*"]}}, timeout=60,
    )  # fmt: skip
    yield write_case(
        "stores-s3-weak-taken", "With leave and a name that is taken: the checkpoint there stays",
        ["SCF-STORE-015", "SCF-COMMIT-002"], save(_TREE, accept_weak=True, expect=rejected("checkpoint.exists")),
        kind="invalid", sibling="stores-s3-weak-accepted", fault="The name has a root.", files=checkpoint(_OLD),
        stores=weak, options=["s3", "weak-store"], after={"main": {"same": ["c/*"]}}, timeout=60,
    )  # fmt: skip
    yield write_case(
        "stores-s3-strong", "Leave that is not needed: the report does not claim it", ["SCF-STORE-015"],
        save(_TREE, accept_weak=True, expect=ok("main", weak=False)), files=checkpoint(_OLD, "a"), stores=s3_store(),
        options=["s3", "weak-store"], timeout=60,
    )  # fmt: skip


def _deletion(
    name: str, title: str, requirements: Sequence[str], expect: Expect, *faults: Json, **more: Any
) -> Case:
    if more.get("kind") == "invalid":
        more = {"fault": f"{title}.", "sibling": "stores-s3-delete", **more}
    return Case(
        f"stores-s3-delete{name}", title, requirements, "lifecycle", [step("delete", expect)],
        files=checkpoint(LIVE), stores=s3_store(*faults), options=["s3"], timeout=60, **more,
    )  # fmt: skip


def _deletions() -> Iterator[Case]:
    stone = {key: asset(data) for key, data in tombstone(LIVE, "c").items()}
    objects = [key for key in checkpoint(LIVE) if key != _ROOT]
    yield _deletion(
        "", "A deletion behind S3", ["SCF-DEL-001", "SCF-DEL-003"], ok(),
        after={"main": {"absent": [_ROOT], "same": objects, "content": stone}},
    )  # fmt: skip
    yield _deletion(
        "-root-500", "The store fails when the root is asked for: nothing is deleted", ["SCF-STORE-013", "SCF-DEL-001"],
        rejected("store.io"), failing(f"*{_ROOT}", status=500), kind="invalid", after={"main": {"unchanged": True}},
    )  # fmt: skip
    yield _deletion(
        "-tombstone-fails", "The tombstone can't be put: the root stays", ["SCF-DEL-001"], rejected("store.io"),
        failing("*.tombstones/*", method="PUT"), kind="invalid", after={"main": {"unchanged": True}},
    )  # fmt: skip
    yield _deletion(
        "-root-removal-fails", "The root can't be removed: the deletion has not succeeded", ["SCF-DEL-001"],
        rejected("store.io"), failing(f"*{_ROOT}", method="DELETE"), kind="invalid",
        after={"main": {"same": ["c/*"], "content": stone}},
    )  # fmt: skip
    yield _deletion(
        "-second-look-fails", "The store fails when the root is asked for again: it stays", ["SCF-DEL-001"],
        rejected("store.io"), failing(f"*{_ROOT}", operation="GetObject", at=2), kind="invalid",
        after={"main": {"same": ["c/*"]}},
    )  # fmt: skip
    yield _deletion(
        "-answer-lost", "The answer to the root's removal is lost: the deletion is done, or repeated",
        ["SCF-DEL-001", "SCF-STORE-008"], [ok(), rejected("store.io")],
        failing(f"*{_ROOT}", "drop_after", method="DELETE", once=True), kind="acceptable",
        after={"main": {"absent": [_ROOT], "same": objects, "content": stone}},
    )  # fmt: skip
    yield _deletion(
        "-root-absent", "The root's removal is answered by: no such key", ["SCF-STORE-008"], ok(),
        failing(f"*{_ROOT}", method="DELETE", status=404), after={"main": {"same": objects, "content": stone}},
    )  # fmt: skip


def _collections() -> Iterator[Case]:
    live, dead = checkpoint(LIVE), attempt_of(DEAD, "d")
    files = {**live, **dead}
    garbage = [key for key in dead if not key.endswith("config.json")]
    read = step("read", ok(**read_values(LIVE.items["model"])))

    def case(name: str, title: str, requirements: Sequence[str], *steps: Json, stores: Json, **more: Any) -> Case:
        if more.get("kind") == "invalid":
            more = {"fault": f"{title}.", "sibling": "stores-s3-gc", **more}
        return Case(
            f"stores-s3-gc{name}", title, requirements, "lifecycle", steps, files=files, stores=stores,
            options=["s3"], timeout=60, **more,
        )  # fmt: skip

    old = {"ages": {"*": OLD}}
    yield case(
        "", "A collection behind S3, with listings of several pages", ["SCF-STORE-007", "SCF-GC-001"],
        collected(*garbage), read, stores=s3_store(page=2, **old), after={"main": {"same": ["c/*"]}},
    )  # fmt: skip
    yield case(
        "-order", "The tombstones are looked for after all roots have been read", ["SCF-GC-007"], collected(*garbage),
        stores=s3_store(**old),
        after={"main": {"order": [{
            "first": {"operation": "GetObject", "key": "*/checkpoint.json"},
            "then": {"operation": "ListObjectsV2", "shows": ".tombstones/c.0123456789abcdef.json"},
        }]}},
    )  # fmt: skip
    yield case(
        "-clock-behind", "The store's clock is ten days behind the computer's: by its clock all is young",
        ["SCF-GC-006"], collected(), stores=s3_store(clock=-OLD, ages={"*": 3600}),
        after={"main": {"unchanged": True}},
    )  # fmt: skip
    yield case(
        "-clock-ahead", "The store's clock is ten days ahead of the computer's: by its clock all is old",
        ["SCF-GC-006"], collected(*garbage), stores=s3_store(clock=OLD, **old), after={"main": {"same": ["c/*"]}},
    )  # fmt: skip
    for name, title, fault in (
        ("root-500", "The store fails when a root is asked for", failing(f"*{_ROOT}", status=500)),
        ("manifest-500", "The store fails when a manifest is asked for", failing("*c/model/manifest-*", status=500)),
        ("list-500", "The store fails when it is listed", failing(operation="ListObjectsV2", status=500)),
        ("second-page", "The store fails at the second page of a listing", failing(operation="ListObjectsV2", at=2)),
    ):
        yield case(
            f"-{name}", f"{title}: nothing is removed", ["SCF-GC-005", "SCF-STORE-013"],
            step("gc", rejected("store.io", "usage.invalid"), grace=GRACE), stores=s3_store(fault, page=2, **old),
            kind="invalid", after={"main": {"unchanged": True}},
        )  # fmt: skip
    yield case(
        "-removal-fails", "The store removes nothing: what fails is skipped", ["SCF-GC-001"],
        step("gc", [ok(removed={"$equal": []}), rejected("store.io")], grace=GRACE), read,
        stores=s3_store(failing(method="DELETE"), failing(operation="DeleteObjects"), **old), kind="acceptable",
        after={"main": {"unchanged": True}},
    )  # fmt: skip


def _links() -> Iterator[Case]:
    """A save and a deletion in a directory with links that lead out of it."""
    for place in ("c", "c/model"):
        yield write_case(
            f"stores-link-write-{place.replace('/', '-')}", f"A save where {place} is a link out of the store",
            ["SCF-STORE-010", "SCF-SEC-010"], save(_TREE, expect=rejected("store.io")), kind="invalid",
            sibling="write-one-tensor", fault="A directory on the way leads out of the store.",
            stores={"main": {"links": {place: f"$outside/{place}"}}}, more_files={"outside": {f"{place}/x": b"mine"}},
            after={"main": {"absent": [_ROOT]}},
        )  # fmt: skip
    yield Case(
        "stores-link-delete", "A deletion where the place of the tombstones is a link that leads out of the store",
        ["SCF-STORE-010", "SCF-DEL-001"], "lifecycle", [step("delete", rejected("store.io"))], "invalid",
        "The place of the tombstones leads out of the store.", "delete-plain", files=checkpoint(LIVE),
        stores={"main": {"links": {".tombstones": "$outside/t"}}}, more_files={"outside": {"t/x": b"mine"}},
        after={"main": {"same": ["c/*"]}},
    )  # fmt: skip
