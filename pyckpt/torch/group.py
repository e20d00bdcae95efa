"""The ranks of a process group as one conversation, over the group's own key-value store.

No collective is used: a gather can't name a rank that died, and the training's communicator is not ours to use. Every
rank gives signs of life while it works; who falls silent is named.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

import torch.distributed as dist
from torch._C._distributed_c10d import PrefixStore, Store
from torch.distributed import distributed_c10d

from pyckpt.engine.coordinator import Coordinator, Single
from pyckpt.errors import RankError
from pyckpt.torch.patience import PatientStore

__all__ = ["GroupCoordinator", "coordinator_for"]

POLL_SECONDS = 0.002
POLL_MAX_SECONDS = 0.05
FAREWELL_SECONDS = 10.0
ANSWER_SECONDS = 5.0
ASTRAY_SECONDS = 5.0
"""How long a rank that waits in another conversation is given to come over."""
PART_BYTES = 4 << 20
"""A store of torch breaks the connection over a value of more than 8 MiB: what is larger goes in parts."""
_GONE = (RuntimeError, TimeoutError)
"""What a store raises that can't be reached, or does not answer."""

_begun: Counter[str] = Counter()
"""Conversations that this process began, by subject. A rank that missed one about another subject stays in step."""
_going_on: set[tuple[int, str]] = set()
"""Rank and name of the conversations that this process is in: those of saves in the background, and one more."""


def coordinator_for(
    subject: str,
    *,
    collective: bool | None,
    timeout: float,
    silence: float,
    group: dist.ProcessGroup | None = None,
) -> Coordinator:
    """The coordinator for a save, load or exchange: all ranks of a process group (the default one), or this process.

    ``subject`` must be the same on all ranks (what is done, and to which URL). Times in seconds.
    """
    if collective is False or not dist.is_available() or not dist.is_initialized() or dist.get_world_size(group) == 1:
        return Single()
    members = "" if group is None else f" among {dist.get_process_group_ranks(group)}"
    store = distributed_c10d._get_default_store()
    rank, size = dist.get_rank(group), dist.get_world_size(group)
    return GroupCoordinator(
        store, rank, size, subject=subject + members, timeout=timeout, silence=silence, members=members
    )


