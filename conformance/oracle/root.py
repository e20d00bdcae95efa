"""The root `checkpoint.json` (chapter 6): its checks in the order of section 6.1, and what it says."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from . import metadata, names
from .errors import Rejected
from .json_profile import Json, JsonFault, JsonObject, parse
from .limits import MAX_ITEMS, MAX_ROOT_BYTES, MAXJSON

KINDS = ("model", "optimizer", "scheduler", "rng", "dataloader", "other")
FEATURES: frozenset[str] = frozenset()
"""The features that this program implements: none (SCF-ENC-001)."""

_MAJOR = re.compile(rb'\{"scf":([0-9]+),')
_FRONT = re.compile(rb'\{"scf":1,"digest":"([0-9a-f]{64})",')
_CREATED = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,9})?Z",
)


@dataclass(frozen=True)
class Descriptor:
    """Where an object is, and what its bytes are; exactly one of `key` and `store_key` is set."""

    key: str | None
    store_key: str | None
    size: int
    sha256: str

    def at(self, checkpoint: str) -> str:
        """The object's key in the store, for the checkpoint that the descriptor is in."""
        return self.store_key if self.store_key is not None else f"{checkpoint}/{self.key}"

    def base(self, checkpoint: str) -> str:
        """The checkpoint that the keys inside this manifest are relative to (section 6.6)."""
        return checkpoint if self.store_key is None else self.store_key.partition("/")[0]


@dataclass(frozen=True)
class Counts:
    """What a root says that a manifest holds."""

    tensors: int
    shards: int
    objects: int
    bytes: int


@dataclass(frozen=True)
class Item:
    """One item of a root."""

    name: str
    kind: str
    manifest: Descriptor
    raw_size: int
    counts: Counts
    assets: Mapping[str, Descriptor]


@dataclass(frozen=True)
class Root:
    """A checked root; `checkpoint` is the name under which it lies."""

    checkpoint: str
    digest: str
    spec: str
    attempt: str
    created: str
    writer_name: str
    writer_version: str
    features_read: tuple[str, ...]
    features_write: tuple[str, ...]
    sequence: int
    parent: str | None
    metadata: Mapping[str, metadata.Value]
    items: Mapping[str, Item]
    external: Mapping[str, str]


def root_digest(data: bytes) -> str:
    """SHA-256 of a root with its own digest taken as zeros (section 6.1)."""
    return hashlib.sha256(data[:19] + b"0" * 64 + data[83:]).hexdigest()


def read_root(data: bytes, checkpoint: str, *, expect: str | None = None, writing: bool = False) -> Root:
    """The root of these bytes, by steps 2 to 8 of section 6.1; `writing` is for those who change the store."""
    if len(data) > MAX_ROOT_BYTES:
        raise too_large(checkpoint, len(data))
    major = _MAJOR.match(data)
    if major and major.group(1) != b"1":  # SCF-ROOT-003
        raise Rejected("version.unsupported", "the root is of another major version", subject=checkpoint)
    front = _FRONT.match(data)
    if front is None:  # SCF-ROOT-004
        raise Rejected("root.syntax", "the root does not begin as a root does", subject=checkpoint)
    digest = front.group(1).decode()
    if root_digest(data) != digest:  # SCF-ROOT-005
        raise Rejected("root.digest", "the root's bytes do not have the digest that it states", subject=checkpoint)
    if expect is not None and expect != digest:  # SCF-DIG-012
        raise Rejected("root.digest", f"the root digest is {digest}, not the expected one", subject=checkpoint)
    try:
        members = parse(data)
    except JsonFault as error:
        raise Rejected("root.syntax", str(error), subject=checkpoint) from error
    _features_known(members, checkpoint, writing=writing)
    return _Schema(checkpoint).root(members, digest)


def too_large(checkpoint: str, size: int) -> Rejected:
    """The refusal of a root above the maximum (SCF-ROOT-002)."""
    message = f"{size} bytes are above the format's maximum max_root_bytes = {MAX_ROOT_BYTES}, which can't be raised"
    return Rejected("limit.exceeded", message, subject=checkpoint, phase="open")


