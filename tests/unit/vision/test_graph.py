"""The graph that processors run is the network that was trained. Run: pytest tests/unit/vision/test_graph.py"""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
import torch
from safetensors.numpy import load_file
from torch import nn

from inventorybot.adapters import backbones
from inventorybot.adapters.count_graph import GraphCard, GraphEngine, folded
from inventorybot.adapters.count_model import load
from inventorybot.adapters.count_torch import TorchEngine, decode_many, resize
from inventorybot.adapters.jpeg import decode
from inventorybot.adapters.registry import packaged
from inventorybot.errors import Code
from ml.vision.graph import write_graph
from ml.vision.losses import CLASSES
from ml.vision.render import render_bins

RELEASE = packaged("count").path


def as_if_trained(net: nn.Module) -> nn.Module:
    """Norms that do something."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.8, 1.5)
    return net


def test_folding_a_norm_is_what_ioffe_and_szegedy_write() -> None:
    # W = 3, gamma = 2, mean = 1, var = 3.99, eps = 0.01: scale 2 / 2 = 1, bias 0.5 - 1
    weights = {
        "c.weight": np.full((1, 1, 1, 1), 3.0), "n.weight": np.array([2.0]), "n.bias": np.array([0.5]),
        "n.running_mean": np.array([1.0]), "n.running_var": np.array([3.99]), "n.num_batches_tracked": np.array(7),
    }  # fmt: skip
    found = folded(weights, {"c": "n"}, 0.01)
    assert found.keys() == {"c.weight", "c.bias"}
    assert found["c.weight"].item() == pytest.approx(3.0)
    assert found["c.bias"].item() == pytest.approx(-0.5)


def test_the_released_model_gives_the_same_on_processors_as_under_torch() -> None:
    model = load(RELEASE, "cpu")
    assert isinstance(model.engine, GraphEngine)
    card, px = model.card, model.card.input.px
    pixels = np.stack([decode(it.jpeg, px) for _, it in render_bins(5, 3, px=96)])
    weights = {k: torch.from_numpy(v) for k, v in load_file(RELEASE / "model.safetensors").items()}
    net = backbones.count_net(weights, CLASSES, arch=card.arch, members=card.members, flip=card.flip)
    with torch.inference_mode():  # nothing folded, nothing but the trained network
        x = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
        plain = net(x).numpy()
    np.testing.assert_allclose(model.logits(pixels), plain, atol=1e-4)
    np.testing.assert_allclose(TorchEngine(net, px, "cpu").logits(pixels), plain, atol=1e-4)


def test_the_graph_holds_no_weights() -> None:
    assert (RELEASE / "graph.onnx").stat().st_size < 100_000


def test_an_ensemble_of_resnets_that_looks_twice_gives_the_same_as_under_torch(tmp_path: Path) -> None:
    torch.manual_seed(1)
    members = [as_if_trained(backbones.build("resnet18", CLASSES)) for _ in range(2)]
    net = backbones.CountNet(members, flip=True).eval().requires_grad_(False)
    card = write_graph(net, 64, tmp_path / "graph.onnx")
    weights = {f"{i}.{k}": v.numpy() for i, m in enumerate(members) for k, v in m.state_dict().items()}
    engine = GraphEngine((tmp_path / "graph.onnx").read_bytes(), weights, GraphCard(**card))
    pixels = np.random.default_rng(1).integers(0, 256, (3, 64, 64, 3), np.uint8)
    with torch.inference_mode():
        x = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
        p = torch.stack([m(v).softmax(1) for m in members for v in (x, x.flip(3))]).mean(0)
    found = np.exp(engine.logits(pixels))
    np.testing.assert_allclose(found, p.numpy(), atol=1e-5)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)


def test_layers_that_the_members_of_an_ensemble_share_are_computed_once(tmp_path: Path) -> None:
    torch.manual_seed(1)
    first, second = (as_if_trained(backbones.build("resnet18", CLASSES)) for _ in range(2))
    second.load_state_dict(
        {k: v for k, v in first.state_dict().items() if not k.startswith(("layer4", "fc"))}, strict=False
    )
    net = backbones.CountNet([first, second]).eval().requires_grad_(False)
    card = write_graph(net, 64, tmp_path / "graph.onnx")
    operations = [node.op_type for node in onnx.load(tmp_path / "graph.onnx", load_external_data=False).graph.node]
    assert operations.count("Conv") == 20 + 5  # the second member's last stage
    assert {name.split(".")[1] for name in card["shared"]} == {"conv1", "layer1", "layer2", "layer3"}
    weights = {f"{i}.{k}": v.numpy() for i, m in enumerate((first, second)) for k, v in m.state_dict().items()}
    engine = GraphEngine((tmp_path / "graph.onnx").read_bytes(), weights, msgspec.convert(card, GraphCard))
    pixels = np.random.default_rng(1).integers(0, 256, (3, 64, 64, 3), np.uint8)
    with torch.inference_mode():
        p = net(torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1).exp()
    np.testing.assert_allclose(np.exp(engine.logits(pixels)), p.numpy(), atol=1e-5)


def test_the_resize_of_the_gpu_path_is_within_a_step_of_the_processors() -> None:
    ((_, it),) = render_bins(1, 4, px=300)
    whole = torch.from_numpy(decode(it.jpeg, 300)).permute(2, 0, 1)
    apart = np.abs(resize(whole, 192).permute(1, 2, 0).numpy() - decode(it.jpeg, 192).astype(float))
    assert apart.mean() < 1
    assert apart.max() <= 3


def test_where_a_batch_decoder_fails_each_picture_is_decoded_alone_and_the_damaged_one_is_named() -> None:
    good = [it.jpeg for _, it in render_bins(2, 5, px=96)]

    def fails(_: list[torch.Tensor]) -> list[torch.Tensor]:
        raise RuntimeError("one of them is damaged")

    pictures, rows = decode_many([good[0], b"", good[1][:500], good[1]], 64, fails)
    assert [row.code if row else None for row in rows] == [None, Code.IMAGE_EMPTY, Code.IMAGE_CORRUPT, None]
    assert [tuple(p.shape) for p in pictures] == [(3, 64, 64), (3, 64, 64)]
