"""``config.json`` as transformers 5 and readers of the older fields both understand it."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pyckpt.errors import UsageError
from pyckpt.interop.hf.arguments import TORCH_NAMES
from pyckpt.interop.hf.plan import Weight

__all__ = ["MAX_CONFIG_BYTES", "config_of", "config_text", "main_dtype", "parse_config", "without_surprises"]

MAX_CONFIG_BYTES: Final = 16 << 20
_MAX_DEPTH: Final = 32
_COMPUTED: Final = ("F64", "F32", "F16", "BF16")
"""Dtypes that a model can be said to have: what is narrower is stored so, and computed in another."""


def config_of(value: Mapping[str, Any] | str | os.PathLike[str] | object) -> dict[str, Any]:
    """A config from a path (of a file, or of a directory that has one), a dict, or a config object of transformers.

    Raises UsageError.
    """
    if isinstance(value, str | os.PathLike):
        path = os.fspath(value)
        if os.path.isdir(path):
            path = os.path.join(path, "config.json")
        try:
            with open(path, "rb") as file:
                return parse_config(file.read(MAX_CONFIG_BYTES + 1), path)
        except OSError as error:
            raise UsageError("usage.invalid", f"the config can't be read: {error}", key=path) from error
    if isinstance(value, Mapping):
        return parse_config(json.dumps(dict(value)).encode(), "config")
    to_json = getattr(value, "to_json_string", None)
    if to_json is None:
        raise UsageError(
            "usage.invalid",
            f"expected a path, a dict or a config of transformers, found {type(value).__name__}",
            key="config",
        )
    return parse_config(str(to_json()).encode(), "config")


def parse_config(data: bytes, key: str) -> dict[str, Any]:
    """The object in these bytes. Raises UsageError for what is no config."""
    if len(data) > MAX_CONFIG_BYTES:
        raise UsageError("usage.invalid", f"a config of more than {MAX_CONFIG_BYTES} bytes", key=key)
    try:
        # Not the strict parser of roots: configs may say Infinity, and transformers writes it so.
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UsageError("usage.invalid", f"expected JSON, found {error!s:.200}", key=key) from error
    if not isinstance(value, dict) or _is_deep(value, _MAX_DEPTH):
        raise UsageError("usage.invalid", f"expected a JSON object of at most {_MAX_DEPTH} levels", key=key)
    return value


def _is_deep(value: object, room: int) -> bool:
    if isinstance(value, dict):
        return not room or any(_is_deep(each, room - 1) for each in value.values())
    if isinstance(value, list):
        return not room or any(_is_deep(each, room - 1) for each in value)
    return False


def main_dtype(weights: Sequence[Weight]) -> str:
    """Name in torch of the dtype that most bytes have among those that models compute in; empty if there is none."""
    sizes: Counter[str] = Counter()
    for weight in weights:
        if weight.dtype in _COMPUTED:
            sizes[weight.dtype] += weight.nbytes
    return TORCH_NAMES[sizes.most_common(1)[0][0]] if sizes else ""


def without_surprises(config: Mapping[str, Any], *, dtype: str, architecture: str) -> dict[str, Any]:
    """The config as it is written: ``dtype`` is that of the weights, and newer fields are joined by the older ones.

    ``rope_parameters`` is joined by ``rope_theta`` and, unless its type is the default, ``rope_scaling``, for the whole
    model and for each part that has its own. Where only the older fields are there, they stay: every reader knows them.
    """
    written = _completed(config, dtype)
    if dtype:
        written["dtype"] = written["torch_dtype"] = dtype
    if architecture and not written.get("architectures"):
        written["architectures"] = [architecture]
    return written


def _completed(config: Mapping[str, Any], dtype: str) -> dict[str, Any]:
    written = {
        key: _completed(value, dtype) if isinstance(value, Mapping) and key.endswith("_config") else value
        for key, value in config.items()
    }
    rope = written.get("rope_parameters")
    # With one set of parameters for each kind of layer there is no single older field that could say it.
    if isinstance(rope, Mapping) and isinstance(rope.get("rope_theta"), int | float):
        written.setdefault("rope_theta", rope["rope_theta"])
        if rope.get("rope_type", "default") != "default" and written.get("rope_scaling") is None:
            written["rope_scaling"] = {key: value for key, value in rope.items() if key != "rope_theta"}
    if dtype and ("dtype" in written or "torch_dtype" in written) and not isinstance(written.get("dtype"), dict):
        written["dtype"] = written["torch_dtype"] = dtype
    return written


def config_text(config: Mapping[str, Any]) -> bytes:
    """The bytes of ``config.json``."""
    return (json.dumps(config, indent=2, sort_keys=True) + "\n").encode()
