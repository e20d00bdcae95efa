"""Values that differ by process, loaded by the same and by other numbers of processes (section 16.3)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ..case import Case, Json, ok
from ..requests import Node, integer, mapping, text
from .state_items import item_files, mismatch, restore, restore_case

__all__ = ["cases"]


def _value(path: Sequence[str], expected: Node | None, item: str = "dataloader", **place: Any) -> Json:
    expect = mismatch(path[-1]) if expected is None else ok(value=expected)
    return restore(item, {"kind": "value", "path": list(path)}, expect, **place)


def _indexed(size: int, axis: str = "data_parallel") -> Node:
    return ["indexed", axis, size, [mapping(("at", integer(10 * index))) for index in range(size)]]


def _at(index: int) -> Node:
    return mapping(("at", integer(10 * index)))


def cases() -> Iterator[Case]:
    """Indexed and plain values."""
    four = item_files("dataloader", mapping(("value", _indexed(4)), ("note", text("same for all"))))
    yield restore_case(
        "value-plain", "A value that is the same for all", ["SCF-STATE-009"], "value", four,
        _value(["note"], text("same for all"), index=1, size=3),
    )  # fmt: skip
    for rule in ("error", "nearest", "reseed"):
        yield restore_case(
            f"indexed-same-{rule}", f"As many processes as indices, rule {rule}: each has its own value",
            ["SCF-STATE-009", "SCF-STATE-008"], "value", four,
            *(_value(["value"], _at(index), rule=rule, index=index, size=4) for index in range(4)),
        )  # fmt: skip
    for stored, now in ((4, 2), (2, 4), (5, 3), (3, 5), (1, 3), (3, 1), (4, 3), (7, 2)):
        yield restore_case(
            f"nearest-{stored}-{now}", f"{stored} values for {now} processes by the rule nearest",
            ["SCF-STATE-009"], "value", item_files("dataloader", mapping(("value", _indexed(stored)))),
            *(
                _value(["value"], _at(index * stored // now), rule="nearest", index=index, size=now)
                for index in range(now)
            ),
        )  # fmt: skip
    for rule in ("error", "reseed"):
        for now, index in ((2, 0), (8, 7), (5, 1)):
            yield restore_case(
                f"indexed-{rule}-4-{now}", f"4 values for {now} processes, rule {rule}: refused", ["SCF-STATE-008"],
                "value", four, _value(["value"], None, rule=rule, index=index, size=now), kind="invalid",
                sibling=f"state-indexed-same-{rule}", fault="The number of processes is another one.",
            )  # fmt: skip
    ranks = item_files("other", mapping(("deep", mapping(("x.y", _indexed(2, "rank")))), ("custom", _indexed(2, "ü"))))
    yield restore_case(
        "indexed-axes", "Axes of other names, deep in the tree", ["SCF-STATE-009"], "value", ranks,
        _value(["deep", "x.y"], _at(1), "other", index=1, size=2),
        _value(["custom"], _at(0), "other", rule="nearest", index=1, size=4),
    )  # fmt: skip
    yield restore_case(
        "scheduler", "The state of a scheduler is its own", ["SCF-STATE-002"], "value",
        item_files("scheduler", mapping(
            ("last_epoch", integer(7)), ("_last_lr", ["list", [["float", "3fb999999999999a"]]]), ("x-acme", ["nil"]),
        )),
        _value(["last_epoch"], integer(7), "scheduler"),
        _value(["_last_lr"], ["list", [["float", "3fb999999999999a"]]], "scheduler"),
    )  # fmt: skip
