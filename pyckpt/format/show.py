"""Values in messages: short, and safe for whatever a stranger has put there."""

from __future__ import annotations

__all__ = ["show"]

_LENGTH = 80
_MAX_BITS = 1024


def show(value: object) -> str:
    """At most 80 characters about the value, never an exception.

    ``repr`` refuses integers of more than 4,300 digits, and takes long over large containers.
    """
    kind = type(value)
    if kind is int and isinstance(value, int) and value.bit_length() > _MAX_BITS:
        return f"an integer of {value.bit_length()} bits"
    if isinstance(value, (str, bytes)):
        value = value[:_LENGTH]
    elif value is not None and kind not in (bool, int, float, complex):
        return f"a value of type {kind.__name__}"
    return ascii(value)[:_LENGTH]
