"""How many pictures a second the count model counts on this machine, from JPEG bytes of about 58 kB to distributions.

In: a release and some pictures (drawn ones by default). Out: a table: our path; the plain torchvision loop (PIL decode,
float32, eager, one step after the other) with the same weights; decoding alone and computing alone, which are the
limits; one picture at a time. Rounds are taken in turn and the median is shown with its spread, because machines are
shared; the processor time a picture costs is the steadier figure. Last: how far our probabilities are from the plain ones.

Run: python -m benchmarks images [--bins BINS.zip] [--device cuda]
"""

from __future__ import annotations

import argparse
import io
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from safetensors.torch import load_file
from torchvision import transforms

from inventorybot.adapters import backbones, count_model
from inventorybot.adapters.count_graph import Pixels, cores
from inventorybot.adapters.jpeg import decode
from inventorybot.adapters.registry import packaged
from inventorybot.domain.counting import CountDistribution
from ml.vision.data import read_bins
from ml.vision.render import render_bins

OURS, PLAIN, DECODING, COMPUTING = "ours", "plain torchvision loop", "decoding alone", "computing alone"


def plain_net(release: Path, card: count_model.Card) -> torch.nn.Module:
    """The release's network as one has it after training: float32, eager, nothing folded."""
    net = backbones.count_net(
        load_file(release / "model.safetensors"), count_model.CLASSES,
        arch=card.arch, members=card.members, flip=card.flip,
    )  # fmt: skip
    return net.to(memory_format=torch.contiguous_format)


def plain_loop(net: torch.nn.Module, px: int, device: str) -> Callable[[list[bytes]], torch.Tensor]:
    """What one writes first: torchvision transforms and an eager float32 network, in batches of 32."""
    net.to(device)
    prepare = transforms.Compose(
        [transforms.Resize((px, px)), transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.5] * 3)]
    )

    def count(jpegs: list[bytes]) -> torch.Tensor:
        out = []
        for i in range(0, len(jpegs), 32):
            batch = [prepare(Image.open(io.BytesIO(j)).convert("RGB")) for j in jpegs[i : i + 32]]
            with torch.no_grad():
                out.append(net(torch.stack(batch).to(device)).softmax(1).cpu())
        return torch.cat(out)

    return count


def paths(
    model: count_model.CountModel, net: torch.nn.Module, jpegs: list[bytes], pixels: Pixels
) -> dict[str, Callable[[], object]]:
    """What is measured, by name."""
    px, threads = model.card.input.px, ThreadPoolExecutor(cores())
    plain = plain_loop(net, px, model.device)
    found: dict[str, Callable[[], object]] = {
        OURS: lambda: model.score(jpegs),
        PLAIN: lambda: plain(jpegs),
        DECODING: lambda: list(threads.map(lambda j: decode(j, px), jpegs)),
        COMPUTING: lambda: model.probabilities(pixels),
        "one at a time": lambda: [model.score([j]) for j in jpegs[:32]],
    }
    if model.device == "cuda":  # the parts of the pipeline alone, each kept as busy as it can be
        from inventorybot.adapters.count_torch import BUCKETS, CudaEngine

        engine = model.engine
        assert isinstance(engine, CudaEngine)
        batches = [jpegs[i : i + BUCKETS[-1]] for i in range(0, len(jpegs), BUCKETS[-1])]
        found[DECODING] = lambda: engine.only_decode(batches)
        found[COMPUTING] = lambda: engine.only_compute(batches)
    return found


def measured(
    works: dict[str, Callable[[], object]], rounds: int
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Wall and processor seconds of every round, by name."""
    wall: dict[str, list[float]] = {name: [] for name in works}
    busy: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(rounds + 1):
        for name, work in works.items():
            began, used = time.perf_counter(), time.process_time()
            work()
            if turn:  # the first is to warm up
                wall[name].append(time.perf_counter() - began)
                busy[name].append(time.process_time() - used)
    return wall, busy


def difference(model: count_model.CountModel, net: torch.nn.Module, jpegs: list[bytes], pixels: Pixels) -> str:
    """The largest difference of a probability from the plain network's on the same pixels, and how often the count differs."""
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div(127.5).sub(1)
    with torch.no_grad():
        plain = torch.cat([net(part.to(model.device)).cpu() for part in x.split(32)]).double() / model.card.temperature
    p = plain.softmax(1).numpy()
    ours = np.array([a.p for a in model.score(jpegs) if isinstance(a, CountDistribution)])
    other = int((ours.argmax(1) != p.argmax(1)).sum())
    return (
        f"largest |Δp| from float32 eager: {np.abs(ours - p).max():.1e}; another count for {other} of {len(p)} pictures"
    )


def main(arguments: list[str] | None = None) -> None:
    """Measure and print. Args: arguments: as on the command line; None: those of this process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bins", type=Path, help="folder or zip in the ABID layout; default: drawn pictures")
    parser.add_argument("--images", type=int, default=None, help="default: 192 on a processor, 4096 on a GPU")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--release", type=Path, default=None)
    parser.add_argument("--device", default="auto")
    args = parser.parse_args(arguments)
    release = args.release or packaged("count").path
    model = count_model.load(release, args.device)
    wanted = args.images or (4096 if model.device == "cuda" else 192)
    if args.bins:
        jpegs = [b.jpeg() for b in read_bins([args.bins])[:wanted]]
    else:
        jpegs = [it.jpeg for _, it in render_bins(min(wanted, 64), 1, px=560)]
    jpegs = (jpegs * -(-wanted // len(jpegs)))[:wanted]
    pixels = np.stack([decode(j, model.card.input.px) for j in jpegs])  # (N, px, px, 3)
    net = plain_net(release, model.card)
    works = paths(model, net, jpegs, pixels)
    wall, busy = measured(works, args.rounds)
    size = sum(map(len, jpegs)) / len(jpegs) / 1000
    title = f"{model.name}-{model.version}: {len(jpegs)} JPEGs of {size:.0f} kB, {model.device} {model.dtype}, {cores()} cores"
    _show(title, {name: 32 if name.startswith("one") else len(jpegs) for name in works}, wall, busy)
    Console().print(difference(model, net, jpegs, pixels))


def _show(title: str, pictures: dict[str, int], wall: dict[str, list[float]], busy: dict[str, list[float]]) -> None:
    rate = {name: pictures[name] / statistics.median(times) for name, times in wall.items()}
    table = Table("", "pictures/s", "slowest-fastest", "x plain", "CPU ms a picture", title=title)
    for name, times in wall.items():
        n = pictures[name]
        table.add_row(
            name, f"{rate[name]:.0f}", f"{n / max(times):.0f}-{n / min(times):.0f}", f"{rate[name] / rate[PLAIN]:.1f}",
            f"{1000 * statistics.median(busy[name]) / n:.1f}",
        )  # fmt: skip
    Console().print(table)
    limit = min(rate[DECODING], rate[COMPUTING])
    Console().print(
        f"ours: {rate[OURS] / rate[PLAIN]:.1f}x the plain loop, {rate[OURS] / limit:.0%} of the slower limit"
    )


if __name__ == "__main__":
    main()
