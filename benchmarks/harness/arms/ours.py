"""pyckpt with each digest, codec, block size and way to write."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

import pyckpt
from benchmarks.harness.arms.base import Arm, Ways
from benchmarks.harness.state import State

__all__ = ["Pyckpt"]

STATED = ("digest", "block_bytes", "codec", "codec_level", "io", "threads")


class Pyckpt(Arm):
    """``options`` are fields of SaveOptions; ``digests=False`` leaves the work of digests out, which no user can.

    ``loads`` is ``"all"`` for loads with and without the check of digests, cold and warm, or ``"one"``.
    """

    kind = "pyckpt"
    durable = True

    def open(self, state: State, target: State) -> None:
        """Reads the options; the first save would import what it needs, so that is brought in here."""
        super().open(state, target)
        self.warm = self.options.get("loads") == "all"
        chosen = {name: value for name, value in self.options.items() if name not in ("digests", "loads")}
        self._save = pyckpt.SaveOptions(**chosen)
        if not self.options.get("digests", True):
            _leave_digests_out()

    def settings(self) -> Mapping[str, Any]:
        """The options in force, defaults too."""
        every = asdict(self._save)
        stated = {name: every[name] for name in STATED}
        return stated if self.options.get("digests", True) else {**stated, "digest": "none: constants are stored"}

    def save(self, path: str) -> None:
        """A whole save, committed."""
        pyckpt.save(f"{path}/step", {"model": self.state.tensors}, options=self._save)

    def ways(self, step: str) -> Ways:
        """Loads as the options say; a part by the arm with all of them."""
        loads = self.options.get("loads")
        if step == "load" and loads:
            one = {"": partial(self._load, verify=True)}
            return {**one, "digests not checked": partial(self._load, verify=False)} if loads == "all" else one
        return {} if step == "load" or (step == "part" and loads != "all") else super().ways(step)

    def _load(self, path: str, *, verify: bool) -> None:
        options = pyckpt.LoadOptions(verify=verify)
        pyckpt.load(f"{path}/step", into={"model": dict(self.target.tensors)}, options=options)


    def part(self, path: str) -> None:
        """A load that wants one tensor, in place, verified."""
        wanted = {self.wanted: self.target.tensors[self.wanted]}
        pyckpt.load(f"{path}/step", into={"model": wanted}, options=pyckpt.LoadOptions(strict=False))


def _leave_digests_out() -> None:
    """For this process: what digests cost is seen only beside saves that don't compute them."""
    from pyckpt.engine import encode, write
    from pyckpt.format.digest import DIGEST_BYTES

    constant = bytes(DIGEST_BYTES)
    for module in (write, encode):
        module.digest_function = lambda name: lambda view: constant  # type: ignore[attr-defined]
