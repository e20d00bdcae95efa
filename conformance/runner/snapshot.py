"""What lies in a store at one moment, and what became of it (CASES.md, section "After")."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

__all__ = ["Snapshot", "after_findings", "of_directory", "of_objects"]

_TEMPORARY: Final = re.compile(r"\.(tmp|probe)-[0-9a-f]{16}")
_HASHED: Final = 16 << 20
_SHOWN: Final = 8


@dataclass(frozen=True)
class Snapshot:
    """Key -> what the object is: equal for equal contents."""

    objects: Mapping[str, str]

    def differences(self, later: Snapshot) -> list[str]:
        """What a later moment has otherwise."""
        before, now = self.objects, later.objects
        found = [f"{key} is gone" for key in before if key not in now]
        found += [f"{key} is new" for key in now if key not in before]
        found += [f"{key} changed" for key in before if key in now and before[key] != now[key]]
        return sorted(found)


def of_directory(directory: Path) -> Snapshot:
    """Files and links below a directory; a store's own temporary objects are none (section 4.3)."""
    return Snapshot(dict(_files(directory, "")))


def of_objects(objects: Mapping[str, bytes]) -> Snapshot:
    """Of objects that are at hand."""
    return Snapshot({key: _digest(data) for key, data in objects.items() if not _is_temporary(key)})


def after_findings(wanted: Mapping[str, Any], before: Snapshot, now: Snapshot) -> list[str]:
    """What does not hold of a store; empty if all does."""
    keys = set(now.objects)
    found = [f"{key} is not there" for key in wanted.get("present", ()) if not _matching(keys, key)]
    found += [f"{here} is still there" for key in wanted.get("absent", ()) for here in sorted(_matching(keys, key))]
    if "only" in wanted:
        allowed = {here for key in wanted["only"] for here in _matching(keys, key)}
        found += [f"{key} is not there" for key in wanted["only"] if not _matching(keys, key)]
        found += [f"{key} should not be there" for key in sorted(keys - allowed)]
    for key in wanted.get("same", ()):
        for there in sorted(_matching(set(before.objects), key)):
            if there not in keys:
                found.append(f"{there} is gone")
            elif before.objects[there] != now.objects[there]:
                found.append(f"{there} changed")
    for key, what in wanted.get("content", {}).items():
        expected = f"{what['size']} bytes {what['sha256']}"
        if now.objects.get(key) != expected:
            found.append(f"{key}: expected {expected}, found {now.objects.get(key, 'nothing')}")
    if wanted.get("unchanged"):
        found += before.differences(now)
    return found if len(found) <= _SHOWN else [*found[:_SHOWN], f"and {len(found) - _SHOWN} more"]


def _matching(keys: set[str], key: str) -> set[str]:
    """The keys that a key of a case is about; ``*`` stands for any characters."""
    if "*" not in key:
        return {key} & keys
    pattern = re.compile(".*".join(map(re.escape, key.split("*"))), re.DOTALL)
    return {here for here in keys if pattern.fullmatch(here)}


def _files(directory: Path, prefix: str) -> Iterator[tuple[str, str]]:
    for entry in os.scandir(directory):
        key = prefix + entry.name
        if entry.is_symlink():
            yield key, f"link to {os.readlink(entry.path)}"
        elif entry.is_dir():
            yield from _files(Path(entry.path), f"{key}/")
        elif not _is_temporary(key):
            yield key, _content(entry)


def _content(entry: os.DirEntry[str]) -> str:
    """Of a large file the size and the time, as reading it would take too long."""
    status = entry.stat(follow_symlinks=False)
    if not stat.S_ISREG(status.st_mode):
        return f"no regular file, mode {status.st_mode:o}"
    if status.st_size > _HASHED:
        return f"{status.st_size} bytes of {status.st_mtime_ns}"
    return _digest(Path(entry.path).read_bytes())


def _digest(data: bytes) -> str:
    return f"{len(data)} bytes {hashlib.sha256(data).hexdigest()}"


def _is_temporary(key: str) -> bool:
    return _TEMPORARY.fullmatch(key.rpartition("/")[2]) is not None
