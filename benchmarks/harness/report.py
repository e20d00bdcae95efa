"""Runs as Markdown: what machine, a table for each case and step, who was absent and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from benchmarks.harness.results import CaseResult, Ratio, Run
from benchmarks.harness.tables import Row, limit_of, rows, settings

__all__ = ["markdown"]

_TITLES = {
    "save": "Save",
    "load": "Load",
    "part": "Load of one tensor from the middle",
    "warm load": "Load, warm page cache",
    "stall": "Call of a save in the background",
    "beside": "A training loop with saves in the background",
    "work": "Work",
}
_PARTIAL = ("part", "stall", "beside")
"""Steps whose seconds are not those of moving the whole state."""
HEADINGS = (
    "arm", "median s", "min", "max", "GB/s", "of the limit", "pyckpt is x as fast", "peak MiB", "CPU s", "read MB",
    "written MB",
)  # fmt: skip


def markdown(runs: Sequence[Run]) -> str:
    """All runs, one after the other."""
    return "\n".join(line for run in runs for line in _run(run))


def _run(run: Run) -> Iterator[str]:
    yield f"## Suite {run.suite}, {run.began}"
    yield ""
    yield from _machine(run)
    for case in run.cases:
        yield f"### {case.title}"
        yield ""
        size = f"{case.nbytes / 1e6:,.1f} MB in {case.tensors:,} tensors, file system {case.file_system}; "
        yield (size if case.nbytes else "") + f"case `{case.name}`"
        yield ""
        for step in case.steps():
            yield from _step(case, step)
        yield from _who(case)


def _machine(run: Run) -> Iterator[str]:
    machine: Mapping[str, object] = run.machine
    memory = int(str(machine["memory_bytes"])) / 2**30
    versions = machine["versions"]
    systems = machine["file_systems"]
    assert isinstance(versions, Mapping)
    assert isinstance(systems, Mapping)
    yield f"- {machine['cores']} cores of {machine['processor']}, {memory:.0f} GiB, {machine['kernel']}, "
    yield f"  Python {machine['python']}; " + ", ".join(f"{name} {version}" for name, version in versions.items())
    yield "- file systems: " + ", ".join(f"`{path}` {kind}" for path, kind in systems.items())
    yield f"- huge pages {machine['huge_pages']}; device {machine['device']} {machine['devices'] or ''}".rstrip()
    yield f"- load average {run.load_begin:.2f} at the beginning, {run.load_end:.2f} at the end; {run.seconds:.0f} s"
    for note in run.uncontrolled:
        yield f"- not controlled: {note}"
    yield ""


def _step(case: CaseResult, step: str) -> Iterator[str]:
    found = rows(case, step)
    if not found:
        return
    limit = limit_of(case, step)
    rounds = max(len(samples) for _, samples in case.named(step).values())
    compared = f"; the limit is *{limit[0]}*" if limit and step != "work" else ""
    yield f"**{_title(case, step)}**{compared}; {rounds} rounds"
    yield ""
    yield "| " + " | ".join(HEADINGS) + " |"
    yield "| --- |" + " ---: |" * (len(HEADINGS) - 1)
    for row in found:
        yield "| " + " | ".join(_cells(case, step, row)) + " |"
    yield ""
    stayed = max((row.resident for row in found if row.resident is not None), default=None)
    if stayed is not None:
        yield f"Pages that were still in the page cache before a load: at most {stayed:.2%} (mincore)."
        yield ""


def _title(case: CaseResult, step: str) -> str:
    what = _TITLES.get(step, step)
    if case.where == "disk":
        what += {"save": ", durable", "load": ", cold page cache", "part": ", cold page cache"}.get(step, "")
    return what


def _cells(case: CaseResult, step: str, row: Row) -> list[str]:
    return [
        row.name,
        f"{row.seconds:.4g}",
        f"{row.least:.4g}",
        f"{row.most:.4g}",
        f"{case.nbytes / row.seconds / 1e9:.2f}" if case.nbytes and step not in _PARTIAL else "",
        _ratio(row.of_limit),
        "" if row.kind == "limit" or row.name == "pyckpt" else _ratio(row.to_ours),
        f"{row.peak / 2**20:.0f}",
        f"{row.cpu:.2f}",
        f"{row.read / 1e6:.1f}",
        f"{row.written / 1e6:.1f}",
    ]


def _ratio(found: Ratio | None) -> str:
    return "" if found is None else f"{found.median:.2f} ({found.least:.2f} to {found.most:.2f})"


def _who(case: CaseResult) -> Iterator[str]:
    compared = [arm.name for arm in case.arms if arm.checked and all(arm.checked.values())]
    if compared:
        yield f"Loads compared with the state bit for bit: {', '.join(compared)}."
        yield ""
    yield "<details><summary>Settings</summary>"
    yield ""
    for arm in case.arms:
        yield f"- {arm.name}: {settings(arm)}"
    yield ""
    yield "</details>"
    yield ""
    for each in case.absent:
        yield f"- absent: {each.arm}: {each.reason}"
    if case.absent:
        yield ""
