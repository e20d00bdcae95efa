"""The files beside the weights: which assets belong into a directory for loaders, and how they get there."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from typing import Any, Final

from pyckpt.engine.buffers import staging
from pyckpt.engine.open import OpenCheckpoint, descriptor_key, missing
from pyckpt.errors import Corrupt, UsageError
from pyckpt.interop.hf.new_directory import NewDirectory

__all__ = ["copy_asset", "copy_tokenizer", "is_tokenizer_file", "is_wanted"]

_CHUNK: Final = 8 << 20
_TOKENIZER: Final = re.compile(
    r"(?:tokenizer.*\.(?:json|model)|tokenizer|special_tokens_map\.json|added_tokens\.json|vocab\.(?:json|txt)"
    r"|merges\.txt|[^/]*\.(?:model|tiktoken)|tekken\.json|chat_template\.(?:jinja|json)"
    r"|additional_chat_templates/[^/]+\.jinja|(?:image_|video_)?(?:pre)?processor_config\.json)",
    re.IGNORECASE,
)
_TEXT: Final = re.compile(
    r"[^/]+\.(?:json|txt|md|py|jinja|model|tiktoken)|additional_chat_templates/[^/]+\.jinja"
    r"|(?:LICENSE|LICENCE|NOTICE|USE_POLICY|README)[^/]*",
    re.IGNORECASE,
)
_WEIGHTS: Final = re.compile(
    r".*\.(?:safetensors|bin|pt|pth|ckpt|gguf|onnx|h5|msgpack|pkl|npz)(?:\.|$).*|.*\.index\.json|consolidated.*",
    re.IGNORECASE,
)
_OTHERS: Final = frozenset({"config.json", "params.json", "adapter_config.json"})
"""Written anew, or read by loaders as a sign of another kind of model."""


def is_wanted(name: str) -> bool:
    """Whether an asset is copied: a text that loaders look for, and never what they could take for weights."""
    last = name.rpartition("/")[2].lower()
    return bool(_TEXT.fullmatch(name)) and not _WEIGHTS.fullmatch(last) and name.lower() not in _OTHERS


def is_tokenizer_file(name: str) -> bool:
    """Whether the file is a part of a tokenizer or processor."""
    return is_wanted(name) and bool(_TOKENIZER.fullmatch(name))


def copy_asset(opened: OpenCheckpoint, item: str, name: str, directory: NewDirectory) -> None:
    """Writes an asset, byte for byte and verified, in bounded memory. Raises NotFound, Corrupt ``asset.*``."""
    stated = opened.entry(item).assets[name]
    key = descriptor_key(opened.name, stated)
    try:
        reader = opened.store.open_reader(key)
    except FileNotFoundError as error:
        raise missing("asset", stated.store_key is not None, f"the asset {name!r} of {item!r}", key) from error
    with reader, staging.buffer(_CHUNK) as buffer:
        if reader.size != stated.size:
            raise Corrupt("asset.size", f"expected {stated.size} bytes, found {reader.size}", key=key)
        state = hashlib.sha256()

        def pieces() -> Iterator[memoryview]:
            for at in range(0, stated.size, _CHUNK):
                view = buffer[: min(_CHUNK, stated.size - at)]
                reader.read_into(at, [view])
                state.update(view)
                yield view

        directory.write(name, pieces())
    if state.hexdigest() != stated.sha256:
        raise Corrupt("asset.digest", f"expected sha256 {stated.sha256}, found {state.hexdigest()}", key=key)


def copy_tokenizer(tokenizer: Any, directory: NewDirectory) -> None:
    """Writes the files of a tokenizer: an object with ``save_pretrained``, or a directory. Raises UsageError."""
    if isinstance(tokenizer, str | os.PathLike):
        _copy_from(os.fspath(tokenizer), directory)
        return
    if not hasattr(tokenizer, "save_pretrained"):
        raise UsageError(
            "usage.invalid",
            f"expected a directory or an object with save_pretrained, found {type(tokenizer).__name__}",
            key="tokenizer",
        )
    with tempfile.TemporaryDirectory(prefix="pyckpt-tokenizer-") as folder:
        tokenizer.save_pretrained(folder)
        _copy_from(folder, directory)


def _copy_from(folder: str, directory: NewDirectory) -> None:
    names = []
    for base in ("", "additional_chat_templates/"):
        if os.path.isdir(os.path.join(folder, base)):
            names += [f"{base}{name}" for name in sorted(os.listdir(os.path.join(folder, base)))]
    found = [name for name in names if is_tokenizer_file(name) and os.path.isfile(os.path.join(folder, name))]
    if not found:
        raise UsageError("usage.invalid", "there is no file of a tokenizer in the directory", key=folder)
    for name in found:
        try:
            with open(os.path.join(folder, name), "rb") as file:
                directory.write(name, iter(lambda: memoryview(file.read(_CHUNK)), b""))
        except OSError as error:
            raise UsageError("usage.invalid", f"a file can't be copied: {error}", key=f"{folder}/{name}") from error
