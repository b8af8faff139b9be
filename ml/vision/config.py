"""Everything that decides a count model's weights besides the data: from a TOML or JSON file, kept in the checkpoint.

In: a file such as those in `configs/`, or nothing (the defaults). Out: a checked `TrainConfig`.
"""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

from inventorybot.adapters.backbones import ARCHS
from inventorybot.errors import SetupError

Loss = Literal["soft", "cross-entropy"]
Optimizer = Literal["adamw", "sgd"]


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """Everything that decides the weights, besides the data; kept in the checkpoint and on the card."""

    bins: tuple[str, ...] = ()
    arch: str = "efficientnet-lite0"
    pretrained: bool = True
    rendered: int = 1150  # rendered training pictures: about one in eight, so that rendered bins are counted well too
    rendered_px: int = 224
    rendered_seed: int = 20_000
    calibration: float = (
        0.06  # share of the training pair groups that is kept back, for temperature and prediction sets
    )
    phases: tuple[tuple[int, int], ...] = ((128, 2), (160, 4))  # (px, epochs): a smaller picture first is faster
    eval_px: int = 160  # as trained at: a third more costs 0.09 nats (docs/count-model.md)
    head_epochs: int = 0  # first epochs in which only the last layer learns
    frozen_blocks: int = (
        3  # EfficientNets: stem and first blocks keep ImageNet's edges: half the time of a step, measured
    )
    lower_lr: float = 0.6  # learning rate below the last layer, as a share of lr
    batch: int = 32  # over all processes
    optimizer: Optimizer = "adamw"
    lr: float = 3.2e-3
    momentum: float = 0.9  # of sgd
    restarts: int = 0  # times the cosine schedule starts again (SGDR, Loshchilov & Hutter 2017); 0: one descent
    warmup: float = 0.05  # share of all steps
    weight_decay: float = 0.025
    ema: float = 0.998  # per step: remembers about two epochs
    dropout: float = 0.25
    drop_connect: float = 0.2
    loss: Loss = "soft"
    rps_weight: float = 0.75  # weight of the ranked probability score beside the cross-entropies
    crop: float = 0.9  # least part of a picture's width, and of its height, that training shows
    kinds_weight: float = 1.0  # weight of a second question, how many different products; it is asked in training only
    flip: bool = False  # count the mirrored picture too, and average: twice the time
    seed: int = 1
    max_steps: int | None = None  # steps an epoch at most, for tests

    def __post_init__(self) -> None:
        checks = {
            "arch": (self.arch in ARCHS, f"one of {', '.join(ARCHS)}"),
            "loss": (self.loss in get_args(Loss), f"one of {', '.join(get_args(Loss))}"),
            "optimizer": (self.optimizer in get_args(Optimizer), f"one of {', '.join(get_args(Optimizer))}"),
            "phases": (bool(self.phases) and all(px > 0 and px % 32 == 0 and n > 0 for px, n in self.phases),
                       "a list of [px, epochs], px a multiple of 32"),
            "eval_px": (self.eval_px > 0 and self.eval_px % 32 == 0, "a multiple of 32"),
            "calibration": (0 <= self.calibration < 0.5, "at least 0 and below 0.5"),
            "batch": (self.batch >= 2, "2 or more"),
            "lr": (self.lr > 0, "above 0"),
            "ema": (0 <= self.ema < 1, "at least 0 and below 1"),
            "crop": (0 < self.crop <= 1, "above 0 and at most 1"),
            "restarts": (self.restarts >= 0, "0 or more"),
        }  # fmt: skip
        for name, (good, wanted) in checks.items():
            if not good:
                raise SetupError(f"{name} is {getattr(self, name)!r}; it must be {wanted}")

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


def read_table(path: Path) -> dict[str, Any]:
    """The content of a TOML or JSON file. Raises: SetupError: it cannot be read, or is neither."""
    try:
        text = path.read_text(encoding="utf-8")
        found = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except OSError as e:
        raise SetupError(f"{path} cannot be read: {e}") from e
    except ValueError as e:
        raise SetupError(f"{path} is not {'JSON' if path.suffix == '.json' else 'TOML'}: {e}") from e
    if not isinstance(found, dict):
        raise SetupError(f"{path} must hold a table of options, not {type(found).__name__}")
    return found


def changed(config: TrainConfig, options: dict[str, Any], where: str) -> TrainConfig:
    """A configuration with some options changed. Raises: SetupError: there is no such option, or its value is not allowed."""
    hints = get_type_hints(TrainConfig)
    known = [f.name for f in fields(TrainConfig)]
    values: dict[str, Any] = {}
    for name, value in options.items():
        if name not in known:
            raise SetupError(f"{where}: there is no option {name}; there are {', '.join(known)}")
        may_be_none = type(None) in get_args(hints[name])
        wanted = int if may_be_none else type(getattr(config, name))
        if wanted is tuple and isinstance(value, list):
            value = tuple(tuple(v) if isinstance(v, list) else v for v in value)
        if wanted is float and type(value) is int:
            value = float(value)
        if type(value) is not wanted and not (value is None and may_be_none):
            raise SetupError(f"{where}: {name} is {value!r}; it must be of the type {wanted.__name__}")
        values[name] = value
    try:
        return replace(config, **values)
    except SetupError as e:
        raise SetupError(f"{where}: {e}") from e


def read_config(path: Path) -> TrainConfig:
    """A configuration from a file; what it does not name keeps its default. Raises: SetupError: says what is wrong."""
    return changed(TrainConfig(), read_table(path), str(path))
