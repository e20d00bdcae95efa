"""The arms: a class and its settings for each name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from importlib import import_module
from typing import Any

__all__ = ["ArmSpec", "backgrounds", "chosen", "commits", "load_class", "manifests", "objects"]

_HOME = "benchmarks.harness.arms"


@dataclass(frozen=True, slots=True)
class ArmSpec:
    """One arm by name; the class is imported in the arm's own process."""

    name: str
    target: str = ""
    """``module:Class``."""
    options: dict[str, Any] = field(default_factory=dict)
    command: str = ""
    """Instead of a class: what a shell runs, see benchmarks/README.md."""


def load_class(target: str) -> Any:
    """The class that ``module:Class`` names. Raises ImportError."""
    module, _, name = target.partition(":")
    try:
        return getattr(import_module(module), name)
    except AttributeError as error:
        raise ImportError(f"{module} has no {name!r}") from error


def _arm(name: str, target: str, **options: Any) -> ArmSpec:
    return ArmSpec(name, f"{_HOME}.{target}", options)


def _limits(threads: int) -> list[ArmSpec]:
    raw = [
        _arm(f"raw {mode}", "limits:RawFile", mode=mode, threads=threads)
        for mode in ("direct", "writeback", "buffered")
    ]
    copies = [
        _arm(f"memcpy, {pages} pages, {count} threads", "limits:Memcpy", pages=pages, threads=count)
        for pages in ("warm", "fresh")
        for count in (1, 2)
    ]
    digests = [
        _arm(f"{digest}, {count} threads", "limits:Digest", digest=digest, threads=count)
        for digest in ("blake3", "sha256", "xxh3-128")
        for count in (1, 2)
    ]
    return [*raw, *copies, *digests]


def _ours() -> list[ArmSpec]:
    target = "ours:Pyckpt"
    return [
        _arm("pyckpt", target, loads="all"),
        _arm("pyckpt direct", target, io="direct"),
        _arm("pyckpt writeback", target, io="writeback"),
        _arm("pyckpt buffered", target, io="buffered"),
        _arm("pyckpt sha256", target, digest="sha256", loads="one"),
        _arm("pyckpt without digests", target, digests=False),
        _arm("pyckpt blocks of 64 KiB", target, block_bytes=64 << 10, loads="one"),
        _arm("pyckpt blocks of 16 MiB", target, block_bytes=16 << 20, loads="one"),
        _arm("pyckpt zstd", target, codec="zstd", loads="one"),
        _arm("pyckpt planes", target, codec="planes", loads="one"),
    ]


def _peers() -> list[ArmSpec]:
    return [
        _arm("torch.save", "torch_files:TorchSave"),
        _arm("safetensors", "torch_files:SafeTensors"),
        _arm("DCP 1 thread", "dcp:Dcp", threads=1, loads=True),
        _arm("DCP 2 threads", "dcp:Dcp", threads=2),
        _arm("DCP 4 threads", "dcp:Dcp", threads=4),
        _arm("DCP 2 threads, plan cached", "dcp:Dcp", threads=2, cached=True),
        _arm("torchsnapshot", "torch_libraries:TorchSnapshot"),
        # Its direct IO, the default, fails on files whose size is no multiple of a page.
        _arm("torch_checkpointing", "torch_libraries:TorchCheckpointing", direct_io=False),
        _arm("Orbax", "array_stores:Orbax", compression=True),
        _arm("Orbax, not compressed", "array_stores:Orbax", compression=False),
        _arm("TensorStore zarr3", "array_stores:TensorStore"),
        _arm("ByteCheckpoint", "torch_libraries:ByteCheckpoint"),
    ]


def chosen(patterns: Sequence[str], threads: int = 4) -> tuple[ArmSpec, ...]:
    """All arms whose names match one of the patterns, in the order of the registry."""
    known = [*_limits(threads), *_ours(), *_peers()]
    return tuple(arm for arm in known if any(fnmatchcase(arm.name, pattern) for pattern in patterns))


def commits(writers: int, shards: int, *, peers: bool) -> tuple[ArmSpec, ...]:
    """The coordinator's work for so many writers with so many shards each; DCP's is only bearable for few."""
    ours = _arm("pyckpt", "metadata:PyckptCommit", writers=writers, shards=shards)
    return (ours, _arm("DCP", "metadata:DcpCommit", writers=writers, shards=shards)) if peers else (ours,)


def manifests(shards: int) -> tuple[ArmSpec, ...]:
    """Work on a manifest of so many shards."""
    return (_arm("pyckpt", "metadata:PyckptManifest", shards=shards),)


def backgrounds(*, every: bool) -> tuple[ArmSpec, ...]:
    """Saves in the background, and training without them."""
    few = (
        _arm("training alone", "asynchronous:TrainingAlone"),
        _arm("pyckpt", "asynchronous:PyckptAsync", loads="one"),
        _arm("DCP, thread", "asynchronous:DcpAsync", threads=1, loads=True),
        _arm("DCP, thread, stager reused", "asynchronous:DcpAsync", threads=1, stager=True, loads=True),
    )
    more = (
        _arm("DCP, process", "asynchronous:DcpAsync", threads=1, process=True, loads=True),
        _arm("torchsnapshot", "asynchronous:TorchSnapshotAsync"),
    )
    return (*few, *more) if every else few


def objects() -> tuple[ArmSpec, ...]:
    """Arms of an object store."""
    return (
        _arm("raw objects", "object_store:RawObjects", threads=8),
        _arm("pyckpt", "ours:Pyckpt", loads="one"),
        _arm("DCP 2 threads, fsspec", "object_store:DcpFsspec", threads=2),
        _arm("torch.save, fsspec", "object_store:FsspecFile", format="torch"),
        _arm("safetensors, fsspec", "object_store:FsspecFile", format="safetensors"),
    )
