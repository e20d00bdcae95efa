"""What the engine is asked to reach, and what a run found: one line for each bar."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.harness.results import CaseResult, Ratio, Run, Series, ratio
from benchmarks.harness.tables import best

__all__ = ["Bar", "judge", "show"]

OURS = "pyckpt"
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Bar:
    """One line of the table; ``met`` is None where the run has no figures for it."""

    measure: str
    asked: str
    found: str
    met: bool | None


def judge(runs: Sequence[Run]) -> list[Bar]:
    """All bars, each on the last run that has its case."""
    cases = {case.name: case for run in runs for case in run.cases}
    return [*_one_process(cases), *_ranks(cases), *_many(cases), *_costs(cases)]


def show(bars: Sequence[Bar]) -> str:
    """The bars as a Markdown table."""
    lines = ["| measure | asked | found | met |", "| --- | --- | --- | --- |"]
    words = {True: "yes", False: "**no**", None: "not measured"}
    lines += [f"| {bar.measure} | {bar.asked} | {bar.found} | {words[bar.met]} |" for bar in bars]
    return "\n".join(lines)


_Cases = dict[str, CaseResult]


def _one_process(cases: _Cases) -> Iterator[Bar]:
    disk, memory = cases.get("disk"), cases.get("memory")
    what = "save on disk, durable"
    yield _against(disk, "save", what, 0.9, "raw direct", "pyckpt direct")
    yield _faster(disk, "save", what, 1.6, "torch.save")
    # 1.2 where the disk allows: whether it does, raw writers in the same run tell.
    yield _faster(disk, "save", what, 1.0, "DCP", "safetensors")
    what = "save in memory"
    yield _faster(memory, "save", what, 2.0, "torch.save")
    yield _faster(memory, "save", what, 1.1, "DCP")
    yield _faster(memory, "save", what, 1.0, "safetensors")
    what = "load from disk, cold, verified"
    yield _against(disk, "load", what, 0.9, "raw buffered", OURS)
    yield _faster(disk, "load", what, 1.4, "DCP")
    yield _faster(disk, "load", what, 1.3, "safetensors")
    yield _faster(memory, "load", "load in memory, verified", 2.0, "DCP")


def _ranks(cases: _Cases) -> Iterator[Bar]:
    ranks, fewer, columns = (cases.get(name) for name in ("ranks", "fewer", "columns"))
    count = f"{ranks.ranks} ranks" if ranks else "several ranks"
    yield _faster(ranks, "save", f"save from {count}", 2.2, "DCP")
    yield _faster(ranks, "load", f"load on {count}", 1.8, "DCP")
    yield _faster(fewer, "load", "load on half as many ranks", 1.4, "DCP")
    yield _faster(columns, "load", "load along the other dimension", 1.4, "DCP")
    yield _read(fewer, "load on half as many ranks: bytes read", 1)
    yield _read(columns, "load along the other dimension: bytes read", columns.load_ranks if columns else 1)


def _many(cases: _Cases) -> Iterator[Bar]:
    small, tiny = cases.get("small"), cases.get("tiny")
    count = f"{small.tensors:,}" if small else "20,000"
    for step, least in (("save", 12.0), ("load", 20.0)):
        yield _faster(small, step, f"{step} of {count} tensors of 4 KiB", least, "DCP")
        yield _faster(small, step, f"{step} of {count} tensors of 4 KiB", 1.0, "safetensors")
    yield _faster(tiny, "save", "save of 200,000 tensors of 128 B", 15.0, "DCP")


def _costs(cases: _Cases) -> Iterator[Bar]:
    disk = cases.get("disk")
    yield _against(disk, "save", "digests on against off, on disk", 0.95, "pyckpt without digests", OURS)
    overheads = [case for name, case in cases.items() if name.startswith("overhead-")]
    for case in overheads:
        yield _overhead(case)
    if not overheads:
        yield Bar("save overhead beyond writing", "at most 0.10 of DCP's", "", None)
    for step in ("save", "load"):
        yield _peak(list(cases.values()), step)
    yield _seconds(cases.get("commit-1000x1000"), "coordinator for 1,000 writers with 1,000 shards each", 1.0)


def _faster(case: CaseResult | None, step: str, what: str, least: float, *peers: str) -> Bar:
    """How many times as fast pyckpt is as the best of these peers."""
    measure = f"{what}: against {'the best of ' if len(peers) > 1 or peers == ('DCP',) else ''}{', '.join(peers)}"
    asked = f"{least:g}x"
    found = best(case, step, "peer", peers) if case else None
    ours = case.named(step).get(OURS) if case else None
    value = ratio(found[1], ours[1]) if found and ours else None
    if found is None or value is None:
        return Bar(measure, asked, "", None)
    return Bar(measure, asked, f"{_text(value)} of {found[0]}", value.median >= least)


def _against(case: CaseResult | None, step: str, what: str, least: float, slower: str, faster: str) -> Bar:
    """The share of one arm's speed that another reaches."""
    measure, asked = f"{what}: {faster} against {slower}", f"{least:g}x"
    named = case.named(step) if case else {}
    value = ratio(named[slower][1], named[faster][1]) if slower in named and faster in named else None
    if value is None:
        return Bar(measure, asked, "", None)
    return Bar(measure, asked, _text(value), value.median >= least)


