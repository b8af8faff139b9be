"""Trains the count model: from ImageNet weights to a distribution over 0..20+ items.

In: bins in the ABID layout (`data.py`) and a share of rendered ones (`render.py`). Out: `OUT/checkpoint.pt` after each
epoch (weights, their moving average, optimizer, config: enough to resume) and `OUT/log.jsonl`.
`release.py` turns a checkpoint into a release. Several processes train together under `torchrun` (`distributed.py`).

Run: inventorybot train count --bins BINS.zip [--bins MORE.zip] [--config FILE] --out runs/count [--resume]
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inventorybot.adapters import backbones
from inventorybot.domain.counting import MAX_COUNT
from inventorybot.errors import SetupError
from ml.vision.augment import augment, load_pixels, normalise
from ml.vision.config import TrainConfig, changed
from ml.vision.data import Bin, data_hash, read_bins, read_jpegs
from ml.vision.distributed import World, joined, processes
from ml.vision.losses import CLASSES, KINDS, counts_only, loss_of
from ml.vision.pretrained import fresh_network, frozen_parts
from ml.vision.render import render_bins

__all__ = ["CLASSES", "TrainConfig", "Trainer", "load_sets", "predict", "run"]


@dataclass(slots=True)
class TrainSet:
    """Encoded pictures with their labels; decoded anew for each resolution."""

    jpegs: list[bytes]
    labels: Tensor  # (N,) int64
    kinds: Tensor  # (N,) int64: number of different products, 10 standing for more


def load_sets(config: TrainConfig) -> tuple[TrainSet, TrainSet, str]:
    """Training pictures (real and rendered), validation pictures (real only), and the hash of the real ones.

    Bins kept back for calibration are in neither.
    """
    bins = read_bins(config.bins) if config.bins else []
    train = _real([b for b in bins if b.split == "train" and not kept_back(b.pair_group, config.calibration)])
    drawn = [it for _, it in render_bins(config.rendered, config.rendered_seed, px=config.rendered_px)]
    train.jpegs += [it.jpeg for it in drawn]
    train.labels = torch.cat(
        [train.labels, torch.tensor([min(it.quantity, MAX_COUNT) for it in drawn], dtype=torch.int64)]
    )
    train.kinds = torch.cat([train.kinds, _kinds([len(it.lines) for it in drawn])])
    return train, _real([b for b in bins if b.split == "val"]), data_hash(bins)


def kept_back(group: str, share: float) -> bool:
    """Whether a training pair group is kept back for calibration; depends on its name only."""
    return int.from_bytes(hashlib.sha256(b"calibration:" + group.encode()).digest()[:4]) < share * 2**32


def _real(bins: list[Bin]) -> TrainSet:
    labels = torch.tensor([b.label for b in bins], dtype=torch.int64)
    return TrainSet(read_jpegs(bins), labels, _kinds([b.asins for b in bins]))


def _kinds(n: list[int]) -> Tensor:
    return torch.tensor(n, dtype=torch.int64).clamp_max(KINDS - 1)


def schedule(config: TrainConfig, step: int, total: int) -> float:
    """Learning rate at a step: linear warm-up, then a cosine down to 1 %, begun anew `restarts` times."""
    warm = max(1, int(config.warmup * total))
    if step < warm:
        return config.lr * (step + 1) / warm
    done = (step - warm) / max(1, total - warm) * (config.restarts + 1)
    part = done if done >= config.restarts + 1 else done % 1
    return config.lr * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, part))))


def optimizer_of(config: TrainConfig, net: nn.Module) -> torch.optim.Optimizer:
    """AdamW or SGD; norms and biases are not decayed, and below the last layer the rate is `lower_lr` of lr."""
    head = backbones.head_name(config.arch) + "."
    groups: list[dict[str, Any]] = []
    for scale, last in ((1.0, True), (config.lower_lr, False)):
        learnt = [p for name, p in net.named_parameters() if p.requires_grad and name.startswith(head) == last]
        groups.append(
            {"params": [p for p in learnt if p.ndim > 1], "weight_decay": config.weight_decay, "scale": scale}
        )
        groups.append({"params": [p for p in learnt if p.ndim <= 1], "weight_decay": 0.0, "scale": scale})
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=config.momentum > 0)
    return torch.optim.AdamW(groups, lr=config.lr)


class Trainer:
    """One run: network, moving average, optimizer, and how far it is; an epoch's draws depend on (seed, epoch, rank) only."""

    def __init__(self, config: TrainConfig, train: TrainSet, val: TrainSet, data: str, world: World) -> None:
        self.config, self.train, self.val, self.data, self.world = config, train, val, data, world
        self.device = world.device
        self.net = fresh_network(config).to(self.device)
        self.ema = {k: v.detach().clone() for k, v in self.net.state_dict().items()}
        self.optimizer = optimizer_of(config, self.net)
        self.epoch, self.step = 0, 0
        self.pixels: tuple[int, Tensor] = (0, torch.empty(0))
        self._learnt = {name for name, p in self.net.named_parameters() if p.requires_grad}
        # bfloat16 pays only where the processor has instructions for it: 10x slower without (measured)
        self.autocast = self.device != "cpu" or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())

    @property
    def steps_per_epoch(self) -> int:
        steps = len(self.train.jpegs) // self.config.batch
        return min(steps, self.config.max_steps or steps)

    def run_epoch(self, say: Callable[[str], None]) -> dict[str, float]:
        """Trains one epoch, then measures the moving average on the validation pictures. Returns the log line."""
        config, began = self.config, time.monotonic()
        torch.manual_seed(config.seed * 1000 + self.epoch + 1_000_003 * self.world.rank)
        px = config.px(self.epoch)
        if self.pixels[0] != px:  # a margin of 1/8 to crop from; on a GPU they stay there
            self.pixels = (px, load_pixels(self.train.jpegs, px + px // 8).to(self.device))
        self._choose_what_learns()
        net = self.world.wrapped(self.net)
        total, losses = self.steps_per_epoch * config.epochs, []
        for x, rows in self._batches(px):
            for group in self.optimizer.param_groups:
                group["lr"] = schedule(config, self.step, total) * group["scale"]
            with torch.autocast(self.device.partition(":")[0], torch.bfloat16, enabled=self.autocast):
                scores = net(x).float()  # (B, outputs)
            loss = self._loss(scores, rows)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(self.net.parameters(), 5.0)
            self.optimizer.step()
            self._average()
            losses.append(loss.detach())
            self.step += 1
            if self.step % 50 == 0:
                seconds = time.monotonic() - began
                recent = float(torch.stack(losses[-50:]).mean())
                say(f"epoch {self.epoch} step {self.step}/{total} loss {recent:.4f} {seconds:.0f} s")
        self.epoch += 1
        loss_mean = float(torch.stack(losses).mean())
        found = self._validate(px) if self.world.first else {}
        self.world.wait()
        return {"epoch": self.epoch, "px": px, "loss": loss_mean, **found, "seconds": time.monotonic() - began}

    def _choose_what_learns(self) -> None:
        """In the first `head_epochs` the last layer alone; norms below what learns keep ImageNet's statistics."""
        head = backbones.head_name(self.config.arch)
        only_head = self.epoch < self.config.head_epochs
        for name, parameter in self.net.named_parameters():
            parameter.requires_grad_(name in self._learnt and (not only_head or name.startswith(head + ".")))
        self.net.train()
        still = [m for m in self.net.modules() if isinstance(m, nn.BatchNorm2d)] if only_head else []
        for part in [*frozen_parts(self.net, self.config), *still]:
            part.eval()

    def _loss(self, scores: Tensor, rows: Tensor) -> Tensor:
        """What the answers (B, outputs) to some training pictures (B,) cost."""
        config, train = self.config, self.train
        total = loss_of(scores[:, :CLASSES], train.labels[rows].to(self.device), config)
        if config.kinds_weight:
            total = total + config.kinds_weight * F.cross_entropy(
                scores[:, CLASSES:], train.kinds[rows].to(self.device)
            )
        return total

    def _batches(self, px: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Shuffled, augmented batches of one epoch for this process: (B, 3, px, px) float32, their rows (B,)."""
        config, world = self.config, self.world
        draw = torch.Generator().manual_seed(config.seed * 1_000_003 + self.epoch)
        order = torch.randperm(len(self.train.jpegs), generator=draw)
        if world.rank:
            draw = torch.Generator().manual_seed((config.seed + 7919 * world.rank) * 1_000_003 + self.epoch)
        each = config.batch // world.size
        for i in range(self.steps_per_epoch):
            at = i * config.batch + world.rank * each
            rows = order[at : at + each]
            pixels = self.pixels[1][rows.to(self.device)]
            x = augment(pixels, px, draw, crop=config.crop)
            yield x.contiguous(memory_format=torch.channels_last), rows

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
        px = min(self.config.eval_px, px)
        logs, y = predict(self.config, [self.ema], self.val.jpegs, px, self.device), self.val.labels
        guess, few = logs.argmax(1), y <= 5
        return {
            "val_accuracy": float((guess == y).float().mean()),
            "val_accuracy_0to5": float((guess == y)[few].float().mean()),
            "val_mae": float((guess - y).abs().float().mean()),
            "val_nll": float(F.nll_loss(logs, y)),
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
        if changed(TrainConfig(), json.loads(state["config"]), str(path)) != self.config or state["data"] != self.data:
            raise SetupError(
                f"{path} was made with another configuration or other bins; choose another --out, or drop --resume"
            )
        self.net.load_state_dict(state["net"])
        self.ema = state["ema"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.epoch, self.step = state["epoch"], state["step"]


@torch.inference_mode()
def predict(
    config: TrainConfig, members: Sequence[dict[str, Tensor]], jpegs: list[bytes], px: int, device: str = "cpu"
) -> Tensor:
    """Log-probabilities (N, 21) of some pictures under the weights of one run or several, in float32."""
    net = backbones.count_net(
        together(members, config), CLASSES, arch=config.arch, members=len(members), flip=config.flip
    )
    backbones.fuse(net).to(device).to(memory_format=torch.channels_last)
    pixels = load_pixels(jpegs, px)  # (N, 3, px, px) uint8
    out = []
    for chunk in torch.split(pixels, 64):
        x = normalise(chunk.to(device)).contiguous(memory_format=torch.channels_last)  # (64, 3, px, px)
        out.append(net(x).log_softmax(1).cpu())
    return torch.cat(out)


def together(members: Sequence[dict[str, Tensor]], config: TrainConfig) -> dict[str, Tensor]:
    """The weights of several runs, named as those of one release: each answers how many, and nothing else."""
    return {
        backbones.member_prefix(i, len(members)) + name: value
        for i, weights in enumerate(members)
        for name, value in counts_only(weights, config).items()
    }


def run(config: TrainConfig, out: Path, *, resume: bool = False, say: Callable[[str], None] = print) -> Path:
    """Trains to the last epoch, saving after each; returns the checkpoint. Every process of a launcher calls it.

    Args:
        config: what to train.
        out: folder for `checkpoint.pt` and `log.jsonl`; made if missing.
        resume: go on from `out/checkpoint.pt` where there is one.
        say: takes a line of progress; called in the first process.
    Raises: SetupError: no data, no pretrained weights, or a checkpoint that does not fit.
    """
    out.mkdir(parents=True, exist_ok=True)
    checkpoint = out / "checkpoint.pt"
    if config.batch % processes():
        raise SetupError(f"a batch of {config.batch} cannot be shared by {processes()} processes; choose a multiple")
    with joined() as world:
        tell = say if world.first else lambda _: None
        train_set, val_set, data = load_sets(config)
        if len(train_set.jpegs) < config.batch:
            raise SetupError(f"{len(train_set.jpegs)} training pictures are fewer than one batch of {config.batch}")
        tell(
            f"{len(train_set.jpegs)} training and {len(val_set.jpegs)} validation pictures, on {world.size} x {world.device}"
        )
        trainer = Trainer(config, train_set, val_set, data, world)
        if resume and checkpoint.exists():
            trainer.load(checkpoint)
            tell(f"resumed after epoch {trainer.epoch}")
        while trainer.epoch < config.epochs:
            line = trainer.run_epoch(tell)
            if world.first:
                trainer.save(checkpoint)
                with (out / "log.jsonl").open("a") as log:
                    log.write(json.dumps(line) + "\n")
            tell(json.dumps(line))
            world.wait()
    return checkpoint
