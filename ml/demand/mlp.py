"""The base model: one MLP across all series, with quantiles out, that can be transferred to another business.

In: a Panel. Out: quantiles (N, H, 5) in units; weights as tensors.

The network sees the features of ml/demand/features.py as logarithms, with a mask of what is unknown, and a hashed category. It
says by how much, in log units, each quantile differs from the recent mean. Transfer freezes the lower layers and fine-tunes
the upper ones on the new data. Source: Yosinski et al. 2014, NeurIPS 27; quantile loss: Koenker, Bassett 1978.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from inventorybot.domain.demand import LEVELS
from ml.demand.features import GROUP, LAGS, Features, Rows, ahead_rows, draw_rows
from ml.demand.metrics import wape
from ml.demand.panel import Array, Panel
from ml.demand.periods import YEAR
from ml.demand.table import PROMOTIONS
from ml.demand.trees import OFFSET, logged, units_of

RATIOS = (
    *(f"lag{k}" for k in range(1, LAGS + 1)), "mean0", "mean1", "mean2", "mean3", "mean4", "median", "deviation", "least", "most",
    *(f"{g}_{what}" for g in ("all", "store", "item") for what in GROUP),
    "year_ago", "year_about", "two_years_ago", "same_phase", "price_last", "price_plan",
)  # fmt: skip
"""Inputs that are ratios: their logarithm is taken. mean0 .. mean4 are the moving averages from short to long."""
PLAIN = ("sold_share", "sold_share_long", "since_sale", "age", "step", "sin", "cos", "promotion_last", "promotion_plan")
INPUTS = (*RATIOS, *PLAIN)
CATEGORIES = 64
"""Buckets that names of categories are hashed into, so that a network knows what to do with a new one."""
EMBEDDED = 4
STEPS = (0, 50, 150, 400)
"""Numbers of steps of fine-tuning that are tried: with few rows more of them only forget."""
FEW = 64
"""Rows below which no network is trained."""


@dataclass(frozen=True, slots=True)
class MlpConfig:
    """The network and how it learns; searched by ml/demand/search.py."""

    width: int = 128
    lower: int = 2  # layers that transfer freezes
    upper: int = 1  # hidden layers that transfer fine-tunes
    dropout: float = 0.1
    lr: float = 1.5e-3
    weight_decay: float = 1e-4
    batch: int = 512
    steps: int = 1200
    epochs: int = 30  # at most: few rows are not learnt by heart
    rows: int = 150_000
    origins: int = 104
    weight_power: float = 0.25  # of a row's scale, as for the trees
    seed: int = 1


class Network(nn.Module):
    """(B, 2 F) inputs and (B,) categories to (B, 5) quantiles of log units, in order."""

    def __init__(self, config: MlpConfig) -> None:
        super().__init__()
        width, into = config.width, 2 * len(INPUTS)
        self.embedding = nn.Embedding(CATEGORIES, EMBEDDED)
        nn.init.zeros_(self.embedding.weight)
        self.lower = nn.Sequential(*_layers(into, width, config.lower, config.dropout))
        self.upper = nn.Sequential(*_layers(width + EMBEDDED, width, config.upper, config.dropout))
        self.head = nn.Linear(width, len(LEVELS))
        nn.init.normal_(self.head.weight, 0, 0.01)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor, category: Tensor) -> Tensor:
        h = self.upper(torch.cat([self.lower(x), self.embedding(category)], dim=1))  # (B, W)
        out = self.head(h)  # (B, 5)
        middle = out[:, 2:3]
        gap = nn.functional.softplus(out - 1.0)  # (B, 5), > 0: quantiles cannot cross
        low1, high1 = middle - gap[:, 1:2], middle + gap[:, 3:4]
        return torch.cat([low1 - gap[:, :1], low1, middle, high1, high1 + gap[:, 4:]], dim=1)

    def upper_parameters(self) -> list[nn.Parameter]:
        """What transfer fine-tunes."""
        return [*self.upper.parameters(), *self.head.parameters(), *self.embedding.parameters()]


def _layers(into: int, width: int, n: int, dropout: float) -> list[nn.Module]:
    out: list[nn.Module] = []
    for i in range(n):
        out += [nn.Linear(into if i == 0 else width, width), nn.SiLU(), nn.Dropout(dropout)]
    return out


@contextmanager
def _one_thread() -> Iterator[None]:
    """These networks are too small to share: on a busy machine two threads mostly wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Mlp:
    """A trained network with the mean and spread of its inputs.

    Args: net: trained; inputs: (3, F), mean and spread of each input, and 1 where one was ever known; config: how it was made;
        horizon: steps it has learnt; known: covariates planned ahead.
    """

    def __init__(
        self, net: Network, inputs: Tensor, config: MlpConfig, horizon: int, known: tuple[str, ...] = ()
    ) -> None:
        self.net, self.inputs, self.config, self.horizon, self.known = net, inputs, config, horizon, known

    @classmethod
    def fit(
        cls,
        panel: Panel,
        horizon: int,
        config: MlpConfig,
        known: tuple[str, ...] = (),
        say: Callable[[float], None] = lambda _: None,
    ) -> Mlp:
        """Trains from nothing. Args: say: takes the share of steps done.

        Of less than a year the position in the year is not used: ahead lie positions it was never told of (WAPE 4.7 instead of 0.6, measured).
        """
        batch = _examples(panel, horizon, config, known)
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)
            net = Network(config)
            out = cls(net, _standard(batch.x, panel), config, horizon, known)
            with _one_thread():
                out._learn(batch, [{"params": list(net.parameters())}], config, say)
        return out

    def transfer(
        self,
        panel: Panel,
        horizon: int,
        config: MlpConfig | None = None,
        known: tuple[str, ...] = (),
        *,
        steps: int | None = None,
    ) -> Mlp:
        """This network with its lower layers frozen and its upper ones fine-tuned on other series.

        Inputs that it never knew (a price, a promotion) start without effect, and what they do is learnt.

        Args: steps: of fine-tuning; None: of STEPS the number that was best on the latest quarter of the panel, 0 among them.
        """
        config = config or self.config
        if steps is None:
            steps = best_steps(
                panel, horizon, STEPS, lambda past, n: self.transfer(past, horizon, config, known, steps=n), known
            )
        config = replace(config, steps=steps, lr=config.lr / 3)
        batch = _examples(panel, horizon, config, known)
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)
            net = Network(self.config)
            net.load_state_dict(self.net.state_dict())
            found = _standard(batch.x, panel)
            new = (self.inputs[2] == 0) & (found[2] == 1)
            out = Mlp(net, torch.where(new, found, self.inputs), self.config, max(horizon, self.horizon), known)
            first = _open(net, new)
            with _one_thread():
                # no decay: what is frozen in the first layer has no gradient, and must not shrink either
                opened: list[dict[str, Any]] = [{"params": [first], "weight_decay": 0.0}] if bool(new.any()) else []
                out._learn(batch, [{"params": net.upper_parameters()}, *opened], config, lambda _: None)
        return out

    def _learn(
        self, b: _Examples, groups: list[dict[str, Any]], config: MlpConfig, say: Callable[[float], None]
    ) -> None:
        optimizer = torch.optim.AdamW(groups, lr=config.lr, weight_decay=config.weight_decay)
        learnt = [parameter for group in groups for parameter in group["params"]]
        x = self._standardised(b.x)  # (R, 2 F)
        draw = torch.Generator().manual_seed(config.seed)
        level = torch.tensor(LEVELS)
        self.net.train()
        if len(x) < FEW or not config.steps:
            self.net.eval()
            return
        steps = min(config.steps, max(60, config.epochs * len(x) // config.batch))
        for step in range(steps):
            rate = 0.5 * (1 + np.cos(np.pi * step / steps))
            for group in optimizer.param_groups:
                group["lr"] = config.lr * max(rate, 0.01)
            rows = torch.randint(len(x), (min(config.batch, len(x)),), generator=draw)
            gap = (b.target[rows] - b.base[rows])[:, None] - self.net(x[rows], b.category[rows])  # (B, 5)
            loss = (torch.maximum(level * gap, (level - 1) * gap).mean(dim=1) * b.weight[rows]).mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(learnt, 1.0)
            optimizer.step()
            say((step + 1) / steps)
        self.net.eval()

    def _standardised(self, x: Tensor) -> Tensor:
        known = torch.isfinite(x) & (self.inputs[2] > 0)
        z = torch.where(known, ((x - self.inputs[0]) / self.inputs[1]).clamp(-5, 5), torch.zeros(()))
        return torch.cat([z, known.float() - 0.5], dim=1)

    @torch.no_grad()
    def quantiles(self, panel: Panel, horizon: int) -> Array:
        """Quantiles at LEVELS, in units, of the `horizon` periods after the panel; (N, H, 5), >= 0."""
        self.net.eval()
        source = panel.tamed()
        features = Features(source, self.known, ids=False)
        category = hashed(panel.category)
        out = np.empty((panel.n, horizon, len(LEVELS)), np.float32)
        step = max(1, 200_000 // horizon)
        for low in range(0, panel.n, step):
            rows = ahead_rows(min(step, panel.n - low), panel.t, horizon)
            rows = Rows(rows.series + low, rows.origin, rows.step)
            x, base, scale = inputs(features, rows, self.horizon)
            with _one_thread():
                z = self.net(self._standardised(torch.from_numpy(x)), torch.from_numpy(category[rows.series]))
            found = units_of(z.numpy() + base[:, None], scale[:, None])
            out[low : low + step] = found.reshape(-1, horizon, len(LEVELS))
        return out

    def predict(self, panel: Panel, horizon: int) -> Array:
        """The median; (N, H), units."""
        return self.quantiles(panel, horizon)[:, :, 2]

    def state(self) -> dict[str, Tensor]:
        """Everything that was learnt, as tensors."""
        return {f"net.{k}": v for k, v in self.net.state_dict().items()} | {"inputs": self.inputs}

    @classmethod
    def of_state(cls, state: dict[str, Tensor], config: MlpConfig, horizon: int, known: tuple[str, ...]) -> Mlp:
        """The model with that state."""
        net = Network(config)
        net.load_state_dict({k.removeprefix("net."): v for k, v in state.items() if k.startswith("net.")})
        return cls(net, state["inputs"], config, horizon, known)


@dataclass(frozen=True)
class _Examples:
    x: Tensor  # (R, F), NaN: unknown
    base: Tensor  # (R,), log of the recent mean
    target: Tensor  # (R,), log units
    weight: Tensor  # (R,), mean 1
    category: Tensor  # (R,)


def _examples(panel: Panel, horizon: int, config: MlpConfig, known: tuple[str, ...]) -> _Examples:
    source = panel.tamed()
    features = Features(source, known, ids=False)
    rows = draw_rows(source, horizon, config.rows, np.random.default_rng(config.seed), config.origins)
    x, base, scale = inputs(features, rows, horizon)
    weight = scale**config.weight_power
    target = logged(features.targets(rows), scale)
    weight = weight / max(float(weight.mean()), 1e-9) if len(weight) else weight
    x_t, base_t, target_t, weight_t = (torch.from_numpy(np.asarray(v, np.float32)) for v in (x, base, target, weight))
    return _Examples(x_t, base_t, target_t, weight_t, torch.from_numpy(hashed(panel.category)[rows.series]))


def inputs(features: Features, rows: Rows, horizon: int) -> tuple[Array, Array, Array]:
    """What the network sees of some rows: (R, F) NaN where unknown; the log of the recent mean (R,); the scale (R,) in units."""
    raw, scale = features.matrix(rows)
    at = {name: i for i, name in enumerate(features.names)}
    means = {f"mean{i}": at[f"mean{w}"] for i, w in enumerate(features.windows)}
    out = np.full((len(raw), len(INPUTS)), np.nan, np.float32)
    for i, name in enumerate(INPUTS):
        if name.startswith("promotion"):
            out[:, i] = _promotion(raw, at, name.removeprefix("promotion"))
        elif name in means or name in at:
            column = raw[:, means.get(name, at.get(name, 0))]
            out[:, i] = np.log(np.maximum(column, 0) + OFFSET) if name in RATIOS else column
    step = INPUTS.index("step")
    out[:, step] = np.log(np.minimum(out[:, step], horizon))
    middle = out[:, INPUTS.index("mean2")]
    base = np.where(np.isfinite(middle), middle, 0.0).astype(np.float32)
    return out, base, scale


def _promotion(raw: Array, at: dict[str, int], what: str) -> Array:
    """The strongest of the promotion columns there are; NaN where there is none."""
    columns = [raw[:, at[p + what]] for p in PROMOTIONS if p + what in at]
    return np.fmax.reduce(columns) if columns else np.full(len(raw), np.nan, np.float32)


def best_steps(
    panel: Panel, horizon: int, steps: tuple[int, ...], make: Callable[[Panel, int], Mlp], known: tuple[str, ...] = ()
) -> int:
    """The number of steps with the least WAPE on the latest quarter, learnt from what came before it.

    Args: steps: to try; make: a panel and a number of steps to a network.
    """
    quarter = max(1, panel.t // 4)
    origin, ahead = panel.t - quarter, min(horizon, quarter)
    past, actual = panel.until(origin, ahead if known else 0), panel.units[:, origin : origin + ahead]
    errors = [wape(actual, make(past, n).predict(past, ahead)) for n in steps]
    return steps[int(np.nanargmin(errors))] if np.isfinite(errors).any() else steps[0]


def _standard(x: Tensor, panel: Panel) -> Tensor:
    """(3, F): mean and spread of what is known of each input, and 1 where anything is and may be used."""
    known = torch.isfinite(x)
    n = known.sum(dim=0).clamp(min=1)
    centre = torch.where(known, x, torch.zeros(())).sum(dim=0) / n
    spread = torch.where(known, (x - centre) ** 2, torch.zeros(())).sum(dim=0) / n
    seen = known.any(dim=0).float()
    if panel.t < YEAR[panel.periods.kind]:
        seen[[INPUTS.index("sin"), INPUTS.index("cos")]] = 0.0
    return torch.stack([centre, spread.sqrt().clamp(min=1e-2), seen])


@torch.no_grad()
def _open(net: Network, new: Tensor) -> Tensor:
    """Freezes the lower layers but for the columns of new inputs, which begin at zero; returns the first layer's weights.

    Args: new: (F,) bool. Untrained weights on an input that the lower layers never saw would be noise for the upper ones.
    """
    for parameter in net.parameters():
        parameter.requires_grad_(False)
    for parameter in net.upper_parameters():
        parameter.requires_grad_(True)
    first = net.lower[0]
    assert isinstance(first, nn.Linear)
    columns = torch.cat([new, new])
    mask = first.weight[:, len(new) :][:, new]  # the mask of an unknown input was -0.5 all along: part of the bias
    first.bias.sub_(0.5 * mask.sum(dim=1))
    first.weight[:, columns] = 0.0
    if bool(new.any()):
        first.weight.requires_grad_(True)
        first.weight.register_hook(lambda gradient: gradient * columns)  # type: ignore[no-untyped-call]
    return first.weight


def hashed(names: NDArray[np.str_]) -> NDArray[np.int64]:
    """(N,) the bucket of each name; the same in every process."""
    unique, inverse = np.unique(names, return_inverse=True)
    return np.array([zlib.crc32(n.encode()) % CATEGORIES for n in unique], np.int64)[inverse]
