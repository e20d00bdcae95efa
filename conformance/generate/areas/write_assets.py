"""Assets that a writer is given: their names, and places that are taken."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ...oracle.encode import Draft
from ..case import Case, Json, checkpoint, ok, rejected, step
from ..drafts_c import OLD, OTHER, asset, attempt_of, simple, tombstone
from ..expect import file
from ..requests import item, mapping, save, tensor, write_case

__all__ = ["cases"]

_TREE = mapping(("w", tensor("w")))
CONFIG = b'{"hidden":8}'

_GOOD: tuple[tuple[str, str, Mapping[str, bytes]], ...] = (
    ("plain", "two files", {"config.json": CONFIG, "tokenizer.model": bytes(range(256))}),
    ("empty", "a file without bytes", {"empty.txt": b""}),
    ("folders", "files in folders", {"a/b/c.txt": b"1", "a/b.txt": b"2", "a.txt": b"3", "1/2/3/4/5/6/7/8": b"4"}),
    ("letters", "names outside ASCII, with spaces and signs",
     {"größe.txt": b"1", "日本/語.txt": b"2", " a b ": b"3", "!#$%&'()+,;=@[]^`{}~": b"4"}),
    ("dots", "names with dots", {".hidden": b"1", "...": b"2", "a..b": b"3", "x/.hidden": b"4"}),
    ("long-segment", "a segment of 255 bytes", {"n" * 255: b"1", f"{'ü' * 127}x": b"2"}),
    ("long-name", "a name of 900 bytes", {f"{'n' * 224}/{'n' * 224}/{'n' * 224}/{'n' * 225}": b"1"}),
    ("near-exclusions", "names that only look like those of the format",
     {"manifest-0123456789abcdeg.msgpack.zst": b"1", "manifest-0123456789abcdef.msgpack.zst.bak": b"2",
      "0123456789abcdef-.safetensors": b"3", "0123456789ABCDEF-00000.safetensors": b"4", "model.safetensors": b"5",
      "x/0123456789abcdef.d": b"6", "0123456789abcde.d/x": b"7", ".tmp-0123456789abcdef/x": b"8",
      ".tmp-0123456789abcdeg": b"9", "checkpoint.json": b"10", ".attempt-0123456789abcdef": b"11",
      "x/manifest-0123456789abcdef.msgpack.zst": b"12", "x/0123456789abcdef-00000.safetensors": b"13"}),
    ("prefixes", "a name that is the beginning of another one, but no folder of it", {"a": b"1", "ab/c": b"2"}),
)  # fmt: skip

_BAD: tuple[tuple[str, str, str], ...] = (
    ("empty", "", "The name is empty."),
    ("manifest", "manifest-0123456789abcdef.msgpack.zst", "The name is that of a manifest."),
    ("data-object", "0123456789abcdef-00000.safetensors", "The name is that of a data object."),
    ("data-object-number", "0123456789abcdef-7.safetensors", "The name has the form of a data object's."),
    ("displaced", "0123456789abcdef.d/config.json", "The name is that of a displaced asset."),
    ("displaced-folder", "0123456789abcdef.d", "The name is that of the place of displaced assets."),
    ("temporary", ".tmp-0123456789abcdef", "The name is that of a temporary object."),
    ("probe", "a/.probe-0123456789abcdef", "The last segment is that of a probe."),
    ("slash-first", "/config.json", "The name begins with a slash."),
    ("slash-last", "config.json/", "The name ends in a slash."),
    ("slashes", "a//b", "A segment is empty."),
    ("dot", "a/./b", "A segment is a dot."),
    ("dots", "../config.json", "A segment is two dots."),
    ("backslash", "a\\b", "The name has a backslash."),
    ("colon", "c:a", "The name has a colon."),
    ("star", "a*", "The name has a star."),
    ("control", "a\nb", "The name has a line feed."),
    ("delete", "a\x7f", "The name has the character U+007F."),
    ("nine-segments", "1/2/3/4/5/6/7/8/9", "The name has nine segments."),
    ("long-segment", "ü" * 128, "The segment has 256 bytes."),
    ("long-name", f"{'n' * 224}/{'n' * 224}/{'n' * 225}/{'n' * 225}", "The name has 901 bytes."),
)


def cases() -> Iterator[Case]:
    """Assets of one writer."""
    for name, what, assets in _GOOD:
        yield write_case(
            f"write-asset-{name}", f"Assets: {what}", ["SCF-LAYOUT-008", "SCF-COMMIT-002"],
            save(_TREE, spec=item(assets=assets)), _read(assets),
        )  # fmt: skip
    for name, value, fault in _BAD:
        yield write_case(
            f"write-asset-invalid-{name}", f"An asset name outside the rules: {name}",
            ["SCF-LAYOUT-008", "SCF-LIMIT-003"] if "long" in name or "nine" in name else ["SCF-LAYOUT-008"],
            save(_TREE, spec=item(assets={value: CONFIG}), expect=rejected("key.invalid")),
            kind="invalid", sibling="write-asset-plain", fault=fault, after={"main": {"absent": ["c/checkpoint.json"]}},
        )  # fmt: skip
    yield write_case(
        "write-asset-invalid-file-and-folder", "One asset's name is a folder of another's", ["SCF-LAYOUT-008"],
        save(_TREE, spec=item(assets={"a": b"1", "a/b": b"2"}), expect=rejected("key.invalid")),
        kind="invalid", sibling="write-asset-prefixes", fault="The name a is a folder of the name a/b.",
        after={"main": {"absent": ["c/checkpoint.json"]}},
    )  # fmt: skip
    yield from _taken()


def _read(assets: Mapping[str, bytes]) -> Json:
    found = [{"name": name, "file": file(data)} for name, data in assets.items()]
    return step("read", ok(assets=found), paths=[], assets=list(assets))


def _taken() -> Iterator[Case]:
    """The plain key of the asset is taken."""
    key = "c/model/config.json"
    write = save(_TREE, spec=item(assets={"config.json": CONFIG}))
    shown = step("inspect", ok(root={"items": {"model": {"assets": {"config.json": asset(CONFIG)}}}}), items=[])
    yield write_case(
        "write-asset-taken", "The asset's key is taken by other bytes: they stay, the asset gets another key",
        ["SCF-LAYOUT-009", "SCF-LAYOUT-006"], write, shown, _read({"config.json": CONFIG}),
        files={key: b'{"hidden":9}'}, after={"main": {"same": [key], "present": ["c/model/*.d/config.json"]}},
    )  # fmt: skip
    yield write_case(
        "write-asset-taken-longer", "The asset's key is taken by bytes that begin as the asset does",
        ["SCF-LAYOUT-009"], write, shown, _read({"config.json": CONFIG}),
        files={key: CONFIG + b"\n"}, after={"main": {"same": [key], "present": ["c/model/*.d/config.json"]}},
    )  # fmt: skip
    yield write_case(
        "write-asset-there", "The asset's key is taken by the same bytes", ["SCF-LAYOUT-009"],
        write, shown, _read({"config.json": CONFIG}), files={key: CONFIG}, after={"main": {"same": [key]}},
    )  # fmt: skip
    dead = simple(assets={"config.json": CONFIG}, attempt=OTHER)
    yield write_case(
        "write-asset-tombstone", "The same bytes lie there, of a checkpoint of this name that was deleted",
        ["SCF-COMMIT-011", "SCF-LAYOUT-009"], write, shown, _read({"config.json": CONFIG}),
        files=_deleted(dead),
        after={"main": {"same": ["c/*", ".tombstones/*"], "present": ["c/model/*.d/config.json"]}},
    )  # fmt: skip
    yield write_case(
        "write-asset-tombstone-old", "The same, and the deletion is long past", ["SCF-COMMIT-011"],
        write, shown, _read({"config.json": CONFIG}), files=_deleted(dead), stores={"main": {"ages": {"*": OLD}}},
        after={"main": {"same": ["c/*", ".tombstones/*"], "present": ["c/model/*.d/config.json"]}},
    )  # fmt: skip
    other = {f".tombstones/c.{'0' * 16}.txt": b"x", **tombstone(simple(attempt=OTHER), "c2"), key: CONFIG}
    yield write_case(
        "write-asset-tombstone-other", "The same bytes lie there, and a tombstone of another name",
        ["SCF-LAYOUT-009", "SCF-COMMIT-002"], write, shown, _read({"config.json": CONFIG}),
        files=other, after={"main": {"same": [key, ".tombstones/*"]}},
    )  # fmt: skip
    yield write_case(
        "write-asset-after-crash", "All that an attempt left that died before its commit, its asset too",
        ["SCF-LAYOUT-006", "SCF-LAYOUT-009"], write, shown, _read({"config.json": CONFIG}),
        files=attempt_of(dead, "c"), after={"main": {"same": ["c/*"]}},
    )  # fmt: skip


def _deleted(draft: Draft) -> dict[str, bytes]:
    files = checkpoint(draft, "c")
    del files["c/checkpoint.json"]
    return {**files, **tombstone(draft, "c")}
