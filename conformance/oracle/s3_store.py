"""A store in a bucket: the subset of S3 of section 4.6, path-style, one connection per request, not signed."""

from __future__ import annotations

import http.client
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from email.utils import parsedate_to_datetime
from urllib.parse import quote, unquote_plus, urlencode, urlsplit
from xml.etree import ElementTree as ET

from .errors import Rejected
from .names import is_temporary
from .store import Listed, NoSuchKey, TooLarge
from .writable import Ambiguous

_TIMEOUT = 6.0
_NAMESPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"
_LONGEST_ERROR = 1 << 16


class _NoAnswer(Exception):
    """The request got no whole answer; whether it was done is not known."""


class _Answer:
    """Status and headers of an answer, and its body, which is read on demand."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self._response = response
        self.status = response.status

    def header(self, name: str) -> str:
        """A header; empty if it is absent."""
        return self._response.getheader(name) or ""

    @property
    def length(self) -> int:
        """Bytes of the body, as the header states them."""
        text = self.header("Content-Length")
        if not text.isdecimal():
            raise _NoAnswer("the answer does not state its length")
        return int(text)

    def body(self) -> bytes:
        """The whole body."""
        return self._response.read()

    def error_code(self) -> str:
        """S3's code of an answer that is an error; empty if it states none."""
        text = self._response.read(_LONGEST_ERROR)
        try:
            return ET.fromstring(text).findtext("Code") or ""  # noqa: S314 - answers of the store
        except ET.ParseError:
            return ""


