"""The count model on processor cores: ONNX Runtime over the release's graph, weights from its safetensors.

In: `graph.onnx` (operations only, no weights), the weights by name, uint8 pictures. Out: logits. Needs onnxruntime, and
no torch. The graph is written with the release (`ml/vision/graph.py`); batch norms are folded into the convolutions
here, so that the safetensors stay the only weights there are.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

import msgspec
import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from onnxruntime.capi.onnxruntime_pybind11_state import RuntimeException

from inventorybot.errors import TryLater

Floats = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.uint8]
Weights = Mapping[str, npt.NDArray[np.float32]]


class GraphCard(msgspec.Struct, frozen=True):
    """What the card says of `graph.onnx`.

    `folds`: name of a convolution to that of the batch norm after it. `shared`: weights that equal another member's, whose
    place in the graph is that of the other.
    """

    sha256: str
    folds: dict[str, str]
    eps: float
    shared: tuple[str, ...] = ()


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def folded(weights: Weights, folds: Mapping[str, str], eps: float) -> dict[str, npt.NDArray[np.float32]]:
    """Weights of the network without its batch norms: W g / sqrt(v + eps), and (b - m) g / sqrt(v + eps) + beta.

    Args:
        weights: (O, I, kh, kw) of convolutions, (O,) of norms, by name; integers (step counters) are dropped.
        folds: name of a convolution to that of its norm.
        eps: of the norms.
    Source: Ioffe & Szegedy 2015 (arXiv:1502.03167), algorithm 2.
    """
    norms = set(folds.values())
    out: dict[str, npt.NDArray[np.floating]] = {
        k: v for k, v in weights.items() if v.dtype.kind == "f" and k.rpartition(".")[0] not in norms
    }
    for conv, norm in folds.items():
        gamma, beta, mean, var = (
            weights[f"{norm}.{part}"].astype(np.float64) for part in ("weight", "bias", "running_mean", "running_var")
        )
        scale = gamma / np.sqrt(var + eps)  # (O,)
        bias = weights.get(f"{conv}.bias", np.float32(0))
        out[f"{conv}.weight"] = weights[f"{conv}.weight"] * scale[:, None, None, None]
        out[f"{conv}.bias"] = (bias - mean) * scale + beta
    return {k: np.ascontiguousarray(v, dtype=np.float32) for k, v in out.items()}


class GraphEngine:
    """One thread a call: callers run batches side by side, one a core, which needs no waiting between layers.

    Args:
        graph: bytes of `graph.onnx`; input "pixels" uint8 (N, px, px, 3), output "logits" float32 (N, 21).
        weights: of the release, by name.
        card: which norms to fold.
    """

    device, dtype = "cpu", "float32"

    def __init__(self, graph: bytes, weights: Weights, card: GraphCard) -> None:
        self.workers = cores()
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1  # measured: a second thread inside a batch costs 35 % more processor time
        options.log_severity_level = 3  # errors only: the warnings are about folding constants
        given = {k: v for k, v in folded(weights, card.folds, card.eps).items() if k not in card.shared}
        options.add_external_initializers(list(given), [ort.OrtValue.ortvalue_from_numpy(v) for v in given.values()])
        self._session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    def logits(self, pixels: Pixels) -> Floats:
        """Uncalibrated scores: uint8 (N, px, px, 3) RGB -> float64 (N, 21). Raises: TryLater: out of memory."""
        try:
            (out,) = self._session.run(["logits"], {"pixels": pixels})
        except (MemoryError, RuntimeException) as e:  # the graph and its input are checked: what is left is memory
            raise TryLater("count model", f"this machine has no memory left to count a picture: {e}") from e
        return np.asarray(out, np.float64)
