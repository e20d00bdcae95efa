"""Which cases a suite has, and with which arms."""

from __future__ import annotations

import os

from benchmarks.harness.arms import ArmSpec, backgrounds, chosen, commits, manifests, objects
from benchmarks.harness.case import Case
from benchmarks.harness.workloads import Layout, Workload, llama, many, one

__all__ = ["SUITES", "cases"]

SUITES = ("quick", "full")

_FEW_OF_DCP = ("DCP 1 thread", "DCP 2 threads, plan cached")
_PEERS = ("torch.save", "safetensors", "DCP*", "torch[s_]*", "Orbax*", "TensorStore*", "ByteCheckpoint")
_FEW = ("torch.save", "safetensors", "DCP [12] thread", "DCP ? threads", "ByteCheckpoint")
_ON_DISK = ("raw *", "pyckpt*", *_PEERS)
_IN_MEMORY = ("raw buffered", "pyckpt", "pyckpt sha256", "pyckpt without digests", *_PEERS)
_RANKS = ("raw *", "pyckpt", "DCP ? thread*", "torch_checkpointing")
_SMALL = ("raw buffered", "pyckpt", *_FEW_OF_DCP, "torch.save", "safetensors", "torch[s_]*", "Orbax", "TensorStore*")
_PART = ("raw buffered", "pyckpt", "torch.save", "safetensors", "DCP 1 thread")
_TINY = ("raw buffered", "pyckpt", "torch.save", "safetensors", "DCP 1 thread")
_WORK = ("memcpy*", "blake3*", "sha256*", "xxh3*")


def cases(suite: str, ranks: int = 4, nbytes: int | None = None, *, store: bool = False) -> list[Case]:
    """The cases of a suite; ``ranks`` for those of several, ``nbytes`` of the model in place of the suite's own.

    With ``store`` those of an object store, too.
    """
    found = (_quick if suite == "quick" else _full)(ranks, nbytes)
    if store:
        found.append(Case("store", llama(nbytes or 500_000_000), objects(), "store"))
    return found


def _full(ranks: int, nbytes: int | None) -> list[Case]:
    model = llama(nbytes or 2_000_000_000)
    return [
        *_limits(model),
        Case("disk", model, _arms(*_ON_DISK)),
        Case("part", model, _arms(*_PART, "TensorStore*"), steps=("save", "part")),
        Case("memory", model, _arms(*_IN_MEMORY), "memory"),
        *_several(model, ranks, _RANKS),
        Case("small", many(20_000, 4096), _arms(*_SMALL), "memory"),
        Case("tiny", many(200_000, 128), _arms(*_TINY), "memory", ("save",)),
        *_overhead((2, 8, 16, 32)),
        _async(model, every=True),
        _commit(1000, 100, peers=True),
        _commit(1000, 1000),
        _commit(10_000, 100),
        _commit(100_000, 10),
        *(_manifest(10**power) for power in range(3, 8)),
        Case("one", one(_large()), _arms("raw direct", "pyckpt", "safetensors", "DCP 1 thread")),
    ]


def _quick(ranks: int, nbytes: int | None) -> list[Case]:
    model = llama(nbytes or 200_000_000)
    return [
        *_limits(model),
        Case("disk", model, _arms("raw *", "pyckpt", "pyckpt direct", "pyckpt without digests", *_FEW)),
        Case("part", model, _arms(*_PART), steps=("save", "part")),
        Case("memory", model, _arms("raw buffered", "pyckpt", "pyckpt without digests", *_FEW), "memory"),
        *_several(model, ranks, ("raw [bd]*", "pyckpt", "DCP [12] thread*")),
        Case("small", many(5_000, 4096), _arms("raw buffered", "pyckpt", *_FEW), "memory"),
        *_overhead((4, 8)),
        _async(model, every=False),
        _commit(100, 100, peers=True),
        _commit(1000, 1000),
        *(_manifest(10**power) for power in (3, 5, 6)),
    ]


def _large() -> int:
    """8 GiB, or less where state, target and a library's copy of it would not fit in memory."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(8 << 30, 1 << (memory // 5).bit_length() - 1)


def _limits(model: Workload) -> list[Case]:
    return [Case("limits", model, _arms(*_WORK), "memory", ("work",))]


def _several(model: Workload, ranks: int, arms: tuple[str, ...]) -> list[Case]:
    """The same ranks save and load; fewer load; all load along another dimension."""
    threads = max(1, 2 * (os.cpu_count() or 1) // ranks)
    every = _arms(*arms, threads=threads)
    rows = Layout(ranks, 0)
    some = tuple(arm for arm in every if not arm.name.startswith("DCP 4"))
    return [
        Case("ranks", model, every, "disk", save=rows, load=rows),
        Case("fewer", model, some, "disk", save=rows, load=Layout(max(1, ranks // 2), 0)),
        Case("columns", model, some, "disk", save=rows, load=Layout(ranks, 1)),
    ]


def _overhead(counts: tuple[int, ...]) -> list[Case]:
    """Tiny tensors on many ranks: what a save costs beside the bytes."""
    tensors = many(256, 4096)
    return [
        Case(
            f"overhead-{count}",
            tensors,
            _arms("raw buffered", "pyckpt", "DCP 1 thread", "DCP 2 threads, plan cached", threads=1),
            "memory",
            save=Layout(count),
            load=Layout(count),
        )
        for count in counts
    ]


def _async(model: Workload, *, every: bool) -> Case:
    return Case("async", model, backgrounds(every=every), steps=("stall", "load", "beside"))


def _commit(writers: int, shards: int, *, peers: bool = False) -> Case:
    title = f"the coordinator of a save by {writers:,} writers with {shards:,} shards each, simulated"
    return Case(
        f"commit-{writers}x{shards}", Workload(title, ()), commits(writers, shards, peers=peers), "memory", ("work",)
    )


def _manifest(shards: int) -> Case:
    title = f"a manifest of {shards:,} shards"
    return Case(f"manifest-{shards}", Workload(title, ()), manifests(shards), "memory", ("work",))


def _arms(*patterns: str, threads: int | None = None) -> tuple[ArmSpec, ...]:
    return chosen(patterns, threads or 2 * (os.cpu_count() or 1))


