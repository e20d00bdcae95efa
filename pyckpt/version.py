"""Version of the library; the format has its own."""

from __future__ import annotations

__all__ = ["PROGRAM", "__version__"]

__version__ = "0.1.0"
PROGRAM = ("pyckpt", __version__)
