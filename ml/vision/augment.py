"""Pictures to tensors, and the random changes made to them in training.

In: JPEG bytes. Out: uint8 (N, 3, px, px), and float32 batches, shifted, turned, mirrored, recoloured, perhaps blurred or
crossed by a band, and normalised.
Decoding and resizing are those of the loader in `inventorybot.adapters`, so training sees what service sees.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from inventorybot.adapters.jpeg import decode, normalise

__all__ = ["augment", "load_pixels", "normalise"]


def load_pixels(jpegs: Sequence[bytes], px: int) -> Tensor:
    """Decodes and resizes pictures. Returns: uint8 (N, 3, px, px). Raises: BadEvent: one cannot be decoded."""
    out = torch.empty((len(jpegs), 3, px, px), dtype=torch.uint8)
    for i, data in enumerate(jpegs):
        out[i] = torch.from_numpy(decode(data, px)).permute(2, 0, 1)
    return out


def augment(pixels: Tensor, px: int, draw: torch.Generator, *, crop: float) -> Tensor:
    """Random crop and stretch, mirror, turn by up to 5 degrees, light and colour.

    Args:
        pixels: uint8 (B, 3, S, S), on any device.
        px: side of the result.
        draw: where the randomness comes from; of the CPU, so that it is the same on every device.
        crop: least part of each side that is kept.
    Returns: float32 (B, 3, px, px), normalised.
    """

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return (low + (high - low) * torch.rand(shape, generator=draw)).to(pixels.device)

    b = len(pixels)
    scale = uniform(crop, 1.0, b, 2)  # (B, 2) part of the width and height that is kept
    shift = (1 - scale) * uniform(-1, 1, b, 2)
    turn = uniform(-5, 5, b) * (math.pi / 180)
    mirror = torch.where(uniform(0, 1, b) < 0.5, -1.0, 1.0)
    cos, sin = torch.cos(turn), torch.sin(turn)
    rows = [
        mirror * scale[:, 0] * cos,
        -scale[:, 1] * sin,
        shift[:, 0],
        mirror * scale[:, 0] * sin,
        scale[:, 1] * cos,
        shift[:, 1],
    ]
    theta = torch.stack(rows, 1).view(b, 2, 3)  # (B, 2, 3)
    grid = F.affine_grid(theta, [b, 3, px, px], align_corners=False)  # (B, px, px, 2)
    x = F.grid_sample(pixels.float(), grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    mean = x.mean((2, 3), keepdim=True)
    x = (x - mean) * uniform(0.7, 1.35, b, 1, 1, 1) + mean * uniform(0.7, 1.35, b, 1, 1, 1)  # contrast, brightness
    grey = x.mean(1, keepdim=True)
    x = grey + (x - grey) * uniform(0.5, 1.4, b, 1, 1, 1)  # saturation
    x = x * uniform(0.93, 1.07, b, 3, 1, 1)  # colour cast
    return normalise(x.clamp_(0, 255))
