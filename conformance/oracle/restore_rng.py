"""Restoring random number generators (section 16.5)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from .indexed import Loading, Mismatch, map_of
from .mpack import Float
from .opening import OpenItem
from .reading import read_region
from .regions import whole
from .tree import Indexed, ListNode, Node, Tensor

_WORDS = 624


def restore_rng(opened: OpenItem, loading: Loading) -> dict[str, int]:
    """The new seeds, none if the stored states were restored; all is checked first (SCF-STATE-012)."""
    generators = _Generators(opened)
    stored = generators.stored()
    if loading.rule == "reseed" and any(len(values.values) != loading.size for values in stored.values()):
        return generators.seeds(stored, loading)
    for name, values in stored.items():
        node = values.values[loading.chosen(len(values.values), name)]
        if node is not None:
            generators.check_content(name, node)
    return {}


class _Generators:
    """The generators of an item of kind `rng`."""

    def __init__(self, opened: OpenItem) -> None:
        self.opened = opened
        self.forms: dict[str, Callable[[str, Node], None]] = {
            "python": self.python,
            "numpy": self.numpy,
            "torch": self.bytes_tensor,
            "accelerator": self.accelerator,
        }

    def stored(self) -> dict[str, Indexed]:
        """The values of each generator that the item has, each of the right form; other keys are not looked at."""
        found = {}
        for name, node in map_of(self.opened.manifest.tree, "the tree").items():
            if not isinstance(name, str) or name not in self.forms:
                continue
            if not isinstance(node, Indexed) or node.axis != "rank":
                raise Mismatch([f"{name} is not indexed by rank"])
            for value in node.values:
                if value is not None:
                    self.forms[name](name, value)
            found[name] = node
        return found

    def tensor(self, name: str, node: Node | None, dtype: str, shape: tuple[int, ...] | None) -> None:
        """A tensor of this dtype and shape; None: of one dimension."""
        if isinstance(node, Tensor):
            row = self.opened.manifest.tensors[node.number]
            if row.dtype.name == dtype and (len(row.shape) == 1 if shape is None else row.shape == shape):
                return
        raise Mismatch([f"{name} is no {dtype} tensor of the shape {shape or 'of one dimension'}"])

    def bytes_tensor(self, name: str, node: Node) -> None:
        self.tensor(name, node, "U8", None)

    def python(self, name: str, node: Node) -> None:
        members = map_of(node, name)
        if not _is_int(members.get("version"), 3, 3):
            raise Mismatch([f"{name}: version is not 3"])
        self.tensor(f"{name} state", members.get("state"), "U32", (_WORDS + 1,))
        if "gauss" not in members or not (members["gauss"] is None or isinstance(members["gauss"], Float)):
            raise Mismatch([f"{name}: gauss is neither nil nor a float"])

    def numpy(self, name: str, node: Node) -> None:
        members = map_of(node, name)
        if members.get("algorithm") != "MT19937":
            raise Mismatch([f"{name}: algorithm is not MT19937"])
        self.tensor(f"{name} key", members.get("key"), "U32", (_WORDS,))
        if not _is_int(members.get("position"), 0, _WORDS):
            raise Mismatch([f"{name}: position is out of range"])
        gauss, has = members.get("gauss"), members.get("has_gauss")
        if not _is_int(has, 0, 1) or not isinstance(gauss, Float):
            raise Mismatch([f"{name}: has_gauss or gauss is of another form"])
        if has == 0 and gauss.bits << 1 & (1 << 64) - 1:
            raise Mismatch([f"{name}: gauss is not 0.0, and has_gauss is 0"])

    def accelerator(self, name: str, node: Node) -> None:
        members = map_of(node, name)
        states = members.get("states")
        if not isinstance(members.get("type"), str) or not isinstance(states, ListNode):
            raise Mismatch([f"{name}: type or states is of another form"])
        for state in states.items:
            self.bytes_tensor(f"{name} states", state)

    def read(self, node: Node | None) -> bytes:
        assert isinstance(node, Tensor), "its form has been checked"
        return read_region(self.opened, node.number, whole(self.opened.manifest.tensors[node.number].shape))

    def check_content(self, name: str, node: Node) -> None:
        """Read the tensors of a state that is to be restored; the position of python is in its last word."""
        if name == "torch":
            self.read(node)
        elif name == "numpy":
            self.read(map_of(node, name)["key"])
        elif name == "python":
            position = int.from_bytes(self.read(map_of(node, name)["state"])[-4:], "little")
            if position > _WORDS:
                raise Mismatch([f"{name}: the position {position} is out of range"])

    def seeds(self, stored: dict[str, Indexed], loading: Loading) -> dict[str, int]:
        """New seeds, the same whenever the same checkpoint is loaded."""
        first = stored["torch"].values[0] if "torch" in stored else None
        if first is None:
            raise Mismatch([f"{name}: there is no torch state to reseed from" for name in stored])
        digest = hashlib.sha256(self.read(first) + loading.index.to_bytes(8, "little")).digest()
        every = {
            "python": int.from_bytes(digest[:8], "little"),
            "numpy": int.from_bytes(digest[8:12], "little"),
            "torch": int.from_bytes(digest[12:20], "little") // 2,
        }
        return {name: seed for name, seed in every.items() if name in stored}


def _is_int(node: Node | None, least: int, most: int) -> bool:
    return isinstance(node, int) and not isinstance(node, bool) and least <= node <= most
