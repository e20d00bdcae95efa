"""One case, run: all arms in turn, again and again, each save followed by its loads; every load compared once."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.harness import cold
from benchmarks.harness.case import Case
from benchmarks.harness.fleet import Fleet
from benchmarks.harness.footprint import Usage
from benchmarks.harness.group import Ended, Group, Side
from benchmarks.harness.results import Absent, ArmResult, CaseResult, Sample
from benchmarks.harness.segment import Segment, place
from benchmarks.harness.workloads import Layout

__all__ = ["run_case"]


@dataclass(slots=True)
class _Arm:
    """An arm that takes part, and its workers: those that save, and, where ranks change, others that load."""

    savers: Group
    loaders: Group
    result: ArmResult
    path: str

    def close(self) -> None:
        self.savers.close()
        self.loaders.close()


def run_case(
    case: Case, fleet: Fleet, *, directory: str, scratch: str, device: str, repetitions: int
) -> CaseResult:
    """Runs a case below ``directory`` with the state in ``scratch``; one round that is not counted, then the others."""
    stored_away = case.where == "store"
    home = f"{directory.rstrip('/')}/{case.name}"
    if fleet.tends_node and not stored_away:
        os.makedirs(home, exist_ok=True)
    fleet.share(None)
    result = CaseResult(
        case.name,
        case.title,
        case.workload.nbytes,
        len(case.workload.tensors),
        case.save.ranks,
        case.load.ranks,
        case.where,
        "none" if stored_away else cold.filesystem(home),
    )
    with contextlib.ExitStack() as stack:
        state, target = (
            Side(layout.dim, _segments(case, layout, which, fleet, scratch, stack))
            for layout, which in ((case.save, "state"), (case.load, "target"))
        )
        for segment in state.segments.values():
            segment.fill()
        arms = list(_open(case, state, target, fleet, home, scratch, device, result))
        stack.callback(lambda: [arm.close() for arm in arms])
        for number in range(repetitions + 1):
            begin = time.perf_counter()
            first = number % max(1, len(arms))
            for arm in [*arms[first:], *arms[:first]]:
                try:
                    _Visit(case, arm, state, target, fleet, number).make()
                except Ended as error:
                    arm.close()
                    arms.remove(arm)
                    result.arms.remove(arm.result)
                    result.absent.append(Absent(arm.result.name, f"failed in round {number}: {error}"))
                    _say(fleet, f"  {arm.result.name} is out: {error}")
                    continue
                finally:
                    if not stored_away:
                        _remove(fleet, arm.path)
                if stored_away:
                    arm.savers.ask(do="remove", at=arm.path)
            seconds = time.perf_counter() - begin
            _say(fleet, f"  {case.name}: round {number} of {repetitions}, {len(arms)} arms, {seconds:.1f} s")
        changed = [each for each in fleet.share(_changed(state)) if each]
        if changed:
            raise SystemExit(f"{case.name}: an arm changed the state ({changed[0]}): no figure here can be trusted")
    if not stored_away:
        _remove(fleet, home)
    return result


def _changed(state: Side) -> str | None:
    wrong = (segment.wrong() for segment in state.segments.values())
    return next((each for each in wrong if each), None)


def _segments(
    case: Case, layout: Layout, which: str, fleet: Fleet, scratch: str, stack: contextlib.ExitStack
) -> dict[int, Segment]:
    made = {}
    for rank in fleet.ranks_here(layout.ranks):
        made[rank] = Segment(f"{scratch}/{case.name}-{which}-{rank}", place(case.workload, layout, rank))
        stack.callback(made[rank].close)
    return made


def _open(
    case: Case, state: Side, target: Side, fleet: Fleet, home: str, scratch: str, device: str, result: CaseResult
) -> Iterator[_Arm]:
    apart = case.save.ranks != case.load.ranks
    for number, spec in enumerate(case.arms):
        savers = Group(spec, case.save.ranks, state, state if apart else target, fleet)
        loaders = Group(spec, case.load.ranks, target, target, fleet) if apart else savers
        try:
            for group, what in ((savers, "save"), (loaders, "load")):
                if group.channels:
                    continue
                group.open(device, fleet.rendezvous(f"{case.name}-{number}-{what}", scratch))
                if not apart:
                    break
        except Ended as error:
            savers.close()
            loaders.close()
            result.absent.append(Absent(spec.name, str(error)))
            continue
        ways = {**savers.answer["ways"], **{step: loaders.answer["ways"].get(step, []) for step in ("load", "part")}}
        wanted = [step for step in case.steps if ways.get(step)]
        if not wanted:
            savers.close()
            loaders.close()
            continue
        answer = savers.answer
        arm = ArmResult(spec.name, answer["kind"], answer["settings"])
        result.arms.append(arm)
        yield _Arm(savers, loaders, arm, os.path.join(home, str(number)))


class _Visit:
    """One arm's turn in one round."""

    def __init__(self, case: Case, arm: _Arm, state: Side, target: Side, fleet: Fleet, number: int) -> None:
        self.case, self.arm, self.state, self.target = case, arm, state, target
        self.fleet, self.number = fleet, number

    def make(self) -> None:
        """Does all steps. Raises Ended if the arm fails or loads something else than the state."""
        for step in self.case.steps:
            group = self.arm.loaders if step in ("load", "part") else self.arm.savers
            ways = group.answer["ways"].get(step, [])
            for at, way in enumerate(ways):
                if step == "beside" or (step == "save" and at):
                    _remove(self.fleet, self.arm.path)
                if step in ("load", "part"):
                    self._load(group, step, way, warm=False)
                    if step == "load" and group.answer["warm"] and self.case.where == "disk":
                        self._load(group, step, way, warm=True)
                else:
                    self._work(group, step, way)
        # What it freed is given back before others measure.
        self.arm.loaders.ask(do="rest")

    def _work(self, group: Group, step: str, way: str) -> None:
        group.ask(do="rest")
        if step != "work" and self.case.where == "disk" and self.fleet.tends_node:
            os.sync()
        self.fleet.share(None)
        seconds, used = group.measure(do=step, way=way, at=self.arm.path)
        stored = 0
        if step == "save":
            seconds += self._sync(group)
            stored = sum(os.path.getsize(each) for each in cold.files_below(self.arm.path)) if self.fleet.lead else 0
        elif step in ("stall", "beside"):
            group.ask(do="rest")
        self._note(step, way, seconds, used, stored=stored)

    def _sync(self, group: Group) -> float:
        """Seconds of the fsync that the arm left out."""
        own = 0.0
        if self.case.where == "store":
            return own
        if not group.answer["durable"] and self.fleet.tends_node:
            begin = time.perf_counter()
            cold.fsync_tree(self.arm.path)
            own = time.perf_counter() - begin
        return max(self.fleet.share(own))

    def _load(self, group: Group, step: str, way: str, *, warm: bool) -> None:
        for segment in self.target.segments.values():
            segment.zero()
        resident = None
        group.ask(do="rest")
        if not warm and self.case.where == "disk":
            own = cold.drop(self.arm.path) if self.fleet.tends_node else 0.0
            resident = max(self.fleet.share(own))
        seconds, used = group.measure(do=step, way=way, at=self.arm.path)
        # A limit reads as many bytes as are wanted; which ones, it knows in one layout alone.
        if self.arm.result.kind != "limit" or self.case.save == self.case.load:
            group.ask(do="show")
            self._check(step, way)
        self._note("warm load" if warm else step, way, seconds, used, resident=resident)

    def _check(self, step: str, way: str) -> None:
        """Everything in the first round, three tensors in the others; of a part, the part."""
        wrong = None
        for rank, segment in self.target.segments.items():
            middle = len(segment.parts) // 2
            if step == "part":
                wrong = wrong or segment.wrong([segment.parts[middle]])
            elif self.number:
                some = {0, middle, len(segment.parts) - 1}
                wrong = wrong or segment.wrong([segment.parts[at] for at in sorted(some)])
            elif self.case.save == self.case.load:
                wrong = wrong or segment.differs(self.state.segments[rank])
            else:
                wrong = wrong or segment.wrong()
        found = [each for each in self.fleet.share(wrong) if each]
        if found:
            raise Ended(f"{found[0]} was not loaded as it was saved")
        if not self.number:
            self.arm.result.checked[f"{step} {way}".strip()] = True

    def _note(
        self, step: str, way: str, seconds: float, used: Usage, *, stored: int = 0, resident: float | None = None
    ) -> None:
        samples = self.arm.result.steps.setdefault(step, {}).setdefault(way, [])
        if self.number:
            samples.append(
                Sample(
                    self.number,
                    seconds,
                    used.cpu,
                    used.peak,
                    used.calls_read,
                    used.calls_written,
                    used.device_read,
                    used.device_written,
                    stored,
                    resident,
                )
            )


def _remove(fleet: Fleet, path: str) -> None:
    """What is left of a save, on all drivers together."""
    fleet.share(None)
    if fleet.tends_node:
        if os.path.isdir(path):
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                os.unlink(path)
    fleet.share(None)


def _say(fleet: Fleet, text: str) -> None:
    if fleet.lead:
        print(text, file=sys.stderr, flush=True)
