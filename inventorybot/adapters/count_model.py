"""The one loader of count models: used by the count agent, the API and the command line alike.

In: a release folder (`model.safetensors`, `card.json`, `graph.onnx`) and the JPEG bytes of bin pictures. Out: for each
picture a calibrated `CountDistribution`, or the `BadEvent` that says why it cannot be counted. Needs the extra `vision`.

    model = load(release_dir)
    for answer in model.score([jpeg_a, jpeg_b]): ...

What runs it: on CUDA `count_torch.py`; on processor cores `count_graph.py` (no torch), or torch where a release has no graph.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np

from inventorybot.adapters.count_graph import Floats, GraphCard, GraphEngine, Pixels
from inventorybot.adapters.jpeg import MEAN, STD, decode
from inventorybot.domain.counting import MAX_COUNT, CountDistribution
from inventorybot.errors import BadEvent, SetupError, TryLater

BATCH = 8
"""The most pictures a core computes at once: larger batches were no faster (measured), and latency grows with them."""

CLASSES = MAX_COUNT + 1


class InputSpec(msgspec.Struct, frozen=True):
    """What the network is fed: a square of `px`, pixels normalised as (x - mean) / std."""

    px: int
    mean: float
    std: float


class Card(msgspec.Struct, frozen=True):
    """The part of `card.json` that the loader acts on; the rest is for people.

    `conformal`: for a stated coverage ("0.9"), the least probability of a count that is in the set (`in_set`).
    """

    name: str
    version: str
    arch: str
    classes: list[str]
    input: InputSpec
    temperature: float
    class_prior: list[float]
    sha256: str
    members: int = 1
    flip: bool = False
    graph: GraphCard | None = None
    conformal: dict[str, float] = {}


class Engine(Protocol):
    """What computes. `workers`: how many callers it serves side by side."""

    device: str
    dtype: str
    workers: int

    def logits(self, pixels: Pixels) -> Floats:
        """uint8 (N, px, px, 3) RGB -> float64 (N, 21). Raises: TryLater: out of memory."""


def load(release_dir: str | Path, device: str = "auto") -> CountModel:
    """Loads a released count model, after checking that its files are the ones its card describes.

    Args:
        release_dir: folder with `model.safetensors`, `card.json` and, in most, `graph.onnx`.
        device: "cpu", "cuda", or "auto": CUDA if there is one, else the CPU.
    Raises: SetupError: a file is missing, damaged or not the one the card names; or there is no such device.
    """
    folder = Path(release_dir)
    try:
        card = msgspec.json.decode((folder / "card.json").read_bytes(), type=Card)
        weights = _read(folder / "model.safetensors", card.sha256)
        graph = _read(folder / "graph.onnx", card.graph.sha256) if card.graph else b""
    except OSError as e:
        raise SetupError(f"{folder} is not a release of a count model: {e}") from e
    except msgspec.DecodeError as e:
        raise SetupError(f"{folder / 'card.json'} is not a model card: {e}") from e
    _check(card, folder / "card.json")
    return CountModel(card, _engine(card, weights, graph, _device(device), folder))


def _read(path: Path, sha256: str) -> bytes:
    data = path.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise SetupError(f"{path} has sha256 {found}, its card says {sha256}: fetch it again")
    return data


def _check(card: Card, path: Path) -> None:
    if len(card.classes) != CLASSES:
        raise SetupError(f"{path} has {len(card.classes)} classes; we run models of {CLASSES}")
    if len(card.class_prior) != CLASSES or not min(card.class_prior) > 0:
        raise SetupError(f"{path} needs a class_prior of {CLASSES} frequencies above 0")
    if (card.input.mean, card.input.std) != (MEAN, STD) or not card.temperature > 0:
        raise SetupError(f"{path} asks for a normalisation or temperature that this version does not do")


def _device(name: str) -> str:
    if name not in ("auto", "cpu", "cuda"):
        raise SetupError(f"device is {name!r}; choose auto, cpu or cuda")
    if name == "cpu" or not importlib.util.find_spec("torch"):
        there = False
    else:
        import torch

        there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise SetupError("no CUDA device on this machine, or no torch to use it; use device auto or cpu")
    return "cuda" if there else "cpu"


def _engine(card: Card, weights: bytes, graph: bytes, device: str, folder: Path) -> Engine:
    if device == "cpu" and card.graph:
        from safetensors.numpy import load as load_arrays

        return GraphEngine(graph, load_arrays(weights), card.graph)
    try:
        from safetensors.torch import load as load_tensors

        from inventorybot.adapters import backbones, count_torch
    except ImportError as e:
        raise SetupError(f"{folder} has no graph.onnx, and without one its model needs torch: {e}") from e
    if card.arch not in backbones.ARCHS:
        raise SetupError(f"{folder} holds {card.arch}; we run {', '.join(backbones.ARCHS)}")
    net = backbones.count_net(load_tensors(weights), CLASSES, arch=card.arch, members=card.members, flip=card.flip)
    px = card.input.px
    return count_torch.CudaEngine(net, px) if device == "cuda" else count_torch.TorchEngine(net, px, device)


class CountModel:
    """A loaded release, `ports.CountModel`. Safe to call from several threads: it keeps no state between calls.

    `class_prior`: frequencies of the 21 counts among the bins it was trained on; p / prior is what the picture says.

    Args:
        card: the release's card.
        engine: runs its network.
    """

    def __init__(self, card: Card, engine: Engine) -> None:
        self.card, self.engine, self.device, self.dtype = card, engine, engine.device, engine.dtype
        self.name, self.version = card.name, card.version
        self.class_prior = CountDistribution.normalised(card.class_prior).p
        self._workers = ThreadPoolExecutor(engine.workers, thread_name_prefix="count")

    def score(self, jpegs: Sequence[bytes]) -> list[CountDistribution | BadEvent]:
        """Counts the items in each picture.

        Args:
            jpegs: encoded pictures, any number.
        Returns: one answer a picture, in order: a calibrated distribution, or why there is none (path "/image"). A bad
            picture never changes its neighbours' answers.
        Raises: TryLater: the machine or the device is out of memory.
        """
        decoding_engine: Any = self.engine
        rows = decoding_engine.score(jpegs) if hasattr(self.engine, "score") else self._on_cores(jpegs)
        return [
            x if isinstance(x, BadEvent) else CountDistribution.normalised(self._calibrated(x).tolist()) for x in rows
        ]

    def logits(self, pixels: Pixels) -> Floats:
        """Uncalibrated scores. Args: pixels, uint8 (N, px, px, 3) RGB. Returns: float64 (N, 21)."""
        parts = [pixels[i : i + BATCH] for i in range(0, len(pixels), BATCH)]
        return np.concatenate([np.empty((0, CLASSES)), *self._workers.map(self.engine.logits, parts)])

    def probabilities(self, pixels: Pixels) -> Floats:
        """Calibrated p(0..20+), float64 (N, 21). Source: temperature scaling, Guo et al. 2017 (arXiv:1706.04599)."""
        return self._calibrated(self.logits(pixels))

    def _calibrated(self, logits: Floats) -> Floats:
        scaled = logits / self.card.temperature
        weights = np.exp(scaled - scaled.max(-1, keepdims=True))
        p: Floats = weights / weights.sum(-1, keepdims=True)
        return p

    def _on_cores(self, jpegs: Sequence[bytes]) -> list[Floats | BadEvent]:
        """Each core decodes and computes batches of its own: nothing is handed over, and no core waits for another."""
        size = max(1, min(BATCH, -(-len(jpegs) // self.engine.workers)))
        batches = [jpegs[i : i + size] for i in range(0, len(jpegs), size)]
        return [row for rows in self._workers.map(self._batch, batches) for row in rows]

    def _batch(self, jpegs: Sequence[bytes]) -> list[Floats | BadEvent]:
        decoded = [self._try_decode(jpeg) for jpeg in jpegs]
        good = [x for x in decoded if not isinstance(x, BadEvent)]
        found = iter(self.engine.logits(np.stack(good)) if good else ())
        return [x if isinstance(x, BadEvent) else next(found) for x in decoded]

    def _try_decode(self, jpeg: bytes) -> Pixels | BadEvent:
        try:
            return decode(jpeg, self.card.input.px)
        except BadEvent as refusal:
            return refusal
        except MemoryError as e:  # the guards bound what a picture needs, so it is the machine that is short
            raise TryLater("count model", "this machine has no memory left to decode a picture") from e


def in_set(p: CountDistribution, threshold: float) -> tuple[int, ...]:
    """The counts of a conformal prediction set: those of at least `threshold` probability, the most probable always.

    Source: Sadinle, Lei & Wasserman 2019 (arXiv:1609.00451): least ambiguous sets; `ml/vision/conformal.py` fits it.
    """
    return tuple(k for k, x in enumerate(p.p) if x >= threshold or k == p.count)
