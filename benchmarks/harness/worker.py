"""One arm on one rank, in a process of its own: reads commands, one JSON object a line, and answers each with one."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import logging
import os
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Mapping
from typing import Any, TextIO

from benchmarks.harness.arms import load_class
from benchmarks.harness.arms.base import STEPS, Arm, Unavailable
from benchmarks.harness.segment import Placed

__all__ = ["PROTOCOL", "fork", "serve"]

PROTOCOL = 1
PR_SET_PDEATHSIG = 1
Answer = dict[str, Any]


def serve(commands: TextIO, answers: TextIO, log: TextIO) -> None:
    """Answers until the commands end. The first line is the description, see benchmarks/README.md.

    What an arm didn't expect goes to ``log`` as a traceback.
    """
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    session: _Session | None = None
    for line in commands:
        command = json.loads(line)
        if command.get("do") == "close":
            break
        try:
            if session is None:
                session, answer = _open(command)
            else:
                answer = session.do(command)
        except (Unavailable, ImportError) as error:
            answer = {"unavailable": _text(error)}
        except Exception as error:
            traceback.print_exc(file=log)
            answer = {"error": f"{type(error).__name__}: {_text(error)}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
    if session is not None:
        with contextlib.suppress(Exception):
            session.arm.close()


def _open(description: Mapping[str, Any]) -> tuple[_Session, Answer]:
    import torch

    from benchmarks.harness.state import view_state

    arm: Arm = load_class(description["arm"]["class"])(**description["arm"]["options"])
    device = description["device"]
    if device == "cuda":
        device = f"cuda:{description['local_rank']}"
        torch.cuda.set_device(device)
    if description["ranks"] > 1:
        torch.set_num_threads(1)
        _join(description)
    states = []
    for which in ("state", "target"):
        side = description[which]
        parts = [
            Placed(p["name"], p["dtype"], tuple(p["global_shape"]), tuple(p["offsets"]), tuple(p["shape"]), p["at"])
            for p in side["tensors"]
        ]
        states.append(
            view_state(side["file"], parts, description["rank"], description["ranks"], side["dim"], device)
        )
    arm.open(*states)
    answer = {
        "ready": True,
        "kind": arm.kind,
        "durable": arm.durable,
        "warm": arm.warm,
        "settings": dict(arm.settings()),
        "ways": {step: list(arm.ways(step)) for step in STEPS},
    }
    return _Session(arm, description["ranks"]), answer


def _join(description: Mapping[str, Any]) -> None:
    """Joins the arm's own process group, through a file or through torchrun's store."""
    from datetime import timedelta

    import torch.distributed as dist

    where = description["rendezvous"]
    limit = timedelta(seconds=300)
    if "file" in where:
        store: Any = dist.FileStore(where["file"], description["ranks"])
    else:
        tcp = dist.TCPStore(where["host"], where["port"], is_master=False, timeout=limit)
        store = dist.PrefixStore(where["prefix"], tcp)
    backend = "cpu:gloo,cuda:nccl" if description["device"] == "cuda" else "gloo"
    dist.init_process_group(
        backend, store=store, rank=description["rank"], world_size=description["ranks"], timeout=limit
    )


class _Session:
    """An arm that is open."""

    def __init__(self, arm: Arm, ranks: int) -> None:
        self.arm, self.ranks = arm, ranks
        self._ways: dict[str, Mapping[str, Callable[[str], None]]] = {
            step: arm.ways(step) for step in STEPS
        }

    def do(self, command: Mapping[str, Any]) -> Answer:
        """Carries one command out."""
        what = command["do"]
        if what == "rest":
            self.arm.settle()
            # The young: a full collection walks all of torch, and takes longer than many a save.
            gc.collect(1)
            _give_memory_back()
            self.arm.target.to_device()
            return {}
        if what == "show":
            self.arm.target.to_host()
            return {}
        if what == "remove":
            from benchmarks.harness.arms.object_store import remove

            remove(command["at"])
            return {}
        work = self._ways[what][command["way"]]
        self._together()
        begin = time.perf_counter()
        work(command["at"])
        self._finish()
        return {"seconds": time.perf_counter() - begin}

    def _together(self) -> None:
        if self.ranks > 1:
            import torch.distributed as dist

            dist.barrier()

    def _finish(self) -> None:
        if self.arm.target.host:
            import torch

            torch.cuda.synchronize()


def _text(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0][:300] or type(error).__name__


def _give_memory_back() -> None:
    """What an allocator keeps would hide what the next step needs."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)


def _follow_parent() -> None:
    """Ends with the parent, however that ends: workers hold the ends of each other's pipes, so none would see it."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    libc = ctypes.CDLL(None)
    if hasattr(libc, "prctl"):
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def fork(read: int, write: int) -> int:
    """Forks a worker with these ends of pipes; its process id. The child never returns."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        _follow_parent()
        # What libraries print is no answer, and would hide what the harness prints.
        own = os.dup(2)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        sys.stdin.close()
        with os.fdopen(read) as commands, os.fdopen(write, "w") as answers, os.fdopen(own, "w") as log:
            serve(commands, answers, log)
        status = 0
    except BaseException as error:
        print(f"worker {os.getpid()}: {error!r}", file=sys.stderr)
    finally:
        os._exit(status)
