"""The constants of ``conformance.generate.frames`` decode to what they say, and frames by hand are frames."""

from __future__ import annotations

import pytest
import zstandard

from conformance.generate.frames import FRAMES, Frame
from conformance.generate.odd_frames import frame, literals, match, raw, repeated


@pytest.mark.parametrize("name", FRAMES)
def test_constants_decode_to_their_content(name: str) -> None:
    made: Frame = FRAMES[name]
    parameters = zstandard.get_frame_parameters(made.data)
    assert parameters.content_size == len(made.content)
    assert zstandard.ZstdDecompressor().decompress(made.data) == made.content


@pytest.mark.parametrize(
    "options",
    [
        {"width": 8},
        {"width": 4},
        {"width": 2},
        {"window": 0},
        {"window": 17 << 3},
        {"dictionary": bytes(1)},
        {"dictionary": bytes(2)},
        {"dictionary": bytes(4)},
    ],
)
def test_frames_by_hand_decode(options: dict[str, object]) -> None:
    blocks = [raw(b"abc"), repeated(7, 500), literals(9, 400), raw(b"")]
    made = frame(blocks, 903, **options)  # type: ignore[arg-type]
    assert zstandard.ZstdDecompressor().decompress(made) == b"abc" + b"\x07" * 500 + b"\x09" * 400


def test_a_match_by_hand_repeats_what_came_before() -> None:
    made = frame([raw(b"0123"), match(b"abcd", 2, 3, 4), match(b"", 3, 0, 7)], 19)
    assert zstandard.ZstdDecompressor().decompress(made) == b"0123abcdabcddabcdda"
