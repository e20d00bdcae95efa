"""The harness's end of a worker: a forked process with one of our classes, or somebody's executable."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.harness.footprint import Footprint, tree
from benchmarks.harness.worker import fork

__all__ = ["Channel", "Failed", "ask_all"]

SECONDS = 600.0
"""Within which every answer has to come."""


class Failed(Exception):
    """The worker is gone, silent, or said that it can't; ``unavailable`` if it said so by itself."""

    def __init__(self, message: str, *, unavailable: bool = False) -> None:
        super().__init__(message)
        self.unavailable = unavailable


class Channel:
    """One worker process and the pipes to it."""

    def __init__(self, command: str = "") -> None:
        """Forks a worker; with a command, starts that in a shell instead."""
        if command:
            self._process: subprocess.Popen[bytes] | None = subprocess.Popen(
                command, shell=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
            )
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            self.pid = self._process.pid
            self._out, self.descriptor = self._process.stdin.fileno(), self._process.stdout.fileno()
        else:
            self._process = None
            commands, self._out = os.pipe()
            self.descriptor, answers = os.pipe()
            self.pid = fork(commands, answers)
            os.close(commands)
            os.close(answers)
        self._rest = b""
        self.footprint = Footprint(self.pid)

    def say(self, command: Mapping[str, Any]) -> None:
        """Sends a command. Raises Failed if the worker is gone."""
        data = memoryview(json.dumps(command).encode() + b"\n")
        try:
            while data:
                data = data[os.write(self._out, data) :]
        except OSError as error:
            raise Failed("the process has ended") from error

    def take(self) -> dict[str, Any] | None:
        """Reads what there is; an answer once it is complete. Raises Failed."""
        data = os.read(self.descriptor, 1 << 16)
        if not data:
            raise Failed("the process has ended")
        self._rest += data
        if b"\n" not in self._rest:
            return None
        line, _, self._rest = self._rest.partition(b"\n")
        try:
            answer = json.loads(line)
        except ValueError as error:
            raise Failed(f"the answer is not JSON: {line[:100]!r}") from error
        if "unavailable" in answer:
            raise Failed(str(answer["unavailable"]), unavailable=True)
        if "error" in answer:
            raise Failed(str(answer["error"]))
        return dict(answer)

    def close(self) -> None:
        """Ends the worker: by the end of its commands, then by force."""
        children = tree(self.pid)
        with contextlib.suppress(Failed):
            self.say({"do": "close"})
        if not self._ended(5.0):
            for pid in reversed(children):
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            self._ended(5.0)
        if self._process is None:
            os.close(self._out)
            os.close(self.descriptor)
        else:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            with contextlib.suppress(OSError):
                self._process.stdin.close()
            self._process.stdout.close()

    def _ended(self, limit: float) -> bool:
        end = time.monotonic() + limit
        while time.monotonic() < end:
            if self._process is not None:
                if self._process.poll() is not None:
                    return True
            else:
                with contextlib.suppress(ChildProcessError):
                    if os.waitpid(self.pid, os.WNOHANG)[0] == 0:
                        time.sleep(0.01)
                        continue
                return True
            time.sleep(0.01)
        return False


def ask_all(
    channels: Sequence[Channel], commands: Sequence[Mapping[str, Any]], limit: float = SECONDS
) -> list[dict[str, Any]]:
    """Gives each worker its command, then waits for all answers. Raises Failed as soon as one fails."""
    for channel, command in zip(channels, commands, strict=True):
        channel.say(command)
    answers: dict[int, dict[str, Any]] = {}
    end = time.monotonic() + limit
    while len(answers) < len(channels):
        waiting = {each.descriptor: number for number, each in enumerate(channels) if number not in answers}
        ready, _, _ = select.select(list(waiting), [], [], max(0.0, end - time.monotonic()))
        if not ready:
            raise Failed(f"no answer within {limit:.0f} s")
        for descriptor in ready:
            answer = channels[waiting[descriptor]].take()
            if answer is not None:
                answers[waiting[descriptor]] = answer
    return [answers[number] for number in range(len(channels))]
