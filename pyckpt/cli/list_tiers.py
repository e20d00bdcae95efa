"""``pyckpt list`` of several stores: one table with what each of them has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyckpt.cli.list import step_of, total_bytes
from pyckpt.cli.screen import Cell, Screen, print_json, working
from pyckpt.cli.text import count, size_text
from pyckpt.engine.across import Across, Held, list_across
from pyckpt.engine.threads import default_threads
from pyckpt.storage.base import Store

__all__ = ["list_tiers"]

_COLOURS = {"complete": "green", "copying": "yellow", "absent": "dim", "unknown": "yellow"}


def list_tiers(stores: Sequence[Store], *, as_json: bool) -> int:
    """Shows which store has which checkpoint; exit status 1 if anything is damaged or incomplete."""
    with working(f"listing {count(len(stores), 'store')}"):
        found = list_across(stores, threads=default_threads())
    if as_json:
        print_json(
            {"stores": [store.url for store in stores], "checkpoints": [_described(each, stores) for each in found]}
        )
    elif found:
        _print(found, stores)
    else:
        Screen().line("no checkpoints in ", " and ".join(store.url for store in stores))
    return 1 if any(held.error for each in found for held in each.held) else 0


def _described(each: Across, stores: Sequence[Store]) -> dict[str, Any]:
    root = each.root
    return {
        "name": each.name,
        "digest": None if root is None else root.digest,
        "sequence": None if root is None else root.sequence,
        "created": None if root is None else root.created,
        "step": None if root is None else step_of(root.metadata),
        "bytes": None if root is None else total_bytes(root),
        "tiers": [
            {"store": store.url, "state": held.state, "findings": held.findings, "error": held.error or None}
            for store, held in zip(stores, each.held, strict=True)
        ],
    }


def _print(found: Sequence[Across], stores: Sequence[Store]) -> None:
    screen = Screen()
    for number, store in enumerate(stores):
        screen.line((f"tier {number}  ", "bold"), store.url)
    screen.line()
    rows: list[list[Cell]] = []
    for each in found:
        root = each.root
        step = None if root is None else step_of(root.metadata)
        rows.append(
            [
                (each.name, "bold"),
                "" if step is None else str(step),
                "" if root is None else str(root.sequence),
                "" if root is None else size_text(total_bytes(root)),
                *(_cell(held) for held in each.held),
            ]
        )
    tiers = [f"tier {number}" for number in range(len(stores))]
    screen.table(["checkpoint", "step", "seq", "size", *tiers], rows, right=("step", "seq", "size"))


def _cell(held: Held) -> Cell:
    if held.state == "absent":
        return ("-", "dim")
    text = f"{held.findings} {held.state}" if held.state == "missing objects" else held.state
    return (text, _COLOURS.get(held.state, "red"))
