"""One round of a conversation: everybody contributes, the coordinator decides, everybody learns the outcome.

An error anywhere becomes an error everywhere, and it names the rank that it comes from: no rank is left waiting, and
none goes on as if nothing had happened.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgpack

from pyckpt import errors
from pyckpt.engine.coordinator import Coordinator
from pyckpt.errors import Finding, PyckptError, RankError

__all__ = ["Fate", "round_trip"]

_GOOD, _BAD = b"\0", b"\1"


@dataclass(slots=True)
class Fate:
    """Whether this rank knows how a round ended."""

    known: bool = True


def round_trip(
    coordinator: Coordinator,
    what: str,
    contribute: Callable[[], bytes],
    decide: Callable[[Sequence[bytes]], bytes],
    fate: Fate | None = None,
) -> bytes:
    """Gives every rank what ``decide`` made, on rank 0, of all contributions.

    If ``contribute`` fails, that rank raises its own error and the others RankError ``rank.failed`` that names it. If
    ``decide`` fails, all ranks raise its error. ``fate.known`` is False while rank 0 may still decide either way: a
    rank that raises then must not undo its contribution.
    """
    fate = fate or Fate()
    own: BaseException | None = None
    try:
        payload = _GOOD + contribute()
    except BaseException as error:  # noqa: BLE001 - whatever happened here, the others must hear of it
        own = error
        payload = _BAD + _pack(error)
    outcome: bytes | None = None
    trouble: PyckptError | None = None
    # From the moment that a good contribution may have been sent, rank 0 may act on it, whatever happens to this rank.
    fate.known = own is not None or coordinator.rank == 0
    try:
        gathered = coordinator.gather(what, payload)
        if gathered is not None:
            outcome = _decide(gathered, decide)
    except PyckptError as error:
        outcome = _BAD + _pack(error)
        trouble = error
    except BaseException as error:
        coordinator.announce(what, _BAD + _pack(error))
        raise
    # A rank that lost another one doesn't know which; rank 0, which looks for signs of life, does.
    verdict_counts = isinstance(own, RankError) and own.code == "rank.failed"
    if coordinator.rank != 0 and own is not None and not verdict_counts:
        raise own
    if coordinator.rank != 0 and trouble is not None:
        raise trouble
    answer = coordinator.announce(what, outcome)
    fate.known = True
    if own is not None and not (verdict_counts and answer[:1] == _BAD):
        raise own
    if trouble is not None:
        raise trouble
    if answer[:1] == _BAD:
        raise _unpack(answer[1:])
    return answer[1:]


def _decide(gathered: Sequence[bytes], decide: Callable[[Sequence[bytes]], bytes]) -> bytes:
    failures = [(rank, data[1:]) for rank, data in enumerate(gathered) if data[:1] != _GOOD]
    if not failures:
        return _GOOD + decide([data[1:] for data in gathered])
    findings = []
    for rank, data in failures:
        error = _unpack(data)
        findings.append(Finding(error.code, f"rank {rank}", str(error.args[0])))
    ranks = ", ".join(f"rank {rank}" for rank, _ in failures)
    return _BAD + _pack(
        RankError("rank.failed", f"{ranks} failed, so all gave up; nothing was committed", key=ranks, findings=findings)
    )


def _pack(error: BaseException) -> bytes:
    if not isinstance(error, PyckptError):
        error = RankError("rank.failed", f"{type(error).__name__}: {error}")
    fields = {
        "code": error.code,
        "message": error.message,
        "key": error.key,
        "hint": error.hint,
        "findings": [[finding.code, finding.key, finding.message] for finding in error.findings],
    }
    data: bytes = msgpack.packb(fields, unicode_errors="replace")
    return data


def _unpack(data: bytes) -> PyckptError:
    fields: dict[str, Any] = msgpack.unpackb(data)
    cls = _BY_CODE[fields["code"]]
    findings = [Finding(*row) for row in fields["findings"]]
    return cls(fields["code"], fields["message"], key=fields["key"], hint=fields["hint"], findings=findings)


_BY_CODE: dict[str, type[PyckptError]] = {
    code: cls
    for cls in (getattr(errors, name) for name in errors.__all__)
    if isinstance(cls, type) and issubclass(cls, PyckptError)
    for code in cls.codes
}
