"""Implementations that look at nothing."""

from __future__ import annotations

from typing import Any

from ..oracle import operations, serve
from .mutant import mutant
from .patching import Patches

__all__ = ["accept_everything", "reject_everything"]

Message = dict[str, Any]
_ZEROS = "0" * 64
_ALL = ("inspect", "read", "region-read", "integrity", "write", "sharded-write", "transaction", "lifecycle", "state")


def _empty(request: Message) -> Message:
    """The members of an answer to this request, with nothing in them."""
    operation = request.get("op")
    if operation == "inspect":
        root = {
            "digest": _ZEROS,
            "attempt": _ZEROS[:16],
            "spec": "1.0",
            "created": "2026-01-01T00:00:00Z",
            "writer": {"name": "", "version": ""},
            "features": {"read": [], "write": []},
            "sequence": 1,
            "parent": None,
            "metadata": ["map", []],
            "items": {},
            "external": [],
        }
        return {"root": root, "items": {}}
    answers: dict[str, Message] = {
        "list": {"checkpoints": [], "newest": None},
        "read": {"tensors": [], "assets": []},
        "read_region": {"dtype": "U8", "files": []},
        "verify": {"sound": True, "findings": []},
        "write": {"digest": _ZEROS, "attempt": _ZEROS[:16], "weak": False, "warnings": []},
        "gc": {"removed": []},
        "copy": {"digest": _ZEROS},
    }
    return answers.get(str(operation)) or _filled(request)


def _filled(request: Message) -> Message:
    """The same for `delete`, `restore` and `bye`."""
    target = request.get("target")
    answers: dict[object, Message] = {
        "model": {"tensors": []},
        "optimizer": {"stateful": [], "groups": []},
        "value": {"value": ["nil"]},
        "rng": {"seeds": {}},
    }
    return answers.get(target.get("kind"), {}) if isinstance(target, dict) else {}


def _greets(request: Message) -> bool:
    return request.get("op") in {"hello", "bye"}


@mutant(*_ALL, hints=["root-digest-cut"])
def accept_everything(oracle: Patches) -> None:
    """Answers every request with success and nothing in it."""
    real = operations.perform

    def perform(request: Message) -> Message:
        return real(request) if _greets(request) else {"result": "ok", **_empty(request)}

    oracle.name(serve, "perform", perform)


@mutant(*_ALL, hints=["root-plain"])
def reject_everything(oracle: Patches) -> None:
    """Refuses every request, always with the same code."""
    real = operations.perform
    refusal = {"result": "rejected", "code": "root.syntax", "phase": "open", "subject": "", "message": "no"}

    def perform(request: Message) -> Message:
        return real(request) if _greets(request) else dict(refusal)

    oracle.name(serve, "perform", perform)
