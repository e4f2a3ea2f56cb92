"""CIFAR ResNets (He et al., 2016, option A), whose real weights and labelled images there are: accuracy can be compared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

BLOCKS = {"resnet20": 3, "resnet56": 9}
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class CifarBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.padding = (outputs - inputs) // 2
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        short = x[:, :, :: self.stride, :: self.stride]
        short = F.pad(short, (0, 0, 0, 0, self.padding, self.padding))
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))) + short)


class CifarResNet(nn.Module):
    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)

        def layer(inputs: int, outputs: int, stride: int) -> nn.Sequential:
            rest = [CifarBlock(outputs, outputs, 1) for _ in range(blocks - 1)]
            return nn.Sequential(CifarBlock(inputs, outputs, stride), *rest)

        self.layer1, self.layer2, self.layer3 = layer(16, 16, 1), layer(16, 32, 2), layer(32, 64, 2)
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer3(self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x))))))
        return self.linear(x.mean((2, 3)))


def trained(name: str, models: Path) -> CifarResNet:
    """A network with its published weights, in eval mode."""
    model = CifarResNet(BLOCKS[name]).eval()
    loaded = model.load_state_dict(load_file(models / f"cifar10-{name}-fp32.safetensors"), strict=False)
    if loaded.unexpected_keys or not all(key.endswith("num_batches_tracked") for key in loaded.missing_keys):
        raise ValueError(f"the file of {name} is of another network: {loaded}")
    return model


def test_images(models: Path) -> tuple[np.ndarray, np.ndarray]:
    """float32 [1000, 3, 32, 32], normalised as in training, and labels."""
    found = np.load(models / "cifar10-test-1000.npz")
    images = found["images"].transpose(0, 3, 1, 2).astype(np.float32) / 255
    mean, deviation = (np.float32(one).reshape(3, 1, 1) for one in (MEAN, DEVIATION))
    return (images - mean) / deviation, found["labels"]