class GroupCoordinator:
    """A conversation between ``size`` ranks through a ``torch.distributed`` store.

    ``members`` names the ranks if they are not all that the store serves.
    """

    def __init__(
        self,
        store: Store,
        rank: int,
        size: int,
        *,
        subject: str,
        timeout: float,
        silence: float,
        members: str = "",
    ) -> None:
        self.rank = rank
        self.size = size
        _begun[subject] += 1
        name = hashlib.sha256(f"{subject}#{_begun[subject]}".encode()).hexdigest()[:24]
        self._name = name
        _going_on.add((rank, name))
        self.token = int(name, 16) % (1 << 15)
        self._subject = subject
        self._raw: Any = PrefixStore(f"pyckpt/{name}", store)
        self._store = PatientStore(self._raw, max(silence, 1.0))
        # Where ranks are found that wait in a conversation to which rank 0 never comes.
        self._lobby = PatientStore(PrefixStore(f"pyckpt/lobby{members}", store), max(silence, 1.0))
        self._timeout = timeout
        self._silence = silence
        self._round = 0
        self._spent: list[str] = []
        self._gone_ranks: set[int] = set()
        self._looked = 0.0
        self._signs: dict[int, tuple[bytes, float]] = {}
        # Before anything can go wrong: a rank that never gave a sign counts as late, not as dead.
        with suppress(*_GONE):
            self._store.set(f"alive/{rank}", "0")
        self._stop = threading.Event()
        self._beat = threading.Thread(target=self._give_signs, name="pyckpt-alive", daemon=True)
        self._beat.start()

    def gather(self, what: str, payload: bytes) -> list[bytes] | None:
        """Sends the payload to rank 0; see the protocol."""
        self._round += 1
        if self.rank != 0:
            self._send(f"{self._round}/{self.rank}", payload)
            if self._round == 1:
                with suppress(*_GONE):
                    self._lobby.set(str(self.rank), f"{self._name}\n{self._subject}")
            return None
        received = {0: payload}
        waiting = {rank: f"{self._round}/{rank}" for rank in range(1, self.size)}
        for rank in self._wait(waiting, what):
            key = waiting[rank]
            received[rank], keys = self._receive(key)
            for each in keys:
                self._delete(each)
        for key in self._spent:
            self._delete(key)
        self._spent.clear()
        return [received[rank] for rank in range(self.size)]

    def announce(self, what: str, payload: bytes | None) -> bytes:
        """Passes rank 0's payload to everybody; see the protocol."""
        key = f"{self._round}/all"
        if self.rank == 0:
            if payload is None:
                raise RankError("rank.failed", f"rank 0 has nothing to announce for {what!r}", key="rank 0")
            self._spent += self._send(key, payload)
            return payload
        for _ in self._wait({0: key}, what):
            pass
        if self._round == 1:
            self._leave_lobby()
        return self._receive(key)[0]

    def check(self, ranks: Sequence[int]) -> None:
        """Looks for signs of life now and then; see the protocol."""
        now = time.monotonic()
        if now - self._looked < self._silence / 16:
            return
        self._looked = now
        for rank in ranks:
            if self._has(f"left/{rank}"):
                raise RankError("rank.failed", self._get(f"left/{rank}").decode(errors="replace"), key=f"rank {rank}")
        silent = [rank for rank in ranks if self._is_silent(rank, self._signs, now)]
        if silent:
            raise self._lost("rank.failed", silent, "exchange", f"gave no sign of life for {self._silence:g} s")

    def abandon(self, why: str) -> None:
        """Leaves word that this rank has given up; see the protocol."""
        with suppress(*_GONE):
            self._store.set(f"left/{self.rank}", f"gave up: {why}")

    def close(self) -> None:
        """Ends the conversation. Rank 0 waits a moment until all have heard the last word: it may host the store."""
        self._stop.set()
        _going_on.discard((self.rank, self._name))
        try:
            with suppress(*_GONE):
                self._say_goodbye()
        finally:
            self._store.close()
            self._lobby.close()

    def _say_goodbye(self) -> None:
        if self.rank != 0:
            if self._round == 1:
                self._leave_lobby()
            self._store.set(f"bye/{self.rank}", b"1")
            return
        # The others must have read what became of the conversation before its keys go.
        byes = [f"bye/{rank}" for rank in range(1, self.size) if rank not in self._gone_ranks]
        limit = time.monotonic() + FAREWELL_SECONDS
        while byes and not self._store.check(byes) and time.monotonic() < limit:
            time.sleep(POLL_SECONDS)
        # A rank that was given up may only have been slow: what was announced stays for it.
        spent = [] if self._gone_ranks else self._spent
        signs = [f"{kind}/{rank}" for kind in ("alive", "left") for rank in range(self.size)]
        for key in [*spent, *byes, *signs]:
            self._store.delete_key(key)

    def _leave_lobby(self) -> None:
        with suppress(*_GONE):
            self._lobby.delete_key(str(self.rank))

    def _give_signs(self) -> None:
        period = max(0.05, min(self._silence / 8, 5.0))
        count = 0
        while True:
            count += 1
            with suppress(RuntimeError):
                self._raw.set(f"alive/{self.rank}", str(count))
            if self._stop.wait(period):
                return

    def _wait(self, keys: dict[int, str], what: str) -> Iterable[int]:
        """Gives ranks as their key arrives. Raises RankError that names all ranks that will not answer."""
        begin = time.monotonic()
        # Rank 0 gives up first, and then tells the others for whom it waited.
        limit = self._timeout + (0.0 if self.rank == 0 else ANSWER_SECONDS)
        seen: dict[int, tuple[bytes, float]] = {}
        waiting = dict(keys)
        pause = POLL_SECONDS
        looked = begin
        while waiting:
            came = [rank for rank, key in waiting.items() if self._has(key)]
            for rank in came:
                del waiting[rank]
                yield rank
            if not waiting:
                return
            now = time.monotonic()
            if now - looked > self._silence / 16:
                looked = now
                silent = [rank for rank in waiting if self._is_silent(rank, seen, now)]
                if silent:
                    raise self._lost("rank.failed", silent, what, f"gave no sign of life for {self._silence:g} s")
                if self._round == 1:
                    self._look_astray(list(waiting), seen, now)
            if now - begin > limit:
                raise self._lost("rank.timeout", list(waiting), what, f"did not answer within {self._timeout:g} s")
            pause = POLL_SECONDS if came else min(pause * 1.5, POLL_MAX_SECONDS)
            time.sleep(pause)

    def _is_silent(self, rank: int, seen: dict[int, tuple[bytes, float]], now: float) -> bool:
        key = f"alive/{rank}"
        if not self._has(key):
            return False  # has not begun: a straggler, for which the long limit holds
        sign = self._get(key)
        last = seen.get(rank)
        if last is None or last[0] != sign:
            seen[rank] = (sign, now)
            return False
        return now - last[1] > self._silence

    def _look_astray(self, waiting: list[int], seen: dict[int, tuple[bytes, float]], now: float) -> None:
        """Raises RankError if ranks have met in another conversation than this one; they hear of it too."""
        try:
            if self.rank != 0:
                if self._lobby.check([f"refused/{self._name}"]):
                    raise self._apart("rank 0", self._lobby.get(f"refused/{self._name}").decode())
                return
            astray: dict[int, tuple[str, str]] = {}
            for rank in waiting:
                entry = self._lobby.get(str(rank)) if self._lobby.check([str(rank)]) else b""
                # Whoever waits in another conversation that this rank is in, too, will be answered there.
                if not entry or (self.rank, entry.partition(b"\n")[0].decode()) in _going_on:
                    continue
                first = seen.setdefault(rank, (entry, now))
                if first[0] != entry:
                    seen[rank] = (entry, now)
                elif now - first[1] > min(ASTRAY_SECONDS, self._silence):
                    name, _, subject = entry.decode().partition("\n")
                    astray[rank] = name, subject
            if astray:
                for name, _ in astray.values():
                    self._lobby.set(f"refused/{name}", self._subject)
                self._gone_ranks.update(astray)
                ranks = ", ".join(f"rank {rank}" for rank in sorted(astray))
                raise self._apart(ranks, " and ".join(sorted({subject for _, subject in astray.values()})))
        except _GONE as error:
            if isinstance(error, RankError):
                raise
            raise self._gone(error) from error

    def _apart(self, ranks: str, subject: str) -> RankError:
        return RankError(
            "rank.failed",
            f"in another call: {subject!r}, while this rank is in {self._subject!r}",
            key=ranks,
            hint="all ranks make the same calls with the same URL; nothing was committed",
        )

    def _lost(self, code: str, ranks: list[int], what: str, why: str) -> RankError:
        names = ", ".join(f"rank {rank}" for rank in sorted(ranks))
        self._gone_ranks.update(ranks)
        return RankError(
            code,
            f"{names} {why} ({what})",
            key=names,
            hint="nothing was committed; look at the log of that rank",
        )

    def _send(self, key: str, payload: bytes) -> list[str]:
        """Sets a key to a payload of any size; gives all keys that it took. The key itself is set last."""
        parts = range(PART_BYTES, len(payload), PART_BYTES)
        keys = _keys(key, len(parts))
        for name, at in zip(keys[1:], parts, strict=True):
            self._set(name, payload[at : at + PART_BYTES])
        self._set(key, len(parts).to_bytes(_COUNT_BYTES, "little") + payload[:PART_BYTES])
        return keys

    def _receive(self, key: str) -> tuple[bytes, list[str]]:
        """The payload of a key that is there, and all keys that it took."""
        first = self._get(key)
        keys = _keys(key, int.from_bytes(first[:_COUNT_BYTES], "little"))
        return b"".join([first[_COUNT_BYTES:], *map(self._get, keys[1:])]), keys

    def _has(self, key: str) -> bool:
        try:
            return self._store.check([key])
        except _GONE as error:
            raise self._gone(error) from error

    def _get(self, key: str) -> bytes:
        try:
            return self._store.get(key)
        except _GONE as error:
            raise self._gone(error) from error

    def _set(self, key: str, payload: bytes) -> None:
        try:
            self._store.set(key, payload)
        except _GONE as error:
            raise self._gone(error) from error

    def _delete(self, key: str) -> None:
        with suppress(*_GONE):
            self._store.delete_key(key)

    def _gone(self, error: Exception) -> RankError:
        return RankError(
            "rank.failed",
            f"the process group's store can't be reached, so whoever hosts it is gone or frozen: {error}",
            key="rank 0",
        )


_COUNT_BYTES = 4


def _keys(key: str, more: int) -> list[str]:
    return [key, *(f"{key}.{number}" for number in range(1, more + 1))]
