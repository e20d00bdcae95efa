"""A directory as Hugging Face's libraries leave it: which files hold the weights, and what their headers say.

Everything in it is untrusted. Names from an index are plain names; links are followed to files of the directory alone,
or to the ``blobs`` of the hub's cache that the directory is a snapshot of.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgpack

from pyckpt.errors import Corrupt, Finding, LimitExceeded, NotFound, StoreError, UsageError
from pyckpt.format.json_strict import parse_json
from pyckpt.format.safetensors import LENGTH_BYTES
from pyckpt.interop.hf.header import header_bytes, parse_header
from pyckpt.interop.hf.manifest import HeldFile
from pyckpt.limits import MAX_HEADER_BYTES
from pyckpt.storage.base import ObjectMissing, Store, check_key
from pyckpt.storage.local import LocalStore
from pyckpt.storage.url import open_store

__all__ = ["Directory", "StoredHeader", "decode_headers", "encode_headers", "open_directory", "read_headers"]

SINGLE: Final = "model.safetensors"
INDEX: Final = "model.safetensors.index.json"
_PICKLES: Final = ("pytorch_model.bin", "pytorch_model.bin.index.json", "consolidated.00.pth", "model.pt")
_SUFFIX: Final = ".safetensors"
_INDEX_DEPTH: Final = 16
_FEW: Final = 20
"""Problems that an error lists."""


@dataclass(frozen=True, slots=True)
class Directory:
    """Where the files lie."""

    store: Store
    folder: str | None
    """The real path of a local directory, below the store's root; None: the store is the directory."""

    def key(self, name: str) -> str:
        """Key of a file by its plain name. Raises StoreError for a link that leads out."""
        if self.folder is None or not isinstance(self.store, LocalStore):
            return name
        root = self.store.root.rstrip("/") + "/"
        real = os.path.realpath(os.path.join(self.folder, name))
        homes = (self.folder.rstrip("/") + "/", root if root[:-1] == self.folder else root + "blobs/")
        if not real.startswith(homes):
            raise StoreError(
                "store.io",
                f"{name!r} is a link to {real!r}, out of the directory",
                key=self.folder,
                hint="put the file itself there",
            )
        return real[len(root) :]

    def has(self, name: str) -> bool:
        """True if there is such a file."""
        return self.store.info(self.key(name)) is not None


@dataclass(frozen=True, slots=True)
class StoredHeader:
    """The first bytes of one file, unparsed, as rank 0 passes them on."""

    name: str
    key: str
    size: int
    """Bytes of the whole file."""
    data: bytes

    def parse(self) -> HeldFile:
        """The file with its entries. Raises Corrupt ``object.header``, Unsupported ``dtype.unsupported``."""
        return HeldFile(self.name, self.key, self.size, len(self.data), parse_header(self.data, self.size, self.name))


def open_directory(path: str | os.PathLike[str]) -> Directory:
    """The directory at a path or URL; what is in it is not looked at yet. Raises UsageError."""
    store = open_store(path)
    if not isinstance(store, LocalStore):
        return Directory(store, None)
    folder = os.path.realpath(store.root)
    above = os.path.dirname(os.path.dirname(folder))
    # The hub's cache: <repository>/snapshots/<revision>/ has links to <repository>/blobs/.
    if os.path.basename(os.path.dirname(folder)) == "snapshots" and os.path.isdir(os.path.join(above, "blobs")):
        return Directory(LocalStore(above), folder)
    return Directory(LocalStore(folder), folder)


def read_headers(directory: Directory) -> list[StoredHeader]:
    """The headers of all files of weights, checked as far as the index and the files' sizes go.

    Raises NotFound, UsageError for a directory without safetensors, Corrupt ``manifest.*``, ``object.*``, StoreError.
    """
    index = _read_index(directory)
    if directory.has(SINGLE):
        if index and set(index.values()) != {SINGLE}:
            raise UsageError(
                "usage.invalid",
                f"the directory has {SINGLE} and an index of other files; which of them is the model?",
                key=directory.store.url,
                hint="remove what is out of date",
            )
        return [_read_header(directory, SINGLE, 0)]
    if index is None:
        raise _nothing_there(directory)
    headers: list[StoredHeader] = []
    total = 0
    for name in sorted(set(index.values())):
        headers.append(_read_header(directory, name, total))
        total += len(headers[-1].data)
    _check_index(index, [header.parse() for header in headers])
    return headers


