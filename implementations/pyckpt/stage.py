"""Where an operation is, for the phase of a refusal."""

from __future__ import annotations

from pyckpt.errors import PyckptError

FIXED = {
    "state.partial": "save", "state.unsupported": "save", "state.mismatch": "load", "state.diverged": "commit",
    "checkpoint.exists": None, "version.unsupported": "open", "root.syntax": "open", "root.schema": "open",
    "root.digest": "open", "manifest.missing": "manifest", "manifest.size": "manifest", "manifest.digest": "manifest",
    "manifest.frame": "manifest", "manifest.syntax": "manifest", "manifest.schema": "manifest",
    "tree.schema": "manifest", "digest.missing": "manifest", "object.missing": "read", "object.size": "read",
    "object.header": "read", "object.header_digest": "read", "block.digest": "read", "block.codec": "read",
    "asset.missing": "read", "asset.size": "read", "asset.digest": "read", "external.digest": "commit",
    "tensor.missing": "plan", "item.missing": "open", "store.split": "save", "store.io": "store",
}  # fmt: skip
"""Codes that arise in one phase only (registry of error codes); None: as the operation says."""


class Stage:
    """The phase that an operation is in now."""

    def __init__(self, phase: str = "open") -> None:
        self.phase = phase

    def rejected(self, error: PyckptError):
        """The response for an error of pyckpt."""
        phase = FIXED.get(error.code) or self.phase
        if error.code == "tiling.inexact":
            phase = "commit" if self.phase in ("save", "commit") else "manifest"
        response = {
            "result": "rejected",
            "code": error.code,
            "phase": phase,
            "subject": error.key,
            "message": str(error),
        }
        if error.code == "state.mismatch":
            response["mismatches"] = [f"{each.key}: {each.message}" for each in error.findings] or [str(error)]
        return response
