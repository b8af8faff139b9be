"""What a release folder may hold, when it is whole, and which of two releases is better.

Run: pytest tests/unit/models/test_release.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from inventorybot.adapters.registry_release import check_folder, compare, named_files, packaged
from inventorybot.errors import SetupError
from tests.unit.models.folders import digest, release

H = "ab" * 32


def held(value: Any, better: str = "lower", metric: str = "WAPE", **more: Any) -> dict[str, Any]:
    return {"held_out": {"metric": metric, "value": value, "better": better, **more}}


def test_the_cards_of_all_three_models_name_their_files() -> None:
    count = {"sha256": H, "graph": {"sha256": H, "input": "x"}}
    demand = {"sha256": {"model.safetensors": H, "trees.txt": H}}
    suspect = {"files": {"suspect.txt": H, "units.txt": H}}
    assert set(named_files(count, "x")) == {"model.safetensors", "graph.onnx"}
    assert set(named_files(demand, "x")) == {"model.safetensors", "trees.txt"}
    assert set(named_files(suspect, "x")) == {"suspect.txt", "units.txt"}


@pytest.mark.parametrize("name", ["count", "suspect"])
def test_what_ships_with_the_product_is_whole_and_could_be_published(name: str) -> None:
    card, _ = check_folder(packaged(name).path, strangers=True)
    assert card["held_out"]["better"] in ("lower", "higher")


def test_no_demand_model_ships_with_the_product() -> None:
    with pytest.raises(SetupError, match="none ships with this installation"):
        packaged("demand")


@pytest.mark.parametrize("file", ["model.pkl", "model.pt", "model.joblib", "run.py", "model.bin"])
def test_a_file_that_could_run_code_is_refused_whether_the_card_names_it_or_not(tmp_path: Path, file: str) -> None:
    folder = release(tmp_path / "a", 1.0)
    (folder / file).write_bytes(b"x")
    with pytest.raises(SetupError, match="nothing that could run code"):
        check_folder(folder, strangers=True)
    (folder / "card.json").write_text(json.dumps({"files": {file: digest(b"x")}}))
    with pytest.raises(SetupError, match="nothing that could run code"):
        check_folder(folder, strangers=False)


@pytest.mark.parametrize("file", ["../card.json", "a/b.txt", "/etc/hosts.txt", ".hidden.txt", ""])
def test_a_card_cannot_name_a_file_outside_its_folder(file: str) -> None:
    with pytest.raises(SetupError, match="no folders"):
        named_files({"files": {file: H}}, "x")


def test_a_file_that_the_card_does_not_name_is_refused_before_publishing_but_a_page_for_people_is_not(
    tmp_path: Path,
) -> None:
    folder = release(tmp_path / "a", 1.0)
    (folder / "README.md").write_text("for people")
    check_folder(folder, strangers=True)
    (folder / "more.txt").write_text("trees")
    with pytest.raises(SetupError, match=r"more\.txt is not named"):
        check_folder(folder, strangers=True)


@pytest.mark.parametrize("card", ["", "[]", "{", '{"sha256": "short"}', '{"files": {"a.txt": 7}}'])
def test_a_card_that_is_none_is_refused(tmp_path: Path, card: str) -> None:
    (tmp_path / "card.json").write_text(card)
    with pytest.raises(SetupError):
        check_folder(tmp_path, strangers=False)


def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    folder = release(tmp_path / "a", 1.0)
    (folder / "model.safetensors").write_bytes(b"other weights")
    with pytest.raises(SetupError, match=r"model\.safetensors is damaged"):
        check_folder(folder, strangers=False)
    (folder / "model.safetensors").unlink()
    with pytest.raises(SetupError, match="not a whole release"):
        check_folder(folder, strangers=False)
    with pytest.raises(SetupError, match="not a release"):
        check_folder(tmp_path, strangers=False)


def test_better_is_lower_or_higher_as_the_card_says_and_equal_is_not_better() -> None:
    assert compare(held(0.24), held(0.25))[0]
    assert not compare(held(0.25), held(0.25))[0]
    assert not compare(held(0.25), held(0.24))[0]
    assert compare(held(0.7, "higher"), held(0.6, "higher"))[0]
    assert not compare(held(0.6, "higher"), held(0.7, "higher"))[0]


@pytest.mark.parametrize(
    ("new", "old"),
    [
        ({}, held(1.0)),
        (held(1.0), {}),
        (held(1.0, metric="MAE"), held(2.0)),
        (held(float("nan")), held(2.0)),
        (held("0.1"), held(2.0)),
        (held(True), held(2.0)),
        (held(1.0, better="smaller"), held(2.0, better="smaller")),
        (held(1.0, better="lower"), held(2.0, better="higher")),
        ({"held_out": 0.1}, held(2.0)),
    ],
)
def test_without_a_common_figure_nobody_can_tell_which_is_better(new: dict[str, Any], old: dict[str, Any]) -> None:
    better, why = compare(new, old)
    assert (better, "no common held-out figure" in why) == (False, True)


def test_figures_of_different_held_back_data_are_not_compared() -> None:
    better, why = compare(held(0.1, data="week 40"), held(0.2, data="week 39"))
    assert (better, "different data" in why) == (False, True)
    assert compare(held(0.1, data="week 40"), held(0.2, data="week 40"))[0]
