"""Writes a network's graph for serving on processor cores: ONNX operations without any weights.

In: a release's network (`backbones.CountNet`). Out: `graph.onnx` and the card's entry about it. The weights stay in
`model.safetensors` alone; `inventorybot/adapters/count_graph.py` folds the norms and hands them to the graph at load.
The graph is written with the release, not at load: tracing takes seconds, torch and onnxscript, serving needs none.

Run: python -m ml.vision.graph RELEASE      adds a graph to a release that has none
"""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import sys
import warnings
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx_ir.passes.common import CommonSubexpressionEliminationPass, DeduplicateInitializersPass
from safetensors.torch import load_file
from torch import Tensor, nn

from inventorybot.adapters import backbones
from inventorybot.adapters.jpeg import MEAN, STD
from inventorybot.domain.counting import MAX_COUNT


class _FromPixels(nn.Module):
    """uint8 (N, px, px, 3) -> (N, 21): what the graph does."""

    def __init__(self, net: backbones.CountNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, pixels: Tensor) -> Tensor:
        out: Tensor = self.net((pixels.permute(0, 3, 1, 2).float() - MEAN) / STD)
        return out


def folds_of(net: backbones.CountNet) -> tuple[dict[str, str], float]:
    """Each convolution's path to that of its norm, as a release's file of weights names them; and the norms' epsilon."""
    folds, eps = {}, set()
    for i, member in enumerate(net.members):
        prefix = backbones.member_prefix(i, len(net.members))
        for parent, path, conv, norm in backbones.norm_pairs(member):
            at = prefix + (path + "." if path else "")
            folds[at + conv] = at + norm
            eps.add(float(getattr(parent, norm).eps))
    (only,) = eps
    return folds, only


def write_graph(net: backbones.CountNet, px: int, path: Path) -> dict[str, Any]:
    """Writes `graph.onnx`.

    Args:
        net: in eval, norms not folded.
        px: side of its pictures.
        path: of the file.
    Returns: the card's "graph": {"sha256", "folds", "eps", "shared"}.
    """
    folds, eps = folds_of(net)
    fused = copy.deepcopy(net).to(memory_format=torch.contiguous_format)
    backbones.fuse(fused)
    model = _traced(_FromPixels(fused).eval(), px)
    weights = {f"net.members.{i}.{k}": backbones.member_prefix(i, len(net.members)) + k
               for i, member in enumerate(fused.members) for k in member.state_dict()}  # fmt: skip
    _empty(model, weights)
    path.write_bytes(model.SerializeToString())
    shared = sorted(set(weights.values()) - {tensor.name for tensor in model.graph.initializer})
    return {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "folds": folds, "eps": eps, "shared": shared}


def _traced(net: nn.Module, px: int) -> onnx.ModelProto:
    pixels = torch.zeros((2, px, px, 3), dtype=torch.uint8)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it tells of each of its own passes
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's exporter about itself
        program = torch.onnx.export(
            net, (pixels,), input_names=["pixels"], output_names=["logits"], dynamo=True, optimize=True, verbose=False,
            dynamic_shapes={"pixels": {0: torch.export.Dim("batch")}},
        )  # fmt: skip
    assert program is not None
    # members of an ensemble begin with the same frozen layers: they are computed once
    DeduplicateInitializersPass(size_limit=1 << 30)(program.model)
    CommonSubexpressionEliminationPass()(program.model)
    model: onnx.ModelProto = program.model_proto
    return model


def _empty(model: onnx.ModelProto, weights: dict[str, str]) -> None:
    """Takes the weights out of a graph, and gives each the name it has in the release; drops notes about the tracing."""
    for tensor in model.graph.initializer:
        if tensor.name in weights:
            tensor.name = weights[tensor.name]
            tensor.ClearField("raw_data")
            tensor.data_location = onnx.TensorProto.EXTERNAL
            tensor.external_data.add(key="location", value="model.safetensors")
    for node in model.graph.node:
        node.input[:] = [weights.get(name, name) for name in node.input]
        node.ClearField("metadata_props")
    model.graph.ClearField("value_info")
    model.graph.ClearField("metadata_props")
    model.ClearField("metadata_props")


def main(release: Path) -> None:
    """Adds a graph to a release, and its hash to the card."""
    card = json.loads((release / "card.json").read_text())
    net = backbones.count_net(
        load_file(release / "model.safetensors"), MAX_COUNT + 1, arch=card["arch"], members=card.get("members", 1), flip=card.get("flip", False),
    )  # fmt: skip
    card["graph"] = write_graph(net, card["input"]["px"], release / "graph.onnx")
    (release / "card.json").write_text(json.dumps(card, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
