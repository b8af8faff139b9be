"""Training in several processes: `torchrun`, or Spark's TorchDistributor; alone it is the same with a world of one.

In: what the launcher put into the environment (RANK, WORLD_SIZE, LOCAL_RANK). Out: a `World`.

Run: torchrun --nproc-per-node 8 -m inventorybot train count --bins BINS.zip --config FILE --out runs/count
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ml.vision.config import TrainConfig

PATIENCE = timedelta(minutes=30)
"""How long the others wait for the first process, which decodes and validates."""


@dataclass(frozen=True, slots=True)
class World:
    """The processes that train together. `rank`: this one's number; `device`: "cpu", "cuda:0" ..."""

    rank: int
    size: int
    device: str

    @property
    def first(self) -> bool:
        """Whether this process speaks and writes for all."""
        return self.rank == 0

    def wrapped(self, net: nn.Module) -> nn.Module:
        """The network with its gradients averaged over all processes; call it anew when what learns has changed."""
        if self.size == 1:
            return net
        return DistributedDataParallel(net, device_ids=[self.device] if self.device != "cpu" else None)

    def wait(self) -> None:
        """Until all processes are here."""
        if self.size > 1:
            dist.barrier()


def processes() -> int:
    """How many processes the launcher started; 1 without one."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def joined() -> Iterator[World]:
    """Joins the other processes, if a launcher started some: NCCL between GPUs, gloo between processors."""
    size, rank = processes(), int(os.environ.get("RANK", "0"))
    device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu"
    if device != "cpu":
        torch.cuda.set_device(device)
    if size == 1:
        yield World(0, 1, device)
        return
    dist.init_process_group("gloo" if device == "cpu" else "nccl", timeout=PATIENCE)
    try:
        yield World(rank, size, device)
    finally:
        dist.destroy_process_group()


def train_on_spark(config: TrainConfig, out: Path, *, processes: int, local: bool = False, gpu: bool = True) -> Path:
    """Trains on a Spark cluster's workers, in one barrier job; returns the checkpoint.

    Args:
        config: what to train; its `bins` and `out` must be reachable from every worker under the same name.
        out: folder for the run.
        processes: how many; with `gpu` each gets one.
        local: on the driver's machine instead of the workers.
    Needs pyspark and an active session.
    """
    from pyspark.ml.torch.distributor import TorchDistributor

    distributor = TorchDistributor(num_processes=processes, local_mode=local, use_gpu=gpu)
    checkpoint = distributor.run(_train, config, str(out))
    return Path(str(checkpoint))


def _train(config: TrainConfig, out: str) -> str:
    from ml.vision.train import run

    return str(run(config, Path(out), resume=True))
