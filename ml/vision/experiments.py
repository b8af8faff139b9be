"""Runs that are compared with each other: a table of ablations, and a search over hyper-parameters.

In: a TOML or JSON file of variants, or of ranges, and bins. Out: `OUT/NAME/` for each run, `OUT/ablations.md` and `.json`;
or `OUT/trials.db` (Optuna's, resumable), `OUT/trials.csv` and the best configuration as `OUT/best.json`.
Runs are compared on the training bins that were kept back, never on the validation split: that is judged once.

Run: inventorybot train count --bins BINS.zip --ablate ml/vision/configs/ablations.toml --out runs/ablations
     inventorybot train count --bins BINS.zip --search ml/vision/configs/search.toml --trials 40 --out runs/search
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from inventorybot.errors import SetupError
from ml.vision.config import TrainConfig, changed, read_table
from ml.vision.data import read_bins, read_jpegs
from ml.vision.evaluate import Floats, Interval, Ints, fit_temperature, intervals, restrict, surprisal
from ml.vision.release import in_fit_half
from ml.vision.train import kept_back, predict, run

COLUMNS = {
    "accuracy_0to5": "accuracy, 0-5", "rmse_0to5": "RMSE, 0-5", "half_coverage_0to5": "accuracy at 50 %, 0-5",
    "nll": "NLL, all", "ece": "ECE, all", "mae": "MAE, all",
}  # fmt: skip
ABOVE = "above_first"
READING = ("ema", "eval_px", "flip")
"""Options that say how a run's weights are read."""
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Answers:
    """What a run says of the bins kept back from it: p (N, 21), their labels y (N,) and pair groups (N,)."""

    p: Floats
    y: Ints
    groups: list[str]

    def figures(self) -> dict[str, Interval]:
        """The figures of `COLUMNS`."""
        few = np.flatnonzero(self.y <= 5)
        of_all = intervals(self.p, self.y, self.groups)
        of_few = intervals(restrict(self.p[few]), self.y[few], [self.groups[i] for i in few])
        found = {f"{name}_0to5": of_few[name] for name in ("accuracy", "rmse", "half_coverage")} | of_all
        return {name: found[name] for name in COLUMNS}

    def above(self, other: Answers) -> Interval:
        """By how much the mean NLL is above that of another run on the same bins: the bootstrap draws them together."""
        difference = surprisal(self.p, self.y) - surprisal(other.p, other.y)
        return intervals(difference, self.y, self.groups, of=lambda d, _: {"nll": float(d.mean())})["nll"]


def answers(config: TrainConfig, checkpoints: Sequence[Path]) -> Answers:
    """What one run, or several together, say of the kept-back bins, each half under the temperature fitted on the other.

    Args: config: how they are read (`eval_px`, `flip`; `ema` 0: the last weights, not their average).
    Raises: SetupError: the run kept no bins back.
    """
    states = [torch.load(path, map_location="cpu", weights_only=True) for path in checkpoints]
    members = [s["ema" if config.ema else "net"] for s in states]
    bins = [b for b in read_bins(config.bins) if b.split == "train" and kept_back(b.pair_group, config.calibration)]
    halves = [[b for b in bins if in_fit_half(b.pair_group) == side] for side in (True, False)]
    if not all(halves):
        raise SetupError(f"{len(bins)} bins were kept back: too few to compare runs on; set calibration higher")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    logs = [predict(config, members, read_jpegs(half), config.eval_px, device) for half in halves]
    labels = [torch.tensor([b.label for b in half]) for half in halves]
    heats = [fit_temperature(*pair) for pair in zip(logs, labels, strict=True)]
    p = torch.cat([(logs[0] / heats[1]).softmax(1), (logs[1] / heats[0]).softmax(1)]).double().numpy()
    return Answers(p, torch.cat(labels).numpy(), [b.pair_group for half in halves for b in half])


@dataclass(frozen=True, slots=True)
class Variant:
    """A run of its own, or, where it names others, another reading of their weights."""

    config: TrainConfig
    of: tuple[str, ...] = ()


def ablate(config: TrainConfig, file: Path, out: Path, say: Say) -> Path:
    """Trains every variant of a file, those that are done not again, and writes their table; returns its path.

    Args: file: `[base]` options for all, and `[[variant]]`s: a name, and the options that differ. One with `of`, a list of
        variants before it, trains nothing: it reads their weights in another way, several as an ensemble.
    Raises: SetupError: a variant has no name, the name of another, or an option that there is not.
    """
    variants = read_variants(config, file)
    found: dict[str, Answers] = {}
    for name, variant in variants.items():
        say(f"variant {name}")
        if not variant.of:
            run(variant.config, out / name, resume=True, say=say)
        found[name] = answers(variant.config, [out / it / "checkpoint.pt" for it in variant.of or (name,)])
    first = next(iter(found.values()))
    table = {name: it.figures() | {ABOVE: it.above(first)} for name, it in found.items()}
    (out / "ablations.json").write_text(json.dumps(table, indent=1) + "\n")
    heads = COLUMNS | {ABOVE: f"NLL less that of {next(iter(found))}, same bins"}
    rows = [f"| variant | {' | '.join(heads.values())} |", "| --- " * (len(heads) + 1) + "|"]
    rows += [f"| {name} | {' | '.join(_cell(it[c]) for c in heads)} |" for name, it in table.items()]
    (out / "ablations.md").write_text("\n".join(rows) + "\n")
    return out / "ablations.md"


