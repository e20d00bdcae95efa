"""Real gloo ranks, kept alive between commands, that can't hang a test run.

Every rank is a process of its own with its own memory and its own process group. They are forked from a server that
has imported torch once, because importing it takes longer than most tests.
"""

from __future__ import annotations

import contextlib
import faulthandler
import multiprocessing
import os
import signal
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

from pyckpt.errors import PyckptError

__all__ = ["Outcome", "Ranks", "values"]

PRELOAD = (
    "torch",
    "torch._dynamo",
    "torch.distributed.fsdp",
    "torch.distributed.checkpoint.state_dict",
    "torch.distributed.tensor.parallel",
    "pyckpt.torch",
    "pytest",
)
"""What the server imports before it forks; a first optimizer step alone would bring in ``torch._dynamo``."""
START_SECONDS = 90.0
COMMAND_SECONDS = 120.0


@dataclass(frozen=True)
class Outcome:
    """What one rank's command gave: a value, an error of pyckpt, or the text of any other error."""

    value: Any = None
    error: PyckptError | None = None
    trace: str = ""
    gone: bool = False
    """The process has ended, or doesn't answer."""
    seconds: float = 0.0
    """From the start of the command on this rank to its end."""

    @property
    def ok(self) -> bool:
        """The command returned."""
        return not self.gone and self.error is None and not self.trace


def values(outcomes: Sequence[Outcome]) -> list[Any]:
    """The values of all ranks; AssertionError with the traces of those that failed."""
    failed = [f"rank {rank}: {one.trace or 'gone'}" for rank, one in enumerate(outcomes) if not one.ok]
    assert not failed, "\n".join(failed)
    return [one.value for one in outcomes]


class Ranks:
    """``size`` ranks. ``host`` says who holds the process group's store: ``parent`` (as a launcher does) or ``rank0``.

    One rank alone is this very process, without a process group.
    """

    def __init__(self, size: int, *, host: str = "parent") -> None:
        self.size = size
        self.processes: list[Any] = []
        self._pipes: list[Connection] = []
        self._stacks: list[str] = []
        self._store: Any = None
        if size > 1:
            self._start(host)

    def run(self, function: Callable[..., Any], *args: Any, timeout: float = COMMAND_SECONDS) -> list[Any]:
        """``function(rank, *args)`` on every rank; its values."""
        return values(self.outcomes(function, *args, timeout=timeout))

    def outcomes(
        self, function: Callable[..., Any], *args: Any, timeout: float = COMMAND_SECONDS, lost: Sequence[int] = ()
    ) -> list[Outcome]:
        """What ``function(rank, *args)`` gave on every rank, errors included.

        ``lost`` are ranks that are expected not to answer. If another one doesn't within ``timeout`` seconds, the ranks
        are killed and their stacks are part of the AssertionError.
        """
        if self.size == 1:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return [_call(function, 0, args)]
        for pipe in self._pipes:
            pipe.send((function, args))
        return self._receive(timeout, lost)

    @property
    def alive(self) -> bool:
        """All ranks are there."""
        return self.size == 1 or (bool(self.processes) and all(process.is_alive() for process in self.processes))

    def close(self) -> None:
        """Ends the ranks, whatever state they are in."""
        for pipe in self._pipes:
            with contextlib.suppress(OSError):
                pipe.send(None)
                pipe.close()
        limit = time.monotonic() + (3.0 if self.alive else 0.0)
        for process in self.processes:
            process.join(max(0.0, limit - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join(5)
        for path in self._stacks:
            with contextlib.suppress(OSError):
                os.unlink(path)
        self._pipes, self.processes, self._stacks, self._store = [], [], [], None

    def _start(self, host: str) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(list(PRELOAD))
        for rank in range(self.size):
            ours, theirs = context.Pipe()
            descriptor, stacks = tempfile.mkstemp(prefix=f"rank{rank}-", suffix=".stacks")
            os.close(descriptor)
            process = context.Process(
                target=_serve, args=(theirs, rank, self.size, host == "rank0" and rank == 0, stacks), daemon=True
            )
            process.start()
            theirs.close()
            self.processes.append(process)
            self._pipes.append(ours)
            self._stacks.append(stacks)
        if host == "parent":
            import torch.distributed as dist

            # A port that the system chose and that is already bound can't be taken by anybody else.
            self._store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
            port = self._store.port
        elif self._pipes[0].poll(START_SECONDS):
            port = self._pipes[0].recv()
        else:
            raise AssertionError("rank 0 did not start\n" + self._kill())
        for pipe in self._pipes:
            pipe.send(port)
        values(self._receive(START_SECONDS, ()))

    def _receive(self, timeout: float, lost: Sequence[int]) -> list[Outcome]:
        limit = time.monotonic() + timeout
        results: dict[int, Outcome] = dict.fromkeys(lost, Outcome(gone=True))
        waiting = {pipe: rank for rank, pipe in enumerate(self._pipes) if rank not in results}
        while waiting:
            ready = wait(list(waiting), max(0.0, limit - time.monotonic()))
            if not ready:
                ranks = sorted(waiting.values())
                raise AssertionError(f"ranks {ranks} gave no answer within {timeout:g} s\n{self._kill()}")
            for pipe in ready:
                rank = waiting.pop(pipe)  # type: ignore[call-overload]
                try:
                    results[rank] = pipe.recv()  # type: ignore[union-attr]
                except (EOFError, ConnectionError):
                    results[rank] = Outcome(gone=True)
        return [results[rank] for rank in range(self.size)]

    def _kill(self) -> str:
        """Kills all ranks and gives their stacks."""
        for process in self.processes:
            if process.is_alive():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGUSR1)
        time.sleep(1.0)
        text = []
        for rank, path in enumerate(self._stacks):
            with open(path, encoding="utf-8", errors="replace") as file:
                text.append(f"--- rank {rank} ---\n{file.read()}")
        for process in self.processes:
            process.kill()
        self.close()
        return "\n".join(text)


def _call(function: Callable[..., Any], rank: int, args: tuple[Any, ...]) -> Outcome:
    begin = time.perf_counter()
    try:
        value = function(rank, *args)
    except PyckptError as error:
        return Outcome(error=error, trace=traceback.format_exc(), seconds=time.perf_counter() - begin)
    except BaseException:
        return Outcome(trace=traceback.format_exc(), seconds=time.perf_counter() - begin)
    return Outcome(value, seconds=time.perf_counter() - begin)


def _serve(pipe: Connection, rank: int, size: int, hosts: bool, stacks: str) -> None:
    with open(stacks, "w", encoding="utf-8") as file:
        faulthandler.register(signal.SIGUSR1, file=file, all_threads=True)
        warnings.simplefilter("ignore")
        os.environ.update(GLOO_SOCKET_IFNAME="lo", LOCAL_WORLD_SIZE=str(size), LOCAL_RANK=str(rank))
        with contextlib.suppress(EOFError, ConnectionError):
            pipe.send(_call(_join, rank, (pipe, size, hosts)))
            while (command := pipe.recv()) is not None:
                function, args = command
                pipe.send(_call(function, rank, args))
    # Ending the process group politely could wait for ranks that are dead.
    os._exit(0)


def _join(rank: int, pipe: Connection, size: int, hosts: bool) -> None:
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    store = None
    if hosts:
        store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        pipe.send(store.port)
    port = pipe.recv()
    store = store or dist.TCPStore("127.0.0.1", port, is_master=False)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=size)
