"""What the commands take: stores, checkpoints, durations, and options that several of them share."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from pyckpt.errors import InvalidKey, NotFound, PyckptError, StoreError, UsageError
from pyckpt.format.keys import ROOT_NAME, check_checkpoint_name, root_key
from pyckpt.storage.base import Store
from pyckpt.storage.local import LocalStore
from pyckpt.storage.url import checkpoint_url, open_store, split_url

__all__ = ["DURATION", "BadArgument", "all_option", "json_option", "locate", "locate_store", "suggest"]

_Command = TypeVar("_Command", bound=Callable[..., Any])


class BadArgument(UsageError):
    """What was typed can't be meant; exit status 2."""


def json_option(command: _Command) -> _Command:
    """Adds ``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object; keys are stable.")(command)


def all_option(command: _Command) -> _Command:
    """Adds ``--all``."""
    return click.option("--all", "everything", is_flag=True, help="Fold nothing and leave nothing out.")(command)


def locate(url: str) -> tuple[Store, str]:
    """Store and name of a checkpoint. Raises BadArgument for what is no checkpoint's URL."""
    try:
        store_url, name = split_url(url)
        check_checkpoint_name(name)
    except (InvalidKey, UsageError) as error:
        raise BadArgument("usage.invalid", error.message, key=error.key, hint=error.hint) from error
    return _open(store_url), name


def locate_store(url: str, *, answers: bool = True) -> Store:
    """A store. Raises BadArgument for a checkpoint in its place, NotFound for a directory that isn't there.

    With ``answers`` false it may be absent or out of reach.
    """
    store = _open(url)
    if answers and isinstance(store, LocalStore) and not os.path.isdir(store.root):
        raise NotFound("checkpoint.missing", "there is no such directory, hence no store", key=store.root)
    try:
        found = store.info(ROOT_NAME)
    except StoreError:
        if answers:
            raise
        return store
    if found is not None:
        parent, name = split_url(url)
        raise BadArgument(
            "usage.invalid",
            "expected a store, found a checkpoint",
            key=url,
            hint=f"the store is {parent}, and {name} a checkpoint in it",
        )
    return store


def suggest(store: Store, name: str) -> str:
    """What a user may have meant by a checkpoint that doesn't exist: one inside it if it is a store, or a near name."""
    try:
        names = store.list_names(f"{name}/")
        inside = [each for each in names if _has_root(_open(checkpoint_url(store.url, name)), each)]
        if inside:
            return f"it is a store: add a name such as {name}/{inside[-1]}, or see them all with pyckpt list"
        from difflib import get_close_matches

        near = [each for each in get_close_matches(name, store.list_names(""), n=3) if _has_root(store, each)]
    except PyckptError:
        return ""
    return f"did you mean {', '.join(near)}?" if near else ""


def _has_root(store: Store, name: str) -> bool:
    try:
        return store.info(root_key(name)) is not None
    except InvalidKey:
        return False


def _open(url: str) -> Store:
    try:
        return open_store(url)
    except (UsageError, InvalidKey) as error:
        raise BadArgument("usage.invalid", error.message, key=error.key, hint=error.hint) from error


class _Duration(click.ParamType[float]):
    """Seconds, or a number with a unit."""

    name = "duration"
    _units: Final = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
    _form: Final = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)([smhdw]?)")

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Gives seconds."""
        if isinstance(value, float | int):
            return float(value)
        match = self._form.fullmatch(str(value))
        if match is None:
            self.fail(f"{value!r} is no duration; expected seconds, or a number with s, m, h, d or w", param, ctx)
        return float(match[1]) * self._units[match[2]]


DURATION: Final = _Duration()
"""The type of a duration on the command line; gives seconds."""
