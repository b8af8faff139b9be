"""The count model under torch: on CUDA from JPEG bytes to logits without the processor; on cores for releases without a graph.

In: a release's network; JPEG bytes or uint8 pictures. Out: logits, or the `BadEvent` of a picture that cannot be decoded.
On CUDA three things go on at once: the pictures of the next batch are decoded (nvJPEG) and resized on one stream, this
batch is computed on another by a captured graph in half precision, and the last one's logits travel to the host.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from inventorybot import telemetry
from inventorybot.adapters import backbones
from inventorybot.adapters.count_graph import Floats, Pixels
from inventorybot.adapters.jpeg import check, decode, normalise
from inventorybot.errors import BadEvent, TryLater

BUCKETS = (1, 8, 32, 128)
"""Batch sizes that a CUDA graph is captured for; a batch is padded to the next one."""

Row = Floats | BadEvent


class TorchEngine:
    """Runs a network eagerly, batch norms folded, channels last.

    Args:
        net: in inference form; changed in place.
        px: side of its pictures.
        device: "cpu" (float32) or "cuda" (float16).
    """

    workers = 2  # one batch is decoded while another is computed; torch itself takes all cores for computing

    def __init__(self, net: backbones.CountNet, px: int, device: str) -> None:
        self.device, self._px = device, px
        self._dtype = torch.float16 if device == "cuda" else torch.float32
        self.dtype = str(self._dtype).removeprefix("torch.")
        self._net = backbones.fuse(net.eval()).to(device, self._dtype).to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def logits(self, pixels: Pixels) -> Floats:
        """Uncalibrated scores: uint8 (N, px, px, 3) RGB -> float64 (N, 21). Raises: TryLater: out of memory."""
        x = torch.from_numpy(pixels).permute(0, 3, 1, 2).to(self.device)  # (N, 3, px, px), channels_last as it lies
        try:
            out: Tensor = self._net(normalise(x).to(self._dtype))  # (N, 21)
        except torch.OutOfMemoryError as e:  # another process may hold the device's memory for a while
            raise _no_memory(self.device, e) from e
        return np.asarray(out.double().cpu().numpy(), np.float64)


@dataclass(slots=True)
class _Slot:
    """Room for one decoded batch; `filled` and `free` order the two streams that share it."""

    pixels: Tensor  # (max(BUCKETS), 3, px, px) float16 on the device, normalised
    filled: torch.cuda.Event
    free: torch.cuda.Event


@dataclass(slots=True)
class _Flight:
    """A batch whose logits are on their way to the host."""

    rows: list[BadEvent | None]  # a refusal for each picture that has one
    logits: Tensor  # (bucket, 21) pinned
    done: torch.cuda.Event

    def land(self) -> list[Row]:
        self.done.synchronize()
        found = iter(self.logits.double().numpy().copy())
        return [row if row is not None else next(found) for row in self.rows]


class CudaEngine(TorchEngine):
    """From JPEG bytes to logits on a GPU; see the head of the file. Several callers take turns."""

    def __init__(self, net: backbones.CountNet, px: int) -> None:
        super().__init__(net, px, "cuda")
        shape = (BUCKETS[-1], 3, px, px)
        self._slots = [
            _Slot(
                torch.zeros(shape, dtype=self._dtype, device="cuda").contiguous(memory_format=torch.channels_last),
                torch.cuda.Event(), torch.cuda.Event(),  # type: ignore[no-untyped-call]
            )
            for _ in range(2)
        ]  # fmt: skip
        self._decoding, self._computing = torch.cuda.Stream(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._decoder = ThreadPoolExecutor(1, thread_name_prefix="nvjpeg")
        self._turn = threading.Lock()
        torch.cuda.synchronize()
        self._graphs = {bucket: self._capture(bucket) for bucket in BUCKETS}

    def _capture(self, bucket: int) -> Callable[[Tensor], Tensor]:
        """The network on a batch of fixed size as one CUDA graph: one launch instead of some hundred."""
        x = self._slots[0].pixels[:bucket].clone()
        with torch.inference_mode(), torch.cuda.stream(self._computing):
            for _ in range(3):  # lets cuDNN choose its algorithms before they are recorded
                self._net(x)
            torch.cuda.synchronize()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, stream=self._computing):
                out: Tensor = self._net(x)  # (bucket, 21)

        def run(pixels: Tensor) -> Tensor:
            x[: len(pixels)].copy_(pixels)
            graph.replay()
            return out

        return run

    @torch.inference_mode()
    def score(self, jpegs: Sequence[bytes]) -> list[Row]:
        """Logits (21,) of each picture, or its refusal, in order. Raises: TryLater: out of memory."""
        chunks = [jpegs[i : i + BUCKETS[-1]] for i in range(0, len(jpegs), BUCKETS[-1])]
        answers: list[Row] = []
        flights: deque[_Flight] = deque()
        try:
            with self._turn:
                ahead = [self._decoder.submit(self._decode, chunk, self._slots[0]) for chunk in chunks[:1]]
                for i in range(len(chunks)):
                    rows = ahead.pop().result()
                    if i + 1 < len(chunks):
                        ahead.append(self._decoder.submit(self._decode, chunks[i + 1], self._slots[(i + 1) % 2]))
                    flights.append(self._compute(rows, self._slots[i % 2]))
                    if len(flights) > 1:
                        answers += flights.popleft().land()
                for flight in flights:
                    answers += flight.land()
        except torch.OutOfMemoryError as e:
            raise _no_memory("cuda", e) from e
        telemetry.GPU_MEMORY.set(torch.cuda.memory_allocated())
        return answers

    def only_decode(self, batches: Sequence[Sequence[bytes]]) -> None:
        """Decodes and resizes, one batch after the other, and computes nothing: the one limit of `score`."""
        for batch in batches:
            self._decode(batch, self._slots[0])
        self._decoding.synchronize()

    def only_compute(self, batches: Sequence[Sequence[bytes]]) -> None:
        """Computes on what the slots hold, as if these batches were decoded: the other limit of `score`."""
        flights = [self._compute([None] * len(batch), self._slots[0]) for batch in batches]
        for flight in flights:
            flight.land()

    @torch.inference_mode()
    def _decode(self, jpegs: Sequence[bytes], slot: _Slot) -> list[BadEvent | None]:
        """Fills a slot with the good pictures, one after the other; says which are bad."""
        with torch.cuda.stream(self._decoding):
            self._decoding.wait_event(slot.free)
            pictures, rows = decode_many(jpegs, self._px, _nvjpeg)
            for i, picture in enumerate(pictures):
                slot.pixels[i].copy_(normalise(resize(picture, self._px)), non_blocking=True)
            slot.filled.record(self._decoding)
        return rows

    def _compute(self, rows: list[BadEvent | None], slot: _Slot) -> _Flight:
        n = rows.count(None)
        bucket = next(b for b in BUCKETS if b >= n)
        host = torch.empty((bucket, 21), pin_memory=True)
        done = torch.cuda.Event()  # type: ignore[no-untyped-call]
        with torch.cuda.stream(self._computing):
            self._computing.wait_event(slot.filled)
            host.copy_(self._graphs[bucket](slot.pixels[:n]), non_blocking=True)
            slot.free.record(self._computing)
            done.record(self._computing)
        return _Flight(rows, host, done)


def decode_many(
    jpegs: Sequence[bytes], px: int, decoder: Callable[[list[Tensor]], list[Tensor]]
) -> tuple[list[Tensor], list[BadEvent | None]]:
    """The good pictures, uint8 (3, H, W) each, and for every picture None or its refusal.

    Args:
        jpegs: encoded pictures.
        px: side of what is decoded one by one, where `decoder` fails on the batch.
        decoder: decodes a batch of encoded pictures, uint8 (n,) each; raises RuntimeError if any is damaged.
    """
    rows: list[BadEvent | None] = [_refusal(jpeg) for jpeg in jpegs]
    good = [jpeg for jpeg, row in zip(jpegs, rows, strict=True) if row is None]
    try:
        pictures = decoder([torch.frombuffer(bytearray(jpeg), dtype=torch.uint8) for jpeg in good]) if good else []
    except RuntimeError:  # it does not say which picture was damaged: Pillow does
        pictures = []
        for i, jpeg in enumerate(jpegs):
            if rows[i] is None:
                try:
                    pictures.append(torch.from_numpy(decode(jpeg, px)).permute(2, 0, 1))
                except BadEvent as refusal:
                    rows[i] = refusal
    return pictures, rows


def _refusal(jpeg: bytes) -> BadEvent | None:
    try:
        check(jpeg)
    except BadEvent as refusal:
        return refusal
    return None


def _nvjpeg(encoded: list[Tensor]) -> list[Tensor]:
    from torchvision.io import ImageReadMode, decode_jpeg

    pictures: list[Tensor] = decode_jpeg(encoded, ImageReadMode.RGB, device="cuda")
    return pictures


def resize(picture: Tensor, px: int) -> Tensor:
    """uint8 (3, H, W) -> float32 (3, px, px), 0..255: bilinear over the area, as Pillow does it."""
    if picture.shape[1:] == (px, px):
        return picture.float()
    return F.interpolate(picture[None].float(), (px, px), mode="bilinear", antialias=True)[0]


def _no_memory(device: str, e: Exception) -> TryLater:
    return TryLater("count model", f"{device} has no memory left: {e}")
