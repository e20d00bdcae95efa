"""From the parsed JSON of a root to its typed values, with every problem of its schema listed at once."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Mapping

from pyckpt.errors import InvalidKey
from pyckpt.format.keys import (
    asset_above,
    check_attempt,
    check_checkpoint_name,
    check_item_name,
    parse_asset_key,
    parse_manifest_key,
    split_store_key,
)
from pyckpt.format.metadata import decode_metadata
from pyckpt.format.root_values import Descriptor, External, ItemEntry, Root
from pyckpt.format.schema import Members, Place, Problems, found
from pyckpt.limits import MAX_ITEMS, MAX_JSON_INT

__all__ = ["parse_root"]

_ROOT_MEMBERS = (
    "scf",
    "digest",
    "spec",
    "attempt",
    "created",
    "writer",
    "features",
    "sequence",
    "parent",
    "metadata",
    "items",
    "external",
)
_CREATED = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.[0-9]{1,9})?Z")


def parse_root(value: object, *, digest: str, document: str, checkpoint: str | None) -> Root:
    """The typed root; raises ``Corrupt`` (root.schema) with all findings, their places as JSON pointers.

    ``digest`` becomes the root's; ``checkpoint`` is the name under which the root lies, if known: it must not be among
    its own external checkpoints. ``document`` names the root in the error.
    """
    problems = Problems("root.schema")
    root = Members(value, (), problems)
    # the magic has established both before the text was parsed; a root made otherwise may lack them
    root.integer("scf", 1, 1)
    root.hex64("digest")
    writer, features = root.members("writer"), root.members("features")
    read, write = features.strings("read"), features.strings("write")
    for name in sorted(set(read) - set(write)):
        features.wrong("write", f"expected every feature of read, {found(name)} is missing")
    external = _external(root, checkpoint)
    parsed = Root(
        spec=root.text("spec"),
        attempt=_checked(root, "attempt", check_attempt),
        created=_created(root),
        writer_name=writer.text("name"),
        writer_version=writer.text("version"),
        features_read=read,
        features_write=write,
        sequence=root.integer("sequence", 1, MAX_JSON_INT),
        parent=_parent(root),
        metadata=_metadata(root),
        items=_items(root.members("items"), frozenset(entry.checkpoint for entry in external)),
        external=external,
        digest=digest,
        extra=root.rest(_ROOT_MEMBERS),
        writer_extra=writer.rest(("name", "version")),
        features_extra=features.rest(("read", "write")),
    )
    problems.raise_if_any(document)
    return parsed


def _checked(members: Members, name: str, rule: Callable[[str], object]) -> str:
    text = members.text(name)
    if isinstance(members.value.get(name), str):
        members.problems.check((*members.place, name), rule, text)
    return text


def _created(root: Members) -> str:
    text = root.text("created")
    if isinstance(root.value.get("created"), str) and not _is_time(text):
        root.wrong("created", f"expected a time YYYY-MM-DDTHH:MM:SS[.fraction]Z, found {found(text)}")
    return text


def _is_time(text: str) -> bool:
    match = _CREATED.fullmatch(text)
    if match is None:
        return False
    year, month, day, hour, minute, second = map(int, match.groups())
    try:
        dt.datetime(year, month, day, hour, minute, second, tzinfo=dt.timezone.utc)
    except ValueError:
        return False
    return True


def _parent(root: Members) -> str | None:
    if root.has("parent") and root.value["parent"] is None:
        return None
    return root.hex64("parent")


def _metadata(root: Members) -> Mapping[str, object]:
    members = root.members("metadata")

    def report(path: Place, message: str) -> None:
        root.problems.add((*members.place, *path), message)

    value = decode_metadata(members.value, report)
    if isinstance(value, dict):
        return value
    report((), "expected the user's values by name, found a tag")
    return {}


def _external(root: Members, own_name: str | None) -> tuple[External, ...]:
    entries: list[External] = []
    for index, value in enumerate(root.array("external")):
        members = Members(value, (*root.place, "external", index), root.problems)
        name = _checked(members, "checkpoint", check_checkpoint_name)
        if name and name == own_name:
            members.wrong("checkpoint", f"expected another checkpoint, found {found(name)} itself")
        if entries and members.usable and name <= entries[-1].checkpoint:
            members.wrong("checkpoint", f"expected a name after {found(entries[-1].checkpoint)}, found {found(name)}")
        entries.append(External(name, members.hex64("digest"), members.rest(("checkpoint", "digest"))))
    return tuple(entries)


def _items(items: Members, external: frozenset[str]) -> dict[str, ItemEntry]:
    if len(items.value) > MAX_ITEMS:
        items.problems.add(items.place, f"expected at most {MAX_ITEMS} items, found {len(items.value)}")
        return {}
    entries: dict[str, ItemEntry] = {}
    for name in items.value:
        entry = items.members(name)
        entry.problems.check(entry.place, check_item_name, name)
        counts, assets = entry.members("counts"), entry.members("assets")
        entries[name] = ItemEntry(
            kind=entry.text("kind"),
            manifest=_descriptor(entry.members("manifest"), external, name, None),
            raw_size=entry.integer("raw_size", 0, MAX_JSON_INT),
            tensors=counts.integer("tensors", 0, MAX_JSON_INT),
            shards=counts.integer("shards", 0, MAX_JSON_INT),
            objects=counts.integer("objects", 0, MAX_JSON_INT),
            bytes=counts.integer("bytes", 0, MAX_JSON_INT),
            assets=_assets(assets, name, external),
            extra=entry.rest(("kind", "manifest", "raw_size", "counts", "assets")),
            counts_extra=counts.rest(("tensors", "shards", "objects", "bytes")),
        )
    return entries


def _assets(assets: Members, item: str, external: frozenset[str]) -> dict[str, Descriptor]:
    # a descriptor's key ends in the asset's name, so a name outside the grammar is found there
    entries = {name: _descriptor(assets.members(name), external, item, name) for name in assets.value}
    for name in entries:
        above = asset_above(name, entries)
        if above is not None:
            assets.wrong(name, f"expected no asset below the asset {found(above)}")
    return entries


def _descriptor(members: Members, external: frozenset[str], item: str, asset: str | None) -> Descriptor:
    """The descriptor of an item's asset, or of its manifest if ``asset`` is None."""
    if members.usable and members.has("key") == members.has("store_key"):
        members.problems.add(members.place, "expected exactly one of key and store_key")
    key, store_key = members.optional_text("key"), members.optional_text("store_key")
    if key is not None:
        _check_own_key(members, key, item, asset)
    if store_key is not None:
        _check_store_key(members, store_key, external, asset)
    return Descriptor(
        key=key,
        store_key=store_key,
        size=members.integer("size", 0, MAX_JSON_INT),
        sha256=members.hex64("sha256"),
        extra=members.rest(("key", "store_key", "size", "sha256")),
    )


def _check_own_key(members: Members, key: str, item: str, asset: str | None) -> None:
    try:
        key_item, name = parse_manifest_key(key) if asset is None else parse_asset_key(key)
    except InvalidKey as error:
        members.wrong("key", error.message)
        return
    if key_item != item:
        members.wrong("key", f"expected a key of the item {found(item)}, found {found(key)}")
    if asset is not None and name != asset:
        members.wrong("key", f"expected a key of the asset {found(asset)}, found {found(key)}")


def _check_store_key(members: Members, key: str, external: frozenset[str], asset: str | None) -> None:
    try:
        checkpoint, rest = split_store_key(key)
        _, name = parse_manifest_key(rest) if asset is None else parse_asset_key(rest)
    except InvalidKey as error:
        members.wrong("store_key", error.message)
        return
    if checkpoint not in external:
        members.wrong("store_key", f"expected a checkpoint that external lists, found {found(checkpoint)}")
    if asset is not None and name != asset:
        members.wrong("store_key", f"expected a key of the asset {found(asset)}, found {found(key)}")
