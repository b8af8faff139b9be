"""The change model and the agreement model, on made features. Run: pytest tests/unit/vision/test_heads.py"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from inventorybot.errors import SetupError
from ml.vision import heads
from ml.vision.agreement import facts_of, record_facts, train_agreement
from ml.vision.alerts import REACH
from ml.vision.change import REACH as CHANGE_REACH
from ml.vision.change import ChangeNet, difference, pairs_of, train_change
from ml.vision.data import Bin, Line, read_bins
from ml.vision.render import write_bins


@pytest.fixture(scope="module")
def bins(tmp_path_factory: pytest.TempPathFactory) -> list[Bin]:
    """300 bins in pairs; a bin of q items holds q lines of 10 cubic inches in a bin whose picture shows its volume."""
    one = read_bins([write_bins(tmp_path_factory.mktemp("bins") / "bins.zip", 1, seed=1, px=64)])[0]
    rng = np.random.default_rng(1)
    made = []
    for i in range(300):
        group, quantity = f"{i // 2:04}", int(rng.integers(1, 6))
        line = Line("A", "A", "thing", quantity, float(rng.choice([2.0, 200.0])), 1.0)
        made.append(
            replace(
                one,
                id=f"{i:05}",
                quantity=quantity,
                lines=(line,),
                pair_group=group,
                split="val" if i % 6 < 2 else "train",
            )
        )
    return made


def vague(n: int) -> np.ndarray:
    """Counts that say next to nothing."""
    return np.full((n, 21), 1 / 21)


def test_the_difference_of_two_sure_counts_is_sure_and_large_ones_are_pooled() -> None:
    one = torch.eye(21, dtype=torch.float64)
    found = difference(one[[3, 0]], one[[5, 20]])
    assert found[0].argmax() == CHANGE_REACH + 2
    assert found[1].argmax() == 2 * CHANGE_REACH  # 20 more: 10 or more
    assert found.sum(1).tolist() == [1, 1]


def test_looks_at_one_bin_are_paired_with_their_neighbours_and_no_look_twice(bins: list[Bin]) -> None:
    some = [replace(bins[0], pair_group=g) for g in ("a", "a", "a", "b", "c", "c")]
    assert pairs_of(some).tolist() == [[0, 1], [4, 5]]
    assert pairs_of(some[:1]).shape == (0, 2)


def test_an_untrained_change_model_is_the_difference_of_two_counts_and_turned_round_it_turns() -> None:
    torch.manual_seed(1)
    net = ChangeNet(8).eval()
    a, b = torch.randn(4, 8), torch.randn(4, 8)
    p, q = torch.rand(4, 21).softmax(1), torch.rand(4, 21).softmax(1)
    torch.testing.assert_close(net(a, b, p, q).exp(), difference(p, q), atol=1e-4, rtol=1e-3)
    torch.nn.init.normal_(net.compare[-1].weight)
    torch.testing.assert_close(net(a, b, p, q), net(b, a, q, p).flip(1), atol=1e-4, rtol=1e-3)


def test_the_change_model_learns_what_two_vague_counts_do_not_say(bins: list[Bin]) -> None:
    features = torch.nn.functional.one_hot(torch.tensor([b.label for b in bins]), 8).float()
    net, found = train_change(bins, features, vague(len(bins)))
    assert found["pairs"]["val"] == 50
    assert found["change"]["nll"]["value"] < found["two counts"]["nll"]["value"] - 1
    assert found["change"]["nll"]["value"] < found["usual"]["nll"]["value"] - 0.5
    assert found["change"]["accuracy"]["value"] > 0.8
    assert len(pairs_of(bins)) == 150
    assert not net.training


def test_a_record_with_more_items_weighs_more_and_what_is_missing_is_said() -> None:
    line = Line("A", "A", "x", 2, 10.0, None)
    few, more = record_facts([line], [2]), record_facts([line], [3])
    assert few[0] == pytest.approx(np.log1p(2))
    assert few[3] == pytest.approx(np.log1p(20))  # cubic inches
    assert more[3] > few[3]
    assert few[-2:] == [0.0, 1.0]


def test_no_line_goes_below_zero(bins: list[Bin]) -> None:
    facts = facts_of(bins[:50], seed=1)
    for i, it in enumerate(bins[:50]):
        assert np.isnan(facts[i, :, 0]).tolist() == [error < -it.label for error in range(-REACH, REACH + 1)]


def test_the_agreement_model_finds_by_the_items_what_the_count_alone_does_not(bins: list[Bin]) -> None:
    shown = [it.label - 1 + 5 * (it.lines[0].volume == 200) for it in bins]  # how full the bin looks: ten kinds
    features = torch.nn.functional.one_hot(torch.tensor(shown), 10).float()
    _, found = train_agreement(bins, features, vague(len(bins)), [1 / 21] * 21)
    assert found["bins"]["val"] == 100
    ours, alone = found["agreement"], found["count alone"]
    assert ours["recall_3+"]["value"] > alone["recall_3+"]["value"] + 0.2
    assert ours["precision_20"]["value"] > alone["precision_20"]["value"]


def test_what_is_saved_is_loaded_and_what_is_damaged_is_refused(tmp_path: Path) -> None:
    net, other = ChangeNet(8), ChangeNet(8)
    heads.save(net, tmp_path, {"features": 8})
    assert heads.load(other, tmp_path)["features"] == 8
    torch.testing.assert_close(net.shared[1].weight, other.shared[1].weight)
    data = bytearray((tmp_path / "model.safetensors").read_bytes())
    data[-1] ^= 0xFF
    (tmp_path / "model.safetensors").write_bytes(bytes(data))
    with pytest.raises(SetupError, match="train it again"):
        heads.load(other, tmp_path)
