"""Training that starts from a published model: its weights into a module in whatever layout that has."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from pyckpt.engine.background import flights
from pyckpt.engine.fill import fill
from pyckpt.engine.leaves import Binder
from pyckpt.engine.options import LoadOptions
from pyckpt.engine.pause import no_cycle_collection
from pyckpt.engine.report import LoadReport
from pyckpt.engine.rounds import round_trip
from pyckpt.errors import UsageError
from pyckpt.frameworks import framework_for
from pyckpt.interop.hf.manifest import ITEM, hf_item
from pyckpt.interop.hf.weights import Directory, decode_headers, encode_headers, open_directory, read_headers

if TYPE_CHECKING:
    from torch import nn

    from pyckpt.torch.layout import LayoutRule

__all__ = ["load_into"]


def load_into(
    model: nn.Module,
    hf_dir: str | os.PathLike[str],
    *,
    dtype: Literal["error", "widen", "cast"] = "widen",
    strict: bool = True,
    map_key: Callable[[str], str] | None = None,
    layout: Mapping[str, LayoutRule] | None = None,
    options: LoadOptions | None = None,
) -> LoadReport:
    """Fills ``model`` in place from the safetensors files of a Hugging Face directory, or of any URL that fsspec knows.

    All ranks of the default process group call it together, with the module in the layout that it is trained in; each
    reads the byte ranges that it needs, or gets from another what several want alike. ``dtype``, ``strict`` and
    ``map_key`` are as in ``LoadOptions``, of which all else counts in ``options``; ``layout`` maps name patterns to the
    part that a plain tensor is (``pyckpt.Shard``). The files have no digests, so none are checked, and the report's is
    empty.

    Nothing is changed unless everything fits. Raises StateMismatch (``findings`` has all), UsageError, NotFound,
    Corrupt, Unsupported, RankError, StoreError.
    """
    begin = time.perf_counter()
    given = options or LoadOptions()
    options = replace(given, dtype=dtype, strict=strict, map_key=map_key or given.map_key, verify=False)
    framework = framework_for("torch")
    coordinator = framework.coordinator(
        f"load_into {hf_dir}", collective=options.collective, timeout=options.timeout, silence=options.silence
    )
    chosen: dict[str, Binder] = {}
    places: list[Directory] = []

    def prepare() -> bytes:
        # Whatever is wrong with the call here, all ranks hear of it.
        _check_call(model, layout, options)
        places.append(open_directory(hf_dir))
        chosen.update(framework.binders({ITEM: model}, coordinator, options, {ITEM: layout} if layout else {}))
        return b""

    def read(_: Sequence[bytes]) -> bytes:
        return encode_headers(read_headers(places[0]))

    # What is filled may be what a save in the background still reads.
    flights.until_staged()
    try:
        with no_cycle_collection():
            headers = decode_headers(round_trip(coordinator, "open", prepare, read))
            item = hf_item([header.parse() for header in headers])
            url = places[0].folder or places[0].store.url
            done = fill(
                places[0].store,
                {ITEM: item},
                chosen,
                name=url,
                options=options,
                coordinator=coordinator,
                exchanger=framework.exchanger(),
            )
    finally:
        coordinator.close()
    seconds = time.perf_counter() - begin
    return LoadReport(
        url, "", done.tensors, done.bytes, done.read, seconds, done.skipped, done.exchanged, done.staging
    )


def _check_call(model: object, layout: object, options: LoadOptions) -> None:
    from torch import nn

    if not isinstance(model, nn.Module):
        raise UsageError("usage.invalid", f"the model is a {type(model).__name__}, expected a torch.nn.Module")
    if options.expect is not None:
        raise UsageError("usage.invalid", "expect is the digest of a checkpoint's root; this directory has none")
    if layout is None:
        return
    if not isinstance(layout, Mapping) or any(isinstance(rule, Mapping) for rule in layout.values()):
        raise UsageError(
            "usage.invalid", "expected a layout of {name pattern: rule}", hint='{"experts.*": pyckpt.Shard(0, rank, 8)}'
        )
