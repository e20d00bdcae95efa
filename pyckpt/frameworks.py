"""Chooses the package that walks and fills what the caller holds: torch if the process has it, else NumPy alone.

Torch is never imported for its own sake: a process that doesn't use it starts fast and works without it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any, Protocol, cast

import numpy as np

from pyckpt.engine.buffers import fresh_pages
from pyckpt.engine.coordinator import Coordinator, Single
from pyckpt.engine.late_copy import LateState
from pyckpt.engine.leaves import Binder, ItemState, Source
from pyckpt.engine.load_shared import Exchanger
from pyckpt.engine.options import LoadOptions, SaveOptions
from pyckpt.engine.stages import Stages
from pyckpt.engine.staging_memory import Allocate
from pyckpt.errors import UsageError

__all__ = ["Framework", "Relay", "framework_for"]


class Relay(Stages, Protocol):
    """Items whose sources become readable in stages."""

    @property
    def items(self) -> Sequence[ItemState]:
        """This process's items."""


class Framework(Protocol):
    """What the facade asks of a framework's package."""

    def coordinator(self, subject: str, *, collective: bool | None, timeout: float, silence: float) -> Coordinator:
        """Who works together on ``subject``."""

    def collect(
        self, state: Mapping[str, object], coordinator: Coordinator, options: SaveOptions
    ) -> Sequence[ItemState]:
        """This process's items."""

    def relay(self, state: Mapping[str, object], coordinator: Coordinator, options: SaveOptions) -> Relay | None:
        """This process's items where ranks bring tensors together first; None where they save what they hold."""

    def late(self, state: Mapping[str, object], items: Sequence[ItemState]) -> LateState | None:
        """What of these items nobody changes before a moment that can be waited at; None if nothing is."""

    def host_memory(self, items: Sequence[ItemState]) -> Allocate:
        """What gives memory to copy these items to."""

    def settle(self, sources: Iterable[Source]) -> None:
        """Waits until devices have done what they were asked to do with these: other threads are about to read them."""

    def binders(
        self, into: Mapping[str, object], coordinator: Coordinator, options: LoadOptions, layout: Mapping[str, Any]
    ) -> Mapping[str, Binder]:
        """Binders that fill the objects of ``into``."""

    def fresh(self, device: object) -> Binder:
        """A binder that makes new tensors."""

    def exchanger(self) -> Exchanger | None:
        """What passes on among ranks what one of them has read, where ranks can do that."""

    def wrap(self, data: bytearray, dtype: str, shape: tuple[int, ...]) -> Any:
        """An array over the bytes."""

    def parallel(self, state: Mapping[str, object]) -> dict[str, object]:
        """What the metadata says of the parallel layout."""


def framework_for(choice: str, *, device: object = None) -> Framework:
    """The framework that ``choice`` names; ``auto`` is torch where it is in use or asked for by ``device``."""
    if choice not in ("auto", "torch", "numpy"):
        raise UsageError("usage.invalid", f"framework is {choice!r}, expected auto, torch or numpy")
    if choice == "torch" or (choice == "auto" and (device is not None or _torch_wanted())):
        from pyckpt.torch.framework import TorchFramework

        return TorchFramework()
    return NumpyFramework()


def _torch_wanted() -> bool:
    """Torch is imported already, or installed: a fresh tensor is then a torch tensor."""
    return sys.modules.get("torch") is not None or find_spec("torch") is not None


class NumpyFramework:
    """One process with NumPy arrays."""

    def coordinator(self, subject: str, *, collective: bool | None, timeout: float, silence: float) -> Coordinator:
        """This process alone."""
        del subject, collective, timeout, silence
        return Single()

    def collect(
        self, state: Mapping[str, object], coordinator: Coordinator, options: SaveOptions
    ) -> Sequence[ItemState]:
        """Items of nested values with arrays."""
        from pyckpt.numpy import collect_numpy

        del coordinator, options
        return collect_numpy(state)

    def relay(self, state: Mapping[str, object], coordinator: Coordinator, options: SaveOptions) -> Relay | None:
        """One process has everything whole."""
        del state, coordinator, options
        return None

    def late(self, state: Mapping[str, object], items: Sequence[ItemState]) -> LateState | None:
        """Anybody may change an array at any time."""
        del state, items
        return None

    def host_memory(self, items: Sequence[ItemState]) -> Allocate:
        """Pages of the system; arrays are on the host."""
        del items
        return fresh_pages

    def settle(self, sources: Iterable[Source]) -> None:
        """Arrays have no device."""

    def binders(
        self, into: Mapping[str, object], coordinator: Coordinator, options: LoadOptions, layout: Mapping[str, Any]
    ) -> Mapping[str, Binder]:
        """Binders that fill arrays in place."""
        from pyckpt.numpy import bind_numpy

        del coordinator, layout
        return bind_numpy(cast("Mapping[str, Mapping[Any, Any]]", into), strict=options.strict, dtype=options.dtype)

    def fresh(self, device: object) -> Binder:
        """A binder that makes new arrays."""
        from pyckpt.numpy import FreshArrayBinder

        del device
        return FreshArrayBinder()

    def exchanger(self) -> Exchanger | None:
        """There is one process."""
        return None

    def wrap(self, data: bytearray, dtype: str, shape: tuple[int, ...]) -> Any:
        """An array over the bytes."""
        from pyckpt.numpy import numpy_dtype

        return np.frombuffer(data, numpy_dtype(dtype)).reshape(shape)

    def parallel(self, state: Mapping[str, object]) -> dict[str, object]:
        """There is one process."""
        del state
        return {}
