"""Which earlier checkpoint a manager's saves refer to: never one that it knows to be damaged."""

from __future__ import annotations

from pyckpt.engine.external import NEWEST, Where

__all__ = ["Reference"]


class Reference:
    """``wanted`` is what the caller has chosen.

    What can be said of ``newest`` only: after a restore it may be one that was passed over for its damage, or left
    behind by going back, and what the new save took from there would be damaged as well. So the restored one stands in
    for it until something newer is committed.
    """

    def __init__(self, wanted: Where | None) -> None:
        self._wanted = wanted
        self.current = wanted
        """What the next save is told to refer to; None: everything is written."""

    def restored(self, name: str) -> None:
        """This checkpoint was loaded, and is sound."""
        if self._wanted == NEWEST:
            self.current = name

    def distrust(self) -> None:
        """What a save would refer to may be damaged: the next one writes everything."""
        self.current = None

    def committed(self, reference: Where | None) -> None:
        """A save that was told to refer to ``reference`` is committed, and so the newest."""
        if self._wanted == NEWEST and reference == self.current:
            self.current = NEWEST
