"""Names of checkpoints from steps, and steps from names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from string import Formatter

from pyckpt.errors import UsageError
from pyckpt.format.keys import check_checkpoint_name

__all__ = ["NamePattern"]


@dataclass(frozen=True, slots=True)
class NamePattern:
    """A format string with the one field ``step``, such as ``step-{step:08d}``.

    Raises UsageError for any other, InvalidKey where it gives what is no checkpoint name.
    """

    text: str

    def __post_init__(self) -> None:
        """Tries the pattern."""
        try:
            fields = [name for _, name, _, _ in Formatter().parse(self.text) if name is not None]
            good = fields == ["step"] and self.step_of(self.name_of(1234)) == 1234
        except (ValueError, KeyError, IndexError, TypeError):
            good = False
        if not good:
            raise UsageError(
                "usage.invalid",
                f"found {self.text!r}, expected a format string with one field for the step, in decimal digits",
                key="pattern",
                hint="such as step-{step:08d}",
            )
        check_checkpoint_name(self.name_of(0))

    def name_of(self, step: int) -> str:
        """The name of a step's checkpoint. UsageError for a negative step."""
        if step < 0:
            raise UsageError("usage.invalid", f"step is {step}, expected 0 or more")
        return self.text.format(step=step)

    def step_of(self, name: str) -> int | None:
        """The step that has this name; None if the name is not of this pattern."""
        before, after = (re.escape(literal) for literal in self._literals())
        match = re.fullmatch(f"{before}([0-9]{{1,18}}){after}", name)
        if match is None:
            return None
        step = int(match[1])
        return step if self.name_of(step) == name else None

    def _literals(self) -> tuple[str, str]:
        parts = list(Formatter().parse(self.text))
        return parts[0][0], "".join(literal for literal, _, _, _ in parts[1:])
