"""Models filled in place: what differs is reported at once, and nothing is converted (section 15.3)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...oracle.encode import Tensor
from ..case import Case, Json, ok
from ..drafts_c import made
from ..expect import file
from ..requests import Node, mapping
from .state_items import item_files, mismatch, restore, restore_case

__all__ = ["cases"]

_TENSORS = (
    made("layers.0.weight", (3, 2)), made("layers.0.bias", (3,), "BF16", 2), made("steps", (), "I64", 3),
    made("empty", (0, 2), "F32", 4),
)  # fmt: skip
_Target = tuple[Sequence[str | int], str, tuple[int, ...]]
_SAME: list[_Target] = [((each.name,), each.dtype, each.shape) for each in _TENSORS]


def _tree() -> Node:
    return mapping(*((each.name, ["tensor", number]) for number, each in enumerate(_TENSORS)))


def _path(components: Sequence[str | int]) -> list[object]:
    return [each if isinstance(each, str) else {"int": str(each)} for each in components]


def _target(tensors: Sequence[_Target]) -> Json:
    rows = [{"path": _path(path), "dtype": dtype, "shape": list(shape)} for path, dtype, shape in tensors]
    return {"kind": "model", "tensors": rows, "out": "$out"}


def _filled(pairs: Sequence[tuple[Sequence[str | int], bytes]]) -> Json:
    return {"$set": [{"path": _path(path), "file": file(data)} for path, data in pairs]}


def _untouched(tensors: Sequence[_Target]) -> Json:
    """The bytes that a target has before the load."""
    return _filled([(path, b"\xa5" * _size(dtype, shape)) for path, dtype, shape in tensors])


def _size(dtype: str, shape: tuple[int, ...]) -> int:
    return len(made("x", shape, dtype).data)


def cases() -> Iterator[Case]:
    """Targets that fit, and targets that do not."""
    files = item_files("model", _tree(), _TENSORS)
    filled = _filled([((each.name,), each.data) for each in _TENSORS])
    yield restore_case(
        "model", "A model with the names, dtypes and shapes of the checkpoint", ["SCF-READ-011", "SCF-READ-001"],
        "model", files, restore("model", _target(_SAME), ok(tensors=filled)),
    )  # fmt: skip
    yield restore_case(
        "model-order", "The order of names does not matter", ["SCF-READ-011"], "model", files,
        restore("model", _target(_SAME[::-1]), ok(tensors=filled)),
    )  # fmt: skip
    yield from _more()
    wrong: tuple[tuple[str, str, list[_Target], tuple[str, ...]], ...] = (
        ("missing", "A name of the target is not in the checkpoint", [*_SAME, (("head",), "F32", (2,))], ("head",)),
        ("unexpected", "A name of the checkpoint is not in the target", _SAME[1:], ("layers.0.weight",)),
        ("shape", "A shape differs", [(("layers.0.weight",), "F32", (2, 3)), *_SAME[1:]], ("layers.0.weight",)),
        ("shape-flat", "The same number of elements in another number of dimensions",
         [(("layers.0.weight",), "F32", (6,)), *_SAME[1:]], ("layers.0.weight",)),
        ("dtype", "A dtype differs: nothing is converted",
         [_SAME[0], (("layers.0.bias",), "F32", (3,)), *_SAME[2:]], ("layers.0.bias",)),
        ("dtype-narrower", "The target has a narrower dtype", [(("layers.0.weight",), "BF16", (3, 2)), *_SAME[1:]],
         ("layers.0.weight",)),
        ("dtype-same-size", "The target has another dtype of the same size",
         [*_SAME[:2], (("steps",), "F64", ()), _SAME[3]], ("steps",)),
        ("empty", "Tensors without elements, whose shapes differ", [*_SAME[:3], (("empty",), "F32", (0, 3))],
         ("empty",)),
        ("case", "Names that differ in case are two names", [*_SAME[:2], (("Steps",), "I64", ()), _SAME[3]],
         ("steps", "Steps")),
        ("several", "Several names, a shape and a dtype differ: all of them are reported at once",
         [(("layers.0.weight",), "F32", (4, 2)), (("layers.0.bias",), "F16", (3,)), (("head",), "F32", (2,)),
          (("tail",), "F32", (2,))],
         ("layers.0.weight", "layers.0.bias", "head", "tail", "steps", "empty")),
    )  # fmt: skip
    for name, title, tensors, about in wrong:
        yield restore_case(
            f"model-refused-{name}", title, ["SCF-READ-010" if "dtype" in name else "SCF-READ-011", "SCF-READ-011"]
            if "dtype" in name else ["SCF-READ-011"], "model", files,
            restore("model", _target(tensors), mismatch(*about, tensors=_untouched(tensors))),
            kind="invalid", sibling="state-model", fault=f"{title}.",
        )  # fmt: skip


def _more() -> Iterator[Case]:
    one = made("w", (2, 3))
    yield restore_case(
        "model-tied", "A tensor under two names fills both", ["SCF-MODEL-003", "SCF-READ-011"], "model",
        item_files("model", mapping(("embed", ["tensor", 0]), ("head", ["tensor", 0])), [one]),
        restore(
            "model", _target([(("embed",), "F32", (2, 3)), (("head",), "F32", (2, 3))]),
            ok(tensors=_filled([(("embed",), one.data), (("head",), one.data)])),
        ),
    )  # fmt: skip
    other = made("v", (2,), "F32", 7)
    yield restore_case(
        "model-components", "Text and integer components are two, and so are a path and a name with a slash",
        ["SCF-TREE-009", "SCF-READ-011"], "model",
        item_files(
            "model", mapping(("a", mapping((1, ["tensor", 0]), ("1", ["tensor", 1])))), [one, other]
        ),
        restore(
            "model", _target([(("a", 1), "F32", (2, 3)), (("a", "1"), "F32", (2,))]),
            ok(tensors=_filled([(("a", 1), one.data), (("a", "1"), other.data)])),
        ),
    )  # fmt: skip
    named = Tensor("anything", "F32", (2, 3), one.data)
    yield restore_case(
        "model-names-by-tree", "A tensor's place is that of the tree, whatever its name says", ["SCF-OBJ-011"], "model",
        item_files("model", mapping(("w", ["tensor", 0])), [named]),
        restore("model", _target([(("w",), "F32", (2, 3))]), ok(tensors=_filled([(("w",), one.data)]))),
    )  # fmt: skip
