"""Convolutional families, written out small: the blocks of each, few of them, for images of 64 x 64 pixels or so."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tersely.graph.pipeline import Pipeline
from tersely.torch.networks.pipeline import pipeline


def executed(model: nn.Module, inputs: tuple[Tensor, ...], **choices: Any) -> Pipeline:
    """A model that the executor runs as a whole, nothing left to torch."""
    found = pipeline(model, inputs, **choices)._whole("tried")
    assert isinstance(found, Pipeline)
    return found


def convolved(
    inputs: int, outputs: int, taps: int, stride: int = 1, groups: int = 1, act: type[nn.Module] | None = None
) -> nn.Sequential:
    parts = [nn.Conv2d(inputs, outputs, taps, stride, taps // 2, groups=groups, bias=False), nn.BatchNorm2d(outputs)]
    return nn.Sequential(*parts, *([] if act is None else [act()]))


class Squeeze(nn.Module):
    """Squeeze and excitation (Hu et al., 2018)."""

    def __init__(self, channels: int, within: int, act: type[nn.Module], gate: type[nn.Module]) -> None:
        super().__init__()
        self.less, self.more = nn.Conv2d(channels, within, 1), nn.Conv2d(within, channels, 1)
        self.act, self.gate = act(), gate()

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(self.more(self.act(self.less(F.adaptive_avg_pool2d(x, 1)))))


class Inverted(nn.Module):
    """The inverted residual of MobileNet-V2 and V3 and of EfficientNet."""

    def __init__(
        self, inputs: int, within: int, outputs: int, taps: int, stride: int, act: type[nn.Module],
        squeeze: nn.Module | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.short = stride == 1 and inputs == outputs
        self.body = nn.Sequential(
            convolved(inputs, within, 1, act=act) if within != inputs else nn.Identity(),
            convolved(within, within, taps, stride, within, act),
            nn.Identity() if squeeze is None else squeeze,
            convolved(within, outputs, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.short else self.body(x)


def headed(body: nn.Module, channels: int) -> nn.Sequential:
    return nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten(1), nn.Dropout(0.2), nn.Linear(channels, 37))


def mobilenet_v2() -> nn.Module:
    act = nn.ReLU6
    blocks = [
        Inverted(32, 32, 16, 3, 1, act), Inverted(16, 96, 24, 3, 2, act), Inverted(24, 144, 24, 3, 1, act),
        Inverted(24, 144, 32, 3, 2, act), Inverted(32, 192, 32, 3, 1, act),
    ]  # fmt: skip
    return headed(nn.Sequential(convolved(3, 32, 3, 2, act=act), *blocks, convolved(32, 320, 1, act=act)), 320)


def mobilenet_v3() -> nn.Module:
    hard = nn.Hardswish

    def squeeze(channels: int) -> nn.Module:
        return Squeeze(channels, channels // 4, nn.ReLU, nn.Hardsigmoid)

    blocks = [
        Inverted(16, 16, 16, 3, 2, nn.ReLU, squeeze(16)), Inverted(16, 72, 24, 3, 2, nn.ReLU),
        Inverted(24, 96, 40, 5, 2, hard, squeeze(96)), Inverted(40, 240, 40, 5, 1, hard, squeeze(240)),
    ]  # fmt: skip
    return headed(nn.Sequential(convolved(3, 16, 3, 2, act=hard), *blocks, convolved(40, 240, 1, act=hard)), 240)


def efficientnet() -> nn.Module:
    def block(inputs: int, outputs: int, taps: int, stride: int, widen: int) -> nn.Module:
        within = inputs * widen
        squeeze = Squeeze(within, max(1, inputs // 4), nn.SiLU, nn.Sigmoid)
        return Inverted(inputs, within, outputs, taps, stride, nn.SiLU, squeeze)

    blocks = [block(32, 16, 3, 1, 1), block(16, 24, 3, 2, 6), block(24, 40, 5, 2, 6), block(40, 40, 5, 1, 6)]
    stem = convolved(3, 32, 3, 2, act=nn.SiLU)
    return headed(nn.Sequential(stem, *blocks, convolved(40, 320, 1, act=nn.SiLU)), 320)


class Bottleneck(nn.Module):
    """ResNet's, in groups: ResNeXt's and RegNet's."""

    def __init__(self, inputs: int, within: int, outputs: int, stride: int, groups: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            convolved(inputs, within, 1, act=nn.ReLU), convolved(within, within, 3, stride, groups, nn.ReLU),
            convolved(within, outputs, 1),
        )  # fmt: skip
        self.short = convolved(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.short(x))


