"""What a mutant is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from .patching import Patches

__all__ = ["Mutant", "mutant"]


@dataclass(frozen=True)
class Mutant:
    """One bug."""

    name: str
    bug: str
    """What an implementation with this bug does, in a sentence."""
    profiles: tuple[str, ...]
    """In which it shows."""
    hints: tuple[str, ...]
    """Patterns of cases, as of `-k`, that are run first."""
    level: Literal["MUST", "SHOULD"]
    """Of the requirement that it breaks: a bug against a SHOULD is caught by a warning."""
    patch: Callable[[Patches], None]

    def record(self) -> dict[str, object]:
        """The mutant as `--list` shows it."""
        return {
            "name": self.name,
            "bug": self.bug,
            "level": self.level,
            "profiles": list(self.profiles),
            "hints": list(self.hints),
        }

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The bug is there until the end of the block."""
        patches = Patches()
        try:
            self.patch(patches)
            yield
        finally:
            patches.undo()


def mutant(
    *profiles: str, hints: Sequence[str], level: Literal["MUST", "SHOULD"] = "MUST"
) -> Callable[[Callable[[Patches], None]], Mutant]:
    """Make a mutant of a function that patches the oracle: its name is that of the function, its bug the docstring."""

    def made(patch: Callable[[Patches], None]) -> Mutant:
        bug = " ".join((patch.__doc__ or "").split()).removesuffix(".")
        return Mutant(patch.__name__.replace("_", "-"), bug, profiles, tuple(hints), level, patch)

    return made
