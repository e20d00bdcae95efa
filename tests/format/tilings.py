"""Random exact tilings of a tensor."""

from __future__ import annotations

from hypothesis import strategies as st

from pyckpt.format.geometry import Box, Region, cut_region


@st.composite
def tilings(draw, shape):
    """Random recursive cutting into boxes, each then cut into runs or left whole: an exact tiling."""
    boxes = [Box.whole(shape)]
    for _ in range(draw(st.integers(0, 5))):
        i = draw(st.integers(0, len(boxes) - 1))
        box = boxes[i]
        dims = [d for d in range(box.ndim) if box.size[d] >= 2]
        if not dims:
            continue
        d = draw(st.sampled_from(dims))
        at = draw(st.integers(1, box.size[d] - 1))
        boxes[i] = Box(box.offset, (*box.size[:d], at, *box.size[d + 1 :]))
        boxes.append(
            Box(
                (*box.offset[:d], box.offset[d] + at, *box.offset[d + 1 :]),
                (*box.size[:d], box.size[d] - at, *box.size[d + 1 :]),
            )
        )
    regions = []
    for box in boxes:
        bounds = draw(st.lists(st.integers(1, box.volume - 1), max_size=3, unique=True)) if box.volume > 1 else []
        regions += cut_region(Region.of_box(box), sorted(bounds))
    return draw(st.permutations(regions))
