"""Entry names: how a data object's header calls a tensor and each of its regions.

Both maps are one to one: no two paths, and no two regions of one tensor, get the same name.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Final

from pyckpt.errors import UnsupportedState, UsageError
from pyckpt.format.geometry import Region

__all__ = ["REGION_MARK", "entry_name", "escape_component", "region_entry_name"]

REGION_MARK: Final = "@"
"""Separates a tensor's name from the text of a region; it is escaped in the name itself."""

_MAX_PLAIN_BYTES = 60_000
_PLAIN = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.-]{0,1000}")
"""What most names are: nothing to escape, and not the reserved one, which begins with an underscore."""
_SPECIAL = re.compile(r"[\x00-\x1f\x7f%/@]")


def escape_component(component: str | int) -> str:
    """One component of a path as it stands between two slashes; never empty."""
    if not isinstance(component, str):
        return f"#{component:d}"
    text = _SPECIAL.sub(lambda match: f"%{ord(match[0]):02X}", component)
    if not text:
        return "%"
    return f"%23{text[1:]}" if text[0] == "#" else text


def entry_name(path: Sequence[str | int]) -> str:
    """The name of the tensor at this path of an item's tree, 1 to 60,000 bytes of UTF-8.

    ``("layers.0.weight",)`` is ``layers.0.weight``; ``("state", 0, "exp/avg")`` is ``state/#0/exp%2Favg``. Raises
    ``UnsupportedState`` for a lone surrogate and ``UsageError`` for the empty path, which names no tensor.
    """
    if len(path) == 1 and isinstance(path[0], str) and _PLAIN.fullmatch(path[0]):
        return path[0]
    if not path:
        raise UsageError("usage.invalid", "expected a path of one component or more, found none")
    name = "/".join(map(escape_component, path))
    if name == "__metadata__":
        # safetensors keeps this one name for the header's own map
        return "%5F_metadata__"
    try:
        encoded = name.encode()
    except UnicodeEncodeError:
        raise UnsupportedState(
            "state.unsupported",
            "expected names of valid Unicode, found a lone surrogate",
            key=ascii(tuple(path))[:300],
            hint="rename it",
        ) from None
    if len(encoded) > _MAX_PLAIN_BYTES:
        return f"%h{hashlib.sha256(encoded, usedforsecurity=False).hexdigest()}"
    return name


def region_entry_name(tensor_name: str, region: Region, shape: Sequence[int], *, encoded: bool) -> str:
    """The name of the entry that holds this region of a tensor; the tensor's own if it is whole and not encoded."""
    box = region.box
    if not encoded and not region.start and box.size == tuple(shape) and not any(box.offset) and region.is_whole_run:
        return tensor_name
    bounds = ",".join(f"{low}:{low + size}" for low, size in zip(box.offset, box.size, strict=True))
    run = "" if region.is_whole_run else f"({region.start}:{region.stop})"
    return f"{tensor_name}{REGION_MARK}[{bounds}]{run}{'+enc' if encoded else ''}"
