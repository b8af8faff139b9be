"""Two processes that train together. Run: pytest tests/unit/vision/test_distributed.py"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from inventorybot.errors import SetupError
from ml.vision.config import TrainConfig
from ml.vision.train import run

TINY = TrainConfig(
    arch="resnet18", rendered=8, rendered_px=32, phases=((32, 1),), eval_px=32, batch=4, pretrained=False, max_steps=2
)
SCRIPT = """
import json, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from ml.vision.config import TrainConfig, changed
from ml.vision.train import run
run(changed(TrainConfig(), json.loads(sys.argv[1]), "test"), Path(sys.argv[2]))
"""


def test_two_processes_end_with_one_checkpoint_and_one_log(tmp_path: Path) -> None:
    script = tmp_path / "work.py"
    script.write_text(SCRIPT)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    done = subprocess.run(
        [*launch, json.dumps(asdict(TINY)), str(tmp_path / "run")],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "on 2 x cpu" in done.stdout
    assert len((tmp_path / "run" / "log.jsonl").read_text().splitlines()) == 1
    state = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)
    assert (state["epoch"], state["step"]) == (1, 2)
    alone = torch.load(run(TINY, tmp_path / "alone", say=lambda _: None), weights_only=True)
    moved = state["net"]["fc.weight"] - alone["net"]["fc.weight"]
    assert 0 < float(moved.abs().max()) < 0.05  # the same start, batches of other halves: near, and not the same


def test_a_batch_that_cannot_be_shared_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")  # as torchrun sets it
    with pytest.raises(SetupError, match="cannot be shared by 3 processes"):
        run(TINY, tmp_path, say=lambda _: None)
