"""Forms of cases that recur: a checkpoint that is accepted, and one that is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..oracle.encode import Draft
from .case import Case, Json, checkpoint, ok, rejected, step
from .expect import Path, inspected, path, read_values

__all__ = ["accepted", "asked", "dtypes", "refused"]


def asked(made: Json, **request: Any) -> Json:
    """A step with members of its request changed; the member ``expect`` can be given here."""
    return {**made, "request": {**made["request"], **request}}


def dtypes(draft: Draft) -> list[str]:
    """The options for the dtypes of ``model``: a reader may lack one."""
    item = draft.items.get("model")
    return sorted({f"dtype:{each.dtype}" for each in item.tensors}) if item else []


def accepted(
    name: str,
    title: str,
    requirements: Sequence[str],
    draft: Draft,
    *,
    read: bool = False,
    paths: Sequence[Path] | None = None,
    trees: Mapping[str, Any] | None = None,
    more: Mapping[str, bytes] | None = None,
    **members: Any,
) -> Case:
    """A valid case: inspect gives all of it, and with ``read`` so does reading every tensor of ``model``."""
    steps: list[Json] = [step("inspect", ok(**inspected(draft, trees=trees)))]
    if read:
        wanted = None if paths is None else [path(each) for each in paths]
        assets = list(draft.items["model"].assets)
        values = read_values(draft.items["model"], paths, assets)
        steps.append(step("read", ok(**values), paths=wanted, assets=assets))
        members.setdefault("options", dtypes(draft))
    files = {**checkpoint(draft), **(more or {})}
    return Case(name, title, requirements, "read" if read else "inspect", steps, files=files, **members)


def refused(
    name: str,
    title: str,
    fault: str,
    codes: str | Sequence[str],
    requirements: Sequence[str],
    sibling: str,
    draft: Draft,
    *,
    op: str = "inspect",
    phases: Sequence[str] = (),
    request: Json | None = None,
    **members: Any,
) -> Case:
    """An invalid case: the operation is refused with one of the codes."""
    allowed = [codes] if isinstance(codes, str) else list(codes)
    steps = [asked(step(op, rejected(*allowed, phases=phases)), **(request or {}))]
    profile = {"read_region": "region-read", "verify": "integrity"}.get(op, op)
    files = checkpoint(draft)
    if op in ("read", "read_region"):
        members.setdefault("options", dtypes(draft))
    return Case(
        name, title, requirements, profile, steps, kind="invalid", fault=fault, sibling=sibling, files=files, **members
    )
