"""Every error that pyckpt raises on purpose, with the stable codes that the specification lists.

PyckptError
├── UsageError (ValueError)                   usage.invalid · state.layout · state.partial
├── UnsupportedState (TypeError)              state.unsupported
├── StateMismatch (ValueError)                state.mismatch
├── StateDiverged (ValueError)                state.diverged
├── NotFound (FileNotFoundError)              checkpoint.missing · item.missing · tensor.missing · asset.missing
├── AlreadyExists (FileExistsError)           checkpoint.exists
├── Unsupported (NotImplementedError)         version.unsupported · feature.unsupported · dtype.unsupported
│                                             codec.unsupported · digest.unsupported
├── LimitExceeded (ValueError)                limit.exceeded
├── InvalidKey (ValueError)                   key.invalid
├── Corrupt (ValueError)                      everything that a damaged or hostile checkpoint can show
├── RankError (RuntimeError)                  rank.failed · rank.timeout · store.split
├── StoreError (OSError)                      store.io · store.condition
└── SaveAborted (RuntimeError)                save.aborted

A class groups what a caller would handle alike; ``code`` says exactly what happened. ``spec/registries/error-codes.md``
defines each code, and the conformance cases expect them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

__all__ = [
    "AlreadyExists",
    "Corrupt",
    "Finding",
    "InvalidKey",
    "LimitExceeded",
    "NotFound",
    "PyckptError",
    "RankError",
    "SaveAborted",
    "StateDiverged",
    "StateMismatch",
    "StoreError",
    "Unsupported",
    "UnsupportedState",
    "UsageError",
]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, as it is listed by an error or a report."""

    code: str
    """A code of the registry of error codes."""
    key: str
    """The object key, or the path of the value, that it is about; may be empty."""
    message: str
    """What was expected and what was found."""

    def __str__(self) -> str:
        return f"[{self.code}] {self.key}: {self.message}" if self.key else f"[{self.code}] {self.message}"


class PyckptError(Exception):
    """Base of all errors of pyckpt.

    ``code`` is one of ``codes``; ``key`` names the object, path or rank that the error is about; ``hint`` says what to
    do next; ``findings`` lists every single problem where there are several.
    """

    codes: ClassVar[tuple[str, ...]] = ()
    code: str
    key: str
    hint: str
    findings: tuple[Finding, ...]

    def __init__(
        self,
        code: str,
        message: str,
        *,
        key: str = "",
        hint: str = "",
        findings: Sequence[Finding] = (),
    ) -> None:
        if code not in self.codes:
            raise TypeError(f"{type(self).__name__} does not carry the code {code!r}")
        self.code = code
        self.key = key
        self.hint = hint
        self.message = message
        self.findings = tuple(findings)
        text = f"[{code}] {key}: {message}" if key else f"[{code}] {message}"
        if hint:
            text += f" ({hint})"
        for finding in self.findings:
            text += f"\n  {finding}"
        super().__init__(text)

    def __str__(self) -> str:
        return str(self.args[0])

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.code, self.message, self.key, self.hint, self.findings)


def _rebuild(
    cls: type[PyckptError], code: str, message: str, key: str, hint: str, findings: tuple[Finding, ...]
) -> PyckptError:
    return cls(code, message, key=key, hint=hint, findings=findings)


class UsageError(PyckptError, ValueError):
    """A call, an option or a declaration that makes no sense."""

    codes = ("usage.invalid", "state.layout", "state.partial")


class UnsupportedState(PyckptError, TypeError):
    """The state holds an object that the format has no way to say."""

    codes = ("state.unsupported",)


class StateMismatch(PyckptError, ValueError):
    """Checkpoint and target differ: missing, unexpected, shape or dtype. ``findings`` lists them all."""

    codes = ("state.mismatch",)


class StateDiverged(PyckptError, ValueError):
    """Writers that claim to hold the same value hold different ones."""

    codes = ("state.diverged",)


class NotFound(PyckptError, FileNotFoundError):
    """No such checkpoint, item or tensor."""

    codes = ("checkpoint.missing", "item.missing", "tensor.missing", "asset.missing")


class AlreadyExists(PyckptError, FileExistsError):
    """The name is taken: a committed checkpoint never changes."""

    codes = ("checkpoint.exists",)


class Unsupported(PyckptError, NotImplementedError):
    """Well-formed, but of a version, feature, dtype, codec or digest that this library does not implement."""

    codes = (
        "version.unsupported",
        "feature.unsupported",
        "dtype.unsupported",
        "codec.unsupported",
        "digest.unsupported",
    )


class LimitExceeded(PyckptError, ValueError):
    """A declared size, count or depth is above this reader's limit."""

    codes = ("limit.exceeded",)


class InvalidKey(PyckptError, ValueError):
    """A key, checkpoint, item or asset name outside the grammar."""

    codes = ("key.invalid",)


class Corrupt(PyckptError, ValueError):
    """Stored bytes that are damaged, incomplete, contradictory or malicious."""

    codes = (
        "root.syntax",
        "root.schema",
        "root.digest",
        "manifest.missing",
        "manifest.size",
        "manifest.digest",
        "manifest.frame",
        "manifest.syntax",
        "manifest.schema",
        "tree.schema",
        "tiling.inexact",
        "object.missing",
        "object.size",
        "object.header",
        "object.header_digest",
        "block.digest",
        "block.codec",
        "digest.missing",
        "asset.size",
        "asset.digest",
        "external.missing",
        "external.digest",
    )


class RankError(PyckptError, RuntimeError):
    """A rank failed, fell silent, or sees another store; ``key`` names it."""

    codes = ("rank.failed", "rank.timeout", "store.split")


class StoreError(PyckptError, OSError):
    """The store failed, or does not keep a guarantee that was asked of it."""

    codes = ("store.io", "store.condition")


class SaveAborted(PyckptError, RuntimeError):
    """A save ended without a commit, because another writer failed; nothing was published."""

    codes = ("save.aborted",)
