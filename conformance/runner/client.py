"""One process of an implementation, and the JSON lines that go to it and come from it (PROTOCOL.md, section 1)."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, Literal

from .memory import PeakMemory
from .schemas import response_findings

__all__ = ["Broken", "CannotStart", "Client", "Json"]

Json = dict[str, Any]

_LONGEST_LINE: Final = 256 << 20
_SILENT: Final = "no response within the time limit; is standard output flushed after each line?"
_KEPT: Final = 4096
_PIECE: Final = 1 << 16
_FAREWELL: Final = 10.0
_AFTER_EXIT: Final = 0.2


class CannotStart(Exception):
    """The executable can't be started at all."""


class Broken(Exception):
    """The process is of no use any more: it is gone, silent, or says what is no response; it has been killed."""

    def __init__(self, kind: Literal["crash", "timeout", "malformed"], text: str) -> None:
        self.kind = kind
        super().__init__(text)


class Client:
    """A running process; it is the leader of a session, so that it is killed with its children."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        try:
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=None if environment is None else dict(environment),
                start_new_session=True,
                bufsize=0,
            )
        except (OSError, ValueError) as error:
            raise CannotStart(f"{' '.join(command)}: {error}") from error
        self._next_id = 0
        self._received = bytearray()
        self._said = b""
        self._streams = {
            name: stream.fileno()
            for name, stream in (
                ("in", self._process.stdin),
                ("out", self._process.stdout),
                ("err", self._process.stderr),
            )
            if stream is not None
        }
        for descriptor in self._streams.values():
            os.set_blocking(descriptor, False)

    @property
    def pid(self) -> int:
        """The process, its session and its process group."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def peak_memory(self) -> PeakMemory:
        """Begin to watch the peak memory."""
        return PeakMemory(self.pid)

    def stderr_end(self) -> str:
        """The last that it wrote to standard error since ``forget``."""
        self._read_standard_error()
        return self._said.decode("utf-8", "replace")

    def forget(self) -> None:
        """Forget what was written to standard error so far."""
        self._read_standard_error()
        self._said = b""

    def request(self, message: Json, timeout: float) -> Json:
        """The response to a request, whose ``id`` is set here. Broken."""
        return self.response(self.send(message, timeout), timeout)

    def send(self, message: Json, timeout: float) -> Json:
        """Send a request; gives it as it was sent. Broken."""
        request = {"id": self._next_id, **message}
        self._next_id += 1
        if self._received.strip() or self._unasked():
            raise self._broken("malformed", f"it wrote without being asked: {_shown(bytes(self._received))}")
        line = json.dumps(request, ensure_ascii=False).encode() + b"\n"
        self._exchange(line, time.monotonic() + timeout, wait_for_line=False)
        return request

    def response(self, request: Json, timeout: float) -> Json:
        """The response to a request that was sent. Broken."""
        self._exchange(b"", time.monotonic() + timeout, wait_for_line=True)
        line, _, rest = bytes(self._received).partition(b"\n")
        self._received = bytearray(rest)
        try:
            message = json.loads(line, parse_constant=_no_constant, object_pairs_hook=_members)
        except (ValueError, RecursionError) as error:
            raise self._broken("malformed", f"the response is no JSON ({error}): {_shown(line)}") from error
        wrong = response_findings(request, message)
        if not wrong and message["id"] != request["id"]:
            wrong = [f"id: {message['id']} in answer to {request['id']}"]
        if wrong:
            raise self._broken("malformed", f"the response is malformed: {'; '.join(wrong)}: {_shown(line)}")
        return dict(message)

    def bye(self) -> str:
        """Say bye and wait for the end; what was wrong with it, empty if nothing was."""
        try:
            response = self.request({"op": "bye"}, _FAREWELL)
            if response["result"] != "ok":
                return f"it answered {response['result']} to bye"
            status = self._process.wait(_FAREWELL)
        except Broken as broken:
            return f"bye: {broken}"
        except subprocess.TimeoutExpired:
            return f"it still ran {_FAREWELL:.0f} s after bye"
        finally:
            self.kill()
        return f"it exited with status {status} after bye" if status else ""

    def end_of_input(self) -> str:
        """End its input and wait for the end; what was wrong with it, empty if nothing was."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            status = self._process.wait(_FAREWELL)
        except subprocess.TimeoutExpired:
            return f"it still ran {_FAREWELL:.0f} s after the end of its input"
        finally:
            self.kill()
        return f"it exited with status {status} after the end of its input" if status else ""

    def strike(self) -> None:
        """Kill it and all processes of its group, and do no more: this may come from another thread."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def kill(self) -> None:
        """Kill it and all processes of its group, and clear up; harmless if they are gone."""
        self.strike()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None and not stream.closed:
                if stream is self._process.stderr:
                    self._read_standard_error()
                stream.close()

    def _broken(self, kind: Literal["crash", "timeout", "malformed"], text: str) -> Broken:
        self.kill()
        return Broken(kind, text)

    def _unasked(self) -> bool:
        piece = _read(self._streams["out"])
        self._received += piece or b""
        return bool(self._received.strip())

    def _read_standard_error(self) -> None:
        if self._process.stderr is None or self._process.stderr.closed:
            return
        while piece := _read(self._streams["err"]):
            self._said = (self._said + piece)[-_KEPT:]

    def _exchange(self, to_send: bytes, deadline: float, *, wait_for_line: bool) -> None:
        """Write all of ``to_send``, then go on until a whole line has come if one is waited for."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._streams["out"], selectors.EVENT_READ)
            selector.register(self._streams["err"], selectors.EVENT_READ)
            if to_send:
                selector.register(self._streams["in"], selectors.EVENT_WRITE)
            while to_send or (wait_for_line and b"\n" not in self._received[-_PIECE:]):
                left = deadline - time.monotonic()
                if left <= 0:
                    raise self._broken("timeout", _SILENT)
                for key, _ in selector.select(left):
                    if key.fd == self._streams["in"]:
                        to_send = self._write(to_send)
                        if not to_send:
                            selector.unregister(key.fd)
                        continue
                    piece = _read(key.fd)
                    if key.fd == self._streams["err"]:
                        self._said = (self._said + (piece or b""))[-_KEPT:]
                        if piece == b"":
                            selector.unregister(key.fd)
                    elif piece == b"":
                        raise self._gone()
                    else:
                        self._received += piece or b""
                        if len(self._received) > _LONGEST_LINE:
                            raise self._broken("malformed", f"a line of more than {_LONGEST_LINE} bytes")

    def _write(self, to_send: bytes) -> bytes:
        try:
            return to_send[os.write(self._streams["in"], to_send[:_PIECE]) :]
        except BlockingIOError:
            return to_send
        except OSError as error:
            raise self._gone() from error

    def _gone(self) -> Broken:
        try:
            status = self._process.wait(_AFTER_EXIT)
        except subprocess.TimeoutExpired:
            return self._broken("crash", "it closed its standard output")
        if status < 0:
            return self._broken("crash", f"it was killed by {_signal_name(-status)}")
        return self._broken("crash", f"it exited with status {status} in the middle of a request")


def _read(descriptor: int) -> bytes | None:
    """What there is to read; None if nothing is, empty at the end."""
    try:
        return os.read(descriptor, _PIECE)
    except BlockingIOError:
        return None


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _members(pairs: list[tuple[str, Any]]) -> Json:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("an object has a name twice")
    return found


def _shown(line: bytes) -> str:
    text = line.decode("utf-8", "replace")
    return text if len(text) <= 300 else f"{text[:200]} … {text[-80:]}"
