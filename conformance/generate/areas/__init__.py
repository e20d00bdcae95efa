"""The areas, in the order of the specification."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..case import Case
from . import (
    assets,
    carry,
    codecs,
    dtypes,
    geometry,
    hostile,
    integrity,
    layout,
    lifecycle,
    listing,
    manifest,
    objects,
    reading,
    references,
    root,
    sharded,
    state,
    stores,
    tiling,
    transactions,
    tree,
    write,
)

__all__ = ["AREAS"]

AREAS: dict[str, Callable[[], Iterator[Case]]] = {
    "layout": layout.cases,
    "root": root.cases,
    "manifest": manifest.cases,
    "tree": tree.cases,
    "assets": assets.cases,
    "objects": objects.cases,
    "geometry": geometry.cases,
    "tiling": tiling.cases,
    "dtypes": dtypes.cases,
    "codecs": codecs.cases,
    "integrity": integrity.cases,
    "references": references.cases,
    "reading": reading.cases,
    "hostile": hostile.cases,
    "write": write.cases,
    "sharded": sharded.cases,
    "carry": carry.cases,
    "list": listing.cases,
    "lifecycle": lifecycle.cases,
    "state": state.cases,
    "stores": stores.cases,
    "transactions": transactions.cases,
}
