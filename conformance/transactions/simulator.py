"""A store simulator: an object store with the S3 subset of chapter 4, which records requests and fails on demand."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from .s3_faults import Fault
from .s3_objects import Clock, S3Objects
from .s3_requests import Journal, Request
from .s3_server import S3Server
from .s3_service import Service

__all__ = ["Simulator"]


class Simulator:
    """An object store on a port of this computer, running while entered.

    ``page`` bounds the names per answer to a listing, ``least_part`` the size of all parts of an upload but the last.
    ``ignore_conditions`` makes a server that answers conditional writes with success and overwrites;
    ``ignore_multipart_conditions`` one that does so only when an upload in parts is completed. Faults that kill call
    ``on_kill``.
    """

    def __init__(
        self,
        bucket: str = "store",
        *,
        ignore_conditions: bool = False,
        ignore_multipart_conditions: bool = False,
        page: int = 1000,
        least_part: int = 5 << 20,
        on_kill: Callable[[], None] | None = None,
    ) -> None:
        self.bucket = bucket
        self.clock = Clock()
        self.on_kill = on_kill
        self._stored = S3Objects(self.clock, least_part=least_part)
        self._stored.add_bucket(bucket)
        self._service = Service(
            self._stored,
            ignore_conditions=ignore_conditions,
            ignore_multipart_conditions=ignore_multipart_conditions,
            page=page,
        )
        self._journal = Journal()
        self._server: S3Server | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Simulator:  # noqa: PYI034  typing.Self needs Python 3.11
        self._server = S3Server(self._service, self._journal, self.clock, self._kill)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        server, thread = self._running(), self._thread
        server.shutdown()
        server.end_connections()
        server.server_close()
        if thread is not None:
            thread.join()
        self._server = self._thread = None

    def _running(self) -> S3Server:
        if self._server is None:
            raise RuntimeError("the simulator serves only while it is entered")
        return self._server

    def _kill(self) -> None:
        if self.on_kill is not None:
            self.on_kill()

    @property
    def endpoint(self) -> str:
        """The URL that clients are given."""
        return f"http://127.0.0.1:{self._running().server_address[1]}"

    @property
    def requests(self) -> tuple[Request, ...]:
        """All requests since the last ``clear``, in order of arrival."""
        return self._journal.requests()

    @property
    def objects(self) -> dict[str, bytes]:
        """The objects of the bucket."""
        return self.dump()

    @property
    def uploads(self) -> tuple[str, ...]:
        """Keys of uploads in parts that were neither completed nor aborted."""
        return self._stored.unfinished(self.bucket)

    def plan(self, *faults: Fault) -> None:
        """Let these faults happen, in place of the former ones; their counts begin here."""
        if self.on_kill is None and any(fault.kind.startswith("kill") for fault in faults):
            raise ValueError("a fault that kills needs on_kill")
        self._journal.plan(faults)

    def clear(self) -> None:
        """Forget requests and faults; the objects stay."""
        self._journal.clear()

    def settle(self, seconds: float = 10.0) -> bool:
        """Wait until every connection has ended, as they do after the implementation has; False if one goes on."""
        return self._running().settle(seconds)

    def add_bucket(self, name: str) -> None:
        """Create a bucket, unless it is there."""
        self._stored.add_bucket(name)

    def load(self, directory: str | os.PathLike[str], bucket: str | None = None, *, prefix: str = "") -> None:
        """Store every file below a directory, with its time, under the prefix and its path below the directory."""
        top = Path(directory)
        name = bucket or self.bucket
        for path in sorted(path for path in top.rglob("*") if path.is_file()):
            key = prefix + path.relative_to(top).as_posix()
            self._stored.put(name, key, path.read_bytes(), if_absent=False)
            self._stored.set_time(name, key, path.stat().st_mtime + self.clock.offset)

    def dump(self, bucket: str | None = None, *, prefix: str = "") -> dict[str, bytes]:
        """Give the objects whose keys begin with the prefix, under what follows it."""
        found = self._stored.snapshot(bucket or self.bucket)
        return {key[len(prefix) :]: found[key].data for key in sorted(found) if key.startswith(prefix)}

    def dump_tree(self, directory: str | os.PathLike[str], bucket: str | None = None, *, prefix: str = "") -> None:
        """Write the objects as files, with their times, below a directory. ValueError for a key that is no path."""
        found = self._stored.snapshot(bucket or self.bucket)
        for key, data in self.dump(bucket, prefix=prefix).items():
            if not all(part not in ("", ".", "..") and "\0" not in part for part in key.split("/")):
                raise ValueError(f"the key {key!r} is no path of a file")
            path = Path(directory, *key.split("/"))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            modified = found[prefix + key].modified - self.clock.offset
            os.utime(path, (modified, modified))

    def set_age(self, key: str, seconds: float, bucket: str | None = None) -> None:
        """Make an object that many seconds old by the store's clock. S3Error if it is absent."""
        self._stored.set_time(bucket or self.bucket, key, self.clock.now() - seconds)

    def environment(self) -> dict[str, str]:
        """Give the variables by which the usual clients find this server."""
        return {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_EC2_METADATA_DISABLED": "true",
        }
