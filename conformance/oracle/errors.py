"""Refusals: every code of the registry of error codes, with the phases in which it arises."""

from __future__ import annotations

from .text import shown

ANY = "any"

PHASES: dict[str, tuple[str, ...]] = {
    "usage.invalid": (ANY,),
    "state.layout": ("save", "plan"),
    "state.partial": ("save",),
    "state.unsupported": ("save",),
    "state.mismatch": ("load",),
    "state.diverged": ("commit",),
    "checkpoint.missing": ("open", "delete"),
    "item.missing": ("open", "load"),
    "tensor.missing": ("plan",),
    "checkpoint.exists": ("save", "commit"),
    "version.unsupported": ("open",),
    "feature.unsupported": ("open", "commit", "delete"),
    "dtype.unsupported": ("plan", "read"),
    "codec.unsupported": ("plan", "read"),
    "digest.unsupported": ("plan", "read"),
    "limit.exceeded": (ANY,),
    "key.invalid": (ANY,),
    "root.syntax": ("open",),
    "root.schema": ("open",),
    "root.digest": ("open",),
    "manifest.missing": ("manifest",),
    "manifest.size": ("manifest",),
    "manifest.digest": ("manifest",),
    "manifest.frame": ("manifest",),
    "manifest.syntax": ("manifest",),
    "manifest.schema": ("manifest",),
    "tree.schema": ("manifest",),
    "tiling.inexact": ("manifest", "read", "commit"),
    "object.missing": ("read",),
    "object.size": ("read",),
    "object.header": ("read",),
    "object.header_digest": ("read",),
    "block.digest": ("read",),
    "block.codec": ("read",),
    "digest.missing": ("manifest",),
    "asset.missing": ("read",),
    "asset.size": ("read",),
    "asset.digest": ("read",),
    "external.missing": ("manifest", "read", "commit"),
    "external.digest": ("commit",),
    "rank.failed": ("save", "commit", "load"),
    "rank.timeout": ("save", "commit", "load"),
    "store.split": ("save",),
    "store.io": ("store",),
    "store.condition": ("store", "commit"),
    "save.aborted": ("save", "commit"),
}
"""Code to phases, as registries/error-codes.md lists them; the first is the one that is reported by default."""

_LONGEST = 1000
"""Characters of a message; names of a checkpoint may be longer."""


class Rejected(Exception):
    """A refusal by a rule of the specification; its code is that of a violated requirement (SCF-CONV-001)."""

    def __init__(self, code: str, message: str, *, subject: str = "", phase: str | None = None) -> None:
        """Make a refusal; a code of any phase needs the phase."""
        self.code = code
        self.phase = phase if phase is not None else PHASES[code][0]
        self.subject = subject
        self.message = shown(message[:_LONGEST])
        if self.phase == ANY:
            raise ValueError(f"{code} needs a phase")
        super().__init__(f"{code}: {self.message}" + (f" ({shown(subject)})" if subject else ""))


def beyond(limit: str, maximum: int, found: int, *, phase: str, subject: str = "") -> Rejected:
    """The refusal of a value beyond a reader's limit: names the limit, the value and the remedy (SCF-LIMIT-002)."""
    message = f"{found} is above {limit} = {maximum}; open with Limits({limit}=...) to allow more"
    return Rejected("limit.exceeded", message, subject=subject, phase=phase)
