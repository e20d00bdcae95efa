"""Hugging Face: trained models out as directories that serving engines load, published models in as a start."""

from __future__ import annotations

from pyckpt.interop.hf.export import export
from pyckpt.interop.hf.report import ExportReport
from pyckpt.interop.hf.start import load_into

__all__ = [
    "ExportReport",
    "export",
    "load_into",
]
