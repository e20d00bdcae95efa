"""``pyckpt inspect``: what a checkpoint holds, from its root and manifests alone."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import get_close_matches

import click
import numpy as np

from pyckpt.cli.arguments import all_option, json_option, locate, suggest
from pyckpt.cli.screen import Cell, Screen, error_block
from pyckpt.cli.text import clean, clip, count, size_text, time_text
from pyckpt.cli.tree_view import ASCII_GUIDES, TreeStyle, draw
from pyckpt.cli.twigs import Twig, fold, item_twig, values_twig
from pyckpt.engine.open import OpenCheckpoint, OpenItem, root_bytes
from pyckpt.errors import NotFound, PyckptError
from pyckpt.format.json_strict import parse_json
from pyckpt.format.projection import manifest_to_json
from pyckpt.format.root import decode_root
from pyckpt.format.tree import TensorRef, path_text, walk
from pyckpt.limits import MAX_ROOT_BYTES, MAX_ROOT_DEPTH

__all__ = ["command"]

EPILOG = """\b
Examples:
  pyckpt inspect runs/a/step_1000
  pyckpt inspect runs/a/step_1000 policy_model --depth 2
  pyckpt inspect s3://bucket/run/step_1000 --shards layers.0.attn.weight
  pyckpt inspect runs/a/step_1000 --json | jq .root.metadata

Alike parts are folded: "layers.{0..31}." with "x32 of 436.0 MiB" stands for 32 layers of that size each. With
--json: root (checkpoint.json as it is) and items (name: manifest as spec/schema/manifest.schema.json says);
with --shards as well: item, number, tensor and objects."""


@click.command("inspect", epilog=EPILOG, short_help="Show what a checkpoint holds.")
@click.argument("url")
@click.argument("item", required=False)
@click.option("--depth", type=click.IntRange(min=1), metavar="N", help="Show N levels of each tree.")
@click.option("--shards", "tensor", metavar="TENSOR", help="Draw which data object holds which part of a tensor.")
@all_option
@json_option
def command(
    url: str, item: str | None, depth: int | None, tensor: str | None, *, everything: bool, as_json: bool
) -> int:
    """Show a checkpoint's root, its items, and the tree of each (or of ITEM only). Reads no data objects."""
    store, name = locate(url)
    try:
        data = root_bytes(store, name)
    except NotFound as error:
        hint = suggest(store, name) or f"see what is there with: pyckpt list {clean(store.url)}"
        raise NotFound(error.code, error.message, key=error.key, hint=hint) from error
    opened = OpenCheckpoint(store, name, decode_root(data, checkpoint=name))
    names = list(opened.root.items) if item is None else [item]
    for each in names:
        opened.entry(each)
    if tensor is not None:
        from pyckpt.cli.inspect_shards import print_shards

        found, number = _find(opened, names, tensor)
        print_shards(found, number, as_json=as_json, everything=everything)
        return 0
    if as_json:
        _print_json(opened, names, data)
        return 0
    return _print(opened, names, single=item is not None, depth=depth, everything=everything)


def _print_json(opened: OpenCheckpoint, names: Sequence[str], data: bytes) -> None:
    """All manifests are read before the first byte is printed, so that an error is never a half-printed object."""
    items = [opened.item(name) for name in names]
    root = parse_json(data, max_bytes=MAX_ROOT_BYTES, max_depth=MAX_ROOT_DEPTH, code="root.syntax")
    sys.stdout.write(f'{{"root": {json.dumps(root, allow_nan=False)}, "items": {{')
    for at, item in enumerate(items):
        projected = json.dumps(manifest_to_json(item.manifest), allow_nan=False)
        sys.stdout.write(f"{', ' if at else ''}{json.dumps(item.name)}: {projected}")
    sys.stdout.write("}}\n")


def _print(opened: OpenCheckpoint, names: Sequence[str], *, single: bool, depth: int | None, everything: bool) -> int:
    screen = Screen()
    guides = TreeStyle().guides if screen.draws_lines else ASCII_GUIDES
    style = TreeStyle(screen.width, depth, None if everything else 40, guides)
    if not single:
        _print_header(screen, opened)
        _print_metadata(screen, opened, style)
        _print_items(screen, opened)
    damaged = []
    for at, name in enumerate(names):
        if at or not single:
            screen.line()
        try:
            item = opened.item(name)
        except PyckptError as error:
            screen.line((name, "bold"), "  ", (f"can't be read: {error.code}", "red"))
            damaged.append(error)
            continue
        twig = item_twig(item)
        _print_item(screen, opened.name, item, twig if everything else fold(twig), style)
    sys.stdout.flush()
    for each in damaged:
        print(error_block(each), file=sys.stderr)
    return 1 if damaged else 0


