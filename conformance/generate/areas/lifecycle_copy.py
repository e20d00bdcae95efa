"""Copies of a checkpoint, byte for byte."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ...oracle.encode import Draft, build
from ..case import Case, Files, Json, checkpoint, ok, rejected, step
from ..drafts_c import OTHER, asset, attempt_of, carrier, damaged, simple
from ..expect import read_values, root_digest

__all__ = ["cases"]

_ASSETS = {"config.json": b"{}", "a/b": b"x"}
_PLAIN = simple(assets=_ASSETS)


def cases() -> Iterator[Case]:
    """Copies to another store."""
    both = ["SCF-CONV-008", "SCF-COPY-001"]
    yield _copy("plain", "All objects, byte for byte, and the same root digest", both, _PLAIN)
    yield _copy("renamed", "A copy under another name", both, _PLAIN, target="other")
    yield Case(
        "copy-again", "The target has this very checkpoint: a success, and nothing changes", ["SCF-COPY-007"],
        "lifecycle", [_request("c", ok(digest=root_digest(_PLAIN)))], files=checkpoint(_PLAIN),
        stores={"main": {}, "other": {}}, more_files={"other": checkpoint(_PLAIN)}, options=["copy"],
        after={"main": {"unchanged": True}, "other": {"unchanged": True}},
    )  # fmt: skip
    unknown = _PLAIN.with_(
        members=lambda root: root.update({"x-acme": {"n": [1, 2.50]}}), text=lambda text: text.replace(b",", b", ")
    ).with_item("model", record=lambda record: record.update({"x-acme": 7}))
    yield _copy("unknown", "Unknown members and whitespace are kept", ["SCF-CONV-008"], unknown)
    feature = _PLAIN.with_(features={"read": [], "write": ["x-new"]})
    yield _copy("write-feature", "A feature that only writers and collectors have to know", ["SCF-CONV-008"], feature)
    litter = {**attempt_of(simple(seed=4, attempt=OTHER), "c"), "c/notes.txt": b"mine"}
    yield _copy("leftovers", "What the root does not reach is left out", ["SCF-CONV-008"], _PLAIN, more=litter)
    yield from _refused()
    yield from _external()


def _request(target: str, expect: Json | list[Json]) -> Json:
    return step("copy", expect, to="$other", **{"as": target})


def _copy(
    name: str, title: str, requirements: list[str], draft: Draft, target: str = "c", more: Files | None = None
) -> Case:
    content = {f"{target}/{key}": asset(data) for key, data in build(draft).items()}
    return Case(
        f"copy-{name}", title, requirements, "lifecycle",
        [
            _request(target, ok(digest=root_digest(draft))),
            step("read", ok(**read_values(draft.items["model"], assets=list(_ASSETS))), store="$other",
                 checkpoint=target, assets=list(_ASSETS)),
        ],
        files={**(more or {}), **checkpoint(draft)}, stores={"main": {}, "other": {}}, options=["copy"],
        after={"main": {"unchanged": True}, "other": {"only": list(content), "content": content}},
    )  # fmt: skip


def _refused() -> Iterator[Case]:
    rows: tuple[tuple[str, str, list[str], tuple[str, ...], Mapping[str, bytes]], ...] = (
        ("missing", "There is no checkpoint of this name", ["SCF-MODEL-001"], ("checkpoint.missing",),
         attempt_of(_PLAIN, "c")),
        ("damaged", "The root is damaged", ["SCF-ROOT-005"], ("root.digest",), checkpoint(damaged(_PLAIN))),
        ("feature", "The root has an unknown feature for readers", ["SCF-ROOT-023"], ("feature.unsupported",),
         checkpoint(_PLAIN.with_(features={"read": ["x-new"], "write": ["x-new"]}))),
        ("block", "A block is damaged", ["SCF-COPY-002"], ("block.digest",), _flipped(checkpoint(_PLAIN))),
        ("lost-object", "A data object is gone", ["SCF-CONV-008"], ("object.missing",),
         checkpoint(_PLAIN.with_(drop=(f"model/{_PLAIN.attempt}-00000.safetensors",)))),
    )  # fmt: skip
    for name, title, requirements, codes, files in rows:
        yield Case(
            f"copy-refused-{name}", f"{title}: no root at the target", requirements, "lifecycle",
            [_request("c", rejected(*codes))], "invalid", f"{title}.", "copy-plain", files=files,
            stores={"main": {}, "other": {}}, options=["copy"],
            after={"main": {"unchanged": True}, "other": {"absent": ["c/checkpoint.json"]}},
        )  # fmt: skip
    taken = simple(seed=8, attempt=OTHER)
    yield Case(
        "copy-refused-other-asset", "Another file lies at the key of an asset: it stays, and there is no root",
        ["SCF-COPY-006"], "lifecycle", [_request("c", rejected("asset.digest"))], "invalid",
        "The target has another file at the key of an asset.", "copy-plain", files=checkpoint(_PLAIN),
        stores={"main": {}, "other": {}}, more_files={"other": {"c/model/config.json": b"mine"}}, options=["copy"],
        after={
            "main": {"unchanged": True},
            "other": {"same": ["c/model/config.json"], "absent": ["c/checkpoint.json"]},
        },
    )  # fmt: skip
    yield Case(
        "copy-refused-taken", "The name is taken at the target: the checkpoint there stays", ["SCF-COMMIT-002"],
        "lifecycle", [_request("c", rejected("checkpoint.exists"))], "invalid",
        "The target has a checkpoint of this name.", "copy-plain", files=checkpoint(_PLAIN),
        stores={"main": {}, "other": {}}, more_files={"other": checkpoint(taken)}, options=["copy"],
        after={"main": {"unchanged": True}, "other": {"same": ["c/*"]}},
    )  # fmt: skip


def _flipped(files: Files) -> dict[str, bytes]:
    """The same with the last byte of the data object changed."""
    key = next(key for key in files if key.endswith(".safetensors"))
    data = files[key]
    assert isinstance(data, bytes)
    return {**files, key: data[:-1] + bytes([data[-1] ^ 1])}


def _external() -> Iterator[Case]:
    draft = carrier({"a": _PLAIN})
    whole = {f"c/{key}": asset(data) for key, data in build(draft).items()}
    yield Case(
        "copy-carrier", "A checkpoint with objects of another one: they are copied too, or it is refused",
        ["SCF-REF-006"], "lifecycle",
        [
            _request("c", [ok(digest=root_digest(draft)), rejected("external.missing")]),
            step(
                "read",
                [
                    ok(**read_values(_PLAIN.items["model"], assets=list(_ASSETS))),
                    rejected("checkpoint.missing"),
                ],
                store="$other", assets=list(_ASSETS),
            ),
        ],
        "acceptable", files={**checkpoint(_PLAIN, "a"), **checkpoint(draft)}, stores={"main": {}, "other": {}},
        options=["copy"], after={"main": {"unchanged": True, "content": whole}},
    )  # fmt: skip
    yield Case(
        "copy-carrier-of-nothing", "An object of another checkpoint that is gone: no root at the target",
        ["SCF-REF-006"], "lifecycle", [_request("c", rejected("external.missing"))], "invalid",
        "The origin's manifest is not in the store.", "copy-carrier",
        files={
            **{key: data for key, data in checkpoint(_PLAIN, "a").items() if not key.endswith(".zst")},
            **checkpoint(draft),
        },
        stores={"main": {}, "other": {}}, options=["copy"],
        after={"main": {"unchanged": True}, "other": {"absent": ["c/checkpoint.json"]}},
    )  # fmt: skip
