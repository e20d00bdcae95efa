"""An exchange in figures: bytes between ranks, on each rank, and buffers; as text and as plain data."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from pyckpt.engine.exchange_moves import ExchangePlan
from pyckpt.engine.exchange_waves import schedule_of

__all__ = ["ExchangeFigures", "describe", "figures_of"]

MANY_RANKS = 16
"""Up to so many ranks the bytes between all pairs are a table; above, the largest are a list."""


@dataclass(frozen=True, slots=True)
class ExchangeFigures:
    """Sizes in bytes."""

    ranks: int
    tensors: int
    waves: int
    moves: int
    """Over the wire, and within ranks."""
    total: int
    """Bytes over the wire."""
    pairs: tuple[tuple[int, int, int], ...]
    """(sender, receiver, bytes), ascending."""
    sent: tuple[int, ...]
    """By rank."""
    received: tuple[int, ...]
    kept: tuple[int, ...]
    """By rank, number of elements that come from the rank's own memory."""
    peak: tuple[int, ...]
    """By rank, wire buffers at most in use at once."""


def figures_of(plan: ExchangePlan) -> ExchangeFigures:
    """The plan in figures."""
    pairs: Counter[tuple[int, int]] = Counter()
    moves = 0
    kept = [0] * plan.size
    for number, times in Counter(use.pattern for use in plan.uses).items():
        pattern = plan.patterns[number]
        for part in pattern.parts:
            for move in part:
                pairs[move.source, move.target] += times * move.nbytes
        for move in pattern.local:
            kept[move.target] += times * move.copy.elements
        moves += times * (sum(map(len, pattern.parts)) + len(pattern.local) + len(pattern.echoes))
    sent, received = [0] * plan.size, [0] * plan.size
    for (source, target), nbytes in pairs.items():
        sent[source] += nbytes
        received[target] += nbytes
    return ExchangeFigures(
        plan.size,
        len(plan.names),
        plan.waves,
        moves,
        sum(pairs.values()),
        tuple((source, target, nbytes) for (source, target), nbytes in sorted(pairs.items())),
        tuple(sent),
        tuple(received),
        tuple(kept),
        tuple(schedule_of(plan, rank).peak_bytes for rank in range(plan.size)),
    )


def describe(plan: ExchangePlan) -> str:
    """Bytes per pair of ranks, per rank, and the peak of memory, for people."""
    figures = figures_of(plan)
    wire = f"{figures.total:,} bytes on the wire in {figures.waves} waves, {figures.moves:,} moves"
    lines = [
        f"{figures.tensors} tensors over {figures.ranks} ranks: {wire}; buffers within {plan.budget:,} bytes a rank",
        "",
        f"{'rank':>6}{'sends':>18}{'receives':>18}{'keeps (elements)':>20}{'buffers at peak':>18}",
    ]
    columns = zip(figures.sent, figures.received, figures.kept, figures.peak, strict=True)
    for rank, (sent, received, kept, peak) in enumerate(columns):
        lines.append(f"{rank:>6}{sent:>18,}{received:>18,}{kept:>20,}{peak:>18,}")
    lines.append("")
    if figures.ranks <= MANY_RANKS:
        known = {(source, target): nbytes for source, target, nbytes in figures.pairs}
        lines.append(f"{'from/to':>8}" + "".join(f"{target:>14}" for target in range(figures.ranks)))
        for source in range(figures.ranks):
            cells = [known.get((source, target), 0) for target in range(figures.ranks)]
            lines.append(f"{source:>8}" + "".join(f"{cell:>14,}" if cell else f"{'-':>14}" for cell in cells))
    else:
        largest = sorted(figures.pairs, key=lambda pair: -pair[2])[: 2 * MANY_RANKS]
        lines += [f"{source:>8} to {target:<6}{nbytes:>18,}" for source, target, nbytes in largest]
        lines.append(f"{len(figures.pairs):,} pairs in all; these are the largest")
    return "\n".join(lines)
