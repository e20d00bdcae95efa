"""Plots of runs, as PNG and SVG: bars against the limit, and scaling with ranks, tensors and bytes."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from benchmarks.harness.results import CaseResult, Run
from benchmarks.harness.tables import Row, limit_of, rows

__all__ = ["draw"]

COLOURS = {"limit": "#9e9e9e", "pyckpt": "#1f6feb", "peer": "#d29922"}
STEPS = ("save", "load", "warm load")
ARMS = ("pyckpt", "safetensors", "torch.save", "DCP 1 thread", "raw buffered", "raw direct")
"""Those that scaling is drawn for."""


def draw(runs: Sequence[Run], directory: str) -> list[str]:
    """Writes all plots that the figures allow; their paths without ending. ImportError without matplotlib."""
    import matplotlib as mpl

    mpl.use("Agg")
    os.makedirs(directory, exist_ok=True)
    every = [case for run in runs for case in run.cases]
    drawn = [case for case in every if any(rows(case, step) for step in STEPS)]
    made = [_keep(_bars(case), directory, f"bars-{case.name}") for case in drawn]
    for name, axis, pick in _AXES:
        figure = _scaling(every, axis, pick)
        if figure is not None:
            made.append(_keep(figure, directory, f"scaling-{name}"))
    manifests = _manifests(every)
    return made if manifests is None else [*made, _keep(manifests, directory, "scaling-shards")]


def _bars(case: CaseResult) -> Any:
    """Throughput of every arm, a panel for each step, with the smallest and largest of all rounds."""
    from matplotlib import pyplot as plt

    steps = [step for step in STEPS if rows(case, step)]
    found = {step: sorted(rows(case, step), key=lambda row: row.seconds) for step in steps}
    height = 1.2 + 0.26 * max(map(len, found.values()))
    figure, panels = plt.subplots(1, len(steps), figsize=(5.2 * len(steps), height), squeeze=False)
    for panel, step in zip(panels[0], steps, strict=True):
        _panel(panel, case, step, found[step])
    figure.suptitle(case.title, fontsize=11)
    figure.tight_layout()
    return figure


def _panel(panel: Any, case: CaseResult, step: str, found: Sequence[Row]) -> None:
    speed = [case.nbytes / row.seconds / 1e9 for row in found]
    spread = [
        [value - case.nbytes / row.most / 1e9 for value, row in zip(speed, found, strict=True)],
        [case.nbytes / row.least / 1e9 - value for value, row in zip(speed, found, strict=True)],
    ]
    at = range(len(found))
    panel.barh(at, speed, xerr=spread, color=[COLOURS[row.kind] for row in found], ecolor="#444444", capsize=2)
    panel.set_yticks(at, [row.name for row in found], fontsize=7)
    panel.invert_yaxis()
    limit = limit_of(case, step)
    if limit is not None:
        fastest = statistics.median(each.seconds for each in limit[1])
        panel.axvline(case.nbytes / fastest / 1e9, color="#9e9e9e", linestyle="--", linewidth=1)
    panel.set_xlabel("GB/s: median, least and most")
    panel.set_title(step, fontsize=9)


_Pick = Callable[[CaseResult], "tuple[str, float]"]
"""What is compared, and how much of what varies a case has."""
_AXES: Sequence[tuple[str, str, _Pick]] = (
    ("ranks", "ranks", lambda case: (f"{case.nbytes} {case.tensors} {case.where}", case.ranks)),
    ("tensors", "tensors", lambda case: (f"{case.ranks} {case.where}", case.tensors)),
    ("bytes", "bytes of the state", lambda case: (f"{case.ranks} {case.where}", case.nbytes)),
)


def _scaling(cases: Sequence[CaseResult], axis: str, pick: _Pick) -> Any:
    """Seconds over what varies, for the largest set of cases that differ in it; None where there is no such set."""
    from matplotlib import pyplot as plt

    groups: dict[str, list[CaseResult]] = {}
    for case in cases:
        if case.ranks == case.load_ranks and case.nbytes:
            groups.setdefault(pick(case)[0], []).append(case)
    groups = {key: group for key, group in groups.items() if len({pick(case)[1] for case in group}) > 1}
    if not groups:
        return None
    group = max(groups.values(), key=lambda each: len({pick(case)[1] for case in each}))
    figure, panels = plt.subplots(1, 2, figsize=(10, 4), squeeze=False)
    for panel, step in zip(panels[0], ("save", "load"), strict=True):
        for name, points in _lines(group, step, pick):
            panel.plot(list(points), list(points.values()), marker="o", label=name, color=f"C{ARMS.index(name)}")
        panel.set(xscale="log", yscale="log", xlabel=axis, ylabel="seconds, median", title=step)
        counts = sorted({pick(case)[1] for case in group})
        panel.set_xticks(counts, [f"{count:,.0f}" for count in counts], fontsize=7)
        panel.set_xticks([], minor=True)
        panel.legend(fontsize=7)
    figure.tight_layout()
    return figure


def _manifests(cases: Sequence[CaseResult]) -> Any:
    """Seconds of each kind of work on a manifest over its shards; None for fewer than two manifests."""
    from matplotlib import pyplot as plt

    found = {
        int(arm.settings["shards"]): rows(case, "work")
        for case in cases
        if case.name.startswith("manifest-")
        for arm in case.arms
    }
    if len(found) < 2:
        return None
    figure, panel = plt.subplots(figsize=(6, 4))
    for name in [row.name for row in next(iter(found.values()))]:
        points = {shards: row.seconds for shards, every in sorted(found.items()) for row in every if row.name == name}
        panel.plot(list(points), list(points.values()), marker="o", label=name)
    panel.set(xscale="log", yscale="log", xlabel="shards", ylabel="seconds, median", title="manifests")
    panel.legend(fontsize=7)
    figure.tight_layout()
    return figure


def _lines(group: Sequence[CaseResult], step: str, pick: _Pick) -> Iterator[tuple[str, Mapping[float, float]]]:
    for arm in ARMS:
        points: dict[float, float] = {}
        for case in group:
            for row in rows(case, step):
                # Of several ways to load, the first.
                if row.name == arm or row.name.startswith(f"{arm}, "):
                    points.setdefault(pick(case)[1], row.seconds)
        if len(points) > 1:
            yield arm, dict(sorted(points.items()))


def _keep(figure: Any, directory: str, name: str) -> str:
    from matplotlib import pyplot as plt

    path = os.path.join(directory, name)
    figure.savefig(f"{path}.png", dpi=110)
    figure.savefig(f"{path}.svg", metadata={"Date": None})
    plt.close(figure)
    return path
