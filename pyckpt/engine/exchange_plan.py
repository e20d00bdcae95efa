"""Who sends which elements of which tensor to whom, from what all ranks hold and want; pure, and alike on every rank.

Every rank computes the whole plan alone from the same two layouts. Each wanted element is sent once to each rank that
wants it, by the nearest rank that holds it: the rank itself, one on its node, else whoever has the least to send.
Moves over the wire are cut and put into waves, so that no rank needs more than its budget of buffers. Tensors that are
alike are moved alike, which is found once for all of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from pyckpt.engine.exchange_moves import ExchangePlan, Pattern, Route, Use
from pyckpt.engine.exchange_pattern import Found, PatternMaker
from pyckpt.engine.exchange_waves import MIN_BUDGET, Waves, wave_limit
from pyckpt.errors import Finding, UsageError
from pyckpt.format.geometry import Ints, Region

__all__ = ["plan_exchange"]

_Likeness = tuple[Ints, tuple[tuple[Region, ...], ...], tuple[tuple[Region, ...], ...], int]


def plan_exchange(routes: Sequence[Route], *, nodes: Sequence[int], budget: int) -> ExchangePlan:
    """The plan for ``len(nodes)`` ranks; ``nodes`` numbers the machine that each rank runs on.

    Raises UsageError ``usage.invalid`` for a budget too small to send anything, ``state.layout`` with a finding for
    every wanted region that the ranks together don't hold.
    """
    if budget < MIN_BUDGET:
        raise UsageError("usage.invalid", f"a budget of {budget} bytes, expected at least {MIN_BUDGET}")
    limit = wave_limit(budget)
    maker = PatternMaker(nodes, limit)
    waves = Waves(len(nodes), limit)
    patterns: list[Pattern] = []
    uses: list[Use] = []
    known: dict[_Likeness, tuple[int, Found]] = {}
    findings: list[Finding] = []
    for route in routes:
        likeness = route.shape, route.have, route.want, route.bits
        number, found = known.get(likeness, (len(patterns), None))
        if found is None:
            found = maker.make(route)
            patterns.append(found.pattern)
            # Where a sender was chosen by what it had to send so far, the next tensor may have another.
            if not found.by_load:
                known[likeness] = number, found
        else:
            maker.repeat(found)
        uses.append(Use(number, tuple([waves.place(load) for load in found.loads])))
        findings += [Finding("state.layout", route.name, text) for text in found.gaps]
    if findings:
        raise UsageError(
            "state.layout",
            f"{len(findings)} wanted regions are held by no rank, or only in part",
            key=findings[0].key,
            findings=findings,
        )
    names = tuple(route.name for route in routes)
    return ExchangePlan(len(nodes), budget, names, tuple(patterns), tuple(uses), waves.count)
