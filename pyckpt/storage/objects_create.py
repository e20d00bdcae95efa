"""Create-if-absent on a server: whether it is honoured, and what an answer that was lost may have meant."""

from __future__ import annotations

import secrets
import time
from typing import Final

from obstore.exceptions import AlreadyExistsError, PreconditionError

from pyckpt.storage.base import AlreadyThere
from pyckpt.storage.objects_errors import may_pass, refuses_conditions
from pyckpt.storage.objects_requests import Requests, pause

__all__ = ["create", "honours_condition"]

_TAKEN: Final = (AlreadyExistsError, PreconditionError)
_ATTEMPTS: Final = 4
"""Of a create that gets no clear answer: the engine does not repeat one by itself that may have been carried out."""


def honours_condition(requests: Requests, base: str) -> bool:
    """Tell whether a second create of an object is refused, by trying it; raises what the engine raises."""
    path = f"{base}.probe-{secrets.token_hex(8)}"
    try:
        return _second_is_refused(requests, path)
    finally:
        requests.forget(path)


def _second_is_refused(requests: Requests, path: str) -> bool:
    first, second = b"first", b"second"
    try:
        create(requests, path, path, first)
    except AlreadyThere:
        # Of an engine that repeated a request whose answer was lost; nobody else knows the name.
        if requests.read(path) != first:
            return False
    except Exception as error:
        if refuses_conditions(error):
            return False
        raise
    end = time.monotonic() + requests.deadline
    attempt = 0
    while True:
        try:
            requests.create(path, second)
        except _TAKEN:
            return requests.read(path) == first
        except Exception as error:
            if refuses_conditions(error) or requests.content(path) == second:
                return False
            seconds = pause(attempt)
            attempt += 1
            # The first is still there: refused, or never arrived? Only an answer tells.
            if not may_pass(error) or attempt == _ATTEMPTS or time.monotonic() + seconds > end:
                raise
        else:
            return False
        time.sleep(seconds)


def create(requests: Requests, path: str, key: str, content: bytes) -> None:
    """Create an object if there is none, on a server that honours the condition.

    AlreadyThere, unless an earlier attempt of this call may have put there what is there. Raises what the engine raises
    if no attempt got an answer; a request that is still on its way may then create the object later.
    """
    end = time.monotonic() + requests.deadline
    for attempt in range(_ATTEMPTS):
        try:
            requests.create(path, content)
            return
        except _TAKEN:
            if attempt and requests.content(path) == content:
                return
            raise AlreadyThere(key) from None
        except Exception as error:
            # The request may have been carried out and only its answer lost: what is stored there decides.
            stored = requests.content(path)
            if stored == content:
                return
            if stored is not None:
                raise AlreadyThere(key) from error
            seconds = pause(attempt)
            if not may_pass(error) or attempt == _ATTEMPTS - 1 or time.monotonic() + seconds > end:
                raise
        time.sleep(seconds)