def _read(case: CaseResult | None, measure: str, times: int) -> Bar:
    """Bytes read against what the ranks want; along another dimension every rank needs all blocks."""
    asked = f"at most {1.05 * times:g}x the state"
    ours = case.named("load").get(OURS) if case else None
    if case is None or ours is None:
        return Bar(measure, asked, "", None)
    value = statistics.median(max(each.calls_read, each.device_read) for each in ours[1]) / case.nbytes
    return Bar(measure, asked, f"{value:.2f}x", value <= 1.05 * times)


def _overhead(case: CaseResult) -> Bar:
    """Seconds beyond those of a raw writer, as a part of DCP's, in pairs of one round."""
    measure = f"save overhead beyond writing, {case.ranks} ranks"
    asked = "at most 0.10 of DCP's"
    named = case.named("save")
    peer = best(case, "save", "peer", ("DCP",))
    if OURS not in named or "raw buffered" not in named or peer is None:
        return Bar(measure, asked, "", None)
    raw, ours, theirs = (_by_round(each) for each in (named["raw buffered"][1], named[OURS][1], peer[1]))
    values = [
        (ours[number] - raw[number]) / (theirs[number] - raw[number])
        for number in ours
        if number in raw and number in theirs and theirs[number] > raw[number]
    ]
    if not values:
        return Bar(measure, asked, "", None)
    value = statistics.median(values)
    found = f"{value:.2f} ({min(values):.2f} to {max(values):.2f}) of {peer[0]}: "
    found += f"{statistics.median(ours.values()):.3f} s and {statistics.median(theirs.values()):.3f} s"
    return Bar(measure, asked, found, value <= 0.1)


def _peak(cases: Sequence[CaseResult], step: str) -> Bar:
    """The highest of all cases whose state is large enough to tell."""
    peaks = {
        case.name: max(sample.peak for sample in case.named(step)[OURS][1])
        for case in cases
        if OURS in case.named(step) and case.nbytes >= 100_000_000
    }
    measure, asked = f"peak memory above the state, {step}", "at most 300 MiB"
    if not peaks:
        return Bar(measure, asked, "", None)
    worst = max(peaks, key=lambda name: peaks[name])
    return Bar(measure, asked, f"{peaks[worst] / MIB:.0f} MiB in {worst}", peaks[worst] <= 300 * MIB)


def _seconds(case: CaseResult | None, measure: str, most: float) -> Bar:
    ours = case.named("work").get(OURS) if case else None
    if ours is None:
        return Bar(measure, f"at most {most:g} s", "", None)
    seconds = [each.seconds for each in ours[1]]
    value = statistics.median(seconds)
    found = f"{value:.2f} s ({min(seconds):.2f} to {max(seconds):.2f})"
    return Bar(measure, f"at most {most:g} s", found, value <= most)


def _by_round(samples: Series) -> dict[int, float]:
    return {sample.round: sample.seconds for sample in samples}


def _text(value: Ratio) -> str:
    return f"{value.median:.2f}x ({value.least:.2f} to {value.most:.2f})"
