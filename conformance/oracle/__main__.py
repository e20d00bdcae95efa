"""`python -m conformance.oracle`: the oracle as an executable that speaks the protocol."""

from __future__ import annotations

from .serve import main

main()
