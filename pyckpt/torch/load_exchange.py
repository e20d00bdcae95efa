"""Passes what one rank has read into its tensors on to the ranks that want the same."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence

from pyckpt.engine.coordinator import Coordinator
from pyckpt.engine.exchange_moves import ExchangePlan
from pyckpt.engine.exchange_waves import schedule_of
from pyckpt.engine.leaves import BoundItem, Sink
from pyckpt.errors import UsageError
from pyckpt.torch.dtypes import torch_dtype
from pyckpt.torch.exchange import Exchange
from pyckpt.torch.live_memory import has_accelerator, sink_dtype, tensor_of, tensors_of
from pyckpt.torch.sink import DeviceSink, TensorSink
from pyckpt.torch.wire import Wire, can_carry, open_wire

__all__ = ["LoadExchanger"]


class LoadExchanger:
    """See ``pyckpt.engine.load_shared.Exchanger``; over the default process group."""

    def dtype_of(self, sink: Sink) -> str:
        """Registry name of the dtype of the tensor that the sink fills."""
        return sink_dtype(sink)

    def note(self, bound: Mapping[str, BoundItem]) -> bytes:
        """Whether a target of this rank is on an accelerator."""
        return bytes([has_accelerator(tensors_of(bound))])

    def machine(self) -> str:
        """The host's name."""
        return socket.gethostname()

    def can_carry(self, notes: Sequence[bytes]) -> bool:
        """Whether the process group serves the devices that the targets are on."""
        return can_carry(None, accelerated=b"\1" in notes)

    def part(self, sink: Sink, rows: tuple[int, int], count: int) -> Sink:
        """A sink for rows of the same tensor, whose memory may have another shape than the region (declared layouts).

        Raises UsageError where it has, and isn't contiguous.
        """
        if not isinstance(sink, (DeviceSink, TensorSink)):
            raise UsageError("usage.invalid", f"a {type(sink).__name__} can't be read in parts")
        tensor = sink.tensor
        if not tensor.dim() or len(tensor) != count:
            if not tensor.is_contiguous():
                raise UsageError(
                    "usage.invalid",
                    f"memory of shape {list(tensor.shape)} that is not contiguous has no {count} rows",
                    key="replicas",
                    hint='LoadOptions(replicas="read"), or a target of the shape of its region',
                )
            tensor = tensor.view(count, -1)
        first, stop = rows
        return sink.onto(tensor.narrow(0, first, stop - first))

    def run(
        self,
        plan: ExchangePlan,
        dtypes: Sequence[str],
        sources: Sequence[Sequence[Sink]],
        targets: Sequence[Sequence[Sink]],
        notes: Sequence[bytes],
        ready: Callable[[int], None],
        coordinator: Coordinator,
    ) -> None:
        """Exchanges the tensors behind the sinks, wave by wave, as they become ready."""
        wire = Wire(None)
        with wire.watched(coordinator):
            exchange = Exchange(
                schedule_of(plan, coordinator.rank),
                wire,
                open_wire(None, coordinator.size, accelerated=b"\1" in notes),
                [torch_dtype(name) for name in dtypes],
                [[tensor_of(sink) for sink in sinks] for sinks in sources],
                [[tensor_of(sink) for sink in sinks] for sinks in targets],
            )
            exchange.run(ready)
