"""The checkpoint as a directory again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from step import run_step

from pyckpt.interop import hf


def publish(build: Path) -> dict[str, Any]:
    """``tuned/``, out of the sharded checkpoint."""
    report = hf.export(build / "store" / "tuned", build / "tuned")
    print(f"> exported {report.bytes / 1e6:.0f} MB to tuned/ in {report.seconds:.2f} s")
    return {"bytes": report.bytes, "tensors": report.tensors, "export_seconds": report.seconds}


if __name__ == "__main__":
    run_step(publish, __doc__)
