"""The simulator's side of HTTP: reads requests, enters them in the journal, lets faults happen, sends answers."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, cast
from urllib.parse import parse_qsl, unquote

from .s3_body import BodyCut, read_body
from .s3_objects import Clock, S3Error
from .s3_requests import Journal, Outcome, Request
from .s3_service import Answer, Incoming, Service, error_answer, operation_of

__all__ = ["S3Server"]

_CODES: Final = {
    403: "AccessDenied", 404: "NoSuchKey", 409: "ConditionalRequestConflict", 500: "InternalError", 503: "SlowDown",
}  # fmt: skip
_NOT_DONE: Final = ("drop_before", "kill_before")
_UNANSWERED: Final = ("drop_before", "drop_after", "kill_before", "kill_after")


class S3Server(ThreadingHTTPServer):
    """A server on a free port of this computer, with one thread per connection."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, service: Service, journal: Journal, clock: Clock, kill: Callable[[], None]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.service = service
        self.journal = journal
        self.clock = clock
        self.kill = kill
        self.ending = threading.Event()
        self._open: set[socket.socket] = set()
        self._changed = threading.Condition()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a new connection."""
        with self._changed:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """End a connection."""
        super().shutdown_request(request)
        with self._changed:
            self._open.discard(request)
            self._changed.notify_all()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report what went wrong, unless it is a client that went away."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)

    def end_connections(self) -> None:
        """End all connections and wait for their threads."""
        self.ending.set()
        with self._changed:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            self._changed.wait_for(lambda: not self._open, timeout=10)

    def settle(self, seconds: float) -> bool:
        """Wait until every connection has ended; False if one goes on."""
        # Connections are accepted in their order: the end of this one tells that all older ones were accepted.
        with socket.create_connection(("127.0.0.1", self.server_port), timeout=seconds) as last:
            last.shutdown(socket.SHUT_WR)
            last.recv(1)
        with self._changed:
            return self._changed.wait_for(lambda: not self._open, timeout=seconds)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "scf-store-simulator"
    sys_version = ""
    timeout = 60.0
    disable_nagle_algorithm = True
    wbufsize = 1 << 16

    @property
    def _home(self) -> S3Server:
        return cast("S3Server", self.server)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the base class names it so
        """Be silent: the journal has it all."""

    def date_time_string(self, timestamp: float | None = None) -> str:
        """Write a time as headers do; by the store's clock if none is given."""
        return formatdate(self._home.clock.now() if timestamp is None else timestamp, usegmt=True)

    def handle_expect_100(self) -> bool:
        """Ask for the body at once."""
        going_on = super().handle_expect_100()
        self.wfile.flush()
        return going_on

    def _serve(self) -> None:
        path, _, query = self.path.partition("?")
        bucket, _, key = path.lstrip("/").partition("/")
        incoming = Incoming(
            method=self.command,
            bucket=unquote(bucket),
            key=unquote(key),
            query=dict(parse_qsl(query, keep_blank_values=True)),
            headers={name.lower(): value for name, value in self.headers.items()},
        )
        request = self._home.journal.begin(_entry(incoming))
        answer: Answer | None = None
        outcome = Outcome()
        try:
            body = read_body(self.rfile, incoming.headers)
            outcome = Outcome(size=len(body), sha256=hashlib.sha256(body).hexdigest())
            answer, done = self._act(request, replace(incoming, body=body))
            outcome = _with_effect(outcome, done)
        except S3Error as error:
            self.close_connection = True
            answer = error_answer(error, self.path, request.number)
        except (BodyCut, OSError):
            pass
        finally:
            if answer is not None:
                sent = None if request.method == "HEAD" else answer.span
                outcome = replace(outcome, status=answer.status, span=sent)
            self._home.journal.end(request, outcome)
        if answer is None:
            self.close_connection = True
        else:
            self._send(request, answer)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _serve

    def _act(self, request: Request, incoming: Incoming) -> tuple[Answer | None, Answer | None]:
        """Give what is to be answered, and what was done; None for nothing."""
        fault = request.fault
        if fault is None:
            answer = self._carried_out(request, incoming)
            return answer, answer
        if fault.kind == "fail":
            error = S3Error(fault.status, _CODES.get(fault.status, "InternalError"), "this request was made to fail")
            return error_answer(error, self.path, request.number), None
        if fault.kind == "stall":
            self._home.ending.wait(fault.seconds)
        done = None if fault.kind in _NOT_DONE else self._carried_out(request, incoming)
        if fault.kind.startswith("kill"):
            self._home.kill()
        return (None if fault.kind in _UNANSWERED else done), done

    def _carried_out(self, request: Request, incoming: Incoming) -> Answer:
        try:
            return self._home.service.answer(incoming)
        except S3Error as error:
            return error_answer(error, self.path, request.number)

    def _send(self, request: Request, answer: Answer) -> None:
        kind = request.fault.kind if request.fault else None
        half = answer.body[: len(answer.body) // 2]
        sized = half if kind == "short" else answer.body
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("x-amz-request-id", str(request.number))
        if answer.status not in (204, 304):
            self.send_header("Content-Length", str(len(sized)))
        if kind == "cut":
            self.close_connection = True
        self.end_headers()
        if request.method != "HEAD":
            self.wfile.write(half if kind == "cut" else sized)


def _entry(incoming: Incoming) -> Request:
    return Request(
        number=0,
        begin=0,
        end=None,
        method=incoming.method,
        operation=operation_of(incoming.method, incoming.key, incoming.query),
        bucket=incoming.bucket,
        key=incoming.key,
        query=incoming.query,
        conditional=incoming.headers.get("if-none-match") == "*",
        range=incoming.headers.get("range"),
        fault=None,
        outcome=Outcome(),
    )


def _with_effect(outcome: Outcome, done: Answer | None) -> Outcome:
    if done is None:
        return outcome
    return replace(
        outcome,
        acted=done.status < 300,
        stored=done.stored,
        replaced=done.replaced,
        removed=done.removed,
    )
