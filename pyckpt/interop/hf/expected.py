"""What transformers expects of the model that a config describes: built on the meta device, no memory for weights.

Nothing of the config is executed: neither ``auto_map`` nor any code that came with the checkpoint.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Final

from pyckpt.format.geometry import Ints

__all__ = ["Expected", "NotKnown", "expected_of"]

_COUNTS: Final = re.compile(r"^(?:num|n)_|layer|expert|block|depth|stage")
_FEWEST: Final = 4096
_SILENT: Final = 50
_CLASS: Final = re.compile(r"[A-Z][A-Za-z0-9]{1,100}")
_NOT_NEEDED: Final = ("auto_map", "dtype", "torch_dtype", "attn_implementation", "_attn_implementation")


@dataclass(frozen=True, slots=True)
class Expected:
    """Names and shapes of a model's weights."""

    architecture: str
    """Name of the class."""
    shapes: Mapping[str, Ints]
    """Of every entry of the model's state dict, by the names that the class itself uses."""
    tied: Mapping[str, str]
    """Name that files leave out -> name that they keep."""
    optional: re.Pattern[str] | None
    """Names that may be missing."""
    ignored: re.Pattern[str] | None
    """Names that may be there in addition."""
    published: Mapping[str, Ints] | None
    """The same weights as transformers itself writes them, where that differs."""


@dataclass(frozen=True, slots=True)
class NotKnown:
    """Why there is nothing to compare with."""

    reason: str


def expected_of(config: Mapping[str, Any], *, tensors: int) -> Expected | NotKnown:
    """The model of a config; it is not built if it claims far more layers than ``tensors``, how many the item has."""
    if find_spec("torch") is None or find_spec("transformers") is None:
        return NotKnown("transformers is not installed")
    if config.get("quantization_config"):
        return NotKnown("the config says that the weights are quantised, and their names follow from how")
    excess = _too_many(config, max(_FEWEST, 4 * tensors))
    if excess:
        return NotKnown(f"the config says {excess}, and the item has {tensors} tensors")
    with _quiet():
        try:
            return _build(config)
        except Exception as error:  # noqa: BLE001 - classes of another library meet a config that anybody may have written
            return NotKnown(f"transformers can't build the model: {type(error).__name__}: {error!s:.300}")


def _too_many(config: Mapping[str, Any], limit: int) -> str:
    for key, value in config.items():
        if isinstance(value, Mapping):
            inside = _too_many(value, limit)
            if inside:
                return inside
        elif isinstance(value, int) and value > limit and isinstance(key, str) and _COUNTS.search(key):
            return f"{key} = {value}"
    return ""


@contextmanager
def _quiet() -> Iterator[None]:
    """Warnings about a model that is thrown away again are nobody's business."""
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity(_SILENT)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)


def _build(config: Mapping[str, Any]) -> Expected | NotKnown:
    import torch
    import transformers
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    kind = config.get("model_type")
    if not isinstance(kind, str) or kind not in CONFIG_MAPPING:
        return NotKnown(f"transformers {transformers.__version__} doesn't know the model_type {kind!r:.100}")
    plain = {key: value for key, value in config.items() if key not in _NOT_NEEDED}
    parsed = CONFIG_MAPPING[kind].from_dict(plain)
    cls = _class_of(config, parsed)
    if cls is None:
        return NotKnown(f"transformers {transformers.__version__} has no model for the config's architectures")
    # Kernels that the config may ask for need not be installed here. Built by its constructor alone: transformers' own
    # way would let DeepSpeed cut the weights in pieces, if that is in use in this process.
    parsed._attn_implementation = "eager"
    with torch.device("meta"):
        model = cls(parsed)
    state = {name: value for name, value in model.state_dict().items() if isinstance(value, torch.Tensor)}
    for name in getattr(model, "_keys_to_ignore_on_save", None) or ():
        state.pop(name, None)
    shapes = {name: tuple(value.shape) for name, value in state.items()}
    tied = {alias: name for alias, name in model.all_tied_weights_keys.items() if alias in shapes and name in shapes}
    return Expected(
        cls.__name__,
        shapes,
        tied,
        _any_of(model._keys_to_ignore_on_load_missing),
        _any_of(model._keys_to_ignore_on_load_unexpected),
        _published(model, {name: value for name, value in state.items() if name not in tied}),
    )


def _class_of(config: Mapping[str, Any], parsed: Any) -> Any:
    """The class that the config names, if transformers has it for such configs; the causal model if it names none."""
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    names = config.get("architectures")
    if not names:
        return MODEL_FOR_CAUSAL_LM_MAPPING.get(type(parsed), None)
    name = names[0] if isinstance(names, list) else None
    cls = getattr(transformers, name, None) if isinstance(name, str) and _CLASS.fullmatch(name) else None
    if not isinstance(cls, type) or not issubclass(cls, transformers.PreTrainedModel):
        return None
    return cls if cls.config_class is not None and isinstance(parsed, cls.config_class) else None


def _any_of(patterns: Any) -> re.Pattern[str] | None:
    return re.compile("|".join(f"(?:{pattern})" for pattern in sorted(patterns))) if patterns else None


def _published(model: Any, state: Mapping[str, Any]) -> Mapping[str, Ints] | None:
    """Names and shapes in files that transformers writes; None where they are the model's own."""
    try:
        from transformers.core_model_loading import revert_weight_conversion

        shapes = {name: tuple(value.shape) for name, value in revert_weight_conversion(model, dict(state)).items()}
    except Exception:  # noqa: BLE001 - an inner function of another library; without it one remark is missing
        return None
    return None if shapes.keys() == state.keys() else shapes
