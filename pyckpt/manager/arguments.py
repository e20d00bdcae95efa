"""What a manager is given, looked at before anything is done with it."""

from __future__ import annotations

from collections.abc import Iterable

from pyckpt.errors import UsageError

__all__ = ["check_policies"]


def check_policies(name: str, given: object, *members: str) -> None:
    """Raises UsageError ``usage.invalid`` unless ``given`` is a sequence of objects that all have ``members``."""
    if not isinstance(given, Iterable):
        raise UsageError("usage.invalid", f"found {given!r}, expected a list of policies", key=name)
    for each in given:
        missing = [member for member in members if not hasattr(each, member)]
        if missing:
            raise UsageError(
                "usage.invalid",
                f"found {each!r}, expected a policy: an object with {' and '.join(members)}",
                key=name,
                hint="pyckpt.manager has policies, such as EveryNSteps(1000) and KeepLast(3)",
            )
