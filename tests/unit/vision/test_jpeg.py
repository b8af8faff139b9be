"""What is refused before and while decoding, and why. Run: pytest tests/unit/vision/test_jpeg.py"""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from inventorybot.adapters.jpeg import MAX_BYTES, decode
from inventorybot.errors import BadEvent, Code
from ml.vision.render import render_bin


def jpeg(width: int = 64, height: int = 64, mode: str = "RGB") -> bytes:
    out = io.BytesIO()
    Image.new(mode, (width, height), 200 if mode == "L" else None).save(out, "JPEG")
    return out.getvalue()


def claiming(width: int, height: int) -> bytes:
    """A small JPEG whose header claims other dimensions: a pixel bomb, when they are large."""
    data = jpeg()
    sof = data.index(b"\xff\xc0")  # start of frame: length (2), precision (1), height (2), width (2)
    return data[: sof + 5] + height.to_bytes(2) + width.to_bytes(2) + data[sof + 9 :]


def refusal(data: bytes) -> BadEvent:
    with pytest.raises(BadEvent) as refused:
        decode(data, 64)
    assert refused.value.path == "/image"
    assert len(refused.value.reason) > 20
    return refused.value


def test_nothing_at_all_is_empty() -> None:
    assert refusal(b"").code is Code.IMAGE_EMPTY


@pytest.mark.parametrize("data", [b"hello", b"\x89PNG\r\n\x1a\n" + bytes(100), b"\xff\xd8\xff", bytes(1000)])
def test_what_is_not_a_jpeg_is_corrupt(data: bytes) -> None:
    assert refusal(data).code is Code.IMAGE_CORRUPT


def test_another_picture_format_is_corrupt_however_good() -> None:
    out = io.BytesIO()
    Image.new("RGB", (64, 64)).save(out, "PNG")
    assert refusal(out.getvalue()).code is Code.IMAGE_CORRUPT


def test_a_picture_cut_short_is_corrupt() -> None:
    whole = render_bin(3, np.random.default_rng(1)).jpeg
    assert refusal(whole[: len(whole) // 2]).code is Code.IMAGE_CORRUPT


@pytest.mark.parametrize(("width", "height"), [(65_000, 65_000), (6_400, 6_300)])
def test_a_pixel_bomb_is_refused_by_its_header(width: int, height: int) -> None:
    assert refusal(claiming(width, height)).code is Code.IMAGE_TOO_LARGE


def test_a_header_that_claims_just_under_40_megapixels_passes_the_guard() -> None:
    assert decode(claiming(6_400, 6_200), 64).shape == (64, 64, 3)  # the decoder fills in what is missing


def test_more_than_900_kb_are_too_large_and_900_kb_are_not() -> None:
    padded = jpeg() + bytes(MAX_BYTES)
    assert refusal(padded[: MAX_BYTES + 1]).code is Code.IMAGE_TOO_LARGE
    assert decode(padded[:MAX_BYTES], 64).shape == (64, 64, 3)  # bytes after the end of the picture do no harm


def test_a_grey_picture_becomes_colour_of_the_size_asked_for() -> None:
    pixels = decode(jpeg(500, 300, "L"), 96)
    assert pixels.shape == (96, 96, 3)
    assert pixels.dtype == np.uint8
    assert abs(int(pixels[48, 48, 0]) - 200) <= 1


def test_damage_anywhere_ends_in_a_picture_or_in_a_refusal() -> None:
    whole, rng = render_bin(5, np.random.default_rng(2), px=96).jpeg, np.random.default_rng(3)
    for _ in range(300):
        data = bytearray(whole)
        for at in rng.integers(0, len(data), int(rng.integers(1, 6))):
            data[at] = int(rng.integers(256))
        assert outcome(bytes(data)) in ("picture", Code.IMAGE_CORRUPT, Code.IMAGE_TOO_LARGE)


def outcome(data: bytes) -> str:
    """What becomes of some bytes: "picture", or the code of the refusal. Any other exception fails the test."""
    try:
        return "picture" if decode(data, 64).shape == (64, 64, 3) else "wrong shape"
    except BadEvent as e:
        return e.code
