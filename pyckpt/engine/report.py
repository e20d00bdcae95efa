"""What a save, a load, a copy and a verification tell their caller."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pyckpt.errors import Finding

__all__ = ["CopyReport", "LoadReport", "SaveReport", "VerifyReport"]


@dataclass(frozen=True, slots=True)
class SaveReport:
    """A committed checkpoint, in figures. Sizes in bytes, times in seconds."""

    url: str
    digest: str
    """SHA-256 of the root: the checkpoint's identity."""
    attempt: str
    sequence: int
    items: tuple[str, ...]
    tensors: int
    shards: int
    bytes: int
    """Decoded bytes of all tensors in the checkpoint."""
    written: int
    """Bytes that all writers stored in data objects."""
    seconds: float
    phases: Mapping[str, float] = field(default_factory=dict)
    """Seconds of this rank by phase: collect, begin, plan, compare (with ``reference``), write, commit."""
    referenced: int = 0
    """Stored bytes that lie in other checkpoints, of single shards and of items that were carried over."""
    referenced_shards: int = 0
    carried: int = 0
    """Those of ``referenced`` that belong to items that were carried over."""
    external: tuple[str, ...] = ()
    """Names of those other checkpoints."""
    unchanged_shards: int = 0
    """Shards whose digests equal those of the newest earlier checkpoint."""
    compared_shards: int = 0
    warnings: tuple[str, ...] = ()
    copied: int = 0
    """Bytes of this rank that ``save_async`` copied."""
    copied_late: int = 0
    """How many of them it copied after it had returned."""
    blocked: float = 0.0
    """Seconds for which ``save_async`` held the caller up: in the call, and in the next ``step()``."""
    weak: bool = False
    """True if the store has no create-if-absent, and the root was created by a look and a plain write."""

    @property
    def throughput(self) -> Mapping[str, float]:
        """Bytes per second, of all ranks together by this rank's clock.

        ``write`` while it wrote, ``compare`` for what was found to be there already, ``total`` for the whole state over
        the whole time; phases that did nothing are left out.
        """
        done = {"write": self.written, "compare": self.referenced - self.carried}
        rates = {name: size / self.phases[name] for name, size in done.items() if size and self.phases.get(name)}
        return {**rates, **({"total": self.bytes / self.seconds} if self.bytes and self.seconds else {})}


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What a load did on this rank. Sizes in bytes, times in seconds."""

    url: str
    digest: str
    """SHA-256 of the root; empty where other files than a checkpoint's were loaded."""
    tensors: int
    bytes: int
    """Bytes that arrived in tensors."""
    read: int
    """Bytes read from the store, blocks of digests included."""
    seconds: float
    skipped: tuple[Finding, ...] = ()
    """What a load that is not strict left aside."""
    exchanged: bool = False
    """True if what several ranks wanted was read by one of them and passed on."""
    staging: int = 0
    """Most bytes of buffers in use at one time, for what does not go straight into host memory: blocks that are cut or
    encoded, and all that is bound for a device, another order or another dtype."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyReport:
    """A copy that is there now. Sizes in bytes, times in seconds."""

    url: str
    source: str
    """URL of what was copied."""
    digest: str
    """SHA-256 of the copy's root."""
    checkpoints: tuple[str, ...] = ()
    """Other checkpoints of whose objects the copy needs some, which came along."""
    already_there: bool = False
    """True if the target had this very checkpoint, or another copy of it was faster."""
    objects: int = 0
    """Objects of the checkpoint, its root and those of other checkpoints included; 0 if there was nothing to do."""
    sent: int = 0
    """Bytes that were written to the target."""
    found: int = 0
    """Bytes that the target had already."""
    unchecked: int = 0
    """Bytes in objects whose digest algorithm this version doesn't know; they were copied as they are."""
    weak: bool = False
    """True if the target has no create-if-absent, and the root was created by a look and a plain write."""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """Outcome of a verification; damage is listed, never raised."""

    url: str
    digest: str
    deep: bool
    findings: tuple[Finding, ...]
    remarks: tuple[str, ...]
    """What is worth knowing and no damage, such as an origin that was deleted."""
    objects: int
    bytes: int
    """Bytes that were read and checked."""
    seconds: float

    @property
    def ok(self) -> bool:
        """True if nothing was found."""
        return not self.findings
