"""`inventorybot models` as people run it: what it prints, and what it says when something is missing or away.

Run: pytest tests/functional/test_models_cli.py
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from inventorybot import wiring
from inventorybot.adapters.kafka import Topics
from inventorybot.errors import InventoryBotError, SetupError, TryLater
from inventorybot.settings import load
from inventorybot.wire.topics import MODELS
from services.local.kafka import Broker
from services.models_cli import app
from tests.unit.models.folders import release

NOBODY = "127.0.0.1:9"


def models(*words: str) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, list(words))


def refusal(*words: str) -> InventoryBotError:
    """What a command says that cannot go on."""
    error = models(*words).exception
    assert isinstance(error, InventoryBotError), error
    return error


@pytest.fixture
def folders(registry_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Release folders by version, and settings that name a registry but no broker that answers."""
    monkeypatch.setenv("INVENTORYBOT_MODELS", registry_url)
    monkeypatch.setenv("INVENTORYBOT_KAFKA", NOBODY)
    return {v: str(release(tmp_path / v, nll, v.encode())) for v, nll in (("v1", 2.0), ("v2", 1.5), ("v3", 1.8))}


@pytest.mark.parametrize("command", ["list", "show", "publish", "promote", "rollback", "announce"])
def test_every_command_explains_itself(command: str) -> None:
    done = models(command, "--help")
    assert done.exit_code == 0
    assert len(done.output) > 200


def test_without_a_registry_the_releases_that_ship_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INVENTORYBOT_MODELS", "")
    lines = models("list").output.splitlines()
    assert [line.split()[:3] for line in lines] == [["*", "count", "v1"], ["*", "suspect", "v1"]]
    assert all("ships with this installation" in line for line in lines)
    assert "none ships" in str(refusal("list", "demand"))
    assert "set INVENTORYBOT_MODELS" in str(refusal("promote", "count", "v2"))


def test_an_error_is_one_sentence_and_the_exit_code_says_so() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "inventorybot", "models", "promote", "count", "v2"],
        env={"PATH": "", "INVENTORYBOT_MODELS": "s3://models"}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("inventorybot: INVENTORYBOT_MODELS is 's3://models': it must be the URL of a model registry")


def test_a_promotion_that_could_not_be_announced_says_so_and_repeating_it_repairs_it(
    folders: dict[str, str], kafka: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "is in the registry" in models("publish", "demand", "v1", folders["v1"]).output
    error = refusal("promote", "demand", "v1")
    assert isinstance(error, TryLater)
    assert str(error).startswith(
        "kafka: demand v1 is in service in the registry, but running agents have not heard of it ("
    )
    assert str(error).endswith("`inventorybot models announce demand` tells them")
    monkeypatch.setenv("INVENTORYBOT_KAFKA", kafka.bootstrap)
    Topics(wiring.kafka_config(load())).create([MODELS], 1, 1)
    assert models("promote", "demand", "v1").output == "demand v1 is in service: it is in service already\n"
    assert models("announce").output == "demand v1 is announced\n"

    models("publish", "demand", "v3", folders["v3"])
    models("publish", "demand", "v2", folders["v2"])
    assert "held-out nll is 1.5, in service 2.0" in models("promote", "demand", "v2").output
    worse = refusal("promote", "demand", "v3")
    assert str(worse) == "demand v3 is not promoted: held-out nll is 1.8, in service 1.5 (lower is better)"
    assert models("promote", "demand", "v3", "--in-service", "1.9").exit_code == 0
    listed = models("list", "demand").output.splitlines()
    assert [line.split() for line in listed] == [
        ["demand", "v1", "nll", "2.0"], ["*", "demand", "v3", "nll", "1.8"], ["demand", "v2", "nll", "1.5"]
    ]  # fmt: skip
    assert models("rollback", "demand").output == "demand v2 is in service again\n"
    assert json.loads(models("show", "demand", "--json").output)["held_out"]["value"] == 1.5
    assert "model.safetensors  2 bytes" in models("show", "demand", "v1").output


def test_what_is_missing_is_named(folders: dict[str, str], tmp_path: Path) -> None:
    assert "holds no demand v9; it holds none" in str(refusal("promote", "demand", "v9"))
    assert "holds no demand v9; it holds none" in str(refusal("show", "demand", "v9"))
    assert isinstance(refusal("rollback", "demand"), SetupError)
    assert "nothing was in service before count v1" in str(refusal("rollback", "count"))
    assert "not a release" in str(refusal("publish", "demand", "v1", str(tmp_path)))
    assert "there is nothing to tell" in models("announce").output