def read_variants(config: TrainConfig, file: Path) -> dict[str, Variant]:
    """Raises: SetupError: as `ablate` says."""
    table = read_table(file)
    base = changed(config, table.get("base", {}), f"{file}, base")
    found: dict[str, Variant] = {}
    for entry in table.get("variant", []):
        options = dict(entry)
        name, of = str(options.pop("name", "")), tuple(options.pop("of", ()))
        if not name or name in found or "/" in name:
            raise SetupError(f"{file}: every variant needs a name of its own, without a slash; got {name!r}")
        if strange := [it for it in of if it not in found or found[it].of]:
            raise SetupError(f"{file}, {name}: of must name variants above it that are trained, not {strange[0]!r}")
        if of and (trained := options.keys() - READING):
            raise SetupError(f"{file}, {name}: with of it can change {', '.join(READING)}, not {min(trained)}")
        found[name] = Variant(changed(found[of[0]].config if of else base, options, f"{file}, {name}"), of)
    if not found:
        raise SetupError(f"{file} has no [[variant]]: name at least two to compare")
    return found


def _cell(it: Interval) -> str:
    return f"{it['value']:.3f} ({it['low']:.3f} to {it['high']:.3f})"


def search(config: TrainConfig, file: Path, out: Path, *, trials: int, say: Say) -> TrainConfig:
    """Looks for the options with the least negative log-likelihood, for so many trials in all; returns the best.

    The first trial has the options as they are. Several processes may search in one `out` together.

    Args: file: `[base]` options for all, and `[ranges]`: an option, or `epochs`, to `{low, high, log}` (a range of its type)
        or to a list of choices.
    Raises: SetupError: an option is not there, or its entry is neither.
    """
    import optuna

    base, space = read_space(config, file)
    out.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = optuna.storages.RDBStorage(f"sqlite:///{out.resolve() / 'trials.db'}")
    study = optuna.create_study(study_name="count", storage=storage, load_if_exists=True)
    first = not study.trials
    if first:
        study.enqueue_trial(_as_they_are(base, space))
    # who joins or goes on draws anew, not the same once more, and keeps away from what others are at
    study.sampler = optuna.samplers.TPESampler(seed=config.seed if first else None, constant_liar=True)

    def objective(trial: optuna.Trial) -> float:
        options = {name: _suggest(trial, name, entry) for name, entry in space.items()}
        say(f"trial {trial.number}: {options}")
        one = _with(base, options, file)
        found = answers(one, [run(one, out / f"trial-{trial.number:03}", say=say)]).figures()
        for name, it in found.items():
            trial.set_user_attr(name, it["value"])
        return found["nll"]["value"]

    def keep(study: optuna.Study, _: object) -> None:
        done = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
        _write_trials(done, [*space], out / "trials.csv")
        best = asdict(_with(base, study.best_params, file)) | {"bins": []}
        (out / "best.json").write_text(json.dumps(best, indent=1) + "\n")
        if len(done) >= trials:
            study.stop()

    try:
        done = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
        if len(done) < trials:
            study.optimize(objective, callbacks=[keep])
        say(f"best: trial {study.best_trial.number}, {study.best_params}, NLL {study.best_value:.4f}")
        return _with(base, study.best_params, file)
    finally:
        storage.engine.dispose()


def read_space(config: TrainConfig, file: Path) -> tuple[TrainConfig, dict[str, Any]]:
    """The options for all trials, and the ranges and choices of a search. Raises: SetupError: as `search` says."""
    table = read_table(file)
    base = changed(config, table.get("base", {}), f"{file}, base")
    space: dict[str, Any] = table.get("ranges", {})
    if not space:
        raise SetupError(f"{file} has no [ranges]: name at least one option to look for")
    for name, entry in space.items():
        if isinstance(entry, list) and entry:
            tried = entry
        elif isinstance(entry, dict) and {"low", "high"} <= entry.keys():
            tried = [entry["low"], entry["high"]]
        else:
            raise SetupError(
                f"{file}: {name} must be a list of choices, or a range such as {{low = 1e-4, high = 1e-2, log = true}}"
            )
        for value in tried:
            _with(base, {name: value}, file)
    return base, space


def _as_they_are(config: TrainConfig, space: dict[str, Any]) -> dict[str, Any]:
    """The options of a search as they are without it, of those that its ranges and choices hold."""
    now = asdict(config) | {"epochs": config.epochs}
    return {
        name: now[name]
        for name, entry in space.items()
        if (now[name] in entry if isinstance(entry, list) else entry["low"] <= now[name] <= entry["high"])
    }


def _with(config: TrainConfig, options: dict[str, Any], file: Path) -> TrainConfig:
    """A configuration with some options changed; `epochs` stands for so many at the resolution of its last phase."""
    said = {name: value for name, value in options.items() if name != "epochs"}
    if "epochs" in options:
        said["phases"] = [[config.phases[-1][0], options["epochs"]]]
    return changed(config, said, str(file))


def _suggest(trial: Any, name: str, entry: Any) -> Any:
    if isinstance(entry, list):
        return trial.suggest_categorical(name, entry)
    whole = isinstance(entry["low"], int) and isinstance(entry["high"], int)
    suggest = trial.suggest_int if whole else trial.suggest_float
    return suggest(name, entry["low"], entry["high"], log=bool(entry.get("log")))


def _write_trials(trials: list[Any], options: list[str], path: Path) -> None:
    """The best first."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["trial", *options, *COLUMNS])
        for t in sorted(trials, key=lambda t: t.value):
            writer.writerow([t.number, *(t.params[o] for o in options), *(t.user_attrs[c] for c in COLUMNS)])
