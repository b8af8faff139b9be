"""The one loader of count models: used by the count agent, the API and the command line alike.

In: a release folder (`model.safetensors`, `card.json`) and the JPEG bytes of bin pictures. Out: for each picture a
calibrated `CountDistribution`, or the `BadEvent` that says why it cannot be counted. Needs the extra `vision`.

    model = load(release_dir)
    for answer in model.score([jpeg_a, jpeg_b]): ...
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn

from inventorybot import telemetry
from inventorybot.adapters import efficientnet
from inventorybot.adapters.jpeg import MEAN, STD, decode, normalise
from inventorybot.domain.counting import MAX_COUNT, CountDistribution
from inventorybot.errors import BadEvent, SetupError, TryLater

BATCH = 32
"""Pictures a forward pass: on 2 cores larger batches are no faster, and latency grows with them."""

DECODERS = min(4, os.cpu_count() or 1)
"""Threads that decode; Pillow releases the interpreter lock while it decodes and resizes."""

Decoded = npt.NDArray[np.uint8]


class InputSpec(msgspec.Struct, frozen=True):
    """What the network is fed: a square of `px`, pixels normalised as (x - mean) / std."""

    px: int
    mean: float
    std: float


class Card(msgspec.Struct, frozen=True):
    """The part of `card.json` that the loader acts on; the rest is for people."""

    name: str
    version: str
    arch: str
    classes: list[str]
    input: InputSpec
    temperature: float
    class_prior: list[float]
    sha256: str


def load(release_dir: str | Path, device: str = "auto") -> CountModel:
    """Loads a released count model, after checking that its weights are the ones its card describes.

    Args:
        release_dir: folder with `model.safetensors` and `card.json`.
        device: "cpu", "cuda", or "auto": CUDA if there is one, else the CPU.
    Raises: SetupError: a file is missing, damaged or not the one the card names; or there is no such device.
    """
    folder = Path(release_dir)
    try:
        card = msgspec.json.decode((folder / "card.json").read_bytes(), type=Card)
        weights = (folder / "model.safetensors").read_bytes()
    except OSError as e:
        raise SetupError(f"{folder} is not a release of a count model: {e}") from e
    except msgspec.DecodeError as e:
        raise SetupError(f"{folder / 'card.json'} is not a model card: {e}") from e
    found = hashlib.sha256(weights).hexdigest()
    if found != card.sha256:
        raise SetupError(
            f"{folder / 'model.safetensors'} has sha256 {found}, its card says {card.sha256}: fetch it again"
        )
    if card.arch != efficientnet.ARCH or len(card.classes) != MAX_COUNT + 1:
        raise SetupError(
            f"{folder} holds {card.arch}, {len(card.classes)} classes; we run {efficientnet.ARCH}, 21 classes"
        )
    if len(card.class_prior) != MAX_COUNT + 1 or not min(card.class_prior) > 0:
        raise SetupError(f"{folder / 'card.json'} needs a class_prior of 21 frequencies above 0")
    if (card.input.mean, card.input.std) != (MEAN, STD) or not card.temperature > 0:
        raise SetupError(
            f"{folder / 'card.json'} asks for a normalisation or temperature that this version does not do"
        )
    net = efficientnet.build(len(card.classes))
    net.load_state_dict({name: value.float() for name, value in load_safetensors(weights).items()}, strict=True)
    return CountModel(card, net, _device(device))


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name not in ("cpu", "cuda"):
        raise SetupError(f"device is {name!r}; choose auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise SetupError("no CUDA device on this machine; use device auto or cpu")
    return torch.device(name)


def best_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the processor multiplies it, else float32.

    Measured, training steps on 2 cores: with AVX512-BF16 or AMX bfloat16 takes half the time of float32; on a
    processor with AVX2 alone it takes ten times as long.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    return torch.bfloat16 if torch.ops.mkldnn._is_mkldnn_bf16_supported() else torch.float32


class CountModel:
    """A loaded release, `ports.CountModel`. Safe to call from several threads: it keeps no state between calls.

    `class_prior`: frequencies of the 21 counts among the bins it was trained on; p / prior is what the picture says.

    Args:
        card: the release's card.
        net: the network with its weights, as `efficientnet.build` makes it; it is put into inference form here.
        device: where to run it.
    """

    def __init__(self, card: Card, net: nn.Module, device: torch.device) -> None:
        self.card, self.device, self.dtype = card, device, best_dtype(device)
        self.name, self.version = card.name, card.version
        self.class_prior = CountDistribution.normalised(card.class_prior).p
        net = efficientnet.fuse(net.eval().requires_grad_(False))
        self._net = net.to(device, self.dtype).to(memory_format=torch.channels_last)
        self._decoders = ThreadPoolExecutor(DECODERS, thread_name_prefix="decode")

    def score(self, jpegs: Sequence[bytes]) -> list[CountDistribution | BadEvent]:
        """Counts the items in each picture.

        Args:
            jpegs: encoded pictures, any number; batched internally, decoding alongside computing.
        Returns: one answer a picture, in order: a calibrated distribution, or why there is none (path "/image"). A bad
            picture never changes its neighbours' answers.
        Raises: TryLater: the machine or the device is out of memory.
        """
        answers: list[CountDistribution | BadEvent] = []
        for chunk in self._decoded(jpegs):
            good = [x for x in chunk if not isinstance(x, BadEvent)]
            p = iter(self.probabilities(np.stack(good)).tolist() if good else [])
            answers += [x if isinstance(x, BadEvent) else CountDistribution.normalised(next(p)) for x in chunk]
        return answers

    @torch.inference_mode()
    def logits(self, pixels: Decoded) -> Tensor:
        """Uncalibrated scores. Args: pixels, uint8 (N, px, px, 3) RGB. Returns: float64 (N, 21) on the CPU."""
        x = torch.from_numpy(pixels).permute(0, 3, 1, 2).to(self.device)  # (N, 3, px, px), channels_last as it lies
        try:
            out: Tensor = self._net(normalise(x).to(self.dtype))  # (N, 21)
        except torch.OutOfMemoryError as e:  # another process may hold the device's memory for a while
            raise TryLater("count model", f"{self.device} has no memory left: {e}") from e
        if self.device.type == "cuda":
            telemetry.GPU_MEMORY.set(torch.cuda.memory_allocated(self.device))
        return out.double().cpu()

    def probabilities(self, pixels: Decoded) -> Tensor:
        """Calibrated p(0..20+), float64 (N, 21). Source: temperature scaling, Guo et al. 2017 (arXiv:1706.04599)."""
        return (self.logits(pixels) / self.card.temperature).softmax(1)

    def _decoded(self, jpegs: Sequence[bytes]) -> Iterator[list[Decoded | BadEvent]]:
        """Chunks of `BATCH` decoded pictures; the next chunk is decoded while the caller works on this one."""

        def begin(at: int) -> list[Future[Decoded | BadEvent]]:
            return [self._decoders.submit(self._try_decode, j) for j in jpegs[at : at + BATCH]]

        ahead = begin(0)
        for at in range(BATCH, len(jpegs) + BATCH, BATCH):
            ready, ahead = ahead, begin(at)
            yield [f.result() for f in ready]

    def _try_decode(self, jpeg: bytes) -> Decoded | BadEvent:
        try:
            return decode(jpeg, self.card.input.px)
        except BadEvent as refusal:
            return refusal
        except MemoryError as e:  # the guards bound what a picture needs, so it is the machine that is short
            raise TryLater("count model", "this machine has no memory left to decode a picture") from e
