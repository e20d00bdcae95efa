"""Items that are carried over whole: manifest and assets by ``store_key``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from ...oracle.encode import Draft, Item, manifest_key
from ..case import Case, Json, checkpoint, ok, rejected, step
from ..drafts import W
from ..drafts_b import flip, found, reading, sound_step, verify_step
from ..drafts_c import carrier, item_member
from ..expect import inspected, read_values, root_digest
from ..origins import OLD, borrowed, old_key, origin

__all__ = ["cases"]

MAIN = ["SCF-READ-001", "SCF-OPEN-003", "SCF-DIG-013"]
MANIFEST = f"{OLD}/{manifest_key('model', '0123456789abcdef')}"
ASSET = f"{OLD}/model/config.json"
OPTIONS = ["dtype:BF16", "dtype:F32", "dtype:I16", "dtype:U8"]


def _source() -> Draft:
    return origin(assets={"config.json": b'{"a": 1}'})


def _files(source: Draft, draft: Draft, *without: str) -> dict[str, bytes]:
    files = {**checkpoint(source, OLD), **checkpoint(draft)}
    return {name: data for name, data in files.items() if name not in without}


def _read(item: Item, name: str = "model") -> Json:
    assets = list(item.assets)
    return step("read", ok(**read_values(item, None, assets)), item=name, assets=assets)


def cases() -> Iterator[Case]:
    """All cases of this module."""
    yield from _valid()
    yield from _broken()


def _valid() -> Iterator[Case]:
    source = _source()
    draft = carrier({OLD: source})
    item = source.items["model"]
    steps = [
        step("inspect", ok(**inspected(draft, carried={"model": item}))),
        _read(item),
        sound_step(),
        sound_step(deep=False),
    ]
    places = {
        "": ("An item of another checkpoint, whole", ()),
        "-root-gone": ("An item of another checkpoint, whose root is gone", (f"{OLD}/checkpoint.json",)),
    }
    for name, (title, without) in places.items():
        yield Case(
            f"references-item{name}", title, MAIN, "integrity", steps, files=_files(source, draft, *without),
            options=OPTIONS,
        )  # fmt: skip
    other = replace(draft, carried={"policy_model": item_member(source, OLD)})
    yield Case(
        "references-item-renamed",
        "An item that has another name here than in its manifest's key",
        MAIN,
        "integrity",
        [
            step("inspect", ok(**inspected(other, carried={"policy_model": item}))),
            _read(item, "policy_model"),
            sound_step(),
        ],
        files=_files(source, other),
        options=OPTIONS,
    )
    own = Item((W,))
    beside = replace(draft, items={"optimizer": own})
    yield Case(
        "references-item-beside-own",
        "An item by reference beside an own one",
        MAIN,
        "integrity",
        [_read(item), _read(own, "optimizer"), sound_step()],
        files=_files(source, beside),
        options=OPTIONS,
    )
    yield _chain()


def _chain() -> Case:
    """The item's manifest itself uses an object of a third checkpoint: it is relative to its own base."""
    first = origin()
    second = replace(borrowed(first), attempt="00112233445566ff")
    external = [
        {"checkpoint": "middle", "digest": root_digest(second)},
        {"checkpoint": OLD, "digest": root_digest(first)},
    ]
    third = replace(carrier({"middle": second}), external=external)
    item = second.items["model"]
    return Case(
        "references-item-with-references",
        "An item of another checkpoint whose manifest uses an object of a third one",
        [*MAIN, "SCF-ROOT-019"],
        "integrity",
        [_read(item), sound_step(), sound_step(checkpoint="middle"), sound_step(checkpoint=OLD)],
        files={**checkpoint(first, OLD), **checkpoint(second, "middle"), **checkpoint(third)},
        options=OPTIONS,
    )


def _broken() -> Iterator[Case]:
    source = _source()
    draft = carrier({OLD: source})
    files = _files(source, draft)
    item = source.items["model"]
    gone = step("inspect", rejected("external.missing", phases=["manifest"]))
    yield _refused(
        "manifest-gone", "The manifest of an item by reference is gone", "The old manifest is not in the store.",
        [gone, verify_step({"$set": [found("external.missing", MANIFEST)]})], _without(files, MANIFEST),
        ["SCF-DIG-019", "SCF-DIG-013"],
    )  # fmt: skip
    wanted = step("read", rejected("external.missing", phases=["read"]), paths=[], assets=["config.json"])
    yield _refused(
        "asset-gone", "An asset of an item by reference is gone: its tensors are read",
        "The old asset is not in the store.",
        [reading(item), wanted, verify_step({"$set": [found("external.missing", ASSET)]})], _without(files, ASSET),
        ["SCF-DIG-019", "SCF-DIG-013"],
    )  # fmt: skip
    object_gone = step("read", rejected("object.missing", "external.missing", phases=["read"]))
    finding = {"$set": [found(["object.missing", "external.missing"], old_key())]}
    yield _refused(
        "object-gone", "An object of an item by reference is gone: the old manifest names it by key",
        "The old object is not in the store.", [object_gone, verify_step(finding)], _without(files, old_key()),
        ["SCF-DIG-009", "SCF-DIG-013"],
    )  # fmt: skip
    for name, place, code in (("manifest", MANIFEST, "manifest.digest"), ("asset", ASSET, "asset.digest")):
        yield _refused(
            f"{name}-damaged", f"The {name} of an item by reference is damaged", f"A bit of the old {name} is changed.",
            [verify_step({"$set": [found(code, place)]})], {**files, place: flip(files[place], 5)},
            ["SCF-DIG-013", "SCF-DIG-004" if name == "manifest" else "SCF-DIG-005"],
        )  # fmt: skip
    for name, place, code in (("manifest", MANIFEST, "manifest.size"), ("asset", ASSET, "asset.size")):
        yield _refused(
            f"{name}-longer", f"The {name} of an item by reference has a byte more", f"The old {name} has a byte more.",
            [verify_step({"$set": [found(code, place)]})], {**files, place: files[place] + b"\0"},
            ["SCF-DIG-013", "SCF-DIG-003" if name == "manifest" else "SCF-DIG-016"],
        )  # fmt: skip
    first = origin()
    second = replace(borrowed(first), attempt="00112233445566ff")
    third = carrier({"middle": second})
    chain = {**checkpoint(first, OLD), **checkpoint(second, "middle"), **checkpoint(third)}
    yield _refused(
        "unlisted", "An item by reference whose manifest uses an object of a checkpoint that external does not list",
        "external lists middle, and not old.",
        [step("inspect", rejected("manifest.schema", phases=["manifest"]))], chain, ["SCF-ROOT-019"],
        "references-item-with-references",
    )  # fmt: skip


def _without(files: Mapping[str, bytes], *names: str) -> dict[str, bytes]:
    return {name: data for name, data in files.items() if name not in names}


def _refused(
    name: str, title: str, fault: str, steps: list[Json], files: Mapping[str, bytes], requirements: list[str],
    sibling: str = "references-item",
) -> Case:  # fmt: skip
    profile = "integrity" if any(each["request"]["op"] == "verify" for each in steps) else "inspect"
    return Case(
        f"references-item-{name}", title, requirements, profile, steps, kind="invalid", fault=fault, sibling=sibling,
        files=files, options=OPTIONS,
    )  # fmt: skip
