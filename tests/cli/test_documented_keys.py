"""The keys of ``--json`` are those that docs/cli.md and the commands' own help list, all of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pyckpt.cli.main import main

PAGE = Path(__file__).resolve().parents[2] / "docs" / "cli.md"
ROW = re.compile(r"^\| `([a-z]+)` \| (.*) \|$", re.MULTILINE)
COMMANDS = {
    "inspect": ("inspect", "{step}"),
    "list": ("list", "{store}"),
    "verify": ("verify", "{step}"),
    "diff": ("diff", "{step}", "{other}"),
    "copy": ("copy", "{step}", "{new}"),
    "gc": ("gc", "{store}", "--dry-run"),
    "delete": ("delete", "{other}", "--yes"),
}


def documented():
    page = PAGE.read_text(encoding="utf-8")
    rows = ROW.findall(page[page.index("## `--json`") :])
    return {command: set(re.findall(r"`([a-z0-9_]+)`", text)) for command, text in rows}


def keys(record):
    """Those at the top, and of the records in its lists."""
    found = set(record)
    for value in record.values():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            found |= set(value[0])
    return found


@pytest.mark.parametrize("command", COMMANDS)
def test_keys(command, run, store, tmp_path, capsys):
    places = {"store": store, "step": store / "step_100", "other": store / "step_200", "new": tmp_path / "new" / "x"}
    printed = keys(run(*[word.format(**places) for word in COMMANDS[command]], "--json").json)
    assert printed <= documented()[command]
    capsys.readouterr()
    main([command, "--help"])
    text = capsys.readouterr().out
    unsaid = {key for key in printed if not re.search(rf"\b{key}\b", text)}
    assert not unsaid
