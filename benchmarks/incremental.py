"""Saves of a frozen base with small adapters: what is written, referenced and waited for, beside a full save."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

import pyckpt
from benchmarks.timing import Arms, wipe

__all__ = ["Adapted", "incremental", "stored_bytes"]

WIDTH, RANK = 1024, 2


class Adapted(nn.Module):
    """Frozen square layers of 4 MB, each with a trained correction of low rank: 0.4 % of its size."""

    def __init__(self, megabytes: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        layers = range(max(1, megabytes * 1_000_000 // (4 * WIDTH * WIDTH)))
        self.base = nn.ModuleList(nn.Linear(WIDTH, WIDTH, bias=False) for _ in layers).requires_grad_(False)
        self.down = nn.ModuleList(nn.Linear(WIDTH, RANK, bias=False) for _ in layers)
        self.up = nn.ModuleList(nn.Linear(RANK, WIDTH, bias=False) for _ in layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Every layer and its correction, as residuals: the gradient reaches all of them."""
        for base, down, up in zip(self.base, self.down, self.up, strict=True):
            x = x + (base(x) + up(down(x))) / len(self.base)
        return x

    def optimizer(self) -> torch.optim.Optimizer:
        """For what is trained."""
        return torch.optim.AdamW([each for each in self.parameters() if each.requires_grad], lr=0.01)

    def train_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Changes every adapter."""
        optimizer.zero_grad()
        self(torch.randn(4, WIDTH)).square().mean().backward()  # type: ignore[no-untyped-call, unused-ignore]
        optimizer.step()


def stored_bytes(directory: str | os.PathLike[str]) -> int:
    """Sizes of all files below a directory."""
    return sum(path.stat().st_size for path in Path(directory).rglob("*") if path.is_file())


def incremental(directory: str, repetitions: int, megabytes: int = 1000) -> list[tuple[Arms, int]]:
    """Each arm saves after a step of training, the second and third in view of the save before."""
    model = Adapted(megabytes)
    optimizer = model.optimizer()
    number = 0
    reports: dict[str, pyckpt.SaveReport] = {}
    sizes: dict[str, int] = {}
    adapters = {name: each for name, each in model.named_parameters() if each.requires_grad}
    frozen = {name: each for name, each in model.named_parameters() if not each.requires_grad}
    parts = {"adapters": adapters, "optimizer": pyckpt.with_model(optimizer, model)}

    def settle() -> None:
        nonlocal number
        model.train_step(optimizer)
        wipe(f"{directory}/full")
        number += 1

    def save(name: str, store: str, how: Callable[[str], pyckpt.SaveReport]) -> None:
        url = f"{directory}/{store}/{number}"
        reports[name] = how(url)
        sizes[name] = stored_bytes(url)

    def full(url: str) -> pyckpt.SaveReport:
        return pyckpt.save(url, {"model": model, "optimizer": optimizer})

    def compared(url: str) -> pyckpt.SaveReport:
        return pyckpt.save(
            url, {"model": model, "optimizer": optimizer}, options=pyckpt.SaveOptions(reference="newest")
        )

    def carried(url: str) -> pyckpt.SaveReport:
        return pyckpt.save(url, parts, carry={"frozen": "first"})

    wipe(directory)
    settle()
    compared(f"{directory}/compared/first")
    pyckpt.save(f"{directory}/carried/first", {**parts, "frozen": frozen})
    arms = Arms(f"saves of {stored_bytes(directory + '/compared') / 1e6:.0f} MB, of which the adapters change")
    for name, store, how in (
        ("full", "full", full),
        ('reference="newest"', "compared", compared),
        ("carry=, an item for what is frozen", "carried", carried),
    ):
        arms.add(name, lambda name=name, store=store, how=how: save(name, store, how), settle)  # type: ignore[misc]
    arms.run(repetitions)
    for name, report in reports.items():
        part = sizes[name] / sizes["full"]
        arms.notes.append(
            f"{name}: {sizes[name] / 1e6:.2f} MB of files ({part:.2%} of a full save), {report.written / 1e6:.2f} MB "
            f"written, {report.referenced / 1e6:.2f} MB referenced in {report.referenced_shards} shards"
        )
    return [(arms, reports["full"].bytes)]
