"""The order of requests that a case asks for (CASES.md, section "After", member ``order``)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from ..transactions.s3_requests import Request

__all__ = ["order_mistakes"]

Json = dict[str, Any]


def order_mistakes(wanted: Sequence[Json], requests: Sequence[Request]) -> list[str]:
    """Pairs for which no request of ``then`` came after all of ``first`` were answered; empty if there are none."""
    return [
        f"no request {json.dumps(pair['then'])} came after all of {json.dumps(pair['first'])} were answered"
        for pair in wanted
        if not _holds(pair["first"], pair["then"], requests)
    ]


def _holds(first: Mapping[str, str], then: Mapping[str, str], requests: Sequence[Request]) -> bool:
    ends = [request.end for request in requests if _matches(first, request)]
    return any(
        all(end is not None and end < request.begin for end in ends) for request in requests if _matches(then, request)
    )


def _matches(wanted: Mapping[str, str], request: Request) -> bool:
    if wanted.get("operation", request.operation) != request.operation:
        return False
    if "shows" in wanted:
        return _shows(request, wanted["shows"])
    return "key" not in wanted or fnmatchcase(request.key, wanted["key"])


def _shows(request: Request, key: str) -> bool:
    """Whether a listing would show a key, and not only the beginning of it up to a delimiter."""
    prefix, delimiter = request.query.get("prefix", ""), request.query.get("delimiter", "")
    if request.operation != "ListObjectsV2" or not key.startswith(prefix):
        return False
    return not delimiter or delimiter not in key[len(prefix) :]
