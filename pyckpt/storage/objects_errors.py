"""What the engine of object stores raises, as the errors of this package."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from concurrent.futures import CancelledError

from pyckpt.errors import PyckptError, StoreError
from pyckpt.storage.base import AlreadyThere, ObjectMissing, ObjectShort
from pyckpt.storage.objects_services import Service

__all__ = ["may_pass", "refuses_conditions", "translated", "was_cut_off"]


@contextlib.contextmanager
def translated(service: Service, key: str, doing: str, *, writing: bool = False) -> Iterator[None]:
    """ObjectMissing for an object that is not there, unless it was to be written; StoreError for all else."""
    try:
        yield
    except (PyckptError, ObjectMissing, AlreadyThere, ObjectShort):
        raise
    except (Exception, CancelledError) as error:
        text = str(error)
        # A bucket that is not there is an outage or a mistake, never an absent object.
        if isinstance(error, FileNotFoundError) and not writing and not _no_bucket(text):
            raise ObjectMissing(key) from None
        raise StoreError(
            "store.io", f"{doing} failed: {_brief(error)}", key=key, hint=_hint(service, error, text)
        ) from error


def _brief(error: BaseException) -> str:
    """Give an error of the engine in one line, without the dump of its inner state."""
    text = str(error).split("\n\nDebug source", 1)[0].split("Debug source:", 1)[0]
    line = " ".join(text.split())
    return f"{type(error).__name__}: {line[:600]}" if line else type(error).__name__


def _no_bucket(text: str) -> bool:
    return "NoSuchBucket" in text or "ContainerNotFound" in text


def _hint(service: Service, error: BaseException, text: str) -> str:
    if _no_bucket(text):
        return f"the {service.bucket} does not exist there: create it, or correct the URL or the endpoint"
    if type(error).__name__ in ("PermissionDeniedError", "UnauthenticatedError") or " 403 " in text:
        return f"check {service.credentials}, and what they allow"
    if "169.254.169.254" in text or "metadata" in text.lower():
        return f"no credentials were found: set {service.credentials}"
    if isinstance(error, asyncio.TimeoutError) or "error sending request" in text or "client error" in text.lower():
        return f"the server did not answer: check {service.endpoint}, the proxy and the network"
    return ""


def refuses_conditions(error: BaseException) -> bool:
    """Tell whether a server says that it can't do conditional writes, and not that it is down or forbids writing."""
    text = str(error)
    return " 501 " in text or "NotImplemented" in text or " 400 " in text


def may_pass(error: BaseException) -> bool:
    """Tell whether the same request may succeed a moment later: no answer came, or it met another at that moment."""
    text = str(error)
    return isinstance(error, asyncio.TimeoutError) or "error sending request" in text or " 409 " in text or _cut(text)


def was_cut_off(error: BaseException) -> bool:
    """Tell whether an answer began and did not end, which the engine does not try again where it is a message."""
    return _cut(str(error))


def _cut(text: str) -> bool:
    return "request or response body error" in text