def encode_headers(headers: Sequence[StoredHeader]) -> bytes:
    """What ``decode_headers`` reads."""
    packed: bytes = msgpack.packb([[each.name, each.key, each.size, each.data] for each in headers])
    return packed


def decode_headers(data: bytes) -> list[StoredHeader]:
    """The headers that another rank read."""
    return [StoredHeader(*row) for row in msgpack.unpackb(data)]


def _read_header(directory: Directory, name: str, before: int) -> StoredHeader:
    key = directory.key(name)
    try:
        with directory.store.open_reader(key) as reader:
            first = bytearray(min(LENGTH_BYTES, reader.size))
            reader.read_into(0, [memoryview(first)])
            size = header_bytes(bytes(first), reader.size, name)
            if before + size > MAX_HEADER_BYTES:
                message = f"headers of more than {MAX_HEADER_BYTES} bytes in all"
                raise LimitExceeded("limit.exceeded", message, key=name)
            data = bytearray(size)
            reader.read_into(0, [memoryview(data)])
            return StoredHeader(name, key, reader.size, bytes(data))
    except ObjectMissing as error:
        raise Corrupt(
            "object.missing", "the index lists the file, and it is not there", key=name, hint="download it again"
        ) from error
    except EOFError as error:
        raise Corrupt("object.size", f"the file shrank while it was read: {error}", key=name) from error


def _read_index(directory: Directory) -> dict[str, str] | None:
    """Tensor -> file, of plain names; None without an index."""
    if not directory.has(INDEX):
        return None
    data = directory.store.get(directory.key(INDEX), limit=MAX_HEADER_BYTES)
    record = parse_json(data, max_bytes=MAX_HEADER_BYTES, max_depth=_INDEX_DEPTH, code="manifest.syntax", key=INDEX)
    files = record.get("weight_map") if isinstance(record, dict) else None
    if not isinstance(files, dict) or not files:
        raise Corrupt("manifest.schema", "weight_map is missing, empty or no object", key=INDEX)
    for name in set(map(_text, files.values())):
        _check_plain(name)
    return files


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise Corrupt("manifest.schema", f"weight_map has {value!r:.100} where a file name belongs", key=INDEX)
    return value


def _check_plain(name: str) -> None:
    try:
        plain = len(check_key(name)) == 1
    except ValueError:
        plain = False
    if not plain or name.startswith(".") or len(name.encode()) > 255:
        raise Corrupt("manifest.schema", f"expected names of files of the directory, found {name!a:.300}", key=INDEX)
    if not name.endswith(_SUFFIX):
        raise Corrupt("manifest.schema", f"only {_SUFFIX} files are read, found {name!r:.300}", key=INDEX)


def _check_index(index: dict[str, str], files: Sequence[HeldFile]) -> None:
    """Every tensor of the index is in its file."""
    held = {file.name: {entry.name for entry in file.entries} for file in files}
    lost = [
        Finding("object.header", name, f"listed in {file}, which has no such tensor")
        for name, file in index.items()
        if name not in held[file]
    ]
    if lost:
        raise Corrupt(
            "object.header",
            f"{len(lost)} tensors of the index are not in their files",
            key=INDEX,
            hint="download the directory again, or make the index anew",
            findings=lost[:_FEW],
        )


def _nothing_there(directory: Directory) -> UsageError | NotFound:
    url = directory.folder or directory.store.url
    pickles = [name for name in _PICKLES if directory.has(name)]
    if pickles:
        return UsageError(
            "usage.invalid",
            f"the weights are in {pickles[0]}, a pickle, which pyckpt does not open: it could run any code",
            key=url,
            hint="convert it once where you trust it: from_pretrained(...).save_pretrained(...) writes safetensors",
        )
    if directory.has("checkpoint.json"):
        return UsageError("usage.invalid", "this is a checkpoint of pyckpt", key=url, hint="pyckpt.load loads it")
    return NotFound("checkpoint.missing", f"the directory has neither {SINGLE} nor {INDEX}", key=url)