def _features_known(members: JsonObject, checkpoint: str, *, writing: bool) -> None:
    """Refuse features that are not implemented, before the schema (SCF-ROOT-023, SCF-ROOT-024)."""
    features = members.get("features")
    if not isinstance(features, dict):
        return
    for place in ("read", "write") if writing else ("read",):
        listed = features.get(place)
        if isinstance(listed, list) and all(isinstance(name, str) for name in listed):
            unknown = [str(name) for name in listed if name not in FEATURES]
            if unknown:
                message = f"features.{place} has {', '.join(unknown)}"
                raise Rejected("feature.unsupported", message, subject=checkpoint)


@dataclass(frozen=True)
class _Schema:
    """Step 8: members, types and values (SCF-ROOT-009).

    Unknown members are passed over, the reserved ones of chapter 14 too (SCF-CONV-007, SCF-ENC-003).
    """

    checkpoint: str

    def fault(self, place: str, message: str) -> Rejected:
        return Rejected("root.schema", f"{place}: {message}", subject=self.checkpoint)

    def member(self, members: JsonObject, name: str, place: str) -> Json:
        if name not in members:
            raise self.fault(place, f"{name} is absent")
        return members[name]

    def text(self, members: JsonObject, name: str, place: str) -> str:
        value = self.member(members, name, place)
        if not isinstance(value, str):
            raise self.fault(place, f"{name} is no string")
        return value

    def digest(self, members: JsonObject, name: str, place: str) -> str:
        value = self.text(members, name, place)
        if not names.is_sha256(value):  # SCF-CONV-005
            raise self.fault(place, f"{name} is not 64 lower-case hexadecimal digits")
        return value

    def integer(self, members: JsonObject, name: str, place: str, least: int = 0) -> int:
        value = self.member(members, name, place)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= MAXJSON:
            raise self.fault(place, f"{name} is no integer of {least} to {MAXJSON}")
        return value

    def object(self, members: JsonObject, name: str, place: str) -> JsonObject:
        value = self.member(members, name, place)
        if not isinstance(value, dict):
            raise self.fault(place, f"{name} is no object")
        return value

    def array(self, members: JsonObject, name: str, place: str) -> list[Json]:
        value = self.member(members, name, place)
        if not isinstance(value, list):
            raise self.fault(place, f"{name} is no array")
        return value

    def root(self, members: JsonObject, digest: str) -> Root:
        """The whole root."""
        place = "root"
        writer = self.object(members, "writer", place)
        read, write = self.features(self.object(members, "features", place))
        parent = self.member(members, "parent", place)
        external = self.external(self.array(members, "external", place))
        items = self.object(members, "items", place)
        if len(items) > MAX_ITEMS:
            raise self.fault(place, f"more than {MAX_ITEMS} items")
        return Root(
            checkpoint=self.checkpoint,
            digest=digest,
            spec=self.text(members, "spec", place),
            attempt=self.attempt(members),
            created=self.created(members),
            writer_name=self.text(writer, "name", "writer"),
            writer_version=self.text(writer, "version", "writer"),
            features_read=read,
            features_write=write,
            sequence=self.integer(members, "sequence", place, least=1),
            parent=None if parent is None else self.digest(members, "parent", place),
            metadata=metadata.decode(self.object(members, "metadata", place)),
            items={name: self.item(name, self.object(items, name, "items"), external) for name in items},
            external=external,
        )

    def attempt(self, members: JsonObject) -> str:
        value = self.text(members, "attempt", "root")
        if not names.is_attempt(value):
            raise self.fault("root", "attempt is not 16 lower-case hexadecimal digits")
        return value

    def created(self, members: JsonObject) -> str:
        """A time of a date that exists; its value decides nothing (SCF-ROOT-010, SCF-COMPAT-002)."""
        value = self.text(members, "created", "root")
        match = _CREATED.fullmatch(value)
        try:
            if match is not None:
                date(int(match.group(1)), int(match.group(2)), int(match.group(3)))
                return value
        except ValueError:
            pass
        raise self.fault("root", "created is not a time in UTC as section 6.4 writes it")

    def features(self, features: JsonObject) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Both arrays: sorted, without repetition, `read` within `write` (SCF-ROOT-022)."""
        found = []
        for name in ("read", "write"):
            listed = [value for value in self.array(features, name, "features") if isinstance(value, str)]
            if len(listed) != len(self.array(features, name, "features")):
                raise self.fault("features", f"{name} has an element that is no string")
            if listed != sorted(set(listed)):
                raise self.fault("features", f"{name} is not sorted, or repeats a name")
            found.append(tuple(listed))
        read, write = found
        if not set(read) <= set(write):
            raise self.fault("features", "read has a name that write lacks")
        return read, write

    def external(self, listed: list[Json]) -> dict[str, str]:
        """Checkpoint name to root digest: sorted, each once, never the own name (SCF-ROOT-018, SCF-ROOT-020)."""
        found: dict[str, str] = {}
        last = ""
        for element in listed:
            if not isinstance(element, dict):
                raise self.fault("external", "an element is no object")
            checkpoint = self.text(element, "checkpoint", "external")
            if not names.is_checkpoint(checkpoint):
                raise self.fault("external", f"{checkpoint} is no checkpoint name")
            if checkpoint == self.checkpoint:
                raise self.fault("external", "it lists the name under which the root lies")
            if checkpoint <= last:
                raise self.fault("external", f"{checkpoint} is out of order, or repeated")
            found[checkpoint] = self.digest(element, "digest", "external")
            last = checkpoint
        return found

    def item(self, name: str, members: JsonObject, external: Mapping[str, str]) -> Item:
        """One item; a kind that is unknown is `other` (SCF-ROOT-015)."""
        place = f"item {name}"
        if not names.is_item(name):  # SCF-LAYOUT-002
            raise self.fault("items", f"{name} is no item name")
        kind = self.text(members, "kind", place)
        counts = self.object(members, "counts", place)
        assets = self.object(members, "assets", place)
        for asset in assets:
            if not names.is_asset(asset):
                raise self.fault(place, f"{asset} is no asset name")
        clash = names.clashing_asset(assets)
        if clash is not None:
            raise self.fault(place, f"asset {clash} is below another asset")
        return Item(
            name=name,
            kind=kind if kind in KINDS else "other",
            manifest=self.manifest(name, self.object(members, "manifest", place), external),
            raw_size=self.integer(members, "raw_size", place),
            counts=Counts(*(self.integer(counts, count, place) for count in ("tensors", "shards", "objects", "bytes"))),
            assets={
                asset: self.asset(name, asset, self.object(assets, asset, f"{place} assets"), external)
                for asset in assets
            },
        )

    def manifest(self, item: str, members: JsonObject, external: Mapping[str, str]) -> Descriptor:
        """The descriptor of an item's manifest (SCF-ROOT-017)."""
        found = self.descriptor(members, f"item {item} manifest", external)
        origin = names.manifest_key(self.key(found))
        if origin is None or (found.key is not None and origin.item != item):
            raise self.fault(f"item {item}", "the manifest's key is not one of its manifests")
        return found

    def asset(self, item: str, asset: str, members: JsonObject, external: Mapping[str, str]) -> Descriptor:
        """The descriptor of an asset (SCF-ROOT-017)."""
        found = self.descriptor(members, f"item {item} asset {asset}", external)
        holder = names.asset_key_item(self.key(found), asset)
        if holder is None or (found.key is not None and holder != item):
            raise self.fault(f"item {item}", f"the key of asset {asset} is not one of that asset")
        return found

    def key(self, found: Descriptor) -> str:
        """The key of a descriptor, relative to the checkpoint that has the object."""
        return found.key if found.key is not None else str(found.store_key).partition("/")[2]

    def descriptor(self, members: JsonObject, place: str, external: Mapping[str, str]) -> Descriptor:
        """One of `key` and `store_key`, the latter in a listed checkpoint (SCF-ROOT-016, SCF-ROOT-018)."""
        if ("key" in members) == ("store_key" in members):
            raise self.fault(place, "exactly one of key and store_key has to be there")
        key = store_key = None
        if "key" in members:
            key = self.text(members, "key", place)
        else:
            store_key = self.text(members, "store_key", place)
            split = names.split_store_key(store_key)
            if split is None:
                raise self.fault(place, "store_key does not begin with a checkpoint name")
            if split[0] not in external:
                raise self.fault(place, f"external does not list {split[0]}")
        return Descriptor(key, store_key, self.integer(members, "size", place), self.digest(members, "sha256", place))
