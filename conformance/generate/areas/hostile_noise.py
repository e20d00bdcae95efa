"""Roots and manifests that are cut or changed at many places: each gets an answer, and none is believed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ...oracle.encode import Draft, build, seal
from ..case import Case, Json, rejected, step
from ..drafts import bare, basic, content
from ..forms import accepted

__all__ = ["cases"]

MANIFEST = ("manifest.syntax", "manifest.schema", "tree.schema", "digest.missing", "limit.exceeded", "tiling.inexact")
ROOT = ("root.syntax", "root.schema", "feature.unsupported")
BASE = basic(assets={})


def cases() -> Iterator[Case]:
    """All cases of this module."""
    yield from _cuts()
    yield from _flips()
    yield from _garbage()


def _raw(draft: Draft) -> bytes:
    found: list[bytes] = []

    def look(raw: bytes) -> bytes:
        found.append(raw)
        return raw

    build(draft.with_item("model", raw=look))
    return found[0]


def _many(drafts: Sequence[Draft], expect: Any, *, alone: bool = False) -> tuple[dict[str, bytes], list[Json]]:
    """One checkpoint per draft, in one store, and a step for each; ``alone`` leaves out all but the roots."""
    files: dict[str, bytes] = {}
    steps: list[Json] = []
    for number, draft in enumerate(drafts):
        for key, data in build(draft).items():
            if not key.endswith(".safetensors") and not (alone and key != "checkpoint.json"):
                files[f"{number}/{key}"] = data
        request: Json = {"items": []} if alone else {}
        steps.append(step("inspect", expect, checkpoint=str(number), **request))
    return files, steps


def _cuts() -> Iterator[Case]:
    raw = _raw(BASE)
    drafts = [BASE.with_item("model", raw=lambda raw, end=end: raw[:end]) for end in range(1, len(raw), 17)]
    files, steps = _many(drafts, rejected("manifest.syntax"))
    yield Case(
        "hostile-manifest-cuts",
        f"A manifest that ends too early, at {len(steps)} places",
        ["SCF-SEC-007", "SCF-MAN-004"],
        "inspect",
        steps,
        kind="invalid",
        fault="The raw bytes of the manifest end before the map does.",
        sibling="root-plain",
        files=files,
    )
    text = build(bare())["checkpoint.json"][85:]
    roots = [bare(text=lambda rest, end=end: rest[:end]) for end in range(1, len(text), 7)]
    files, steps = _many(roots, rejected("root.syntax"), alone=True)
    yield Case(
        "hostile-root-cuts",
        f"A root that ends too early, with a right digest, at {len(steps)} places",
        ["SCF-SEC-007", "SCF-ROOT-007"],
        "inspect",
        steps,
        kind="invalid",
        fault="The root ends before its object does.",
        sibling="root-bare",
        files=files,
    )


def _flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ (1 << at % 8)]) + data[at + 1 :]


def _flips() -> Iterator[Case]:
    """A flipped bit may make another valid manifest; whatever it makes, there is an answer from the registry."""
    raw = _raw(BASE)
    drafts = [BASE.with_item("model", raw=lambda raw, at=at: _flipped(raw, at)) for at in range(0, len(raw), 11)]
    files, steps = _many(drafts, [{"result": "ok"}, rejected(*MANIFEST)])
    yield Case(
        "hostile-manifest-flips",
        f"A manifest with a flipped bit and right digests, at {len(steps)} places",
        ["SCF-SEC-007", "SCF-CONV-001"],
        "inspect",
        steps,
        kind="acceptable",
        files=files,
    )
    text = build(bare())["checkpoint.json"][85:]
    roots = [bare(text=lambda rest, at=at: _flipped(rest, at)) for at in range(0, len(text), 5)]
    files, steps = _many(roots, [{"result": "ok"}, rejected(*ROOT)], alone=True)
    yield Case(
        "hostile-root-flips",
        f"A root with a flipped bit and a right digest, at {len(steps)} places",
        ["SCF-SEC-007", "SCF-CONV-001"],
        "inspect",
        steps,
        kind="acceptable",
        files=files,
    )


def _garbage() -> Iterator[Case]:
    """Bytes without any form, with right digests above them."""
    raws = [BASE.with_item("model", raw=lambda _, seed=seed: content(seed, seed)) for seed in range(1, 33)]
    frames = [BASE.with_item("model", frame=lambda _, seed=seed: content(seed, seed)) for seed in range(1, 17)]
    roots = [bare(sealed=lambda _, seed=seed: content(40 * seed, seed)) for seed in range(1, 17)]
    texts = [bare(sealed=lambda _, seed=seed: seal(content(40 * seed, seed))) for seed in range(1, 17)]
    groups: tuple[tuple[str, str, list[Draft], Sequence[str], bool], ...] = (
        (
            "manifest",
            "The raw bytes of the manifest are noise.",
            raws,
            ("manifest.syntax", "manifest.schema", "tree.schema"),
            False,
        ),
        ("frame", "The stored bytes of the manifest are noise.", frames, ("manifest.frame",), False),
        ("root", "The root is noise.", roots, ("root.syntax",), True),
        ("text", "The bytes of the root behind its digest are noise.", texts, ("root.syntax",), True),
    )
    for name, fault, drafts, codes, alone in groups:
        files, steps = _many(drafts, rejected(*codes), alone=alone)
        yield Case(
            f"hostile-noise-{name}",
            f"Noise: {fault[0].lower()}{fault[1:-1]}",
            ["SCF-SEC-007"],
            "inspect",
            steps,
            kind="invalid",
            fault=fault,
            sibling="root-plain",
            files=files,
        )
    title = "The checkpoint that the noise was made from"
    yield accepted("hostile-base", title, ["SCF-LIMIT-001"], BASE, read=True)
