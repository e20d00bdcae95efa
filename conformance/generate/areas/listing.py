"""The area ``list``: the checkpoints of a store, and the newest of them (section 13.3)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ...oracle.encode import Draft
from ..case import Case, Json, checkpoint, ok, rejected, step
from ..drafts_c import OLD, OTHER, THIRD, attempt_of, damaged, simple, tombstone
from ..expect import root_digest
from ..requests import listing

__all__ = ["cases"]


def cases() -> Iterator[Case]:
    """All of them."""
    yield from _newest()
    yield from _refused_roots()
    yield from _no_checkpoints()


def _case(
    name: str, title: str, requirements: list[str], files: Mapping[str, bytes], *steps: Json, **more: Any
) -> Case:
    return Case(f"list-{name}", title, requirements, "inspect", steps, files=files, **more)


def _shown(name: str, draft: Draft) -> Json:
    return {"name": name, "digest": root_digest(draft), "sequence": draft.sequence, "code": None}


def _listed(found: Mapping[str, Draft | str], newest: str | None) -> Json:
    """A listing of sound checkpoints, and of refused roots with their codes."""
    rows = [
        {"name": name, "digest": None, "sequence": None, "code": each} if isinstance(each, str) else _shown(name, each)
        for name, each in found.items()
    ]
    return step("list", ok(checkpoints={"$set": rows}, newest=newest))


def _newest() -> Iterator[Case]:
    drafts = {
        "step_9": simple(sequence=3, attempt=OTHER), "step_10": simple(sequence=4, seed=2),
        "step_500": simple(sequence=2, attempt=THIRD, seed=3),
    }  # fmt: skip
    files = {key: data for name, draft in drafts.items() for key, data in checkpoint(draft, name).items()}
    yield _case("empty", "A store without anything", ["SCF-ROOT-011"], {}, _listed({}, None))
    yield _case(
        "one", "One checkpoint", ["SCF-ROOT-011"], checkpoint(drafts["step_9"], "step_9"),
        _listed({"step_9": drafts["step_9"]}, "step_9"),
    )  # fmt: skip
    yield _case(
        "newest", "The newest is the one with the highest sequence, not the one with the greatest name",
        ["SCF-ROOT-011", "SCF-LIST-003"], files, _listed(drafts, "step_10"),
    )  # fmt: skip
    for name, ages in (
        ("rising", {"step_10/*": 3 * OLD, "step_9/*": 2 * OLD, "step_500/*": OLD}),
        ("falling", {"step_500/*": 3 * OLD, "step_10/*": OLD}),
    ):
        every = {key: age for key in files for prefix, age in ages.items() if key.startswith(prefix[:-1])}
        yield _case(
            f"times-{name}", "Times of objects say nothing about the newest", ["SCF-LIST-003", "SCF-ROOT-011"], files,
            _listed(drafts, "step_10"), stores={"main": {"ages": every}},
        )  # fmt: skip
    dated = {
        "a": simple(sequence=2).with_(members=lambda root: root.update(created="2001-01-01T00:00:00Z")),
        "b": simple(sequence=1).with_(members=lambda root: root.update(created="2099-01-01T00:00:00Z")),
    }
    yield _case(
        "created", "Nor do the times that roots state", ["SCF-LIST-003", "SCF-ROOT-011"],
        {**checkpoint(dated["a"], "a"), **checkpoint(dated["b"], "b")}, _listed(dated, "a"),
    )  # fmt: skip
    pointers = {
        "latest": b"step_500", "newest.txt": b"step_500\n", "latest_checkpointed_iteration.txt": b"500",
        "latest.json": b'{"checkpoint":"step_500"}', "checkpoint": b"step_500", ".newest": b"step_500",
    }  # fmt: skip
    yield _case(
        "pointers", "Nor do files that point to a checkpoint", ["SCF-LIST-003"], {**files, **pointers},
        _listed(drafts, "step_10"),
    )  # fmt: skip
    many = {f"step_{number}": simple(sequence=1 + number * 7 % 31, seed=number) for number in range(30)}
    yield _case(
        "thirty", "Thirty checkpoints, whose names are in another order than their sequences", ["SCF-ROOT-011"],
        {key: data for name, draft in many.items() for key, data in checkpoint(draft, name).items()},
        _listed(many, max(many, key=lambda name: many[name].sequence)),
    )  # fmt: skip
    yield from _ties()


def _ties() -> Iterator[Case]:
    same = {name: simple(sequence=5, seed=number) for number, name in enumerate("abcd")}
    last = max(same, key=lambda name: root_digest(same[name]))
    files = {key: data for name, draft in same.items() for key, data in checkpoint(draft, name).items()}
    yield _case(
        "tie", "Four checkpoints of one sequence: the greatest root digest decides", ["SCF-ROOT-011"],
        files, _listed(same, last),
    )  # fmt: skip
    pair = sorted((simple(sequence=5, seed=seed) for seed in (1, 2)), key=root_digest)
    turned = {"a": pair[1], "b": pair[0]}
    yield _case(
        "tie-first-name", "Two of one sequence: the one with the greater digest has the smaller name", ["SCF-ROOT-011"],
        {key: data for name, draft in turned.items() for key, data in checkpoint(draft, name).items()},
        _listed(turned, "a"),
    )  # fmt: skip
    large = {"a": simple(sequence=2**53 - 1), "b": simple(sequence=2**53 - 2, seed=2), "c": simple(sequence=99, seed=3)}
    yield _case(
        "greatest-sequence", "The greatest sequences that there may be", ["SCF-ROOT-011"],
        {key: data for name, draft in large.items() for key, data in checkpoint(draft, name).items()},
        _listed(large, "a"),
    )  # fmt: skip


def _refused_roots() -> Iterator[Case]:
    sound = simple(sequence=3)
    last = simple(sequence=9, seed=2)
    rows: tuple[tuple[str, str, Mapping[str, bytes], str], ...] = (
        ("damaged", "a damaged root", checkpoint(damaged(last), "d"), "root.digest"),
        ("truncated", "a root cut in half", checkpoint(last.with_(sealed=lambda root: root[:400]), "d"), "root.digest"),
        ("empty-root", "a root without bytes", {"d/checkpoint.json": b""}, "root.syntax"),
        ("foreign-root", "another program's file at the root's key", {"d/checkpoint.json": b'{"step": 5}\n'},
         "root.syntax"),
        ("version", "a root of another major version",
         checkpoint(last.with_(sealed=lambda root: root.replace(b'{"scf":1,', b'{"scf":2,')), "d"),
         "version.unsupported"),
        ("feature", "a root with an unknown feature",
         checkpoint(last.with_(features={"read": ["x-new"], "write": ["x-new"]}), "d"), "feature.unsupported"),
        ("schema", "a root without its sequence",
         checkpoint(last.with_(members=lambda root: root.pop("sequence")), "d"), "root.schema"),
        ("syntax", "a root that is no JSON, with the right digest",
         checkpoint(last.with_(text=lambda text: text[:-1]), "d"), "root.syntax"),
    )  # fmt: skip
    for name, what, files, code in rows:
        yield _case(
            name, f"It is shown with its code, and is not the newest: {what}", ["SCF-LIST-001", "SCF-ROOT-011"],
            {**checkpoint(sound, "a"), **files}, _listed({"a": sound, "d": code}, "a"),
        )  # fmt: skip
    yield _case(
        "all-damaged", "All roots are damaged: there is no newest", ["SCF-LIST-001", "SCF-ROOT-011"],
        {**checkpoint(damaged(sound), "a"), **checkpoint(damaged(last), "d")},
        _listed({"a": "root.digest", "d": "root.digest"}, None),
    )  # fmt: skip
    writable = last.with_(features={"read": [], "write": ["x-new"]})
    yield _case(
        "write-feature", "A root that only writers and collectors may not touch is as good as any",
        ["SCF-ROOT-011", "SCF-LIST-001"], {**checkpoint(sound, "a"), **checkpoint(writable, "d")},
        _listed({"a": sound, "d": writable}, "d"),
    )  # fmt: skip
    yield _case(
        "link-outside", "A checkpoint's directory is a link that leads out of the store", ["SCF-STORE-010"],
        checkpoint(sound, "a"),
        step(
            "list",
            [
                rejected("store.io"),
                ok(checkpoints={"$set": [_shown("a", sound), {"name": "d", "code": "store.io"}]}, newest="a"),
                ok(checkpoints={"$set": [_shown("a", sound)]}, newest="a"),
            ],
        ),
        stores={"main": {"links": {"d": "$outside/d"}}}, more_files={"outside": checkpoint(last, "d")},
        kind="acceptable",
    )  # fmt: skip


def _no_checkpoints() -> Iterator[Case]:
    sound = simple(sequence=3)
    base = checkpoint(sound, "a")
    last = simple(sequence=9, seed=2, attempt=OTHER)
    no_root = {key: data for key, data in checkpoint(last, "d").items() if not key.endswith("checkpoint.json")}
    rows: tuple[tuple[str, str, list[str], Mapping[str, bytes]], ...] = (
        ("leftovers", "What an attempt left that died is no checkpoint", ["SCF-MODEL-001", "SCF-LIST-001"],
         attempt_of(last, "d")),
        ("deleted", "A checkpoint that was deleted is none", ["SCF-MODEL-001"], {**no_root, **tombstone(last, "d")}),
        ("tombstones", "The place of the tombstones is none", ["SCF-MODEL-001"],
         {**tombstone(last, "d"), **checkpoint(last, ".tombstones")}),
        ("foreign-names", "Directories outside the grammar of names are none", ["SCF-LIST-001"],
         {**checkpoint(last, "my run"), **checkpoint(last, "schön"), **checkpoint(last, "n" * 129),
          **checkpoint(last, "a+b")}),
        ("deeper", "Roots further below are none", ["SCF-MODEL-001"],
         {**checkpoint(last, "runs/d"), **checkpoint(last, "a/model")}),
        ("top", "A root directly in the store is none", ["SCF-MODEL-001"], {
            "checkpoint.json": checkpoint(last, "d")["d/checkpoint.json"]}),
        ("folder", "A directory at the root's place is no object", ["SCF-MODEL-001", "SCF-STORE-002"],
         {"d/checkpoint.json/notes.txt": b"x"}),
        ("foreign-files", "Files and directories of other programs are none", ["SCF-LIST-001"],
         {"events.log": b"x", "wandb/run.json": b"{}", "src/a/b/c.py": b"", "d": b"a file, no directory"}),
    )  # fmt: skip
    for name, title, requirements, files in rows:
        yield _case(name, title, requirements, {**base, **files}, listing(("a", 3), newest="a"))
    odd = {name: simple(sequence=number, seed=number) for number, name in enumerate(
        (".hidden", "...", "-", "n" * 128, "checkpoint.json", "A", "0"), 1)}  # fmt: skip
    yield _case(
        "odd-names", "Names within the grammar that look odd", ["SCF-ROOT-011", "SCF-LAYOUT-001"],
        {key: data for name, draft in odd.items() for key, data in checkpoint(draft, name).items()},
        _listed(odd, "0"),
    )  # fmt: skip
