"""The state of the random number generators of this rank, as typed tensors; nothing is pickled."""

from __future__ import annotations

import functools
import hashlib
import random
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from pyckpt.errors import StateMismatch, UnsupportedState
from pyckpt.format.tree import Indexed, Node, Path, path_text
from pyckpt.torch.filling import Filling
from pyckpt.torch.per_rank import OnResize, PerRank, pick
from pyckpt.torch.walk import Walk

__all__ = ["RNG", "collect_rng", "restore_rng", "rng_filler", "rng_node", "rng_state"]

_MEMBERS = ("python", "numpy", "torch", "accelerator")


@dataclass(frozen=True, slots=True)
class RNG:
    """Stands for the random state of this process, to save it and to load it: ``{"rng": pyckpt.RNG()}``.

    Python's ``random``, numpy's legacy generator, torch on the CPU and on every accelerator of this rank; one state
    for each index along ``axis``.
    """

    axis: str = "rank"
    index: int | None = None
    size: int | None = None
    on_resize: OnResize = "error"
    """With another size on load: ``error``, ``nearest`` (the state at the same relative position) or ``reseed`` (new
    seeds from the saved state of index 0 and this index)."""


def rng_state(
    axis: str = "rank", index: int | None = None, size: int | None = None, on_resize: OnResize = "error"
) -> RNG:
    """The random state of this process as a value of the state."""
    return RNG(axis, index, size, on_resize)


def collect_rng() -> dict[str, Any]:
    """The state of every generator now, as numbers and tensors that share no memory with them."""
    version, words, gauss = random.getstate()
    out: dict[str, Any] = {
        "python": {
            "version": version,
            "state": torch.tensor(words, dtype=torch.int64).to(torch.uint32),
            "gauss": gauss,
        },
        "torch": torch.get_rng_state().clone(),
    }
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)  # noqa: NPY002
    if name != "MT19937":
        raise UnsupportedState(
            "state.unsupported",
            f"numpy's global bit generator is {name}, not MT19937",
            key="rng/numpy",
            hint="keep numpy.random.Generator objects' bit_generator.state in the state yourself",
        )
    out["numpy"] = {
        "algorithm": name,
        "key": torch.from_numpy(np.array(keys, dtype=np.uint32)),
        "position": int(position),
        "has_gauss": int(has_gauss),
        "gauss": float(cached),
    }
    kind, device = _accelerator()
    if device is not None:
        states = [device.get_rng_state(i).cpu().clone() for i in range(device.device_count())]
        out["accelerator"] = {"type": kind, "states": states}
    return out


def restore_rng(state: Mapping[str, Any]) -> None:
    """Sets every generator that ``state`` has a state for. ``StateMismatch`` if one doesn't fit; then none is set."""
    steps: list[Callable[[], object]] = []
    # None: the process that saved had no such generator.
    state = {member: value for member, value in state.items() if value is not None}
    try:
        _check_numbers(state)
        if "python" in state:
            python = state["python"]
            words = tuple(int(word) for word in python["state"].tolist())
            full = (python["version"], words, python["gauss"])
            random.Random().setstate(full)  # noqa: S311
            steps.append(lambda: random.setstate(full))
        if "numpy" in state:
            numpy = state["numpy"]
            legacy = (
                str(numpy["algorithm"]), numpy["key"].numpy(), numpy["position"], numpy["has_gauss"], numpy["gauss"],
            )
            np.random.RandomState().set_state(legacy)
            steps.append(lambda: np.random.set_state(legacy))  # noqa: NPY002
        if "torch" in state:
            cpu = state["torch"]
            torch.Generator().set_state(cpu)
            steps.append(lambda: torch.set_rng_state(cpu))
        if "accelerator" in state:
            steps += _accelerator_steps(state["accelerator"])
    except StateMismatch:
        raise
    except Exception as error:  # a stored state may be anything at all
        raise StateMismatch("state.mismatch", f"not a random state: {error}", key="rng") from error
    for step in steps:
        step()


