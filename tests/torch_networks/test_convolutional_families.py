"""Whole convolutional networks against torch in float64: families with drawn weights, and real ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from benchmarks import cifar
from image_networks import FAMILIES, FIRES, SqueezeNet, executed
from safetensors.torch import load_file
from torch import nn

from tersely.backends.cpu import isa

pytestmark = pytest.mark.kernels

BOUND = 5e-6
"""Of the greatest output: float32 sums of up to some thousand terms, layer after layer."""


def drawn(model: nn.Module) -> nn.Module:
    """Weights that keep activations at one size, statistics that batch norms do not leave out."""
    generator = torch.Generator().manual_seed(11)
    for one in model.modules():
        if isinstance(one, nn.Conv2d):
            nn.init.kaiming_normal_(one.weight, nonlinearity="relu", generator=generator)
        elif isinstance(one, nn.BatchNorm2d):
            one.running_mean.normal_(0, 0.1, generator=generator)
            one.running_var.uniform_(0.5, 1.5, generator=generator)
            one.weight.data.uniform_(0.5, 1.0, generator=generator)
            one.bias.data.normal_(0, 0.1, generator=generator)
    return model.eval()


def check(model: nn.Module, shape: tuple[int, ...], isas: tuple[Any, ...], **choices: Any) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(2))
    made = executed(model, (x,), **choices)
    with torch.no_grad():
        expected = model.double()(x.double()).numpy()
    for one in isas:
        with isa.using(one):
            found = made.run(x.numpy(), threads=2)[0]
            assert np.array_equal(found, made.run(x.numpy(), threads=1)[0])
        assert found.shape == expected.shape
        assert abs(found - expected).max() <= BOUND * abs(expected).max()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("shape", [(1, 3, 64, 64), (2, 3, 75, 67)], ids=["even", "batch of odd images"])
def test_families(each_isa: Any, family: str, shape: tuple[int, ...]) -> None:
    torch.manual_seed(1)
    check(drawn(FAMILIES[family]()), shape, (each_isa,))


@pytest.mark.parametrize("family", ["MobileNetV1", "MobileNetV2", "RegNet", "EfficientNet"])
def test_families_of_transformers(family: str) -> None:
    """With paddings of TensorFlow, more behind than before."""
    transformers = pytest.importorskip("transformers")
    sizes: dict[str, Any] = {"image_size": 64}
    if family == "RegNet":
        sizes = {"depths": [1, 1, 2, 1], "embedding_size": 32, "hidden_sizes": [24, 56, 152, 368], "groups_width": 8}
    torch.manual_seed(1)
    config = getattr(transformers, f"{family}Config")(**sizes)
    model = drawn(getattr(transformers, f"{family}ForImageClassification")(config))

    class Logits(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.model(pixel_values=x, return_dict=False)[0]

    check(Logits().eval(), (1, 3, 64, 64), isa.available())


@pytest.mark.parametrize(("name", "accuracy"), [("resnet20", 0.804), ("resnet56", 0.825)])
def test_cifar_resnets_predict_the_same_image_by_image(models: Path, name: str, accuracy: float) -> None:
    model = cifar.trained(name, models)
    images, labels = cifar.test_images(models)
    batches = np.split(images, 10)
    made = executed(model, (torch.from_numpy(batches[0]),))
    found = np.concatenate([made.run(batch)[0] for batch in batches])
    with torch.inference_mode():
        expected = np.concatenate([model(torch.from_numpy(batch)).numpy() for batch in batches])
    assert np.array_equal(found.argmax(1), expected.argmax(1))
    assert abs(found - expected).max() <= 1e-4 * abs(expected).max()
    assert (found.argmax(1) == labels).mean() == pytest.approx(accuracy, abs=1e-9)


def loaded(classes: int, part: Callable[[str, str], torch.Tensor], last: str) -> SqueezeNet:
    """SqueezeNet with what `part` gives for a layer's name and "weight" or "bias"."""
    model = SqueezeNet(classes).eval()
    layers = {"conv1": model.first, last: model.last}
    for number in FIRES:
        fire = model.fires[str(number)]
        layers.update({f"{number} squeeze": fire.squeeze, f"{number} one": fire.one, f"{number} three": fire.three})
    for name, layer in layers.items():
        layer.weight.data, layer.bias.data = part(name, "weight"), part(name, "bias")
    return model


def test_squeezenet(models: Path) -> None:
    state = load_file(models / "squeezenet1.0-fp32.safetensors")

    def part(name: str, kind: str) -> torch.Tensor:
        number, _, which = name.partition(" ")
        stem = f"fire{number}_{ {'squeeze': 'squeeze', 'one': 'e1x1', 'three': 'e3x3'}[which] }" if which else name
        return (
            state[f"{stem}_kernel"].permute(0, 3, 1, 2).contiguous()
            if kind == "weight"
            else state[f"{stem}_Conv2D_bias"]
        )

    check(loaded(1001, part, "conv10"), (1, 3, 224, 224), isa.available())


@pytest.mark.parametrize("objective", ["size", "balanced", "speed"])
def test_squeezenet_of_deep_compression(models: Path, objective: str) -> None:
    """Two thirds of its weights are zeros, which may be coded as gaps: no walk over words."""
    state = load_file(models / "squeezenet1.0-deep-compression-fp32.safetensors")

    def part(name: str, kind: str) -> torch.Tensor:
        number, _, which = name.partition(" ")
        stem = (
            f"fire{number}/{ {'squeeze': 'conv1x1_1', 'one': 'conv1x1_2', 'three': 'conv3x3_2'}[which] }"
            if which
            else name
        )
        return state[f"{stem}.{kind}"]

    check(loaded(1000, part, "conv_final"), (1, 3, 97, 131), isa.available(), objective=objective)
