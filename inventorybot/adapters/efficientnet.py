"""The network behind the count model: EfficientNet-Lite0 with a head of 21 counts.

In: pictures, float32 (B, 3, px, px), normalised; px a multiple of 32. Out: logits (B, classes), one for each count.
Used by the loader (`count_model.py`) and by training (`ml/vision/train.py`), so that both run the same network.

Source: Tan & Le 2019 (arXiv:1905.11946); the Lite variants: tensorflow/tpu, models/official/efficientnet/lite
(no squeeze-and-excitation, ReLU6). The module comes from the package efficientnet-lite-pytorch (Apache-2.0).
"""

from __future__ import annotations

import torch
from efficientnet_lite_pytorch import EfficientNet
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

ARCH = "efficientnet-lite0"


def build(classes: int, *, dropout: float = 0.2, drop_connect: float = 0.2) -> nn.Module:
    """An EfficientNet-Lite0 with random weights and `classes` outputs, in training mode.

    Args:
        classes: number of logits.
        dropout: probability of dropping a feature before the last layer, while training.
        drop_connect: probability of skipping the deepest block, falling to 0 at the first, while training.
    """
    net: nn.Module = EfficientNet.from_name(
        ARCH, num_classes=classes, dropout_rate=dropout, drop_connect_rate=drop_connect
    )
    for module in net.modules():
        _pad_inside(module)
        if isinstance(module, nn.ReLU6):
            module.inplace = True  # its input is always a batch norm's output, which nobody else reads
    return net.to(memory_format=torch.channels_last)


def _pad_inside(module: nn.Module) -> None:
    """Let a convolution pad for itself where its padding is symmetric: the separate ZeroPad2d copies the whole map."""
    pad = getattr(module, "static_padding", None)
    if isinstance(module, nn.Conv2d) and isinstance(pad, nn.ZeroPad2d) and len(set(pad.padding)) == 1:
        module.padding = (pad.padding[0], pad.padding[0])
        module.static_padding = nn.Identity()


def fuse(net: nn.Module) -> nn.Module:
    """Fold every batch norm into the convolution before it, in place; for inference only (the net must be in eval).

    The outputs stay the same to rounding; on a CPU a batch then takes about a fifth less time.
    """
    names = {"_conv_stem": "_bn0", "_conv_head": "_bn1", "_expand_conv": "_bn0", "_depthwise_conv": "_bn1"}
    for module in net.modules():
        children = dict(module.named_children())
        for conv, norm in (names | {"_project_conv": "_bn2"}).items():
            before, after = children.get(conv), children.get(norm)
            if isinstance(before, nn.Conv2d) and isinstance(after, nn.BatchNorm2d):
                setattr(module, conv, fuse_conv_bn_eval(before, after))
                setattr(module, norm, nn.Identity())
    return net
