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

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from inventorybot.domain.demand import LEVELS
from ml.demand.features import GROUP, LAGS, Features, Rows, ahead_rows, draw_rows
from ml.demand.panel import Array, Panel, capped
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

    Args: net: trained; centre, width: (F,), of the inputs; config: how it was made; horizon: steps it has learnt.
    """

    def __init__(
        self, net: Network, centre: Tensor, width: Tensor, config: MlpConfig, horizon: int, known: tuple[str, ...] = ()
    ) -> None:
        self.net, self.centre, self.width, self.config, self.horizon, self.known = (
            net,
            centre,
            width,
            config,
            horizon,
            known,
        )

    @classmethod
    def fit(
        cls,
        panel: Panel,
        horizon: int,
        config: MlpConfig,
        known: tuple[str, ...] = (),
        say: Callable[[float], None] = lambda _: None,
    ) -> Mlp:
        """Trains from nothing. Args: say: takes the share of steps done."""
        batch = _examples(panel, horizon, config, known)
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)
            net = Network(config)
            centre, width = _standard(batch.x)
            out = cls(net, centre, width, config, horizon, known)
            with _one_thread():
                out._learn(batch, list(net.parameters()), config, say)
        return out

    def transfer(
        self,
        panel: Panel,
        horizon: int,
        config: MlpConfig | None = None,
        known: tuple[str, ...] = (),
        *,
        steps: int = 400,
    ) -> Mlp:
        """This network with its lower layers frozen and its upper ones fine-tuned on other series."""
        config = replace(config or self.config, steps=steps, lr=(config or self.config).lr / 3)
        batch = _examples(panel, horizon, config, known)
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)
            net = Network(self.config)
            net.load_state_dict(self.net.state_dict())
            out = Mlp(net, self.centre, self.width, self.config, max(horizon, self.horizon), known)
            for parameter in net.parameters():
                parameter.requires_grad_(False)
            for parameter in net.upper_parameters():
                parameter.requires_grad_(True)
            with _one_thread():
                out._learn(batch, net.upper_parameters(), config, lambda _: None)
        return out

    def _learn(self, b: _Examples, learnt: list[nn.Parameter], config: MlpConfig, say: Callable[[float], None]) -> None:
        optimizer = torch.optim.AdamW(learnt, lr=config.lr, weight_decay=config.weight_decay)
        x = self._standardised(b.x)  # (R, 2 F)
        draw = torch.Generator().manual_seed(config.seed)
        level = torch.tensor(LEVELS)
        self.net.train()
        if len(x) < FEW:
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
        known = torch.isfinite(x)
        z = torch.where(known, ((x - self.centre) / self.width).clamp(-5, 5), torch.zeros(()))
        return torch.cat([z, known.float() - 0.5], dim=1)

    @torch.no_grad()
    def quantiles(self, panel: Panel, horizon: int) -> Array:
        """Quantiles at LEVELS, in units, of the `horizon` periods after the panel; (N, H, 5), >= 0."""
        self.net.eval()
        source = _capped(panel)
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
        return {f"net.{k}": v for k, v in self.net.state_dict().items()} | {"centre": self.centre, "width": self.width}

    @classmethod
    def of_state(cls, state: dict[str, Tensor], config: MlpConfig, horizon: int, known: tuple[str, ...]) -> Mlp:
        """The model with that state."""
        net = Network(config)
        net.load_state_dict({k.removeprefix("net."): v for k, v in state.items() if k.startswith("net.")})
        return cls(net, state["centre"], state["width"], config, horizon, known)


@dataclass(frozen=True)
class _Examples:
    x: Tensor  # (R, F), NaN: unknown
    base: Tensor  # (R,), log of the recent mean
    target: Tensor  # (R,), log units
    weight: Tensor  # (R,), mean 1
    category: Tensor  # (R,)


def _capped(panel: Panel) -> Panel:
    return replace(panel, units=capped(panel.units)[0])


def _examples(panel: Panel, horizon: int, config: MlpConfig, known: tuple[str, ...]) -> _Examples:
    source = _capped(panel)
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


def _standard(x: Tensor) -> tuple[Tensor, Tensor]:
    known = torch.isfinite(x)
    n = known.sum(dim=0).clamp(min=1)
    centre = torch.where(known, x, torch.zeros(())).sum(dim=0) / n
    spread = torch.where(known, (x - centre) ** 2, torch.zeros(())).sum(dim=0) / n
    return centre, spread.sqrt().clamp(min=1e-2)


def hashed(names: NDArray[np.str_]) -> NDArray[np.int64]:
    """(N,) the bucket of each name; the same in every process."""
    unique, inverse = np.unique(names, return_inverse=True)
    return np.array([zlib.crc32(n.encode()) % CATEGORIES for n in unique], np.int64)[inverse]
