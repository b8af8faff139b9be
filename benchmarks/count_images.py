"""How many pictures a second the count model counts on this machine, from JPEG bytes to distributions.

In: a release and some pictures (drawn ones by default). Out: a table: our path; the plain torchvision loop (PIL decode,
float32, eager, one step after the other) with the same weights; decoding alone; computing alone. Rounds are taken in
turn, the median is shown with its spread, because machines are shared.

Run: python -m benchmarks.count_images [--bins BINS.zip] [--images 256] [--rounds 5] [--px 320]
"""

from __future__ import annotations

import argparse
import io
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from safetensors.torch import load_file
from torchvision import transforms

from inventorybot.adapters import count_model, efficientnet
from inventorybot.adapters.jpeg import decode
from inventorybot.adapters.registry import packaged
from ml.vision.data import read_bins
from ml.vision.render import render_bins


def plain_loop(release: Path, px: int, device: torch.device) -> Callable[[list[bytes]], torch.Tensor]:
    """What one writes first: torchvision transforms and an eager float32 network, in batches of 32."""
    net = efficientnet.build(21).to(memory_format=torch.contiguous_format)
    net.load_state_dict({k: v.float() for k, v in load_file(release / "model.safetensors").items()})
    net.eval().to(device)
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


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main(arguments: list[str] | None = None) -> None:
    """Measure and print. Args: arguments: as on the command line; None: those of this process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bins", type=Path, help="folder or zip in the ABID layout; default: drawn pictures")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--px", type=int, default=320, help="size of drawn pictures")
    parser.add_argument("--release", type=Path, default=None)
    parser.add_argument("--device", default="auto")
    args = parser.parse_args(arguments)
    release = args.release or packaged("count").path
    if args.bins:
        jpegs = [b.jpeg() for b in read_bins([args.bins])[: args.images]]
    else:
        jpegs = [it.jpeg for _, it in render_bins(args.images, 1, px=args.px)]
    model = count_model.load(release, args.device)
    px = model.card.input.px
    plain = plain_loop(release, px, model.device)
    pixels = np.stack([decode(j, px) for j in jpegs])  # (N, px, px, 3)

    def compute() -> None:
        for i in range(0, len(pixels), count_model.BATCH):
            model.probabilities(pixels[i : i + count_model.BATCH])

    paths: dict[str, Callable[[], object]] = {
        "JPEG to distribution, ours": lambda: model.score(jpegs),
        "JPEG to distribution, plain torchvision loop": lambda: plain(jpegs),
        "decoding alone, one thread": lambda: [decode(j, px) for j in jpegs],
        "computing alone, ours": compute,
    }
    for work in paths.values():
        work()  # warm-up
    seconds: dict[str, list[float]] = {name: [] for name in paths}
    for _ in range(args.rounds):
        for name, work in paths.items():
            seconds[name].append(timed(work))
    size = sum(map(len, jpegs)) / len(jpegs) / 1000
    about = f"{len(jpegs)} JPEGs of {size:.0f} kB, {px} px, {model.device} {str(model.dtype)[6:]}, {torch.get_num_threads()} threads"
    table = Table("", "pictures/s", "slowest-fastest", title=about)
    for name, times in seconds.items():
        rates = [len(jpegs) / t for t in times]
        table.add_row(name, f"{statistics.median(rates):.0f}", f"{min(rates):.0f}-{max(rates):.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
