"""Names and keys: what callers, roots and manifests may say (chapter 5)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ...oracle.encode import Draft, Item, Record
from ..case import Case, Json, checkpoint, ok, rejected, step
from ..drafts import OTHER, STEP, basic, scalars, single
from ..expect import inspected, root_digest
from ..forms import accepted, asked, refused
from .layout_manifest import manifest_cases

__all__ = ["cases"]

NAMES = ("-", "_", "...", ".a", "a..b", "checkpoint.json", "0", "A.b-C_d", "z" * 128)
"""Checkpoint names at the ends of the grammar."""
ITEMS = ("-", "_", "a..b", "0", "A.b-C_d", "__proto__", "constructor", "checkpoint.jsn", "z" * 128)
BAD_NAMES: tuple[tuple[str, str, str], ...] = (
    ("empty", "", "is empty"),
    ("dot", ".", "is a dot"),
    ("dots", "..", "is two dots"),
    ("slash", "a/b", "has a slash"),
    ("parent", "../main/c", "begins with two dots and a slash"),
    ("absolute", "/c", "begins with a slash"),
    ("slash-last", "c/", "ends with a slash"),
    ("backslash", "a\\c", "has a backslash"),
    ("space", "c ", "ends with a space"),
    ("feed", "c\n", "ends with a line feed"),
    ("nul", "c\x00", "ends with the character 0"),
    ("colon", "c:d", "has a colon"),
    ("umlaut", "ä", "is not ASCII"),
    ("fullwidth", "\uff43", "is a full-width letter"),
    ("129", "z" * 129, "has 129 characters"),
    ("percent", "%2e%2e", "has a percent sign"),
)


def cases() -> Iterator[Case]:
    """All cases of the area."""
    yield from _names()
    yield from _foreign()
    yield from _roots()
    yield from manifest_cases()


def _names() -> Iterator[Case]:
    draft = scalars()
    files = {key: data for name in NAMES for key, data in checkpoint(draft, name).items()}
    steps: list[Json] = [step("inspect", ok(**inspected(draft)), checkpoint=name) for name in NAMES]
    digest = root_digest(draft)
    listed = [{"name": name, "digest": digest, "sequence": 1, "code": None} for name in NAMES]
    yield Case(
        "layout-checkpoint-names",
        "Names of checkpoints at the ends of the grammar; one root, copied to each of them",
        ["SCF-LIMIT-001", "SCF-LAYOUT-001", "SCF-MODEL-001"],
        "inspect",
        [*steps, step("list", ok(checkpoints={"$set": listed}))],
        files=files,
    )
    items = Draft({name: Item(tree=STEP, objects=()) for name in ITEMS})
    yield accepted(
        "layout-item-names",
        "Names of items at the ends of the grammar",
        ["SCF-LIMIT-001", "SCF-LAYOUT-001", "SCF-LAYOUT-002", "SCF-LAYOUT-003"],
        items,
    )
    for name, value, what in (*BAD_NAMES, ("tombstones", ".tombstones", "is .tombstones")):
        yield Case(
            f"layout-caller-checkpoint-{name}",
            f"A caller gives a name of a checkpoint that {what}",
            ["SCF-LAYOUT-001", "SCF-SEC-010"],
            "inspect",
            [step("inspect", rejected("key.invalid"), checkpoint=value)],
            kind="invalid",
            fault=f"The name of the checkpoint {what}.",
            sibling="layout-checkpoint-names",
            files=checkpoint(draft),
            more_files={"outside": checkpoint(draft)} if name == "parent" else {},
        )
    items_bad = (
        *BAD_NAMES,
        ("hidden", ".hidden", "begins with a dot"),
        ("root", "checkpoint.json", "is checkpoint.json"),
    )
    for name, value, what in items_bad:
        yield Case(
            f"layout-caller-item-{name}",
            f"A caller gives a name of an item that {what}",
            ["SCF-LAYOUT-001"],
            "inspect",
            [step("inspect", rejected("key.invalid"), items=[value])],
            kind="invalid",
            fault=f"The name of the item {what}.",
            sibling="layout-item-names",
            files=checkpoint(draft),
        )
    for op, request, profile in (
        ("read", {}, "read"),
        ("read_region", {"path": ["w"], "regions": []}, "region-read"),
        ("verify", {}, "integrity"),
        ("delete", {}, "lifecycle"),
    ):
        name = op.replace("_", "-")
        yield Case(
            f"layout-caller-{name}",
            f"The operation {op} with a name of a checkpoint that leaves the store",
            ["SCF-LAYOUT-001", "SCF-SEC-010"],
            profile,
            [step(op, rejected("key.invalid"), checkpoint="../outside", **request)],
            kind="invalid",
            fault="The name of the checkpoint is ../outside.",
            sibling="layout-checkpoint-names",
            files=checkpoint(single()),
            more_files={"outside": {key.removeprefix("c/"): data for key, data in checkpoint(single()).items()}},
        )
    yield Case(
        "layout-item-missing",
        "An item that the checkpoint does not have",
        ["SCF-OPEN-004"],
        "inspect",
        [step("inspect", rejected("item.missing"), items=["optimizer"])],
        kind="invalid",
        fault="The caller asks for an item that is not there.",
        sibling="root-plain",
        files=checkpoint(basic()),
    )
    yield Case(
        "layout-item-missing-read",
        "Reading from an item that the checkpoint does not have",
        ["SCF-OPEN-004"],
        "read",
        [asked(step("read", rejected("item.missing")), item="Model")],
        kind="invalid",
        fault="The caller asks for Model, where there is model.",
        sibling="root-plain",
        files=checkpoint(basic()),
    )


def _foreign() -> Iterator[Case]:
    """Objects that no root reaches."""
    draft = basic()
    manifest = f"model/manifest-{OTHER}.msgpack.zst"
    foreign = {
        f"c/{manifest}": b"no manifest",
        f"c/model/{OTHER}-00000.safetensors": b"no data object",
        f"c/model/{draft.attempt}-00001.safetensors": b"",
        f"c/.attempt-{OTHER}": b"",
        f"c/model/{OTHER}.d/config.json": b"other",
        "c/SHA256SUMS": b"0",
        "c/notes.txt": b"notes",
        "c/optimizer/config.json": b"{}",
        "c/checkpoint.json.sig": b"",
        "c/checkpoint.json.bak": b"{}",
        "d/model/config.json": b"{}",
        "e": b"a file in the place of a checkpoint",
        "latest": b"c",
        ".tombstones/c.0123456789abcdef.json": b"{}",
    }
    listed = [{"name": "c", "digest": root_digest(draft), "sequence": 1, "code": None}]
    found = accepted(
        "layout-foreign-objects",
        "Objects that the root does not reach, below the checkpoint and beside it",
        ["SCF-LAYOUT-012", "SCF-MODEL-001", "SCF-COMPAT-002"],
        draft,
        read=True,
        more=foreign,
    )
    yield replace(found, steps=[*found.steps, step("list", ok(checkpoints=listed, newest="c"))])
    yield Case(
        "layout-foreign-objects-verify",
        "Objects that the root does not reach are no findings",
        ["SCF-LAYOUT-012"],
        "integrity",
        [step("verify", ok(sound=True, findings=[])), step("verify", ok(sound=True, findings=[]), deep=False)],
        files=found.files,
    )


LEGAL = (
    "config.json",
    "CONFIG.json",
    "é",
    "e\u0301",
    " ",
    "a b",
    ".hidden",
    "a.",
    "...",
    "a/b/c/d/e/f/g/h",
    "a" * 255,
    "ä" * 127 + "b",
    "/".join(("w" * 255, "x" * 255, "y" * 255, "z" * 132)),
    "manifest-3F9C2A71D0B84E55.msgpack.zst",
    "manifest-0123456789abcdef.msgpack",
    "x/manifest-0123456789abcdef.msgpack.zst",
    "x/0123456789abcdef-00000.safetensors",
    "0123456789abcdef-.safetensors",
    "0123456789abcde-00000.safetensors",
    "0123456789abcde.d/x",
    "0123456789abcdef.d2/x",
    "x/0123456789abcdef.d",
    ".tmp-0123456789abcdef/x",
    ".probe-0123456789abcdef/x",
    ".tmp-0123456789ABCDEF",
    "checkpoint.json",
    ".attempt-0123456789abcdef",
    "CON",
    "~",
    "$HOME",
    "%2e%2e",
    "\u202etxt",
    "\ufeff",
    "__proto__",
    "d",
    "d.e",
    "d-/f",
)
"""Names of assets that the rules allow, all in one item."""


def _assets(*names: str) -> Draft:
    """The plain checkpoint with assets of these names, which are not in the store."""

    def change(members: Record) -> None:
        for name in names:
            members["items"]["model"]["assets"][name] = {"key": f"model/{name}", "size": 2, "sha256": "0a" * 32}

    return scalars().with_(members=change)


def _roots() -> Iterator[Case]:
    yield accepted(
        "layout-asset-names",
        "Names of assets that are unusual and allowed",
        ["SCF-LIMIT-001", "SCF-LAYOUT-002", "SCF-CONV-006"],
        _assets(*LEGAL),
    )
    faults: list[tuple[str, tuple[str, ...], str]] = [
        ("empty", ("",), "is empty"),
        ("dot", (".",), "is a dot"),
        ("dots", ("..",), "is two dots"),
        ("dots-inside", ("a/../b",), "has a segment of two dots"),
        ("dot-inside", ("a/./b",), "has a segment of one dot"),
        ("slash-first", ("/a",), "begins with a slash"),
        ("slash-last", ("a/",), "ends with a slash"),
        ("two-slashes", ("a//b",), "has two slashes"),
        ("nine-segments", ("a/b/c/d/e/f/g/h/i",), "has nine segments"),
        ("segment-256", ("a" * 256,), "has a segment of 256 bytes"),
        ("segment-256-bytes", ("ä" * 128,), "has a segment of 128 characters and 256 bytes"),
        ("bytes-901", ("/".join(("w" * 255, "x" * 255, "y" * 255, "z" * 133)),), "has 901 bytes"),
        ("manifest", ("manifest-0123456789abcdef.msgpack.zst",), "is that of a manifest"),
        ("data-object", ("0123456789abcdef-00000.safetensors",), "is that of a data object"),
        ("data-object-0", ("0123456789abcdef-0.safetensors",), "is that of a data object with a short number"),
        ("attempt-directory", ("0123456789abcdef.d/x",), "begins with the directory of an attempt"),
        ("attempt-directory-alone", ("0123456789abcdef.d",), "is the directory of an attempt"),
        ("tmp", (".tmp-0123456789abcdef",), "is that of a temporary object"),
        ("tmp-inside", ("a/.tmp-0123456789abcdef",), "ends like that of a temporary object"),
        ("probe", (".probe-0123456789abcdef",), "is that of a probe"),
        ("prefix", ("a", "a/b"), "is that of a directory of another asset"),
        ("prefix-far", ("a/b", "a/b-", "a/b/c/d"), "is that of a directory of another asset, with one between them"),
    ]
    characters = {"colon": ":", "star": "*", "question": "?", "quote": '"', "less": "<", "greater": ">", "bar": "|"}
    characters |= {"backslash": "\\", "nul": "\x00", "feed": "\n", "delete": "\x7f"}
    faults += [(name, (f"a{each}b",), f"has the character {each!r}") for name, each in characters.items()]
    for name, names, what in faults:
        yield _refused(f"asset-{name}", f"The name of an asset {what}.", "layout-asset-names", _assets(*names))
    good = scalars().items["model"]
    for name, value, what in (
        ("empty", "", "is empty"),
        ("hidden", ".hidden", "begins with a dot"),
        ("dots", "..", "is two dots"),
        ("slash", "a/b", "has a slash"),
        ("root", "checkpoint.json", "is checkpoint.json"),
        ("129", "z" * 129, "has 129 characters"),
        ("umlaut", "ä", "is not ASCII"),
        ("space", "a b", "has a space"),
        ("feed", "a\n", "ends with a line feed"),
    ):
        yield _refused(f"item-{name}", f"The name of an item {what}.", "layout-item-names", Draft({value: good}))


def _refused(name: str, fault: str, sibling: str, draft: Draft) -> Case:
    title = f"Names of a root: {fault[0].lower()}{fault[1:-1]}"
    requirements = ["SCF-LAYOUT-002", "SCF-SEC-010"]
    case = refused(f"layout-root-{name}", title, fault, "root.schema", requirements, sibling, draft, phases=["open"])
    return replace(case, files={key: data for key, data in case.files.items() if key == "c/checkpoint.json"})
