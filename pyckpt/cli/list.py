"""``pyckpt list``: the checkpoints of a store."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

import click

from pyckpt.cli.arguments import json_option, locate_store
from pyckpt.cli.screen import Cell, Screen, print_json, working
from pyckpt.cli.text import age_text, clip, count, size_text, time_text
from pyckpt.engine.listing import Listed, list_checkpoints
from pyckpt.format.root import Root
from pyckpt.limits import MAX_JSON_INT
from pyckpt.storage.url import checkpoint_url

__all__ = ["command"]

EPILOG = """\b
Examples:
  pyckpt list runs/a
  pyckpt list s3://bucket/run --json | jq -r '.checkpoints[0].url'
  pyckpt list /nvme/run s3://bucket/run file:///cold/run

The newest is the one with the highest sequence. "needs" names the other checkpoints whose objects one uses,
with "(gone)" behind those that the store no longer has; "pinned" marks those that a manager keeps for ever.
The age is by this machine's clock. Damaged checkpoints come last and make the exit status 1. With --json:
store and checkpoints, each with name, url, digest, sequence, created, step, pinned, items, tensors, bytes,
needs, gone, stands_alone and error.

Of several stores each checkpoint is one row, with its state in each: complete (root, manifests and sizes are
right; pyckpt verify reads the bytes), so many missing objects, damaged, damaged root, copying (no root yet), -
for absent, unknown where the store doesn't answer. With --json: stores and checkpoints, each with name, digest,
sequence, created, step, bytes and tiers, a list of store, state, findings and error."""


@click.command("list", epilog=EPILOG, short_help="List the checkpoints of a store, newest first.")
@click.argument("store_urls", metavar="STORE...", nargs=-1, required=True)
@json_option
def command(store_urls: tuple[str, ...], *, as_json: bool) -> int:
    """List the checkpoints of STORE, newest first; of several, such as the tiers of a run, what each has of them."""
    if len(store_urls) > 1:
        from pyckpt.cli.list_tiers import list_tiers

        return list_tiers([locate_store(url, answers=False) for url in store_urls], as_json=as_json)
    store = locate_store(store_urls[0])
    with working(f"listing {store.url}"):
        listed = list_checkpoints(store)
    present = {each.name for each in listed}
    if as_json:
        found = [
            {"name": each.name, "url": checkpoint_url(store.url, each.name), **_described(each, present)}
            for each in listed
        ]
        print_json({"store": store.url, "checkpoints": found})
    elif listed:
        _print(listed, present)
    else:
        Screen().line("no checkpoints in ", store.url)
    return 1 if any(each.error is not None for each in listed) else 0


def _described(listed: Listed, present: set[str]) -> dict[str, Any]:
    root, error = listed.root, listed.error
    if root is None:
        return {"error": None if error is None else {"code": error.code, "message": error.message}}
    needs = [external.checkpoint for external in root.external]
    return {
        "digest": root.digest,
        "sequence": root.sequence,
        "created": root.created,
        "step": step_of(root.metadata),
        "pinned": _pinned(root),
        "items": {name: entry.kind for name, entry in root.items.items()},
        "tensors": sum(entry.tensors for entry in root.items.values()),
        "bytes": total_bytes(root),
        "needs": needs,
        "gone": [name for name in needs if name not in present],
        "stands_alone": not needs,
        "error": None,
    }


def step_of(metadata: Mapping[str, object]) -> int | None:
    """The training step, if the metadata has one under the name that everybody uses."""
    for name in ("step", "global_step"):
        step = metadata.get(name)
        if isinstance(step, int) and not isinstance(step, bool) and abs(step) <= MAX_JSON_INT:
            return step
    return None


def _pinned(root: Root) -> bool:
    """Whether a manager was told to keep it for ever."""
    return root.metadata.get("pinned") is True


def total_bytes(root: Root) -> int:
    """Decoded bytes of all tensors."""
    return sum(entry.bytes for entry in root.items.values())


def _print(listed: list[Listed], present: set[str]) -> None:
    now = dt.datetime.now(dt.timezone.utc)
    rows: list[list[Cell]] = []
    for each in listed:
        if each.root is None:
            code = "" if each.error is None else each.error.code
            rows.append([each.name, "", "", (code, "red"), "", "", "", "", ""])
            continue
        step = step_of(each.root.metadata)
        needs = [
            external.checkpoint + ("" if external.checkpoint in present else " (gone)")
            for external in each.root.external
        ]
        rows.append(
            [
                (each.name, "bold"),
                "" if step is None else str(step),
                str(each.root.sequence),
                time_text(each.root.created).removesuffix(" UTC"),
                age_text(each.root.created, now),
                str(len(each.root.items)),
                size_text(total_bytes(each.root)),
                "pinned" if _pinned(each.root) else "",
                clip(", ".join(needs), 200),
            ]
        )
    headers = ["checkpoint", "step", "seq", "created (UTC)", "age", "items", "size", "kept", "needs"]
    shown = [at for at, header in enumerate(headers) if header not in ("kept", "needs") or any(row[at] for row in rows)]
    screen = Screen()
    screen.table(
        [headers[at] for at in shown],
        [[row[at] for at in shown] for row in rows],
        right=("step", "seq", "age", "items", "size"),
    )
    damaged = [each for each in listed if each.error is not None]
    if damaged:
        screen.line()
        screen.line((f"{count(len(damaged), 'checkpoint')} can't be read; pyckpt verify says why", "red"))
    elif all(each.root is not None and not each.root.external for each in listed):
        screen.line(("each stands alone", "dim") if len(listed) > 1 else ("it stands alone", "dim"))