def _check_numbers(state: Mapping[str, Any]) -> None:
    """Holds numbers against the ranges of section 16.5 of the specification; generators take some that lie outside."""
    if (python := state.get("python")) is not None:
        words, gauss = python["state"], python["gauss"]
        _demand(type(python["version"]) is int and python["version"] == 3, "python/version", python["version"])
        _demand(words.dtype == torch.uint32 and words.shape == (625,), "python/state", words)
        _demand(int(words[-1]) <= 624, "python/state, the position", int(words[-1]))
        _demand(gauss is None or type(gauss) is float, "python/gauss", gauss)
    if (numpy := state.get("numpy")) is not None:
        key, position, gauss = numpy["key"], numpy["position"], numpy["gauss"]
        _demand(numpy["algorithm"] == "MT19937", "numpy/algorithm", numpy["algorithm"])
        _demand(key.dtype == torch.uint32 and key.shape == (624,), "numpy/key", key)
        _demand(type(position) is int and 0 <= position <= 624, "numpy/position", position)
        _demand(type(numpy["has_gauss"]) is int and numpy["has_gauss"] in (0, 1), "numpy/has_gauss", numpy["has_gauss"])
        _demand(type(gauss) is float and (numpy["has_gauss"] == 1 or gauss == 0.0), "numpy/gauss", gauss)


def _demand(holds: bool, where: str, found: object) -> None:
    if not holds:
        raise StateMismatch("state.mismatch", f"not a state of this generator: {found!r:.80}", key=f"rng/{where}")


def _accelerator_steps(stored: Mapping[str, Any]) -> list[Callable[[], object]]:
    kind, device = _accelerator()
    states = list(stored["states"])
    if device is None or kind != stored["type"]:
        # A run that moved to another kind of device has no generator that this state could go to.
        return []
    if len(states) != device.device_count():
        raise StateMismatch(
            "state.mismatch",
            f"random states of {len(states)} {kind} devices, this rank sees {device.device_count()}",
            key="rng/accelerator",
            hint="give every rank as many devices as when it saved, or use on_resize='reseed'",
        )
    return [functools.partial(device.set_rng_state, state, i) for i, state in enumerate(states)]


def _accelerator() -> tuple[str, Any]:
    if not hasattr(torch, "accelerator") or not torch.accelerator.is_available():
        return "", None
    current = torch.accelerator.current_accelerator()
    if current is None:
        return "", None
    module = torch.get_device_module(current.type)
    if not all(hasattr(module, name) for name in ("get_rng_state", "set_rng_state", "device_count")):
        return "", None
    return current.type, module


def reseed(state: torch.Tensor, index: int, members: Collection[str] = _MEMBERS) -> None:
    """Seeds generators from SHA-256 over a torch CPU state and an index (section 16.5 of the specification)."""
    seed = hashlib.sha256(state.numpy().tobytes() + index.to_bytes(8, "little")).digest()
    if "python" in members:
        random.seed(int.from_bytes(seed[:8], "little"))
    if "numpy" in members:
        np.random.seed(int.from_bytes(seed[8:12], "little"))  # noqa: NPY002
    torch.manual_seed(int.from_bytes(seed[12:20], "little") >> 1)


def rng_node(walk: Walk, rng: RNG, path: Path = ()) -> dict[str | int, Node]:
    """Generator -> states by index; torch's device states too."""
    index, size = PerRank(None, rng.axis, rng.index, rng.size).coordinate(walk.rank, walk.world_size, walk.key(path))
    inner = walk.by_itself()
    return {
        name: Indexed(rng.axis, size, {index: walk.node(inner, value, (*path, name, index))})
        for name, value in collect_rng().items()
    }


def rng_filler(fill: Filling, node: Node, rng: RNG, path: Path) -> Callable[[], RNG]:
    """Plans the reads of this index's states; what it returns sets them."""
    key = fill.key(path)
    index, size = PerRank(None, rng.axis, rng.index, rng.size).coordinate(fill.rank, fill.world_size, key)
    if not isinstance(node, Mapping) or not all(isinstance(node.get(m), Indexed) for m in _MEMBERS if m in node):
        fill.differs(path, "not random state saved by pyckpt.RNG()")
        return lambda: rng
    stored = {member: node[member] for member in _MEMBERS if member in node}
    wanted = fill.resize_rule(rng.on_resize)
    if wanted == "reseed" and "torch" in stored and stored["torch"].size != size:
        first = fill.fresh(stored["torch"].values.get(0), (*path, "torch", 0))
        if isinstance(first, torch.Tensor):
            return _then(lambda: reseed(first, index, stored), rng)
    values = {}
    for member, indexed in stored.items():
        rule: OnResize = "error" if wanted == "reseed" else wanted
        value, finding = pick(indexed, index, size, rule, path_text((*path, member)), axis=rng.axis)
        if finding is not None:
            fill.bound.findings.append(finding)
        else:
            values[member] = fill.fresh(value, (*path, member, index))
    return _then(lambda: restore_rng(values), rng)


def _then(step: Callable[[], None], result: RNG) -> Callable[[], RNG]:
    def finish() -> RNG:
        step()
        return result

    return finish
