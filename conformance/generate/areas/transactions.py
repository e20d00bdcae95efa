"""The area ``transactions``: saves, deletions and collections with a fault at each of their calls in turn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..case import Case, Json, checkpoint, ok, step
from ..drafts_c import OLD, OTHER, THIRD, attempt_of, simple, tombstone
from ..requests import integer, item, mapping, region, save, tensor, write_case
from .lifecycle_gc import DEAD, GRACE, LIVE, without_root

__all__ = ["cases"]

_KILLS: Mapping[str, str] = {
    "kill-before": "killed before each call in turn",
    "kill-after": "killed after each call in turn",
}
_FAULTS: Mapping[str, str] = {
    **_KILLS,
    "fail": "with an error for each request in turn",
    "outage": "with errors from each request on",
    "drop-before": "with each request lost in turn",
    "drop-after": "with the answer to each request lost in turn",
    "stall": "with each answer late in turn",
}
_FEW = ("kill-after", "fail", "outage", "drop-after")
_OLDER = simple(attempt=OTHER, sequence=3, assets={"config.json": b"{}"})


@dataclass(frozen=True)
class _Subject:
    """What is done, and in which store."""

    name: str
    title: str
    request: Json
    files: Mapping[str, bytes]
    judge: str
    requirements: Sequence[str]
    more: Mapping[str, Sequence[str]]
    """Fault -> further requirements."""
    behind_s3: Sequence[str] = tuple(_FAULTS)
    """The faults behind S3."""


def cases() -> Iterator[Case]:
    """Every subject in a directory and behind S3, one case for each fault."""
    for subject in _subjects():
        for fault, how in _KILLS.items():
            yield _case(subject, "directory", fault, f"{subject.title} in a directory, {how}")
        for fault in subject.behind_s3:
            yield _case(subject, "s3", fault, f"{subject.title} behind S3, {_FAULTS[fault]}")


def _case(subject: _Subject, over: str, fault: str, title: str) -> Case:
    store: dict[str, Any] = {"ages": {"*": OLD}} if subject.judge == "kept-or-gone" else {}
    if over == "s3":
        store["kind"] = "s3"
    return write_case(
        f"tx-{subject.name}-{over}-{fault}", title, [*subject.requirements, *subject.more.get(fault, ())],
        subject.request, profile="transaction", files=subject.files, stores={"main": store},
        options=["s3"] if over == "s3" else [], timeout=60,
        transaction={"over": over, "faults": [fault], "judge": subject.judge},
    )  # fmt: skip


def _subjects() -> Iterator[_Subject]:
    older = checkpoint(_OLDER, "a")
    lost = {"drop-before": ["SCF-STORE-017"], "drop-after": ["SCF-STORE-017", "SCF-COMMIT-010"]}
    tree = mapping(("w", tensor("w", (1500,))), ("b", tensor("b", (3,), dtype="BF16")), ("step", integer(7)))
    yield _Subject(
        "write", "A save of one writer", save(tree, spec=item(assets={"config.json": b"{}"}), metadata=mapping(
            ("step", integer(7)))),
        older, "old-or-new", ["SCF-COMMIT-002", "SCF-STORE-005", "SCF-MODEL-001"], lost,
    )  # fmt: skip
    yield _Subject(
        "write-two", "A save of two writers",
        save(*(
            mapping(("w", tensor("w", (6, 4), [region((row, 0), (3, 4))])), ("all", tensor("all"))) for row in (0, 3)
        ), deadline=5),
        older, "old-or-new", ["SCF-COMMIT-002", "SCF-COMMIT-003", "SCF-STORE-005"],
        {**lost, "fail": ["SCF-COMMIT-007"], "outage": ["SCF-COMMIT-007"]}, _FEW,
    )  # fmt: skip
    yield _Subject(
        "write-again", "A save at a name at which an attempt has died", save(tree, spec=item(
            assets={"config.json": b"{}"})),
        {**older, **attempt_of(simple(attempt=THIRD, assets={"config.json": b"{}"}), "c")},
        "old-or-new", ["SCF-COMMIT-002", "SCF-LAYOUT-006", "SCF-LAYOUT-009"], lost, (),
    )  # fmt: skip
    yield _Subject(
        "delete", "A deletion", step("delete", ok()), {**older, **checkpoint(LIVE)}, "kept-or-gone",
        ["SCF-DEL-001", "SCF-DEL-003", "SCF-STORE-008"], {"kill-after": ["SCF-DEL-002"]},
    )  # fmt: skip
    deleted = simple(attempt=THIRD, seed=6, assets={"config.json": b"{}"})
    yield _Subject(
        "gc", "A collection", step("gc", ok(), grace=GRACE),
        {**checkpoint(LIVE), **attempt_of(DEAD, "d"), **without_root(deleted, "e"), **tombstone(deleted, "e")},
        "kept-or-gone", ["SCF-GC-001", "SCF-GC-009", "SCF-STORE-008"], {"fail": ["SCF-GC-005"]}, _FEW,
    )  # fmt: skip
