"""JPEG bytes to pixels, guarded: what a camera, a robot or a stranger sent us.

In: the bytes of one picture. Out: uint8 (px, px, 3) RGB, or `BadEvent` saying what is wrong with it. The guards look
at sizes before any decoding, so a pixel bomb (a small file that unpacks to gigabytes) costs nothing.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from inventorybot.errors import BadEvent, Code

if TYPE_CHECKING:  # the API and the other agents read blobs too: they must not pay 600 MB for an annotation
    import torch

MAX_BYTES = 900_000
"""Encoded size: an event with a picture inside must fit a Kafka message of 1 MiB; ABID pictures are near 60 kB."""

MAX_PIXELS = 40_000_000
"""Header dimensions: 40 megapixels are 120 MB decoded, more than any bin camera has."""

MEAN = 127.5
STD = 127.5
"""EfficientNet-Lite was trained on pixels in [-1, 1]."""


def check(data: bytes) -> None:
    """Refuses, by its size and header alone, what must not be decoded. Raises: BadEvent, as `decode`."""
    _open(data)


def decode(data: bytes, px: int) -> npt.NDArray[np.uint8]:
    """Decodes one JPEG and resizes it (not keeping its aspect) to a square.

    Args:
        data: the file's bytes.
        px: side of the result.
    Returns: uint8 (px, px, 3), RGB.
    Raises: BadEvent: IMAGE_EMPTY, IMAGE_TOO_LARGE or IMAGE_CORRUPT, path "/image".
    """
    picture = _open(data)
    try:
        picture.draft("RGB", (px, px))  # the decoder itself halves a picture more than twice too large
        picture.load()
        rgb = picture.convert("RGB")
    except (OSError, SyntaxError, ValueError) as e:  # Pillow reports broken data as any of these
        raise BadEvent(Code.IMAGE_CORRUPT, "/image", f"the JPEG is damaged or cut short ({e}); send it again") from e
    if rgb.size != (px, px):
        rgb = rgb.resize((px, px), Image.Resampling.BILINEAR)
    return np.array(rgb, dtype=np.uint8)


def _open(data: bytes) -> JpegImageFile:
    """Reads the header only, and refuses what must not be decoded."""
    if not data:
        raise BadEvent(Code.IMAGE_EMPTY, "/image", "the image has 0 bytes; send the JPEG itself")
    if len(data) > MAX_BYTES:
        reason = f"the image has {len(data):,} bytes; at most {MAX_BYTES:,} are taken: reduce its size or JPEG quality"
        raise BadEvent(Code.IMAGE_TOO_LARGE, "/image", reason)
    try:
        picture = JpegImageFile(io.BytesIO(data))  # reads up to the first scan
    except (OSError, SyntaxError, ValueError) as e:  # Pillow reports a broken header as any of these
        raise BadEvent(Code.IMAGE_CORRUPT, "/image", "the image is not a JPEG, or its header is damaged") from e
    width, height = picture.size
    if width * height > MAX_PIXELS:
        reason = f"the image has {width} x {height} pixels; at most {MAX_PIXELS:,} are taken: reduce its size"
        raise BadEvent(Code.IMAGE_TOO_LARGE, "/image", reason)
    return picture


def normalise(pixels: torch.Tensor) -> torch.Tensor:
    """Pixels 0..255, any number type, to float32 in [-1, 1]; the shape stays."""
    return (pixels.float() - MEAN) / STD
