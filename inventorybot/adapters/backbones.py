"""The networks behind the count model: EfficientNet-Lite0/1/2 and ResNet-18/34/50 with a head of counts.

In: pictures, float32 (B, 3, px, px), normalised; px a multiple of 32. Out: logits (B, 21), one for each count.
Used by the loader (`count_model.py`) and by training (`ml/vision`), so that both run the same network. Needs torch.

Sources: Tan & Le 2019 (arXiv:1905.11946), the Lite variants of tensorflow/tpu (no squeeze-and-excitation, ReLU6), as in
the package efficientnet-lite-pytorch (Apache-2.0); He et al. 2015 (arXiv:1512.03385), as in torchvision (BSD-3).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

LITE = ("efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2")
RESNETS = ("resnet18", "resnet34", "resnet50")
ARCHS = (*LITE, *RESNETS)

_NORM_OF = {
    "_conv_stem": "_bn0", "_conv_head": "_bn1", "_expand_conv": "_bn0", "_depthwise_conv": "_bn1",
    "_project_conv": "_bn2", "conv1": "bn1", "conv2": "bn2", "conv3": "bn3", "0": "1",
}  # fmt: skip
"""Child name of a convolution to that of the batch norm after it; "0" and "1" are a ResNet's shortcut."""


def build(arch: str, outputs: int, *, dropout: float = 0.2, drop_connect: float = 0.2) -> nn.Module:
    """One backbone with random weights, in training mode, channels last.

    Args:
        arch: one of `ARCHS`.
        outputs: width of the last layer.
        dropout: probability of dropping a feature before the last layer, while training.
        drop_connect: probability of skipping the deepest block while training (EfficientNets only).
    """
    net = (
        _lite(arch, outputs, dropout, drop_connect)
        if arch.startswith("efficientnet")
        else _resnet(arch, outputs, dropout)
    )
    for module in net.modules():
        _pad_inside(module)
        if isinstance(module, nn.ReLU6):
            module.inplace = True  # its input is always a batch norm's output, which nobody else reads
    return net.to(memory_format=torch.channels_last)


def _lite(arch: str, outputs: int, dropout: float, drop_connect: float) -> nn.Module:
    from efficientnet_lite_pytorch import EfficientNet

    net: nn.Module = EfficientNet.from_name(
        arch, num_classes=outputs, dropout_rate=dropout, drop_connect_rate=drop_connect
    )
    return net


def _resnet(arch: str, outputs: int, dropout: float) -> nn.Module:
    from torchvision import models

    net: nn.Module = models.get_model(arch, weights=None, num_classes=outputs)
    if dropout:  # before the last layer, and without weights: the names in a file of weights stay those of torchvision
        net.get_submodule("fc").register_forward_pre_hook(lambda layer, x: (F.dropout(x[0], dropout, layer.training),))
    return net


def _pad_inside(module: nn.Module) -> None:
    """Let a convolution pad for itself where its padding is symmetric: the separate ZeroPad2d copies the whole map."""
    pad = getattr(module, "static_padding", None)
    if isinstance(module, nn.Conv2d) and isinstance(pad, nn.ZeroPad2d) and len(set(pad.padding)) == 1:
        module.padding = (pad.padding[0], pad.padding[0])
        module.static_padding = nn.Identity()


def head_name(arch: str) -> str:
    """The name of a backbone's last layer."""
    return "_fc" if arch in LITE else "fc"


def features(net: nn.Module, arch: str, x: Tensor) -> Tensor:
    """What the last layer is given, without dropout: (B, 3, px, px) -> (B, F)."""
    kept: list[Tensor] = []
    hook = net.get_submodule(head_name(arch)).register_forward_pre_hook(lambda _, args: kept.append(args[0]))
    try:
        net(x)
    finally:
        hook.remove()
    return kept[0]


def norm_pairs(net: nn.Module) -> Iterator[tuple[nn.Module, str, str, str]]:
    """Each convolution with a batch norm right after it: (parent, path of the parent, child names of both)."""
    for path, module in net.named_modules():
        children = dict(module.named_children())
        for conv, norm in _NORM_OF.items():
            if isinstance(children.get(conv), nn.Conv2d) and isinstance(children.get(norm), nn.BatchNorm2d):
                yield module, path, conv, norm


def fuse(net: nn.Module) -> nn.Module:
    """Fold every batch norm into the convolution before it, in place; for inference only (the net must be in eval).

    The outputs stay the same to rounding.
    """
    for parent, _, conv, norm in list(norm_pairs(net)):
        setattr(parent, conv, fuse_conv_bn_eval(getattr(parent, conv), getattr(parent, norm)))
        setattr(parent, norm, nn.Identity())
    return net


class CountNet(nn.Module):
    """What a release runs: one backbone or several whose probabilities are averaged, on a picture and its mirror image.

    Args:
        members: backbones of one resolution, with one output a count.
        flip: average with the mirrored picture.
    """

    def __init__(self, members: Sequence[nn.Module], *, flip: bool = False) -> None:
        super().__init__()
        self.members, self.flip = nn.ModuleList(members), flip

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, px, px) normalised -> (B, 21): plain logits of a single member, else log-probabilities."""
        views = [x, x.flip(3)] if self.flip else [x]
        # half precision ends here: small probabilities would become nothing
        found: list[Tensor] = [member(view).float() for member in self.members for view in views]
        if len(found) == 1:
            return found[0]
        return torch.stack([s.log_softmax(1) for s in found]).exp().mean(0).clamp_min(1e-12).log()


def count_net(weights: Mapping[str, Tensor], classes: int, *, arch: str, members: int, flip: bool) -> CountNet:
    """The network of a release with its weights, in inference form apart from `fuse`.

    Args: weights: as in `model.safetensors`: a single member's names as they are, else "0.", "1." ... before them.
    Raises: RuntimeError: the weights are those of another network.
    """
    nets = []
    for i in range(members):
        net = build(arch, classes)
        prefix = member_prefix(i, members)
        net.load_state_dict({k.removeprefix(prefix): v.float() for k, v in weights.items() if k.startswith(prefix)})
        nets.append(net)
    return CountNet(nets, flip=flip).eval().requires_grad_(False)


def member_prefix(member: int, members: int) -> str:
    """What stands before the names of a member's weights in a release."""
    return f"{member}." if members > 1 else ""
