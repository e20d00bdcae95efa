"""Saves and loads of one process: many small tensors, few large ones, a cold load."""

from __future__ import annotations

import os
from functools import partial

import torch
import torch.distributed.checkpoint as dcp
from safetensors.torch import load_file, save_file
from torch.distributed.checkpoint import FileSystemReader, FileSystemWriter

import pyckpt
from benchmarks.state import llama_state, nbytes, small_state
from benchmarks.timing import Arms, drop_caches, fsync_tree, wipe

__all__ = ["big", "load", "small"]


def small(directory: str, repetitions: int) -> list[tuple[Arms, int]]:
    """20,000 tensors of 4 KiB: all cost is per tensor."""
    state = small_state()
    target = {name: torch.empty_like(tensor) for name, tensor in state.items()}

    def into(name: str) -> dict[str, torch.Tensor]:
        del name
        return target

    save = Arms("save 20,000 tensors of 4 KiB")
    save.add("DCP", lambda: dcp.save(state, storage_writer=FileSystemWriter(f"{directory}/dcp"), no_dist=True))
    save.add("torch.save", lambda: torch.save(state, f"{directory}/pt"))
    save.add("safetensors", lambda: save_file(state, f"{directory}/st"))
    save.add(
        "pyckpt",
        lambda: pyckpt.save(f"{directory}/pyckpt/step", {"model": state}) and None,
        lambda: wipe(f"{directory}/pyckpt"),
    )
    load = Arms("load 20,000 tensors of 4 KiB into allocated tensors")
    load.add("DCP", lambda: dcp.load(target, storage_reader=FileSystemReader(f"{directory}/dcp"), no_dist=True))
    load.add("torch.load + copy_", lambda: _copy(torch.load(f"{directory}/pt", weights_only=True), target))
    load.add("safetensors + copy_", lambda: _copy(load_file(f"{directory}/st"), target))
    load.add("pyckpt", lambda: pyckpt.load(f"{directory}/pyckpt/step", into={"model": into("model")}) and None)
    wipe(directory)
    os.makedirs(directory, exist_ok=True)
    save.run(repetitions)
    load.run(repetitions)
    _check(state, target)
    return [(save, nbytes(state)), (load, nbytes(state))]


def big(directory: str, repetitions: int) -> list[tuple[Arms, int]]:
    """2 GB in 228 tensors, durable: written and synced."""
    state = llama_state()
    arms = Arms("save 2 GB in 228 tensors, durable")

    def reset() -> None:
        wipe(directory)
        os.makedirs(directory)

    def safetensors_fsync() -> None:
        save_file(state, f"{directory}/st")
        fsync_tree(f"{directory}/st")

    def torch_fsync() -> None:
        torch.save(state, f"{directory}/pt")
        fsync_tree(f"{directory}/pt")

    arms.add("safetensors + fsync", safetensors_fsync, reset)
    arms.add("torch.save + fsync", torch_fsync, reset)
    for threads in (1, 2):
        arms.add(
            f"DCP {threads} threads (syncs)",
            lambda threads=threads: dcp.save(
                state, storage_writer=FileSystemWriter(f"{directory}/dcp", thread_count=threads), no_dist=True
            ),
            reset,
        )
    arms.add("pyckpt auto, blake3", partial(_save, f"{directory}/run/step", state, pyckpt.SaveOptions()), reset)
    for mode in ("writeback", "direct", "buffered"):
        for digest in ("blake3", "sha256"):
            if digest == "sha256" and mode != "direct":
                continue
            options = pyckpt.SaveOptions(io=mode, digest=digest)
            arms.add(f"pyckpt {mode}, {digest}", partial(_save, f"{directory}/run/step", state, options), reset)
    arms.run(repetitions)
    return [(arms, nbytes(state))]


def load(directory: str, repetitions: int) -> list[tuple[Arms, int]]:
    """2 GB in 228 tensors, cold, into allocated tensors."""
    state = llama_state()
    target = {name: torch.zeros_like(tensor) for name, tensor in state.items()}
    wipe(directory)
    os.makedirs(directory)
    save_file(state, f"{directory}/st")
    dcp.save(state, storage_writer=FileSystemWriter(f"{directory}/dcp"), no_dist=True)
    pyckpt.save(f"{directory}/run/step", {"model": state})
    arms = Arms("load 2 GB in 228 tensors, cold, into allocated tensors")

    def cold() -> None:
        drop_caches(directory)

    arms.add("safetensors + copy_", lambda: _copy(load_file(f"{directory}/st"), target), cold)
    arms.add(
        "DCP", lambda: dcp.load(target, storage_reader=FileSystemReader(f"{directory}/dcp"), no_dist=True), cold
    )
    for verify in (True, False):
        options = pyckpt.LoadOptions(verify=verify)
        arms.add(
            f"pyckpt, digests {'checked' if verify else 'not checked'}",
            lambda options=options: pyckpt.load(f"{directory}/run/step", into={"model": target}, options=options)
            and None,
            cold,
        )
    arms.run(repetitions)
    _check(state, target)
    return [(arms, nbytes(state))]


def _save(url: str, state: dict[str, torch.Tensor], options: pyckpt.SaveOptions) -> None:
    pyckpt.save(url, {"model": state}, options=options)


def _copy(loaded: dict[str, torch.Tensor], target: dict[str, torch.Tensor]) -> None:
    for name, tensor in target.items():
        tensor.copy_(loaded[name])


def _check(state: dict[str, torch.Tensor], target: dict[str, torch.Tensor]) -> None:
    for name, tensor in state.items():
        if not torch.equal(tensor, target[name]):
            raise SystemExit(f"{name} was not loaded as it was saved")
