"""``pyckpt inspect --shards``: which data object holds which part of one tensor."""

from __future__ import annotations

from itertools import islice

from pyckpt.cli.screen import Screen, print_json
from pyckpt.cli.shard_view import Picture, held_shards, pictures, region_text
from pyckpt.cli.text import count, size_text
from pyckpt.engine.open import OpenItem
from pyckpt.format.projection import manifest_to_json

__all__ = ["print_shards"]

_MOST_PICTURES = 8
_MOST_SHARDS = 64


def print_shards(item: OpenItem, tensor: int, *, as_json: bool, everything: bool) -> None:
    """Draws the shards of a tensor, and lists their places."""
    if as_json:
        whole = manifest_to_json(item.manifest)
        print_json(
            {"item": item.name, "number": tensor, "tensor": whole["tensors"][tensor], "objects": whole["objects"]}
        )
        return
    screen = Screen()
    table = item.manifest.tensors
    held = held_shards(item, tensor)
    objects = {shard.object: shard for shard in held}
    screen.line((table.name_of(tensor), "bold"), "  ", (f"tensor {tensor} of {item.name}", "dim"))
    screen.line(
        f"  {table.dtype_of(tensor)} {list(table.shape_of(tensor))}, {size_text(table.nbytes_of(tensor))}, "
        f"{count(len(held), 'shard')} in {count(len(objects), 'data object')}"
    )
    drawings = list(islice(pictures(table.shape_of(tensor), held), None if everything else _MOST_PICTURES + 1))
    for drawing in drawings if everything else drawings[:_MOST_PICTURES]:
        _draw(screen, drawing)
    if len(drawings) > _MOST_PICTURES and not everything:
        screen.line("  … more boxes (--all draws them)")
    screen.line()
    for shard in objects.values():
        screen.line("  ", (shard.mark, "bold cyan"), "  ", shard.key)
    screen.line()
    shown = held if everything else held[:_MOST_SHARDS]
    coded = any(shard.codec for shard in held)
    screen.table(
        ["", "region", "bytes from", "to", "size", *(["codec"] if coded else [])],
        [
            [
                ("  " + shard.mark, "bold cyan"),
                region_text(shard.region),
                f"{shard.offset:,}",
                f"{shard.offset + shard.stored:,}",
                size_text(shard.stored),
                *([shard.codec] if coded else []),
            ]
            for shard in shown
        ],
        right=("bytes from", "to", "size"),
    )
    if len(shown) < len(held):
        screen.line(f"  … {len(held) - len(shown):,} more (--all lists them)")


def _draw(screen: Screen, drawing: Picture) -> None:
    screen.line()
    screen.line("  ", (drawing.title, "dim"))
    margin = max(len(f"{each:,}") for each in (drawing.lines or (0,))) if drawing.lines else 0
    bar = "|" if not screen.draws_lines else "│"
    for at, row in enumerate(drawing.rows):
        label = ""
        if drawing.lines:
            label = f"{drawing.lines[0]:,}" if at == 0 else ""
            label = f"{drawing.lines[1]:,}" if at == len(drawing.rows) - 1 and at else label
        screen.line("  ", (f"{label:>{margin}}", "dim"), bar, (row, "cyan"), bar)
    first, end = (f"{each:,}" for each in drawing.columns)
    gap = max(1, len(drawing.rows[0]) - len(first) - len(end)) if drawing.rows else 1
    screen.line("  ", " " * (margin + 1), (f"{first}{' ' * gap}{end}", "dim"))
