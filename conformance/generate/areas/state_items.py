"""Items of training state, and requests that restore them; shared by the modules of the area ``state``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...oracle.encode import Draft, Item, Tensor
from ..case import Case, Expect, Json, checkpoint, rejected, step
from ..drafts_c import packed
from ..requests import Node

__all__ = ["item_files", "mismatch", "restore", "restore_case"]


def item_files(kind: str, tree: Node, tensors: Sequence[Tensor] = ()) -> dict[str, bytes]:
    """A checkpoint with one item of this kind, under the kind's name."""
    return checkpoint(Draft({kind: Item(tuple(tensors), tree=packed(tree), kind=kind)}))


def restore(
    item: str, target: Json, expect: Expect, *, rule: str = "error", index: int = 0, size: int = 1
) -> Json:
    """A step that fills a target."""
    return step("restore", expect, item=item, target=target, rule=rule, index=index, size=size)


def mismatch(*about: str, **values: Any) -> Json:
    """A refusal with a mismatch about each of these names."""
    return rejected("state.mismatch", mismatches={"$contains": [{"$about": [name]} for name in about]}, **values)


def restore_case(
    name: str, title: str, requirements: Sequence[str], target: str, files: Mapping[str, bytes], *steps: Json,
    **more: Any,
) -> Case:  # fmt: skip
    """A case of the profile ``state`` with targets of one kind."""
    options = [f"restore:{target}", *more.pop("options", ())]
    return Case(f"state-{name}", title, requirements, "state", steps, files=files, options=options, **more)
