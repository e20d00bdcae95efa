"""Whether boxes cover a whole tensor once: signed corners, exact for any layout.

Give each corner of a box the sign ``(-1)^(number of high ends in it)``. The signed corners of a set of boxes are the
mixed difference of how often each element is covered, and nothing else with bounded support has the same one. So boxes
cover the whole exactly once if and only if their corners and those of the whole box cancel. The lowest corner that
doesn't, in row-major order, is itself an element that is covered too rarely or too often.
"""

from __future__ import annotations

import numpy as np

from pyckpt.format.runs import Boxes, Column
from pyckpt.limits import MAX_INT

__all__ = ["MAX_CORNERS", "corners_cancel", "first_imbalance"]

MAX_CORNERS = 1 << 23
"""Most corners that are listed and sorted; above, the sum is evaluated at random points instead of term by term."""
_PRIME = 2**31 - 1
_ROUNDS = 4


def corners_cancel(shape: list[int], boxes: Boxes) -> bool:
    """Whether non-empty boxes within ``shape`` cover each of its elements once; at least two dimensions are cut.

    Lists all corners while there are at most ``MAX_CORNERS``. Tables with more of them, or with coordinates too many
    for 64-bit keys, are checked by evaluating the same sum at random points: a wrong table passes with a probability
    below 2^-90, and the work stays linear in boxes times dimensions.
    """
    sorted_corners = _sorted_corners(shape, boxes)
    if sorted_corners is None:
        return _cancels_at_random_points(shape, boxes)
    return np.array_equal(sorted_corners[0], sorted_corners[1])


def first_imbalance(shape: list[int], boxes: Boxes) -> tuple[list[int], int] | None:
    """The first element (in row-major order) that isn't covered exactly once, and how often it is; None if unknown."""
    sorted_corners = _sorted_corners(shape, boxes)
    if sorted_corners is None:
        return None
    up, down, digits = sorted_corners
    differing = np.flatnonzero(up != down)
    if not len(differing):
        return None
    key = int(min(up[differing[0]], down[differing[0]]))
    times = 1
    for sign, keys in ((1, up), (-1, down)):
        times += sign * int(np.searchsorted(keys, key, "right") - np.searchsorted(keys, key, "left"))
    point = []
    for unit, values in digits:
        digit, key = divmod(key, unit)
        point.append(digit if values is None else int(values[digit]))
    return point, times


def _sorted_corners(shape: list[int], boxes: Boxes) -> tuple[Column, Column, list[tuple[int, Column | None]]] | None:
    """Keys of the positive and of the negative corners, sorted, and how to read a key; None if there are too many.

    The whole box's corners are included with the opposite sign. A key is a number in mixed radix, the first dimension
    on top, of the coordinates or, where those are too large together, of their ranks.
    """
    if boxes.count + 1 > MAX_CORNERS >> len(shape):
        return None
    low = [np.append(column, 0) for column in boxes.low]
    high = [np.append(column, end) for column, end in zip(boxes.high, shape, strict=True)]
    radix = [end + 1 for end in shape]
    values: list[Column | None] = [None] * len(shape)
    if _product(radix) > MAX_INT:
        for d in range(len(shape)):
            ranked, inverse = np.unique(np.concatenate((low[d], high[d])), return_inverse=True)
            low[d], high[d] = np.split(inverse.astype(np.int64), 2)
            values[d], radix[d] = ranked, len(ranked)
        if _product(radix) > MAX_INT:
            return None
    units = [_product(radix[d + 1 :]) for d in range(len(shape))]
    even: list[Column] = [np.zeros(boxes.count + 1, np.int64)]
    odd: list[Column] = []
    for first, behind, unit in zip(low, high, units, strict=True):
        first *= unit  # noqa: PLW2901  # in place: these arrays are ours, and may be large
        behind *= unit  # noqa: PLW2901
        even, odd = (
            [keys + first for keys in even] + [keys + behind for keys in odd],
            [keys + behind for keys in even] + [keys + first for keys in odd],
        )
    up = np.concatenate([keys[:-1] for keys in even] + [keys[-1:] for keys in odd])
    down = np.concatenate([keys[:-1] for keys in odd] + [keys[-1:] for keys in even])
    up.sort()
    down.sort()
    return up, down, list(zip(units, values, strict=True))


def _product(numbers: list[int]) -> int:
    result = 1
    for number in numbers:
        result *= number
    return result


def _cancels_at_random_points(shape: list[int], boxes: Boxes) -> bool:
    """Whether the corners cancel, by the lemma of Schwartz and Zippel.

    With a variable per coordinate, ``sum over boxes of prod_d (x[d, low] - x[d, high])`` is a polynomial whose
    coefficients are the signed corner sums; it has the degree ``len(shape)`` and vanishes at a random point modulo p
    with a probability of at most ``len(shape) / p`` unless it is zero. The points are drawn anew on each call, so that
    nobody can prepare a table for them.
    """
    random = np.random.default_rng()
    sums = [np.ones(boxes.count + 1, np.uint64) for _ in range(_ROUNDS)]
    for d, end in enumerate(shape):
        edges = np.concatenate((boxes.low[d], [0], boxes.high[d], [end]))
        values, inverse = np.unique(edges, return_inverse=True)
        low, high = np.split(inverse, 2)
        for i in range(_ROUNDS):
            variable = random.integers(0, _PRIME, len(values), np.uint64)
            sums[i] = sums[i] * ((variable[low] + np.uint64(_PRIME) - variable[high]) % np.uint64(_PRIME))
            sums[i] %= np.uint64(_PRIME)
    return all(int(total[:-1].sum()) % _PRIME == int(total[-1]) for total in sums)
