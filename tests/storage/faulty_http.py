"""An HTTP proxy in front of a server that numbers the requests and does harm to chosen ones."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FAULTS = ("slow", "silent", "cut", "500", "503", "429", "torn", "half", "lost", "late 500")
"""What may happen to one request:

- ``slow``: it is passed on after a while, ``silent``: it gets no answer, and the connection stays open;
- ``cut``: the connection ends, ``500``, ``503`` and ``429``: this is the answer; the server sees nothing of it;
- ``torn``: the server gets half of its body;
- ``half``: the server has done it, and half of the answer comes back; ``lost``: nothing comes back;
  ``late 500``: this comes back.
"""

_CODES = {
    "500": (500, "InternalError"),
    "late 500": (500, "InternalError"),
    "503": (503, "SlowDown"),
    "429": (429, "TooManyRequests"),
}


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it came."""

    method: str
    path: str
    body: int


class FaultyHttp(ThreadingHTTPServer):
    """Passes requests on; ``fault`` gives what happens to a request, from its number (from 0) and itself."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, port, fault=lambda number, asked: None, *, silence=3.0):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = port
        self.fault = fault
        self.log = []
        self.struck = 0
        self.done = threading.Event()
        self.silence = silence
        self.endpoint = f"http://127.0.0.1:{self.server_address[1]}"
        self._lock = threading.Lock()
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def __exit__(self, *_):
        self.done.set()
        self.shutdown()
        self.server_close()

    def number(self, asked):
        with self._lock:
            self.log.append(asked)
            fault = self.fault(len(self.log) - 1, asked)
            self.struck += fault is not None
            return fault

    def handle_error(self, request, client_address):
        """Clients that have gone are what this is about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def do(self):
        size = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(size)
        fault = self.server.number(Asked(self.command, self.path, size))
        if fault == "slow":
            self.server.done.wait(0.2)
        elif fault == "silent":
            self.server.done.wait(self.server.silence)
            return self._hang_up()
        elif fault in ("500", "503", "429"):
            return self._refuse(fault)
        elif fault == "cut":
            return self._hang_up()
        elif fault == "torn":
            with contextlib.suppress(OSError, http.client.HTTPException):
                self._ask(body[: size // 2], whole=False)
            return self._hang_up()
        answer = self._ask(body)
        if fault == "lost":
            return self._hang_up()
        if fault == "late 500":
            return self._refuse(fault)
        return self._give(*answer, half=fault == "half")

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = do

    def _ask(self, body, *, whole=True):
        """The server's answer; without ``whole``, the connection ends when the body that is given has been sent."""
        upstream = http.client.HTTPConnection("127.0.0.1", self.server.upstream, timeout=30)
        with contextlib.closing(upstream):
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                upstream.putheader(name, value)
            upstream.endheaders(body)
            if not whole:
                return None
            response = upstream.getresponse()
            return response.status, response.reason, response.getheaders(), response.read()

    def _give(self, status, reason, headers, body, *, half=False):
        lines = [f"HTTP/1.1 {status} {reason}"]
        lines += [f"{name}: {value}" for name, value in headers if name.lower() not in ("transfer-encoding", "connection", "content-length")]
        length = len(body) if self.command != "HEAD" else dict((n.lower(), v) for n, v in headers).get("content-length", "0")
        lines += [f"Content-Length: {length}", "", ""]
        head = "\r\n".join(lines).encode("latin-1")
        if not half:
            self.wfile.write(head + body)
            return
        self.wfile.write(head + body[: len(body) // 2] if len(body) > 1 else head[: len(head) // 2])
        self._hang_up()

    def _refuse(self, fault):
        code, name = _CODES[fault]
        body = f"<?xml version='1.0' encoding='UTF-8'?><Error><Code>{name}</Code><Message>made to fail</Message></Error>"
        self._give(code, name, [("Content-Type", "application/xml")], b"" if self.command == "HEAD" else body.encode())

    def _hang_up(self):
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
