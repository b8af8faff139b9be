"""The released model behind the one loader. Run: pytest tests/unit/vision/test_count_model.py"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from inventorybot.adapters.count_model import BATCH, CountModel, load
from inventorybot.adapters.registry import packaged
from inventorybot.domain.counting import CountDistribution
from inventorybot.errors import BadEvent, Code, SetupError
from ml.vision.release import HELD_OUT_SEED
from ml.vision.render import render_bin, render_bins
from ml.vision.train import TrainConfig

RELEASE = packaged("count").path


@pytest.fixture(scope="module")
def model() -> CountModel:
    return load(RELEASE, "cpu")


def pictures(n: int, seed: int = 1) -> list[bytes]:
    return [it.jpeg for _, it in render_bins(n, seed, px=96)]


def p_of(answer: CountDistribution | BadEvent) -> tuple[float, ...]:
    assert isinstance(answer, CountDistribution)
    return answer.p


def test_bad_pictures_are_refused_with_their_codes_while_their_neighbours_are_counted(model: CountModel) -> None:
    a, b = pictures(2)
    sof = a.index(b"\xff\xc0")
    bomb = a[: sof + 5] + (60_000).to_bytes(2) * 2 + a[sof + 9 :]
    answers = model.score([a, b"", bomb, b"no picture", b[: len(b) // 3], b])
    assert [x.code if isinstance(x, BadEvent) else "counted" for x in answers] == [
        "counted", Code.IMAGE_EMPTY, Code.IMAGE_TOO_LARGE, Code.IMAGE_CORRUPT, Code.IMAGE_CORRUPT, "counted",
    ]  # fmt: skip
    for got, alone in ((answers[0], model.score([a])[0]), (answers[5], model.score([b])[0])):
        assert p_of(got) == pytest.approx(p_of(alone), abs=1e-4)


def test_answers_come_in_the_order_of_the_pictures_over_more_than_one_batch(model: CountModel) -> None:
    some = pictures(BATCH + 3)
    forward, backward = model.score(some), model.score(some[::-1])[::-1]
    for x, y in zip(forward, backward, strict=True):
        assert p_of(x) == pytest.approx(p_of(y), abs=1e-4)


def test_nothing_to_count_gives_no_answers_and_only_bad_pictures_give_only_refusals(model: CountModel) -> None:
    assert model.score([]) == []
    assert all(isinstance(x, BadEvent) for x in model.score([b"", b"x"]))


def test_the_card_names_the_weights_that_lie_beside_it_and_they_are_small() -> None:
    weights = (RELEASE / "model.safetensors").read_bytes()
    card = json.loads((RELEASE / "card.json").read_text())
    assert hashlib.sha256(weights).hexdigest() == card["sha256"]
    assert len(weights) < 25_000_000
    assert json.loads(weights[8 : 8 + int.from_bytes(weights[:8], "little")])  # the safetensors header, no pickle


def test_the_card_says_what_was_trained_on_what_and_how_well_beside_what_needs_no_picture() -> None:
    card = json.loads((RELEASE / "card.json").read_text())
    assert "CC BY-NC-SA" in card["licence"]
    assert len(card["data_sha256"]) == 64
    assert card["config"]["rendered"] > 0
    assert any("drawn" in limit for limit in card["limits"])
    for name in ("all", "0to5_plain", "0to5_restricted", "rendered"):
        for metric in ("accuracy", "within_one", "mae", "rmse", "nll", "ece"):
            assert {"value", "low", "high"} == card["metrics"][name][metric].keys()
    for name in ("all_largest_class", "all_distinct_asins", "0to5_largest_class", "0to5_distinct_asins"):
        assert {"accuracy", "within_one", "mae", "rmse"} <= card["baselines"][name].keys()
    assert f"{card['metrics']['all']['accuracy']['value']:.1%}" in (RELEASE / "README.md").read_text()


def test_the_release_says_its_name_version_and_the_frequencies_it_was_trained_under(model: CountModel) -> None:
    assert (model.name, model.version) == ("count", "v1")
    assert sum(model.class_prior) == pytest.approx(1.0)
    assert max(range(21), key=model.class_prior.__getitem__) == 3  # most bins of the data set hold 3 items


def test_on_drawn_bins_it_has_never_seen_the_model_beats_what_needs_no_picture(model: CountModel) -> None:
    seed, counts = 424_242, np.random.default_rng(1).integers(0, 9, 80).tolist()
    assert seed not in (TrainConfig().rendered_seed, HELD_OUT_SEED)
    bins = [it for _, it in render_bins(80, seed, counts=counts)]
    guess = [x.count for x in model.score([it.jpeg for it in bins]) if isinstance(x, CountDistribution)]
    right = sum(g == k for g, k in zip(guess, counts, strict=True))
    largest = max(Counter(counts).values())
    by_lines = sum(len(it.lines) == k for it, k in zip(bins, counts, strict=True))
    assert right > 1.2 * max(largest, by_lines), (right, largest, by_lines)
    miss = np.abs(np.array(guess) - counts).mean()
    assert miss < np.abs(np.median(counts) - counts).mean()


def test_a_full_drawn_bin_is_counted_higher_than_an_empty_one(model: CountModel) -> None:
    empty, full = model.score([render_bin(k, np.random.default_rng(k)).jpeg for k in (0, 18)])
    assert isinstance(empty, CountDistribution)
    assert isinstance(full, CountDistribution)
    assert full.count > empty.count + 5


@pytest.mark.parametrize(
    ("file", "words"), [("model.safetensors", "sha256"), ("card.json", "not a model card")], ids=["weights", "card"]
)
def test_a_damaged_release_is_refused(tmp_path: Path, file: str, words: str) -> None:
    copy = tmp_path / "release"
    shutil.copytree(RELEASE, copy)
    data = bytearray((copy / file).read_bytes())
    data[-100] ^= 0xFF
    (copy / file).write_bytes(bytes(data) if file != "card.json" else b"{}")
    with pytest.raises(SetupError, match=words):
        load(copy, "cpu")


def test_a_folder_that_is_no_release_and_a_device_that_is_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="not a release"):
        load(tmp_path, "cpu")
    with pytest.raises(SetupError, match="auto, cpu or cuda"):
        load(RELEASE, "gpu")
