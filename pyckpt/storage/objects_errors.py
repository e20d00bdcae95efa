"""What the engine of object stores raises, as the errors of this package."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from concurrent.futures import CancelledError

from pyckpt.errors import PyckptError, StoreError
from pyckpt.storage.base import AlreadyThere, ObjectMissing, ObjectShort

__all__ = ["refuses_conditions", "translated"]


@contextlib.contextmanager
def translated(key: str, doing: str, *, writing: bool = False) -> Iterator[None]:
    """ObjectMissing for an object that is not there, unless it was to be written; StoreError for all else."""
    try:
        yield
    except (PyckptError, ObjectMissing, AlreadyThere, ObjectShort):
        raise
    except (Exception, CancelledError) as error:
        text = str(error)
        # A bucket that is not there is an outage or a mistake, never an absent object.
        if isinstance(error, FileNotFoundError) and not writing and "NoSuchBucket" not in text:
            raise ObjectMissing(key) from None
        raise StoreError("store.io", f"{doing} failed: {_brief(error)}", key=key, hint=_hint(error, text)) from error


def _brief(error: BaseException) -> str:
    """Give an error of the engine in one line, without the dump of its inner state."""
    text = str(error).split("\n\nDebug source", 1)[0].split("Debug source:", 1)[0]
    line = " ".join(text.split())
    return f"{type(error).__name__}: {line[:600]}" if line else type(error).__name__


def _hint(error: BaseException, text: str) -> str:
    if "NoSuchBucket" in text:
        return "the bucket does not exist there: create it, or correct the URL or the endpoint"
    if type(error).__name__ in ("PermissionDeniedError", "UnauthenticatedError") or " 403 " in text:
        return "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, the region and what the key may do"
    if "169.254.169.254" in text or "metadata" in text.lower():
        return "no credentials were found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    if isinstance(error, asyncio.TimeoutError) or "error sending request" in text or "client error" in text.lower():
        return "the server did not answer: check AWS_ENDPOINT_URL, the proxy and the network"
    return ""


def refuses_conditions(error: BaseException) -> bool:
    """Tell whether a server says that it can't do conditional writes, and not that it is down or forbids writing."""
    text = str(error)
    return " 501 " in text or "NotImplemented" in text or " 400 " in text
