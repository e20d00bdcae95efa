"""Names of tensors and entries (section 9.4)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from .encode_region import Region, whole

__all__ = ["entry_name", "tensor_name"]


def tensor_name(path: Sequence[str | int]) -> str:
    """The name that a path of the tree derives."""
    name = "/".join(_escaped(component) for component in path)
    if name == "__metadata__":
        return "%5F_metadata__"
    data = name.encode()
    return "%h" + hashlib.sha256(data).hexdigest() if len(data) > 60_000 else name


def _escaped(component: str | int) -> str:
    if isinstance(component, int):
        return f"#{component}"
    if not component:
        return "%"
    text = "".join(f"%{ord(c):02X}" if c in "%/@" or c < " " or c == "\x7f" else c for c in component)
    return "%23" + text[1:] if text.startswith("#") else text


def entry_name(name: str, shape: tuple[int, ...], region: Region, *, encoded: bool) -> str:
    """The derived entry name of a shard."""
    full = region.elements == region.volume
    if full and not encoded and region.size == whole(shape).size:
        return name
    box = ",".join(f"{begin}:{begin + size}" for begin, size in zip(region.offset, region.size, strict=True))
    return f"{name}@[{box}]" + ("" if full else f"({region.start}:{region.stop})") + ("+enc" if encoded else "")