def _print_header(screen: Screen, opened: OpenCheckpoint) -> None:
    root = opened.root
    screen.line((opened.name, "bold"), "  ", (opened.store.url, "dim"))
    external = ", ".join(entry.checkpoint for entry in root.external)
    rows = [
        ("digest", root.digest),
        ("created", f"{time_text(root.created, seconds=True)}, sequence {root.sequence}"),
        ("writer", f"{root.writer_name} {root.writer_version}, spec {root.spec}, attempt {root.attempt}"),
        ("parent", root.parent or "none"),
        *([("copy of", root.origin)] if root.origin else []),
        ("needs", external or "no other checkpoint"),
    ]
    features = sorted({*root.features_read, *root.features_write})
    if features:
        rows.append(("features", ", ".join(features)))
    screen.pairs(rows, indent=2)


def _print_metadata(screen: Screen, opened: OpenCheckpoint, style: TreeStyle) -> None:
    screen.line()
    screen.line(("metadata", "bold"), "" if opened.root.metadata else "  none")
    twig = values_twig("metadata", opened.root.metadata)
    for line in draw(twig if style.most is None else fold(twig), style):
        screen.line(*line)


def _print_items(screen: Screen, opened: OpenCheckpoint) -> None:
    screen.line()
    entries = opened.root.items
    headers = ["item", "kind", "tensors", "shards", "objects", "size", "from"]
    rows: list[list[Cell]] = []
    for name, entry in entries.items():
        origin = entry.manifest.store_key
        rows.append(
            [
                (name, "bold"),
                clip(entry.kind, 24),
                f"{entry.tensors:,}",
                f"{entry.shards:,}",
                f"{entry.objects:,}",
                size_text(entry.bytes),
                "" if origin is None else origin.split("/", 1)[0],
            ]
        )
    if len(rows) > 1:
        counts = [(entry.tensors, entry.shards, entry.objects) for entry in entries.values()]
        totals = [f"{sum(column):,}" for column in zip(*counts, strict=True)]
        size = size_text(sum(entry.bytes for entry in entries.values()))
        rows.append([("all", "dim"), "", *[(total, "dim") for total in totals], (size, "dim"), ""])
    if not any(row[-1] for row in rows):
        headers, rows = headers[:-1], [row[:-1] for row in rows]
    screen.table(headers, rows, right=("tensors", "shards", "objects", "size"))


def _print_item(screen: Screen, checkpoint: str, item: OpenItem, twig: Twig, style: TreeStyle) -> None:
    entry = item.entry
    parts = [clip(item.kind, 24), count(entry.tensors, "tensor"), size_text(entry.bytes)]
    codecs = sorted({"+".join(codec.id for codec in chain) for chain in item.manifest.codecs if chain})
    if codecs:
        parts.append(f"codec {', '.join(codecs)}")
    parts += [f"{size_text(size)} in {origin}" for origin, size in _elsewhere(checkpoint, item).items()]
    screen.line((item.name, "bold"), "  ", (" · ".join(parts) if screen.draws_lines else ", ".join(parts), "dim"))
    for line in draw(twig, style):
        screen.line(*line)
    for name, asset in entry.assets.items():
        screen.line(("asset ", "dim"), name, "  ", (size_text(asset.size), "dim"))


def _elsewhere(checkpoint: str, item: OpenItem) -> dict[str, int]:
    """Stored bytes of an item that lie in other checkpoints, by their names."""
    sizes = np.zeros(len(item.object_keys), np.int64)
    np.add.at(sizes, item.manifest.shards.object, item.manifest.shards.stored)
    found: Counter[str] = Counter()
    for key, size in zip(item.object_keys, sizes.tolist(), strict=True):
        found[key.split("/", 1)[0]] += size
    return {name: size for name, size in sorted(found.items()) if name != checkpoint}


def _find(opened: OpenCheckpoint, names: Sequence[str], wanted: str) -> tuple[OpenItem, int]:
    """The one tensor of this name (as in data objects) or path among the items."""
    found: dict[tuple[str, int], OpenItem] = {}
    known: dict[str, None] = {}
    for name in names:
        item = opened.item(name)
        for number, text in _tensor_names(item):
            known[text] = None
            if text == wanted:
                found[name, number] = item
    if len(found) == 1:
        ((_, number), item) = next(iter(found.items()))
        return item, number
    if found:
        hint = f"name the item: {', '.join(sorted({name for name, _ in found}))}"
        raise NotFound("tensor.missing", "more than one tensor has this name", key=wanted, hint=hint)
    near = get_close_matches(wanted, known, n=3, cutoff=0.5) if len(known) < 100_000 else []
    hint = f"did you mean {', '.join(near)}?" if near else "names are those that inspect shows, joined"
    raise NotFound("tensor.missing", f"no tensor of this name in {', '.join(names)}", key=wanted, hint=hint)


def _tensor_names(item: OpenItem) -> Iterator[tuple[int, str]]:
    for number in range(len(item.manifest.tensors)):
        yield number, item.manifest.tensors.name_of(number)
    for path, leaf in walk(item.tree):
        if isinstance(leaf, TensorRef):
            yield leaf.index, path_text(path)
