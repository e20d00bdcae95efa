"""The specification's introduction as batches of bytes, at a position that can be saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from model import SEPARATOR

TEXT = Path(__file__).resolve().parents[2] / "spec" / "01-introduction.md"
"""Short, so that a few steps are enough to learn some of its words."""


def read_tokens() -> torch.Tensor:
    """The bytes of the text, with a separator before each of its sections."""
    sections = TEXT.read_bytes().split(b"\n## ")
    return torch.tensor([token for section in sections for token in (SEPARATOR, *section)])


class TextBatches:
    """Batch after batch from random places; the same on all ranks, each of which takes its rows."""

    def __init__(self, tokens: torch.Tensor, rows: int, context: int, seed: int) -> None:
        self.tokens = tokens
        self.rows = rows
        self.context = context
        self.seed = seed
        self.taken = 0

    def take(self, part: int, parts: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs and targets: the rows of part ``part`` of ``parts`` of the next batch."""
        places = torch.Generator().manual_seed(self.seed * 1_000_003 + self.taken)
        starts = torch.randint(len(self.tokens) - self.context - 1, (self.rows,), generator=places)
        self.taken += 1
        mine = starts[part * self.rows // parts : (part + 1) * self.rows // parts]
        windows = torch.stack([self.tokens[start : start + self.context + 1] for start in mine.tolist()])
        return windows[:, :-1], windows[:, 1:]

    def state_dict(self) -> dict[str, Any]:
        return {"seed": self.seed, "taken": self.taken}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.seed, self.taken = state["seed"], state["taken"]
