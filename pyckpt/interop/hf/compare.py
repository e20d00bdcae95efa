"""Names and shapes of an export against what a model expects, all differences at once; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pyckpt.errors import Finding
from pyckpt.format.geometry import Ints
from pyckpt.interop.hf.expected import Expected

__all__ = ["Comparison", "compare_names"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was found, and what is worth knowing beside it."""

    findings: tuple[Finding, ...]
    remarks: tuple[str, ...]


def compare_names(item: str, shapes: Mapping[str, Ints], expected: Expected) -> Comparison:
    """Compares with the model's own names, and where transformers writes others, with whichever fit better."""
    own = _differences(item, shapes, expected.shapes, expected)
    if expected.published is None:
        return Comparison(tuple(own), ())
    published = _differences(item, shapes, expected.published, expected)
    if len(published) < len(own):
        return Comparison(tuple(published), ())
    theirs = next((name for name in expected.published if name not in expected.shapes), "")
    remark = (
        f"names are those of {expected.architecture} in memory, and files that transformers writes have others, such "
        f"as {theirs!r}: transformers loads both, other engines may know those only"
    )
    return Comparison(tuple(own), (remark,))


def _differences(
    item: str, shapes: Mapping[str, Ints], wanted: Mapping[str, Ints], expected: Expected
) -> Sequence[Finding]:
    from pyckpt.torch.compare import missing, shape_differs, unexpected

    findings = []
    for name, shape in wanted.items():
        key = f"{item}/{name}"
        if name in shapes:
            if shapes[name] != shape:
                findings.append(shape_differs(key, shapes[name], shape))
        elif expected.tied.get(name) not in shapes and not _matches(expected.optional, name):
            findings.append(missing(key, name, shapes.keys() - wanted.keys()))
    absent = wanted.keys() - shapes.keys()
    findings += [
        unexpected(f"{item}/{name}", name, absent)
        for name in shapes
        if name not in wanted and not _matches(expected.ignored, name)
    ]
    return findings


def _matches(pattern: re.Pattern[str] | None, name: str) -> bool:
    return pattern is not None and pattern.search(name) is not None
