"""The index that other tools look for beside safetensors files: which tensor lies in which of them."""

from __future__ import annotations

import json
from collections.abc import Sequence

from pyckpt.engine.table import WriterTable

__all__ = ["INDEX_NAME", "whole_index"]

INDEX_NAME = "model.safetensors.index.json"
"""What loaders of model directories call it."""


def whole_index(tables: Sequence[WriterTable], item: str) -> bytes | None:
    """The index of an item whose tensors all lie whole and as they are; None if they don't."""
    files: dict[str, str] = {}
    total = 0
    for table in tables:
        own = table.items.get(item)
        if own is None:
            continue
        rows = own.rows
        if bool((rows.chain != 0).any()):
            return None
        for tensor, number in zip(rows.tensor.tolist(), rows.object.tolist(), strict=True):
            name = own.names[tensor]
            if name in files:
                return None
            files[name] = own.objects[number].key.rpartition("/")[2]
        total += int(rows.stored.sum())
    weights = {name: files[name] for name in sorted(files)}
    text = json.dumps({"metadata": {"total_size": total}, "weight_map": weights}, indent=2, ensure_ascii=False)
    return f"{text}\n".encode()
