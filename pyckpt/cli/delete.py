"""``pyckpt delete``: makes a checkpoint cease to exist."""

from __future__ import annotations

import sys

import click

from pyckpt.cli.arguments import BadArgument, json_option, locate, suggest
from pyckpt.cli.gc import collected_as_json
from pyckpt.cli.list import step_of, total_bytes
from pyckpt.cli.screen import Screen, print_json, working
from pyckpt.cli.text import clean, count, duration_text, size_text, time_text
from pyckpt.engine.collect import GRACE_SECONDS, Collected, collect_garbage
from pyckpt.engine.delete import delete
from pyckpt.engine.listing import list_checkpoints
from pyckpt.engine.open import OpenCheckpoint, open_root
from pyckpt.errors import NotFound, PyckptError
from pyckpt.storage.base import Store

__all__ = ["command"]

EPILOG = """\b
Examples:
  pyckpt delete runs/a/step_1000
  pyckpt delete s3://bucket/run/step_1000 --yes --now

The checkpoint is gone at once. Its bytes stay for a grace period, so that whoever is reading it can finish,
and go with the next "pyckpt gc"; what other checkpoints use stays with them. With --json: url, digest,
used_by, and collected (keys, bytes, kept_for_grace), null without --now."""


@click.command("delete", epilog=EPILOG, short_help="Delete a checkpoint.")
@click.argument("url")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--now", is_flag=True, help="Remove its bytes right away, without a grace period.")
@json_option
def command(url: str, *, yes: bool, now: bool, as_json: bool) -> int:
    """Delete a checkpoint. Asks first, unless told --yes."""
    store, name = locate(url)
    try:
        opened = open_root(store, name)
    except NotFound as error:
        hint = suggest(store, name) or error.hint
        raise NotFound(error.code, error.message, key=error.key, hint=hint) from error
    users = _users(store, name)
    if not yes and not _agreed(opened, users, now=now):
        print("nothing was deleted", file=sys.stderr)
        return 1
    with working(f"deleting {name}"):
        digest = delete(store, name)
        collected = _collect(store, name) if now else None
    if as_json:
        removed = None if collected is None else collected_as_json(collected)
        print_json({"url": opened.url, "digest": digest, "used_by": users, "collected": removed})
    else:
        _print(opened, users, collected)
    return 0


def _collect(store: Store, name: str) -> Collected:
    try:
        return collect_garbage(store, grace=0, only=lambda each: each == name)
    except PyckptError as error:
        message = f"the checkpoint is deleted, its bytes are not: {error.message}"
        raise type(error)(error.code, message, key=error.key, hint=error.hint, findings=error.findings) from error


def _users(store: Store, name: str) -> list[str]:
    """Names of the checkpoints that use objects of this one."""
    return [
        each.name
        for each in list_checkpoints(store)
        if each.root is not None and any(external.checkpoint == name for external in each.root.external)
    ]


def _agreed(opened: OpenCheckpoint, users: list[str], *, now: bool) -> bool:
    if not sys.stdin.isatty():
        raise BadArgument("usage.invalid", "there is no terminal to ask on", key="delete", hint="say --yes")
    root = opened.root
    step = step_of(root.metadata)
    facts = [*([] if step is None else [f"step {step}"]), time_text(root.created), size_text(total_bytes(root))]
    click.echo(f"{clean(opened.url)} ({', '.join(facts)})", err=True)
    if users:
        click.echo(f"used by {', '.join(users)}; what they use is kept", err=True)
    return click.confirm("Delete it now, bytes and all?" if now else "Delete it?", err=True)


def _print(opened: OpenCheckpoint, users: list[str], collected: Collected | None) -> None:
    screen = Screen()
    screen.line("deleted ", (opened.url, "bold"))
    if users:
        screen.line(f"what these use of it stays: {clean(', '.join(users))}")
    if collected is None:
        grace = duration_text(GRACE_SECONDS)
        store = opened.store.url
        screen.line(f"its bytes stay for the grace period of {grace}, then go with: pyckpt gc {clean(store)}")
    else:
        screen.line(f"removed {count(len(collected.keys), 'object')}, {size_text(collected.bytes)}")
