"""An implementation as one worker sees it: a process that is started anew whenever the last one is of no use."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from .client import Broken, Client
from .suite import SuiteError

__all__ = ["PROTOCOL_VERSION", "Hello", "Session", "command_of"]

Json = dict[str, Any]

PROTOCOL_VERSION: Final = "1.0"
_START: Final = 60.0
_GREETING: Final = {"op": "hello", "protocol": PROTOCOL_VERSION}


@dataclass(frozen=True)
class Hello:
    """What an implementation says of itself."""

    record: Json

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.record["name"])

    @property
    def version(self) -> str:
        """Its version."""
        return str(self.record["version"])

    @property
    def profiles(self) -> frozenset[str]:
        """What it claims."""
        return frozenset(self.record["profiles"])

    def offers(self, option: str) -> bool:
        """Whether it listed an option; ``dtype:…`` by its list of dtypes."""
        kind, _, name = option.partition(":")
        return name in self.record["dtypes"] if kind == "dtype" else option in self.record["options"]


def command_of(text: str) -> list[str]:
    """The words of a command line. SuiteError."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise SuiteError(f"--impl {text!r}: {error}") from error
    if not words:
        raise SuiteError("--impl is empty")
    return words


class Session:
    """Processes of one command, one after the other; a spare one can be started while the first is at work."""

    def __init__(self, command: list[str], environment: Mapping[str, str] | None = None) -> None:
        self.command = command
        self._environment = environment
        self._client: Client | None = None
        self._spare: tuple[Client, Json] | None = None
        self._hello: Hello | None = None
        self.served = 0
        """Requests that the present process has answered since it was started."""
        self.starts = 0
        """Processes that have been started."""

    def client(self) -> Client:
        """A process that has said hello. Broken, CannotStart."""
        if self._client is not None and self._client.running:
            return self._client
        self.discard()
        if self._spare is not None:
            (self._client, greeting), self._spare = self._spare, None
        else:
            self._client = self._start()
            greeting = self._client.send(_GREETING, _START)
        self._greeted(self._client, greeting)
        return self._client

    def _start(self) -> Client:
        self.starts += 1
        return Client(self.command, self._environment)

    def _greeted(self, client: Client, greeting: Json) -> None:
        response = client.response(greeting, _START)
        wrong = _wrong_hello(response)
        if wrong:
            client.kill()
            raise Broken("malformed", f"hello: {wrong}")
        self._hello = Hello({name: value for name, value in response.items() if name not in ("id", "result")})

    def next(self) -> bool:
        """Say bye and hello again, to a process that is another implementation then; False if it is of no use."""
        client = self._client
        if client is None or not client.running:
            return False
        try:
            client.request({"op": "bye"}, _START)
            self._greeted(client, client.send(_GREETING, _START))
        except Broken:
            return False
        self.served = 0
        return True

    def hello(self) -> Hello:
        """What the implementation says of itself. Broken, CannotStart."""
        self.client()
        assert self._hello is not None
        return self._hello

    def prepare(self) -> None:
        """Start a spare process, which gets ready while the present one works."""
        if self._spare is None:
            client = self._start()
            self._spare = client, client.send(_GREETING, _START)

    def request(self, message: Json, timeout: float) -> Json:
        """The response to a request. Broken, CannotStart."""
        response = self.client().request(message, timeout)
        self.served += 1
        return response

    def strike(self) -> None:
        """Kill the present process from another thread."""
        client = self._client
        if client is not None:
            client.strike()

    def stderr_end(self) -> str:
        """The end of what the present process, or the one that broke last, wrote to standard error."""
        return "" if self._client is None else self._client.stderr_end()

    def discard(self) -> None:
        """Kill the present process; the next request starts another one."""
        if self._client is not None:
            self._client.kill()
        self._client = None
        self.served = 0

    def close(self) -> None:
        """Kill all processes."""
        self.discard()
        if self._spare is not None:
            self._spare[0].kill()
            self._spare = None

    def farewell(self, *, bye: bool) -> str:
        """Let the present process end in good order; what was wrong with it, empty if nothing was."""
        if self._client is None or not self._client.running:
            return ""
        found = self._client.bye() if bye else self._client.end_of_input()
        self.close()
        return found

def _wrong_hello(response: Json) -> str:
    if response["result"] != "ok":
        return str(response.get("message", response.get("what", response["result"])))
    spoken, ours = response["protocol"], PROTOCOL_VERSION
    same = spoken.split(".")[0] == ours.split(".")[0]
    return "" if same else f"it speaks version {spoken} of the protocol, not {ours}"
