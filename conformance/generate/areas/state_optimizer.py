"""Optimizers: state by parameter, options by group (section 16.2)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...oracle.encode import Tensor
from ..case import Case, Json, ok
from ..drafts_c import made
from ..requests import Node, integer, mapping, real, text
from .state_items import item_files, mismatch, restore, restore_case

__all__ = ["cases"]

_HALF, _QUARTER = real(0x3FE0000000000000), real(0x3FD0000000000000)
_FIELDS = ("step", "exp_avg", "exp_avg_sq")


def _tensors(*names: str) -> list[Tensor]:
    found = []
    for seed, name in enumerate(names):
        for offset, field in enumerate(_FIELDS):
            shape = () if field == "step" else (2,)
            data = made("x", shape, "F32", 10 * seed + offset).data
            bits = b"\x00\x00\x80\x3f" if field == "step" else bytes(each & 0x3F for each in data)
            found.append(Tensor(f"state/{name}/{field}", "F32", shape, bits))
    return found


def _state(*names: str) -> Node:
    return mapping(*(
        (name, mapping(*((field, ["tensor", 3 * number + at]) for at, field in enumerate(_FIELDS))))
        for number, name in enumerate(names)
    ))  # fmt: skip


def _options(rate: Node) -> Node:
    return mapping(
        ("lr", rate), ("betas", ["tuple", [_HALF, _QUARTER]]), ("eps", _QUARTER), ("weight_decay", real(0)),
        ("amsgrad", ["bool", False]), ("maximize", ["bool", False]),
    )  # fmt: skip


def _group(params: Sequence[str], rate: Node = _HALF, **more: Node) -> Node:
    return mapping(("params", ["set", sorted(params)]), ("options", _options(rate)), *more.items())


def _tree(state: Node, groups: Mapping[str, Node], **more: Node) -> Node:
    return mapping(("state", state), ("groups", mapping(*groups.items())), *more.items())


def _target(*groups: tuple[str, Sequence[str]], stateful: Sequence[str] = ()) -> Json:
    rows = [{"id": name, "params": list(params)} for name, params in groups]
    return {"kind": "optimizer", "groups": rows, "stateful": list(stateful)}


def _loaded(stateful: Sequence[str], *groups: tuple[Sequence[str], Node]) -> Json:
    rows = [{"params": list(params), "options": {"lr": rate, "eps": _QUARTER}} for params, rate in groups]
    return ok(stateful=sorted(stateful), groups=rows)


def _case(name: str, title: str, requirements: list[str], tree: Node, names: Sequence[str], *steps: Json,
          **more: Any) -> Case:  # fmt: skip
    files = item_files("optimizer", tree, _tensors(*names))
    return restore_case(f"optimizer-{name}", title, requirements, "optimizer", files, *steps, **more)


def cases() -> Iterator[Case]:
    """Optimizers that fit, and such that do not."""
    both = ("b", "w")
    plain = _tree(_state(*both), {"0": _group(both)})
    yield _case(
        "plain", "State of two parameters in one group", ["SCF-STATE-007", "SCF-STATE-001"], plain, both,
        restore("optimizer", _target(("0", both)), _loaded(both, (both, _HALF))),
    )  # fmt: skip
    yield _case(
        "absent-state", "A parameter that had no state gets none", ["SCF-STATE-005"],
        _tree(_state("w"), {"0": _group(both)}), ["w"],
        restore("optimizer", _target(("0", both)), _loaded(["w"], (both, _HALF))),
    )  # fmt: skip
    yield _case(
        "absent-state-removed", "State that the target holds from before is removed where the checkpoint has none",
        ["SCF-STATE-005"], _tree(_state("w"), {"0": _group(both)}), ["w"],
        restore("optimizer", _target(("0", both), stateful=both), _loaded(["w"], (both, _HALF))),
    )  # fmt: skip
    yield _case(
        "no-state", "No parameter had state: no step had been made", ["SCF-STATE-005"],
        _tree(mapping(), {"0": _group(both)}), [],
        restore("optimizer", _target(("0", both), stateful=both), _loaded([], (both, _HALF))),
    )  # fmt: skip
    yield from _groups()
    yield from _unknown(both)
    yield from _refused()
    yield from _forms()


def _groups() -> Iterator[Case]:
    names = ("a", "b", "c")
    two = _tree(_state(*names), {"decay": _group(("a", "c"), _HALF), "rest": _group(("b",), _QUARTER)})
    for name, title, groups in (
        ("by-params", "Groups are matched by their parameters, in whatever order they stand",
         (("rest", ("b",)), ("decay", ("a", "c")))),
        ("other-ids", "Ids of groups are a hint: other ones do no harm", (("0", ("a", "c")), ("1", ("b",)))),
        ("swapped-ids", "Nor do ids that are exchanged", (("decay", ("b",)), ("rest", ("a", "c")))),
        ("order-of-params", "The order of parameters within a group is the target's",
         (("decay", ("c", "a")), ("rest", ("b",)))),
    ):  # fmt: skip
        rates = [(params, _QUARTER if "b" in params else _HALF) for _, params in groups]
        yield _case(
            f"groups-{name}", title, ["SCF-STATE-007"], two, names,
            restore("optimizer", _target(*groups), _loaded(names, *rates)),
        )  # fmt: skip
    one = _tree(_state(*names), {"all": _group(names)})
    yield _case(
        "refused-spread", "A group of the checkpoint is spread over two groups of the target", ["SCF-STATE-007"],
        one, names, restore("optimizer", _target(("all", ("a", "c")), ("new", ("b",))), mismatch("all")),
        kind="invalid", sibling="state-optimizer-plain",
        fault="The parameters of one stored group are in two groups of the target.",
    )  # fmt: skip
    yield _case(
        "refused-joined", "Two groups of the checkpoint are one group of the target", ["SCF-STATE-007"], two, names,
        restore("optimizer", _target(("decay", names)), mismatch()), kind="invalid",
        sibling="state-optimizer-groups-by-params", fault="One group of the target has parameters of two groups.",
    )  # fmt: skip


def _unknown(both: Sequence[str]) -> Iterator[Case]:
    loaded = restore("optimizer", _target(("0", both)), _loaded(both, (both, _HALF)))
    yield _case(
        "unknown-top", "A key beside state and groups is ignored", ["SCF-STATE-002"],
        _tree(_state(*both), {"0": _group(both)}, **{"x-acme": text("anything")}), both, loaded,
    )  # fmt: skip
    yield _case(
        "unknown-in-group", "A key beside params and options is ignored", ["SCF-STATE-002"],
        _tree(_state(*both), {"0": _group(both, **{"x-acme": ["list", [integer(1)]]})}), both, loaded,
    )  # fmt: skip


def _refused() -> Iterator[Case]:
    both = ("b", "w")
    rows: tuple[tuple[str, str, list[str], Node, Sequence[str], tuple[str, ...]], ...] = (
        ("two-groups", "A parameter is in two groups", ["SCF-STATE-006"],
         _tree(_state(*both), {"0": _group(both), "1": _group(("w",), _QUARTER)}), both, ("w",)),
        ("no-group", "A parameter has state and is in no group", ["SCF-STATE-006"],
         _tree(_state(*both), {"0": _group(("b",))}), both, ("w",)),
        ("missing", "A parameter of the target is not in the checkpoint", ["SCF-READ-011", "SCF-STATE-007"],
         _tree(_state("b"), {"0": _group(("b",))}), ["b"], ("w",)),
        ("unexpected", "A parameter of the checkpoint is not in the target", ["SCF-READ-011"],
         _tree(_state("b", "w", "x"), {"0": _group(("b", "w", "x"))}), ["b", "w", "x"], ("x",)),
    )  # fmt: skip
    for name, title, requirements, tree, names, about in rows:
        groups = {"two-groups": (("0", ("b",)), ("1", ("w",))), "no-group": (("0", ("b",)),)}.get(name, (("0", both),))
        yield _case(
            f"refused-{name}", title, requirements, tree, names,
            restore("optimizer", _target(*groups), mismatch(*about)), kind="invalid", sibling="state-optimizer-plain",
            fault=f"{title}.",
        )  # fmt: skip


def _forms() -> Iterator[Case]:
    """Trees that are no optimizer's (SCF-STATE-001)."""
    both = ("b", "w")
    state, group = _state(*both), _group(both)
    rows: tuple[tuple[str, str, Node], ...] = (
        ("no-groups", "There is no key groups", mapping(("state", state))),
        ("no-state-key", "There is no key state", mapping(("groups", mapping(("0", group))))),
        ("state-list", "State is a list", mapping(("state", ["list", []]), ("groups", mapping(("0", group))))),
        ("groups-list", "Groups are a list", mapping(("state", state), ("groups", ["list", [group]]))),
        ("group-list", "A group is a list", _tree(state, {"0": ["list", [["set", list(both)]]]})),
        ("params-list", "The parameters of a group are a list",
         _tree(state, {"0": mapping(("params", ["list", [text("b"), text("w")]]), ("options", _options(_HALF)))})),
        ("params-integers", "The parameters of a group are numbers",
         _tree(state, {"0": mapping(("params", ["set", [{"int": "0"}, {"int": "1"}]]), ("options", _options(_HALF)))})),
        ("no-params", "A group has no parameters' key", _tree(state, {"0": mapping(("options", _options(_HALF)))})),
        ("no-options", "A group has no options", _tree(state, {"0": mapping(("params", ["set", list(both)]))})),
        ("options-list", "The options of a group are a list",
         _tree(state, {"0": mapping(("params", ["set", list(both)]), ("options", ["list", []]))})),
        ("state-of-name", "The state of a parameter is no map",
         _tree(mapping(("w", ["list", []])), {"0": group})),
        ("state-by-position", "State is by position",
         _tree(mapping((0, _state(*both)[1][0][1]), (1, _state(*both)[1][1][1])), {"0": group})),
    )  # fmt: skip
    for name, title, tree in rows:
        used = both if "tensor" in str(tree) else ()
        yield _case(
            f"form-{name}", title, ["SCF-STATE-001"], tree, used,
            restore("optimizer", _target(("0", both)), mismatch()), kind="invalid", sibling="state-optimizer-plain",
            fault=f"{title}.",
        )  # fmt: skip
