"""What a caller may choose about a save or a load; every default is what we would choose ourselves."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pyckpt.errors import UsageError
from pyckpt.format.digest import DIGESTS
from pyckpt.limits import DEFAULT_BLOCK_BYTES, MAX_BLOCK_BYTES, MIN_BLOCK_BYTES

__all__ = ["CodecName", "LoadOptions", "Progress", "ReshardOptions", "SaveOptions"]

CodecName = Literal["none", "zstd", "planes"]
Progress = Callable[[int, int], None]
"""Called with bytes done and bytes in total, from one thread at a time."""


@dataclass(frozen=True, slots=True)
class SaveOptions:
    """Choices of one save; pass the same on every rank."""

    digest: str = "blake3"
    """Digest of data blocks: ``blake3`` or ``sha256``."""
    block_bytes: int = DEFAULT_BLOCK_BYTES
    """Unit of digest and codec: a power of two, 4 KiB to 1 GiB."""
    codec: CodecName | Mapping[str, CodecName] = "none"
    """Codec of the data, for all items or by item name. ``planes`` splits numbers into byte planes first."""
    codec_level: int = 1
    """Level given to zstd."""
    io: Literal["auto", "buffered", "writeback", "direct"] = "auto"
    """How a local store writes; others ignore it."""
    threads: int | None = None
    """Threads of this rank that digest, encode and write; None: twice the cores over local ranks, 2 to 16."""
    max_object_bytes: int = 5_000_000_000
    """A new data object is begun rather than exceed this."""
    replicas: Literal["sample", "full", "trust", "first"] = "sample"
    """What is asked of tensors that several ranks claim to hold: a fingerprint of a sample, of all bytes, nothing, or
    nothing with the copy of the lowest rank taken whole."""
    timeout: float = 1800.0
    """Seconds after which a save that is still waiting for a rank fails, on every rank."""
    silence: float = 60.0
    """Seconds without a sign of life after which a rank counts as dead."""
    collective: bool | None = None
    """False: this process saves alone, though a process group exists. None: with all ranks of the default group."""
    layout: Mapping[str, Any] | Literal["whole"] = field(default_factory=dict)
    """Item name -> declared regions of plain tensors (expert parallel, hand-written tensor parallel). The word
    ``whole`` stands for ``whole=True``."""
    whole: bool | Collection[str] = False
    """Items, or True for all, whose tensors are brought together before they are written, each on one rank: other
    tools then open their files as they lie."""
    whole_budget_bytes: int = 256 << 20
    """Memory on each rank for tensors that are brought together; one larger than half of it needs as much as itself."""
    staging_bytes: int | None = None
    """Memory on each rank for the copies of ``save_async``, of all saves in flight; None: as much as they need."""
    staging: Literal["overlap", "block"] = "overlap"
    """When ``save_async`` copies the state. ``block``: all of it before the call returns. ``overlap``: parameters of
    torch's own optimizers in the call, and the state of those, beside the next forward and backward pass; ``step()``
    waits for what is left. Until ``handle.staged`` nothing but ``step()`` may then change these."""
    debug_staging: bool = False
    """Digest what is copied late at the call and again when the copy is made; the save fails if anything differs."""
    max_in_flight: int = 1
    """Saves of ``save_async`` that may go on at one time."""
    when_full: Literal["wait", "skip"] = "wait"
    """What the next call of ``save_async`` does then: wait for the oldest, or save nothing, on all ranks."""
    parent: str | None = None
    """Digest of the checkpoint that this run was restored from."""
    after_sequence: int = 0
    """Sequence that the new checkpoint must exceed: the highest of the run that another store than this one holds."""
    reference: str | os.PathLike[str] | None = None
    """An earlier checkpoint of the same store, by URL or name, or ``newest``: shards that are the same there, by the
    digests of all their bytes, are referenced instead of written."""
    accept_weak_store: bool = False
    """Save to a store that has no create-if-absent, too: then one process at a time may save a name."""
    progress: Progress | None = None

    def __post_init__(self) -> None:
        """Refuses values outside their range: UsageError ``usage.invalid``."""
        if self.digest not in DIGESTS:
            raise UsageError("usage.invalid", f"digest is {self.digest!r}, expected one of {sorted(DIGESTS)}")
        size = self.block_bytes
        if not (MIN_BLOCK_BYTES <= size <= MAX_BLOCK_BYTES and size & (size - 1) == 0):
            raise UsageError(
                "usage.invalid", f"block_bytes is {size}, expected a power of two from {MIN_BLOCK_BYTES} to 1 GiB"
            )
        names = self.codec.values() if isinstance(self.codec, Mapping) else (self.codec,)
        for name in names:
            if name not in ("none", "zstd", "planes"):
                raise UsageError("usage.invalid", f"codec is {name!r}, expected none, zstd or planes")
        if self.replicas not in ("sample", "full", "trust", "first"):
            raise UsageError("usage.invalid", f"replicas is {self.replicas!r}, expected sample, full, trust or first")
        if self.threads is not None and self.threads < 1:
            raise UsageError("usage.invalid", f"threads is {self.threads}, expected at least 1")
        if self.max_object_bytes < 1 or self.whole_budget_bytes < 1:
            raise UsageError("usage.invalid", "max_object_bytes and whole_budget_bytes must be positive")
        if self.max_in_flight < 1 or (self.staging_bytes is not None and self.staging_bytes < 0):
            raise UsageError("usage.invalid", "max_in_flight must be at least 1, staging_bytes not negative")
        if self.staging not in ("overlap", "block"):
            raise UsageError("usage.invalid", f"staging is {self.staging!r}, expected overlap or block")
        if self.when_full not in ("wait", "skip"):
            raise UsageError("usage.invalid", f"when_full is {self.when_full!r}, expected wait or skip")
        if isinstance(self.layout, str) and self.layout != "whole":
            raise UsageError("usage.invalid", f"layout is {self.layout!r}, expected 'whole' or regions by item")
        if isinstance(self.whole, str):
            raise UsageError("usage.invalid", f"whole is {self.whole!r}, expected True or names of items")
        if self.reference is not None and (isinstance(self.layout, str) or self.whole is True):
            raise UsageError(
                "usage.invalid",
                "files that open as they lie can't leave out what another checkpoint has",
                key="reference",
                hint="name the items that are to be whole: the others can be referenced",
            )

    @property
    def declared(self) -> Mapping[str, Any]:
        """Declared regions by item."""
        return {} if isinstance(self.layout, str) else self.layout

    @property
    def wants_whole(self) -> bool:
        """Whether tensors of any item are brought together."""
        return isinstance(self.layout, str) or bool(self.whole)

    def is_whole(self, item: str) -> bool:
        """Whether the item's tensors are brought together."""
        if isinstance(self.layout, str) or isinstance(self.whole, bool):
            return self.wants_whole
        return item in self.whole

    def codec_of(self, item: str) -> CodecName:
        """Codec chosen for an item."""
        if isinstance(self.codec, Mapping):
            return self.codec.get(item, "none")
        return self.codec


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """Choices of one load; pass the same on every rank."""

    strict: bool = True
    """Every tensor and value of the target must be in the checkpoint and the other way round."""
    map_key: Callable[[str], str] | None = None
    """Target's key -> key in the checkpoint."""
    dtype: Literal["error", "widen", "cast"] = "error"
    """What happens when stored and wanted dtype differ."""
    on_resize: Literal["error", "nearest", "reseed"] = "error"
    """Per-rank values saved by another number of ranks: refuse, take the nearest rank's, or derive afresh."""
    expect: str | None = None
    """Digest of the root (64 hex digits) that the checkpoint must have: pins it to the last byte."""
    verify: bool = True
    """Check the digest of every block that is read."""
    threads: int | None = None
    replicas: Literal["read", "exchange", "auto"] = "auto"
    """What several ranks want alike: each reads it, or one of them does and the process group passes it on; ``auto``
    exchanges 1 MiB and more, unless all ranks are on one machine that has the files."""
    framework: Literal["auto", "torch", "numpy"] = "auto"
    """What fresh tensors are made of."""
    timeout: float = 1800.0
    silence: float = 60.0
    collective: bool | None = None
    gap_bytes: int = 64 << 10
    """Two wanted ranges closer than this are read as one."""
    progress: Progress | None = None

    def __post_init__(self) -> None:
        """Refuses values outside their range: UsageError ``usage.invalid``."""
        for name, given, choices in (
            ("replicas", self.replicas, ("read", "exchange", "auto")),
            ("dtype", self.dtype, ("error", "widen", "cast")),
            ("on_resize", self.on_resize, ("error", "nearest", "reseed")),
            ("framework", self.framework, ("auto", "torch", "numpy")),
        ):
            if given not in choices:
                raise UsageError("usage.invalid", f"{name} is {given!r}, expected one of {', '.join(choices)}")


@dataclass(frozen=True, slots=True)
class ReshardOptions:
    """Choices of one live exchange; pass the same on every rank."""

    dtype: Any = "error"
    """``error``, ``widen`` or ``cast`` for targets that exist; a dtype makes floating-point tensors that are made anew
    of it."""
    budget_bytes: int = 64 << 20
    """Memory for messages on each rank, beside source and target."""
    replicas: Literal["sample", "full", "trust", "first"] = "sample"
    """What is asked of tensors that several ranks claim to hold, as in a save."""
    layout: Mapping[str, Any] = field(default_factory=dict)
    """Item name -> declared regions of plain tensors of the state."""
    into_layout: Mapping[str, Any] = field(default_factory=dict)
    """The same for plain tensors of the target."""
    device: Any = None
    """Of whole tensors and of regions that are made anew; None: the CPU."""
    strict: bool = True
    """Every tensor and value of the target must be in the state and the other way round."""
    map_key: Callable[[str], str] | None = None
    """Target's key -> key in the state."""
    on_resize: Literal["error", "nearest", "reseed"] = "error"
    """Per-rank values where the number of ranks differs."""
    timeout: float = 1800.0
    silence: float = 60.0
