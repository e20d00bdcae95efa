"""Loading an optimizer (section 16.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .indexed import Loading, Mismatch, map_of, text_map_of
from .opening import OpenItem
from .reading import read_region
from .regions import whole
from .tree import Node, SetNode, tensor_leaves


@dataclass(frozen=True)
class Group:
    """A parameter group, of the checkpoint or of the target; `options` is empty in a target before the load."""

    id: str
    params: tuple[str, ...]
    options: Mapping[str, Node]


@dataclass(frozen=True)
class Optimizer:
    """An optimizer: its groups, and the state of the parameters that have any."""

    groups: tuple[Group, ...]
    state: Mapping[str, Mapping[str, Node]]


def stored_optimizer(tree: Node) -> Optimizer:
    """What an optimizer's tree says; another form is refused, other keys are not looked at (SCF-STATE-002)."""
    top = map_of(tree, "the tree")
    for key in ("state", "groups"):
        if key not in top:
            raise Mismatch([f"the key {key} is absent"])
    state = {name: text_map_of(node, f"state of {name}") for name, node in text_map_of(top["state"], "state").items()}
    groups = tuple(_group(name, node) for name, node in text_map_of(top["groups"], "groups").items())
    _check_members(groups, state)
    return Optimizer(groups, state)


def _group(name: str, node: Node) -> Group:
    members = map_of(node, f"group {name}")
    params = members.get("params")
    if not isinstance(params, SetNode):
        raise Mismatch([f"group {name}: params is no set"])
    fqns = tuple(element for element in params.elements if isinstance(element, str))
    if len(fqns) != len(params.elements):
        raise Mismatch([f"group {name}: params are no names"])
    if "options" not in members:
        raise Mismatch([f"group {name}: options are absent"])
    return Group(name, fqns, text_map_of(members["options"], f"options of group {name}"))


def _check_members(groups: Sequence[Group], state: Mapping[str, object]) -> None:
    """Each parameter is in one group, and what has state is in one (SCF-STATE-006)."""
    every = [name for group in groups for name in group.params]
    wrong = [f"{name} is in two groups" for name in sorted({name for name in every if every.count(name) > 1})]
    wrong += [f"{name} has state and is in no group" for name in state if name not in every]
    if wrong:
        raise Mismatch(wrong)


def load_optimizer(opened: OpenItem, target: Sequence[Group], loading: Loading) -> Optimizer:
    """The target after the load: groups in its own order, state where the checkpoint has it (SCF-STATE-005)."""
    stored = stored_optimizer(opened.manifest.tree)
    _check_names(stored, target)
    sources = _sources(stored, target)
    state = {
        name: {key: loading.resolve(node, f"{name}/{key}") for key, node in values.items()}
        for name, values in stored.state.items()
    }
    for values in state.values():
        for node in values.values():
            for _, number in tensor_leaves(node):
                read_region(opened, number, whole(opened.manifest.tensors[number].shape))
    groups = []
    for place, group in enumerate(target):
        options = sources[place].options if place in sources else {}
        found = {name: loading.resolve(node, f"group {group.id}/{name}") for name, node in options.items()}
        groups.append(Group(group.id, group.params, found))
    return Optimizer(tuple(groups), state)


def _check_names(stored: Optimizer, target: Sequence[Group]) -> None:
    saved = {name for group in stored.groups for name in group.params}
    there = {name for group in target for name in group.params}
    wrong = [f"missing in the target: {name}" for name in sorted(saved - there)]
    wrong += [f"missing in the checkpoint: {name}" for name in sorted(there - saved)]
    if wrong:
        raise Mismatch(wrong)


def _sources(stored: Optimizer, target: Sequence[Group]) -> dict[int, Group]:
    """The stored group of each group of the target, matched by parameters (SCF-STATE-007); ids are a hint."""
    place_of = {name: place for place, group in enumerate(target) for name in group.params}
    found: dict[int, Group] = {}
    wrong = []
    for group in stored.groups:
        places = {place_of[name] for name in group.params}
        if not places:
            places = {place for place, other in enumerate(target) if not other.params and other.id == group.id}
        if len(places) > 1:
            names = ", ".join(target[place].id for place in sorted(places))
            wrong.append(f"group {group.id} is spread over the groups {names}")
        for place in places:
            other = found.setdefault(place, group)
            if other is not group:
                wrong.append(f"group {target[place].id} of the target has parameters of {other.id} and {group.id}")
    if wrong:
        raise Mismatch(wrong)
    return found
