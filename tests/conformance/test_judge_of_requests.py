"""What the journal says about a commit: too early, without its condition, twice; and which bytes were fetched."""

from __future__ import annotations

import pytest

from conformance.transactions.s3_judge import (
    fetched_spans,
    late_keys,
    rewritten_keys,
    root_writes,
    unconditional_writes,
)
from conformance.transactions.s3_requests import Outcome, Request

ROOT = "c/checkpoint.json"
REACHED = {"c/model/1.safetensors", "c/model/manifest"}


def request(begin, end, operation, key, *, status=200, stored=None, conditional=False, span=None, **query):
    method = {"P": "PUT", "G": "GET", "H": "HEAD", "L": "GET", "C": "POST", "U": "PUT"}[operation[0]]
    return Request(
        number=begin,
        begin=begin,
        end=end,
        method=method,
        operation=operation,
        bucket="store",
        key=key,
        query=query,
        conditional=conditional,
        range=None,
        fault=None,
        outcome=Outcome(status=status, acted=stored is not None, stored=stored, span=span),
    )


def put(begin, end, key, stored="x", **options):
    return request(begin, end, "PutObject", key, stored=stored, **options)


def root(begin, end, **options):
    return put(begin, end, ROOT, conditional=True, **options)


GOOD = [put(1, 4, "c/model/1.safetensors"), put(2, 3, "c/model/manifest"), root(5, 6)]


def test_a_commit_in_order():
    assert late_keys(GOOD, ROOT, REACHED) == ()
    assert root_writes(GOOD, ROOT) == (GOOD[2],)
    assert unconditional_writes(GOOD, ROOT) == ()
    assert rewritten_keys(GOOD, REACHED) == ()


def test_without_a_root_nothing_is_late():
    assert late_keys(GOOD[:2], ROOT, REACHED) == ()
    assert root_writes(GOOD[:2], ROOT) == ()


def test_objects_that_were_there_before():
    assert late_keys([root(1, 2)], ROOT, REACHED | {ROOT}) == ()


@pytest.mark.parametrize(
    "late",
    [
        put(1, 6, "c/model/manifest"),
        put(6, 8, "c/model/manifest"),
        put(1, None, "c/model/manifest", status=None),
        put(1, 2, "c/model/manifest", status=None),
        request(1, 6, "CompleteMultipartUpload", "c/model/manifest", stored="x"),
    ],
)
def test_roots_that_come_too_early(late):
    assert late_keys([late, root(5, 7)], ROOT, REACHED) == ("c/model/manifest",)


LOST = put(1, 2, "k", status=None)


@pytest.mark.parametrize(
    "told",
    [
        request(3, 4, "HeadObject", "k"),
        request(3, 4, "GetObject", "k", span=(0, 1)),
        request(3, 4, "ListObjectsV2", "", prefix="k"),
        put(3, 4, "k", stored=None, status=412, conditional=True),
        put(3, 4, "k"),
    ],
)
def test_a_lost_answer_that_was_made_up_for(told):
    assert late_keys([LOST, told, root(5, 6)], ROOT, {"k"}) == ()


@pytest.mark.parametrize(
    "told",
    [
        request(3, 4, "HeadObject", "k", status=404),
        request(3, 4, "HeadObject", "l"),
        request(3, 6, "HeadObject", "k"),
        request(0, 4, "HeadObject", "k"),
        request(3, 4, "ListObjectsV2", "", prefix="l"),
        request(3, 4, "UploadPart", "k"),
        put(3, 4, "k", stored=None, status=503),
    ],
)
def test_a_lost_answer_that_was_not(told):
    assert late_keys([LOST, told, root(5, 6)], ROOT, {"k"}) == ("k",)


def test_the_first_try_at_the_root_counts():
    requests = [root(1, 2, stored=None, status=503), put(3, 4, "k"), root(5, 6)]
    assert late_keys(requests, ROOT, {"k"}) == ("k",)


def test_roots_without_their_condition():
    plain = put(1, 2, ROOT)
    parts = request(3, 4, "CompleteMultipartUpload", ROOT, stored="x", conditional=True)
    assert unconditional_writes([plain, parts, root(5, 6)], ROOT) == (plain, parts)


def test_keys_that_were_written_twice():
    requests = [put(1, 2, "k", "x"), put(3, 4, "k", "x"), put(5, 6, "l", "x"), put(7, 8, "l", "y")]
    assert rewritten_keys(requests, {"k", "l"}) == ("l",)
    assert rewritten_keys(requests, {"k"}) == ()


def test_fetched_bytes():
    spans = [(5, 9), (0, 3), (3, 4), (8, 12), (20, 20)]
    requests = [request(index, index, "GetObject", "k", span=span) for index, span in enumerate(spans)]
    requests.append(request(9, 9, "GetObject", "l", span=(50, 60)))
    assert fetched_spans(requests, "k") == ((0, 4), (5, 12))