class S3Store:
    """The objects of a bucket below a prefix."""

    certain = False

    def __init__(self, endpoint: str, bucket: str, prefix: str) -> None:
        """Keep where the store is; nothing is asked yet."""
        place = urlsplit(endpoint)
        self._host, self._port = place.hostname or "", place.port
        self._bucket = f"/{quote(bucket)}"
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""

    def get(self, key: str, limit: int | None = None) -> bytes:
        """All bytes of the object; its length is known before the body is read."""
        with self._asked("GET", key) as answer:
            self._check(answer, key, 200)
            if limit is not None and answer.length > limit:
                raise TooLarge(answer.length)
            return answer.body()

    def get_range(self, key: str, begin: int, end: int) -> bytes:
        """The bytes [begin, end); an answer of fewer is a failure."""
        if begin == end:
            if self.size(key) < end:
                raise Rejected("store.io", f"bytes [{begin}, {end}) lie behind the object", subject=key)
            return b""
        with self._asked("GET", key, headers={"Range": f"bytes={begin}-{end - 1}"}) as answer:
            self._check(answer, key, 206)
            data = answer.body()
            if len(data) != end - begin:
                raise Rejected("store.io", f"{len(data)} bytes instead of [{begin}, {end})", subject=key)
            return data

    def size(self, key: str) -> int:
        """Bytes of the object; an answer 404 here has no body, and counts as an absent key (section 4.6)."""
        with self._asked("HEAD", key) as answer:
            if answer.status == 404:
                raise NoSuchKey(key)
            self._check(answer, key, 200)
            return answer.length

    def names(self, prefix: str) -> list[str]:
        """The distinct first segments below the prefix."""
        folders, objects = [], []
        for page in self._pages(prefix, delimiter="/"):
            folders += [_key(one, "Prefix")[:-1] for one in page.iterfind(f"{_NAMESPACE}CommonPrefixes")]
            objects += [_key(one, "Key") for one in page.iterfind(f"{_NAMESPACE}Contents")]
        cut = len(self._prefix + prefix)
        return sorted({name[cut:] for name in (*folders, *objects) if not is_temporary(name[cut:])})

    def list(self, prefix: str) -> list[Listed]:
        """Every object whose key begins with the prefix."""
        found = [
            self._listed(one, prefix) for page in self._pages(prefix) for one in page.iterfind(f"{_NAMESPACE}Contents")
        ]
        return [one for one in found if not is_temporary(one.key.rpartition("/")[2])]

    def _listed(self, element: ET.Element, prefix: str) -> Listed:
        size, time = (element.findtext(f"{_NAMESPACE}{name}") or "" for name in ("Size", "LastModified"))
        try:
            modified = datetime.fromisoformat(time.replace("Z", "+00:00")).timestamp()
            return Listed(_key(element, "Key")[len(self._prefix) :], int(size), modified)
        except ValueError as error:
            raise Rejected("store.io", f"a listing that can't be read: {error}", subject=prefix) from error

    def create(self, key: str, data: bytes) -> None:
        """A new object by a plain put: nobody else uses its key (SCF-LAYOUT-007)."""
        self.put(key, data)

    def create_if_absent(self, key: str, data: bytes) -> bool:
        """Whether a put with the condition created the object; never a completion of parts (SCF-STORE-011)."""
        try:
            with self._asked("PUT", key, body=data, headers={"If-None-Match": "*"}) as answer:
                if answer.status == 409 or answer.status >= 500:
                    raise Ambiguous(f"status {answer.status}")
                if answer.status == 412:
                    return False
                self._check(answer, key, 200)
                return True
        except Rejected as failure:
            if isinstance(failure.__cause__, _NoAnswer):
                raise Ambiguous(failure.message) from failure
            raise

    def put(self, key: str, data: bytes) -> None:
        """Create or replace an object."""
        with self._asked("PUT", key, body=data) as answer:
            self._check(answer, key, 200)

    def delete(self, key: str) -> None:
        """Remove an object."""
        with self._asked("DELETE", key) as answer:
            if answer.status not in {200, 204, 404}:
                self._check(answer, key, 204)

    def clock(self) -> float:
        """The date of an answer."""
        with self._asked("GET", query={"list-type": "2", "max-keys": "1"}) as answer:
            self._check(answer, "", 200)
            answer.body()
            return parsedate_to_datetime(answer.header("Date")).timestamp()

    def _pages(self, prefix: str, **more: str) -> Iterator[ET.Element]:
        """The pages of a listing."""
        query = {"list-type": "2", "prefix": self._prefix + prefix, "encoding-type": "url", **more}
        token = ""
        while True:
            with self._asked("GET", query={**query, **({"continuation-token": token} if token else {})}) as answer:
                self._check(answer, prefix, 200)
                page = ET.fromstring(answer.body())  # noqa: S314 - answers of the store
            yield page
            if page.findtext(f"{_NAMESPACE}IsTruncated") != "true":
                return
            token = page.findtext(f"{_NAMESPACE}NextContinuationToken") or ""
            if not token:
                raise Rejected("store.io", "a listing breaks off", subject=prefix)

    @contextmanager
    def _asked(
        self,
        method: str,
        key: str = "",
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Iterator[_Answer]:
        """The answer to a request; what breaks on the way, or in the block, is `store.io`, caused by _NoAnswer."""
        path = self._bucket + (f"/{quote(self._prefix + key)}" if key else "")
        path += f"?{urlencode(query)}" if query else ""
        connection = http.client.HTTPConnection(self._host, self._port, timeout=_TIMEOUT)
        try:
            connection.request(method, path, body, dict(headers or {}))
            yield _Answer(connection.getresponse())
        except (OSError, ValueError, http.client.HTTPException, ET.ParseError, _NoAnswer) as error:
            what = f"{method}: {type(error).__name__}: {error}"
            raise Rejected("store.io", what, subject=key) from _NoAnswer(what)
        finally:
            connection.close()

    def _check(self, answer: _Answer, key: str, status: int) -> None:
        """The answer has this status, or else the failure that it reports (SCF-STORE-002)."""
        if answer.status == status:
            return
        code = answer.error_code()
        if answer.status == 404 and code == "NoSuchKey":
            raise NoSuchKey(key)
        raise Rejected("store.io", f"status {answer.status} {code}".rstrip(), subject=key)


def _key(element: ET.Element, name: str) -> str:
    """A key of a listing, which has them as they are written in a URL."""
    return unquote_plus(element.findtext(f"{_NAMESPACE}{name}") or "")
