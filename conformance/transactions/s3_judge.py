"""What the journal of a run tells about the order of its requests."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from .s3_requests import Request

__all__ = ["fetched_spans", "late_keys", "rewritten_keys", "root_writes", "unconditional_writes"]


def root_writes(requests: Iterable[Request], root: str) -> tuple[Request, ...]:
    """Give the requests that made the object at the root's key."""
    return tuple(request for request in requests if request.key == root and request.outcome.stored is not None)


def unconditional_writes(requests: Iterable[Request], key: str) -> tuple[Request, ...]:
    """Give the requests for writing a key, carried out or not, that were no conditional put."""
    return tuple(
        request
        for request in requests
        if request.key == key
        and (
            request.operation in ("CreateMultipartUpload", "CompleteMultipartUpload")
            or (request.operation == "PutObject" and not request.conditional)
        )
    )


def late_keys(requests: Sequence[Request], root: str, reached: Collection[str]) -> tuple[str, ...]:
    """Give those of the keys that a root reaches of which its committer can't have known that they were stored.

    A key is known to be stored if, before the first request for the root's creation began, a request was answered that
    says so: the one that stored it; or, if its answer was lost, a later look, listing or conditional put. Keys that
    these requests did not store were there before.
    """
    begins = [request.begin for request in requests if request.key == root and request.method in ("PUT", "POST")]
    if not begins:
        return ()
    return tuple(sorted(key for key in reached if key != root and not _known(requests, key, min(begins))))


def _known(requests: Sequence[Request], key: str, before: int) -> bool:
    stored = [request.begin for request in requests if request.key == key and request.outcome.stored is not None]
    if not stored:
        return True
    return any(
        _tells(request, key)
        for request in requests
        if request.begin >= stored[0] and request.end is not None and request.end < before
    )


def _tells(request: Request, key: str) -> bool:
    """Tell whether the answer to a request says that the key is there."""
    if request.operation == "ListObjectsV2":
        return request.succeeded and key.startswith(request.query.get("prefix", ""))
    if request.key != key:
        return False
    looks = request.operation in ("GetObject", "HeadObject") or request.outcome.stored is not None
    return (request.succeeded and looks) or (request.conditional and request.outcome.status == 412)


def rewritten_keys(requests: Iterable[Request], reached: Collection[str]) -> tuple[str, ...]:
    """Give those of the keys under which more than one content was stored."""
    contents: dict[str, set[str]] = {}
    for request in requests:
        if request.key in reached and request.outcome.stored is not None:
            contents.setdefault(request.key, set()).add(request.outcome.stored)
    return tuple(sorted(key for key, found in contents.items() if len(found) > 1))


def fetched_spans(requests: Iterable[Request], key: str) -> tuple[tuple[int, int], ...]:
    """Give the bytes of an object that were sent, as ascending ranges [a, b) that neither meet nor overlap."""
    spans = sorted(
        request.outcome.span
        for request in requests
        if request.key == key and request.operation == "GetObject" and request.outcome.span is not None
    )
    joined: list[tuple[int, int]] = []
    for first, end in spans:
        if joined and first <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        elif end > first:
            joined.append((first, end))
    return tuple(joined)
