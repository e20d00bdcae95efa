"""The protocol's transport: one JSON object per line, requests in, responses out."""

from __future__ import annotations

import json
import sys
from typing import BinaryIO

from .changing import register
from .messages import Message
from .operations import perform


def serve(requests: BinaryIO, responses: BinaryIO) -> None:
    """Answer every request in order, until `bye` or the end of the input."""
    for line in requests:
        request = _request(line)
        response = {"id": request.get("id"), **perform(request)}
        responses.write(json.dumps(response).encode() + b"\n")
        responses.flush()
        if request.get("op") == "bye":
            return


def _request(line: bytes) -> Message:
    """The request of a line; what is none is answered as a request without an operation."""
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return request if isinstance(request, dict) else {}


def main() -> None:
    """Serve standard input and output."""
    register()
    serve(sys.stdin.buffer, sys.stdout.buffer)
