"""Everything that an export decides before it writes anything."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from pyckpt.engine.assets import read_asset
from pyckpt.engine.open import OpenCheckpoint, OpenItem
from pyckpt.errors import Finding, NotFound, StateMismatch, Unsupported, UsageError
from pyckpt.format.dtypes import dtype_of
from pyckpt.interop.hf.arguments import FLOATING, parse_dtype, parse_size
from pyckpt.interop.hf.compare import compare_names
from pyckpt.interop.hf.config import MAX_CONFIG_BYTES, config_of, main_dtype, parse_config, without_surprises
from pyckpt.interop.hf.expected import Expected, expected_of
from pyckpt.interop.hf.files import is_tokenizer_file, is_wanted
from pyckpt.interop.hf.link import is_ready, ready_objects
from pyckpt.interop.hf.names import Leaf, choose_names, first_names, read_leaves
from pyckpt.interop.hf.plan import PlannedFile, Weight, plan_files
from pyckpt.interop.hf.tied import settle_copies
from pyckpt.interop.hf.write import read_slices

__all__ = ["Draft", "Wishes", "make_draft"]


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the caller asked for."""

    item: str | None
    tokenizer: Any
    config: Any
    dtype: Any
    max_shard_size: int | str
    map_key: Callable[[str], str | None] | None
    strict: bool
    link: bool
    verify: bool


@dataclass(frozen=True, slots=True)
class Draft:
    """The directory as it will be."""

    item: str
    files: tuple[PlannedFile, ...]
    config: Mapping[str, Any]
    generation_config: bytes | None
    """That of the ``config`` argument, if that was a directory that has one."""
    assets: tuple[str, ...]
    """Assets of the item that are copied."""
    dtype: str
    architecture: str
    unchecked: str
    aliases: Mapping[str, str]
    findings: tuple[Finding, ...]
    left_out: tuple[str, ...]
    remarks: tuple[str, ...]


def make_draft(opened: OpenCheckpoint, wishes: Wishes) -> Draft:
    """Reads manifest, config and headers, compares, and plans the files.

    Raises StateMismatch with all findings if ``strict``, UsageError, NotFound, Unsupported, Corrupt.
    """
    dtype, max_bytes = parse_dtype(wishes.dtype), parse_size(wishes.max_shard_size)
    name = _model_item(opened) if wishes.item is None else wishes.item
    item = opened.item(name)
    config = _config(opened, name, wishes.config)
    if dtype is not None and config.get("quantization_config"):
        raise UsageError(
            "usage.invalid", "the weights are quantised: a cast would separate them from their scales", key="dtype"
        )
    named = read_leaves(item, wishes.map_key)
    expected = expected_of(config, tensors=len(item.manifest.tensors))
    weight_of = partial(_weight, item, dtype)
    findings: list[Finding] = []
    remarks: tuple[str, ...] = ()
    if isinstance(expected, Expected):
        known = expected.shapes.keys() | (expected.published or {}).keys()
        chosen = choose_names(named.leaves, expected.tied, known)
        read = partial(read_slices, opened.store, item, verify=wishes.verify)
        chosen, findings = settle_copies(chosen, weight_of, read, name)
        weights = [weight_of(leaf) for leaf in chosen.leaves]
        compared = compare_names(name, {weight.name: weight.shape for weight in weights}, expected)
        findings += compared.findings
        remarks = compared.remarks
    else:
        chosen = first_names(named.leaves, untied=config.get("tie_word_embeddings") is False)
        weights = [weight_of(leaf) for leaf in chosen.leaves]
    architecture = expected.architecture if isinstance(expected, Expected) else ""
    if findings and wishes.strict:
        raise StateMismatch(
            "state.mismatch",
            f"the item is not the {architecture} that its config describes; nothing was written",
            key=name,
            hint="map_key renames tensors, config= takes another config; strict=False exports what there is",
            findings=findings,
        )
    linked = ready_objects(item, weights, max_bytes=max_bytes) if wishes.link else {}
    linked = {number: each for number, each in linked.items() if is_ready(opened.store, item, number, each)}
    files = plan_files(weights, max_bytes=max_bytes, linked=linked)
    assets, refused = _assets(opened, name, has_tokenizer=wishes.tokenizer is not None)
    generation = _generation_config(wishes.config)
    if generation is not None:
        assets = tuple(each for each in assets if each != "generation_config.json")
    written_dtype = main_dtype(weights)
    return Draft(
        name,
        files,
        without_surprises(config, dtype=written_dtype, architecture=architecture),
        generation,
        assets,
        written_dtype,
        architecture,
        "" if isinstance(expected, Expected) else expected.reason,
        chosen.aliases,
        tuple(findings),
        (*named.left_out, *refused),
        remarks,
    )


def _model_item(opened: OpenCheckpoint) -> str:
    kinds = {name: entry.known_kind for name, entry in opened.root.items.items()}
    models = sorted(name for name, kind in kinds.items() if kind == "model")
    if len(models) == 1:
        return models[0]
    if models:
        raise UsageError("usage.invalid", f"say which item is meant: {', '.join(models)} are models", key=opened.url)
    have = ", ".join(f"{name} ({kind})" for name, kind in sorted(kinds.items())) or "none"
    raise UsageError("usage.invalid", f"no item is a model; say which one is meant: {have}", key=opened.url)


def _config(opened: OpenCheckpoint, item: str, given: Any) -> dict[str, Any]:
    if given is not None:
        return config_of(given)
    assets = opened.entry(item).assets
    if "config.json" not in assets:
        raise NotFound(
            "asset.missing",
            "the item has no config.json, and no loader opens a directory without one",
            key=f"{item}/config.json",
            hint="pass config=, or save it with the item: assets={item: {'config.json': path}}",
        )
    if assets["config.json"].size > MAX_CONFIG_BYTES:
        raise UsageError("usage.invalid", f"a config of more than {MAX_CONFIG_BYTES} bytes", key=f"{item}/config.json")
    return parse_config(read_asset(opened, item, "config.json"), f"{item}/config.json")


def _generation_config(given: Any) -> bytes | None:
    """``generation_config.json`` of the directory that the config was taken from."""
    if not isinstance(given, str | os.PathLike):
        return None
    path = os.path.join(os.fspath(given), "generation_config.json")
    try:
        with open(path, "rb") as file:
            return file.read(MAX_CONFIG_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UsageError("usage.invalid", f"the file can't be read: {error}", key=path) from error


def _weight(item: OpenItem, dtype: str | None, leaf: Leaf) -> Weight:
    stored = item.dtype(leaf.tensor)
    known = dtype_of(stored)
    if known.container != stored:
        raise Unsupported(
            "dtype.unsupported",
            f"safetensors has no {stored}",
            key=f"{item.name}/{leaf.name}",
            hint="leave the tensor out: map_key gives None for its name",
        )
    written = dtype if dtype is not None and stored in FLOATING else stored
    return Weight(leaf.name, leaf.tensor, stored, written, item.shape(leaf.tensor))


def _assets(opened: OpenCheckpoint, item: str, *, has_tokenizer: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Assets that are copied, and what is said of the others."""
    copied, refused = [], []
    for name in opened.entry(item).assets:
        if name == "config.json":
            continue
        if not is_wanted(name):
            refused.append(f"{name}: an asset that loaders don't look for, or could take for weights")
        elif has_tokenizer and is_tokenizer_file(name):
            refused.append(f"{name}: an asset in whose place the given tokenizer comes")
        else:
            copied.append(name)
    return tuple(copied), tuple(refused)
