"""What an export tells its caller, and how rank 0 tells the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import msgpack

from pyckpt.errors import Finding

__all__ = ["ExportReport", "pack_report", "unpack_report"]


@dataclass(frozen=True, slots=True)
class ExportReport:
    """A finished directory, in figures; the same on every rank. Sizes in bytes, times in seconds."""

    path: str
    checkpoint: str
    """URL of the checkpoint."""
    digest: str
    """SHA-256 of its root."""
    item: str
    files: tuple[str, ...]
    """Names of the files with weights, in order."""
    tensors: int
    parameters: int
    """Elements of all tensors that were written."""
    bytes: int
    """Bytes of all tensors as they are in the directory."""
    linked: int
    """Bytes of files that are hard links to the checkpoint's data objects: never edit those in place."""
    dtype: str
    """What ``config.json`` says of the weights, such as ``bfloat16``; empty if it says nothing."""
    architecture: str
    """The class of transformers that names and shapes were compared with; empty if they were not."""
    unchecked: str
    """Why names and shapes were not compared; empty if they were."""
    aliases: Mapping[str, str]
    """Names that were dropped -> the name under which the same tensor was written."""
    findings: tuple[Finding, ...]
    """What differs from the model of ``config.json``; always empty where ``strict`` let the export through."""
    left_out: tuple[str, ...]
    """Values and assets of the item that are not in the directory, and why."""
    remarks: tuple[str, ...]
    seconds: float


def pack_report(report: ExportReport) -> bytes:
    """The report as rank 0 announces it."""
    fields = {name: getattr(report, name) for name in ExportReport.__slots__}
    fields["findings"] = [asdict(finding) for finding in report.findings]
    data: bytes = msgpack.packb(fields)
    return data


def unpack_report(data: bytes) -> ExportReport:
    """The inverse."""
    fields: dict[str, Any] = msgpack.unpackb(data)
    fields["findings"] = tuple(Finding(**each) for each in fields["findings"])
    for name in ("files", "left_out", "remarks"):
        fields[name] = tuple(fields[name])
    return ExportReport(**fields)