def resnext() -> nn.Module:
    stem = nn.Sequential(convolved(3, 64, 7, 2, act=nn.ReLU), nn.MaxPool2d(3, 2, 1))
    blocks = [Bottleneck(64, 128, 256, 1, 32), Bottleneck(256, 256, 512, 2, 32), Bottleneck(512, 512, 1024, 2, 32)]
    return headed(nn.Sequential(stem, *blocks), 1024)


def regnet() -> nn.Module:
    blocks = [Bottleneck(32, 24, 24, 2, 3), Bottleneck(24, 56, 56, 2, 7), Bottleneck(56, 144, 144, 2, 6)]
    return headed(nn.Sequential(convolved(3, 32, 3, 2, act=nn.ReLU), *blocks), 144)


class Dense(nn.Module):
    """A layer of DenseNet: what it adds to all that came before it."""

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(inputs), nn.Conv2d(inputs, 4 * growth, 1, bias=False)
        self.norm2, self.conv2 = nn.BatchNorm2d(4 * growth), nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, features: list[Tensor]) -> Tensor:
        x = self.conv1(F.relu(self.norm1(torch.cat(features, 1))))
        return self.conv2(F.relu(self.norm2(x)))


class DenseBlock(nn.Module):
    def __init__(self, inputs: int, growth: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Dense(inputs + growth * i, growth) for i in range(layers))

    def forward(self, x: Tensor) -> Tensor:
        features = [x]
        for layer in self.layers:
            features.append(layer(features))
        return torch.cat(features, 1)


def densenet(growth: int = 12) -> nn.Module:
    first = 2 * growth
    wide = first + 3 * growth
    transition = nn.Sequential(
        nn.BatchNorm2d(wide), nn.ReLU(), nn.Conv2d(wide, wide // 2, 1, bias=False), nn.AvgPool2d(2, 2)
    )
    last = wide // 2 + 2 * growth
    body = nn.Sequential(
        convolved(3, first, 7, 2, act=nn.ReLU), nn.MaxPool2d(3, 2, 1), DenseBlock(first, growth, 3), transition,
        DenseBlock(wide // 2, growth, 2), nn.BatchNorm2d(last), nn.ReLU(),
    )  # fmt: skip
    return headed(body, last)


class Fire(nn.Module):
    """SqueezeNet's block."""

    def __init__(self, inputs: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeeze, 1)
        self.one, self.three = nn.Conv2d(squeeze, expand, 1), nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.squeeze(x))
        return torch.cat([F.relu(self.one(x)), F.relu(self.three(x))], 1)


FIRES = {2: (96, 16, 64), 3: (128, 16, 64), 4: (128, 32, 128), 5: (256, 32, 128), 6: (256, 48, 192), 7: (384, 48, 192),
         8: (384, 64, 256), 9: (512, 64, 256)}  # fmt: skip


class SqueezeNet(nn.Module):
    """SqueezeNet 1.0 (Iandola et al., 2016)."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 96, 7, 2), nn.Conv2d(512, classes, 1)
        self.fires = nn.ModuleDict({str(number): Fire(*sizes) for number, sizes in FIRES.items()})

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x))
        for number, fire in self.fires.items():
            if number in ("2", "5", "9"):
                x = F.max_pool2d(x, 3, 2, ceil_mode=True)
            x = fire(x)
        return F.adaptive_avg_pool2d(F.relu(self.last(x)), 1).flatten(1)


FAMILIES = {
    "mobilenet_v2": mobilenet_v2, "mobilenet_v3": mobilenet_v3, "efficientnet": efficientnet, "resnext": resnext,
    "regnet": regnet, "densenet": densenet, "densenet of whole blocks": lambda: densenet(16),
    "squeezenet": lambda: SqueezeNet(19),
}  # fmt: skip
