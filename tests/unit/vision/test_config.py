"""Configurations from files, and what is said of a wrong one. Run: pytest tests/unit/vision/test_config.py"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

import ml.vision
from inventorybot.errors import SetupError
from ml.vision.config import TrainConfig, changed, read_config, read_table
from ml.vision.experiments import read_space, read_variants

SHIPPED = sorted((Path(ml.vision.__file__).parent / "configs").glob("*.toml"))


def test_a_toml_and_a_json_file_say_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('arch = "resnet34"\nlr = 1\nphases = [[64, 2]]\nmax_steps = 3\n')
    (tmp_path / "a.json").write_text('{"arch": "resnet34", "lr": 1.0, "phases": [[64, 2]], "max_steps": 3}')
    assert read_config(tmp_path / "a.toml") == read_config(tmp_path / "a.json")
    assert read_config(tmp_path / "a.toml").phases == ((64, 2),)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("learning_rate = 1.0", "no option learning_rate"),
        ('lr = "fast"', "must be of the type float"),
        ("lr = 0.0", "lr is 0.0; it must be above 0"),
        ('arch = "vgg"', "efficientnet-lite0"),
        ("phases = [[100, 2]]", "multiple of 32"),
        ("batch = true", "must be of the type int"),
        ("lr = ", "not TOML"),
    ],
)
def test_a_wrong_option_is_named_with_the_reason(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(SetupError, match=words):
        read_config(tmp_path / "a.toml")


def test_a_checkpoint_names_every_option_and_is_read_again() -> None:
    for config in (TrainConfig(), TrainConfig(max_steps=3)):
        assert changed(TrainConfig(max_steps=1), json.loads(json.dumps(asdict(config))), "test") == config
    with pytest.raises(SetupError, match="max_steps is 'all'"):
        changed(TrainConfig(), {"max_steps": "all"}, "test")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"none\.toml cannot be read"):
        read_config(tmp_path / "none.toml")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.name)
def test_the_shipped_files_name_options_that_there_are(path: Path) -> None:
    table = read_table(path)
    if "variant" in table:
        assert len(read_variants(TrainConfig(), path)) == len(table["variant"])
    elif "ranges" in table:
        assert read_space(TrainConfig(), path)[1] == table["ranges"]
    else:
        read_config(path)
