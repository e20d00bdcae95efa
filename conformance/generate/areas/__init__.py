"""The areas, in the order of the specification."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..case import Case
from . import assets, hostile, layout, manifest, root, tree

__all__ = ["AREAS"]

AREAS: dict[str, Callable[[], Iterator[Case]]] = {
    "layout": layout.cases,
    "root": root.cases,
    "manifest": manifest.cases,
    "tree": tree.cases,
    "assets": assets.cases,
    "hostile": hostile.cases,
}
