"""Random number generators: typed states, and new seeds (section 16.5)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ...oracle.encode import Tensor
from ..case import Case, Json, ok
from ..drafts_c import made
from ..requests import Node, integer, mapping, real, text
from .state_items import item_files, mismatch, restore, restore_case

__all__ = ["cases"]

_TARGET = {"kind": "rng"}
_STATE = bytes(range(32))
_WORDS = 624
Part = Callable[["_Item"], Node]


class _Item:
    """Collects the tensors of a tree while it is made."""

    def __init__(self) -> None:
        self.tensors: list[Tensor] = []

    def tensor(self, dtype: str, shape: tuple[int, ...], data: bytes) -> Node:
        """A leaf for a new tensor."""
        self.tensors.append(Tensor(f"t{len(self.tensors)}", dtype, shape, data))
        return ["tensor", len(self.tensors) - 1]


def _words(count: int, seed: int) -> bytes:
    return made("x", (count,), "U32", seed).data


def _python(
    position: int = 1, words: int = _WORDS, version: Node | None = None, gauss: Node | None = None, dtype: str = "U32",
    more: Mapping[str, Node] | None = None,
) -> Part:  # fmt: skip
    def make(item: _Item) -> Node:
        data = _words(words, 3) + position.to_bytes(4, "little")
        return mapping(
            ("version", version or integer(3)), ("state", item.tensor(dtype, (words + 1,), data)),
            ("gauss", gauss or ["nil"]), *(more or {}).items(),
        )  # fmt: skip

    return make


def _numpy(**changes: Node) -> Part:
    def make(item: _Item) -> Node:
        parts = {
            "algorithm": text("MT19937"), "key": item.tensor("U32", (_WORDS,), _words(_WORDS, 4)),
            "position": integer(624), "has_gauss": integer(0), "gauss": real(0),
        }  # fmt: skip
        return mapping(*{**parts, **changes}.items())

    return make


def _torch(data: bytes = _STATE) -> Part:
    return lambda item: item.tensor("U8", (len(data),), data)


def _nil(_: _Item) -> Node:
    return ["nil"]


def _files(parts: Mapping[str, Sequence[Part]], axis: str = "rank") -> dict[str, bytes]:
    item = _Item()
    tree = mapping(*(
        (name, ["indexed", axis, len(values), [make(item) for make in values]]) for name, values in parts.items()
    ))  # fmt: skip
    return item_files("rng", tree, item.tensors)


def _seeds(index: int, *names: str, state: bytes = _STATE) -> Json:
    h = hashlib.sha256(state + index.to_bytes(8, "little")).digest()
    every = {
        "python": int.from_bytes(h[:8], "little"), "numpy": int.from_bytes(h[8:12], "little"),
        "torch": int.from_bytes(h[12:20], "little") // 2,
    }  # fmt: skip
    return {name: str(every[name]) for name in names}


def _case(name: str, title: str, requirements: list[str], files: Mapping[str, bytes], *steps: Json,
          **more: Any) -> Case:  # fmt: skip
    return restore_case(f"rng-{name}", title, requirements, "rng", files, *steps, **more)


def cases() -> Iterator[Case]:
    """States that are restored, reseeded, or refused."""
    every = ("python", "numpy", "torch")
    restored = ok(seeds={"$equal": {}})
    yield _case(
        "restored", "Stored states of the generators of Python and NumPy", ["SCF-STATE-012", "SCF-STATE-011"],
        _files({"python": [_python()], "numpy": [_numpy()]}), restore("rng", _TARGET, restored),
    )  # fmt: skip
    yield _case(
        "restored-though-reseeding", "As many processes as saved: states are restored, whatever the rule",
        ["SCF-STATE-009"], _files({"python": [_python()], "numpy": [_numpy()]}),
        restore("rng", _TARGET, restored, rule="reseed"),
    )  # fmt: skip
    yield _case(
        "restored-edges", "Positions 0 and 624, numbers that were computed ahead", ["SCF-STATE-012"],
        _files({
            "python": [_python(0, gauss=real(0x3FF0000000000000)), _python(624)],
            "numpy": [_numpy(position=integer(0), has_gauss=integer(1), gauss=real(0xBFF0000000000000)),
                      _numpy(position=integer(624))],
        }),
        *(restore("rng", _TARGET, restored, index=index, size=2) for index in range(2)),
    )  # fmt: skip
    yield _case(
        "absent-generator", "A process that does not have the generator", ["SCF-STATE-012"],
        _files({"python": [_python(), _python()], "numpy": [_numpy(), _nil]}),
        restore("rng", _TARGET, restored, index=0, size=2),
        restore("rng", _TARGET, restored, index=1, size=2),
    )  # fmt: skip
    yield _case(
        "unknown-key", "A generator of another framework, and a key that nobody knows, are left aside",
        ["SCF-STATE-002"], _files({"python": [_python(more={"x-acme": text("y")})], "x-acme": [_nil]}),
        restore("rng", _TARGET, restored),
    )  # fmt: skip
    whole = _files({"python": [_python()], "numpy": [_numpy()], "torch": [_torch()]})
    yield _case(
        "reseed", "New seeds for more processes, those of the specification's example among them", ["SCF-STATE-009"],
        whole,
        *(
            restore("rng", _TARGET, ok(seeds={"$equal": _seeds(index, *every)}), rule="reseed", index=index, size=3)
            for index in range(3)
        ),
    )  # fmt: skip
    yield _case(
        "reseed-fewer", "New seeds for fewer processes come from the state of index 0", ["SCF-STATE-009"],
        _files({"torch": [_torch(b"first"), _torch(b"second"), _torch(b"third")]}),
        restore("rng", _TARGET, ok(seeds={"torch": _seeds(1, "torch", state=b"first")["torch"]}),
                rule="reseed", index=1, size=2),
    )  # fmt: skip
    yield from _refused(whole)


def _refused(whole: Mapping[str, bytes]) -> Iterator[Case]:
    yield _case(
        "refused-size", "Another number of processes, and no rule for it", ["SCF-STATE-008"], whole,
        restore("rng", _TARGET, mismatch(), index=1, size=3), kind="invalid", sibling="state-rng-reseed",
        fault="The number of processes is another one.",
    )  # fmt: skip
    yield _case(
        "refused-reseed-without-torch", "Without the state that seeds come from nothing can be reseeded",
        ["SCF-STATE-008", "SCF-STATE-009"], _files({"python": [_python()], "numpy": [_numpy()]}),
        restore("rng", _TARGET, mismatch(), rule="reseed", index=1, size=3), kind="invalid",
        sibling="state-rng-reseed", fault="The item has no state of torch.",
    )  # fmt: skip
    bad: tuple[tuple[str, str, str, Part], ...] = (
        ("position", "The position of Python's generator is 625", "python", _python(625)),
        ("position-negative", "The position of Python's generator is 2^32 - 1", "python", _python(2**32 - 1)),
        ("short-state", "The state of Python's generator has 624 numbers", "python", _python(words=623)),
        ("long-state", "The state of Python's generator has 626 numbers", "python", _python(words=625)),
        ("version", "The state of Python's generator has version 2", "python", _python(version=integer(2))),
        ("version-text", "The version of Python's state is a text", "python", _python(version=text("3"))),
        ("gauss", "The number computed ahead is a text", "python", _python(gauss=text("0"))),
        ("dtype", "The state of Python's generator is a tensor of I32", "python", _python(dtype="I32")),
        ("algorithm", "NumPy's algorithm is another one", "numpy", _numpy(algorithm=text("PCG64"))),
        ("numpy-position", "NumPy's position is 625", "numpy", _numpy(position=integer(625))),
        ("numpy-position-negative", "NumPy's position is negative", "numpy", _numpy(position=integer(-1))),
        ("has-gauss", "NumPy's has_gauss is 2", "numpy", _numpy(has_gauss=integer(2))),
        ("numpy-gauss", "NumPy's gauss is an integer", "numpy", _numpy(gauss=integer(0))),
        ("no-map", "The state of Python's generator is a list", "python", lambda _: ["list", []]),
    )  # fmt: skip
    for name, title, generator, part in bad:
        parts: dict[str, list[Part]] = {"python": [_python()], "numpy": [_numpy()]}
        parts[generator] = [part]
        yield _case(
            f"refused-{name}", f"{title}: no generator is changed", ["SCF-STATE-012", "SCF-STATE-001"], _files(parts),
            restore("rng", _TARGET, mismatch()), kind="invalid", sibling="state-rng-restored", fault=f"{title}.",
        )  # fmt: skip
    item = _Item()
    plain = mapping(("python", _python()(item)))
    yield _case(
        "refused-not-indexed", "A state that is not indexed", ["SCF-STATE-001"],
        item_files("rng", plain, item.tensors), restore("rng", _TARGET, mismatch()), kind="invalid",
        sibling="state-rng-restored", fault="The value of python is no indexed node.",
    )  # fmt: skip
    yield _case(
        "refused-axis", "States that are indexed along another axis", ["SCF-STATE-001"],
        _files({"python": [_python()]}, axis="data_parallel"), restore("rng", _TARGET, mismatch()), kind="invalid",
        sibling="state-rng-restored", fault="The axis is not rank.",
    )  # fmt: skip
