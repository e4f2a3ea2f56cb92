"""Trained quantised networks: a whole one classifies images, layers of others are exact on their own weights."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from support.arrays import needs_native
from support.quantised_networks import Network, Scales, expected

import tersely
from tersely.graph import reference
from tersely.graph.pipeline import Pipeline

pytestmark = needs_native

CIFAR = "cifar10-resnet8-mlperftiny-int8"


def layer(tensors: dict[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    """Weight [outputs, channels, height, width], its scales, bias, and the scale of what it reads: TFLite's, whose biases
    count in units of the products."""
    weight = tensors[name]
    weight = weight if weight.ndim == 2 else weight.transpose(0, 3, 1, 2)
    stem = re.findall(r"model\.\w+", name)[-1]
    (bias,) = (
        one
        for one, array in tensors.items()
        if array.dtype == np.int32 and re.findall(r"model\.(?:conv2d(?:_\d)?|dense)(?=\.)", one)[-1] == stem
    )
    scales = tensors[f"{name}.scale"]
    ratios = tensors[f"{bias}.scale"].astype(np.float64) / scales
    return {"w": np.ascontiguousarray(weight), "s": scales, "b": tensors[bias], "x": np.float32(np.median(ratios))}


class ResNet8:
    """The network of MLPerf Tiny. Scales of sums and of what they add up, which no weight says, are those of images."""

    def __init__(self, tensors: dict[str, np.ndarray]) -> None:
        self.layers = {i: layer(tensors, f"model.conv2d{f'_{i}' if i else ''}.Conv2D") for i in range(9)}
        self.layers[9] = layer(tensors, "model.dense.MatMul")
        self.network = Network("int8")
        self.measured: dict[str, Scales] = {}

    def product(self, number: int, x: str, stride: int, relu: bool) -> str:
        own, network = self.layers[number], self.network
        weight = network.constant(f"w{number}", own["w"], own["s"])
        bias = network.constant(f"b{number}", own["b"], own["x"] * own["s"])
        inputs = {"x": x, "weight": weight, "bias": bias}
        if own["w"].ndim == 2:
            return network.add("linear", f"c{number}", inputs)
        around = own["w"].shape[2] // 2
        padding = [around] * 4 if stride == 1 else [0, 0, around, around]  # TensorFlow's for even sizes
        window = {"stride": [stride] * 2, "padding": padding, "dilation": [1, 1], "groups": 1}
        y = network.add("convolution", f"c{number}", inputs, **window)
        return network.add("relu", f"r{number}", {"x": y}) if relu else y

    def rectified(self, x: str, reader: int) -> str:
        """What a layer reads, which is not negative."""
        return self.network.quantise(x, f"q{x}", Scales(float(self.layers[reader]["x"]), -128))

    def free(self, x: str) -> str:
        return self.network.quantise(x, f"q{x}", self.measured.get(x, Scales(1.0, 0)))

    def build(self) -> Network:
        self.network = Network("int8")
        x = self.network.quantise("x", "image", Scales(1.0, -128))
        x = self.rectified(self.product(0, x, 1, True), 1)
        for first, second, shortcut, reader in ((1, 2, None, 3), (3, 4, 5, 6), (6, 7, 8, 9)):
            y = self.rectified(self.product(first, x, 1 if shortcut is None else 2, True), second)
            y = self.free(self.product(second, y, 1, False))
            if shortcut is not None:
                x = self.free(self.product(shortcut, x, 2, False))
            total = self.network.add(
                "relu", f"j{second}", {"x": self.network.add("add", f"a{second}", {"x": y, "z": x})}
            )
            x = self.rectified(total, reader)
        x = self.rectified(self.network.add("adaptive_average_pool", "p", {"x": x}, size=[1, 1]), 9)
        flat = self.network.add("flatten", "f", {"x": x}, first=1, last=-1)
        self.product(9, flat, 1, False)
        return self.network

    def measure(self, images: np.ndarray) -> None:
        """Scales of sums from their largest numbers, floats between."""
        wanted = ["c2", "c4", "c5", "c7", "c8"]
        graph = self.build().graph(*wanted)
        for name, found in zip(wanted, reference.run(graph, {"x": images}, self.network.constants), strict=True):
            low, high = min(found.min(), 0.0), max(found.max(), 0.0)
            scale = np.float32((high - low) / 255)
            self.measured[name] = Scales(float(scale), int(np.clip(np.rint(-128 - low / scale), -128, 127)))


def test_a_network_classifies_images(models: Path) -> None:
    """754 of 1,000 JPEG copies of test images, by exact integers, on coded weights; copies cost about 10 points."""
    images = np.load(models / "cifar10-test-1000.npz")
    pixels, labels = (images[name] for name in images.files[:2])
    pixels = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2) if pixels.shape[-1] == 3 else pixels, np.float32)
    network = ResNet8(load_file(models / f"{CIFAR}.safetensors"))
    for _ in range(2):  # what a later sum measures follows from the earlier ones' scales
        network.measure(pixels[:16])
    pipeline = network.build().pipeline("c9", formulation="integer")
    assert [node.operator for node in pipeline.graph.nodes].count("quantised_convolution") == 9
    (found,) = pipeline.run(pixels)
    np.testing.assert_array_equal(found[:8], expected(pipeline, pixels[:8])[0].astype(np.float32))
    right = int(np.sum(found.argmax(axis=1) == labels.reshape(-1)))
    assert right >= 740, right


@pytest.mark.parametrize("name", ["mobilenetv2-ptq-int8", "mobilenetv2-qat-uint8", "vww-mobilenet-v1-0.25-96-int8"])
def test_layers_on_their_own_weights(name: str, models: Path, rng: np.random.Generator) -> None:
    """A layer in eight: coded, with their scales and zero points."""
    tensors = load_file(models / f"{name}.safetensors")
    chosen = [one for one, array in sorted(tensors.items()) if array.dtype in (np.int8, np.uint8) and array.ndim == 4][
        ::8
    ]
    assert len(chosen) > 2
    for one in chosen:
        weight, scale, zero = (tensors[f"{one}{more}"] for more in ("", ".scale", ".zero_point"))
        depthwise = weight.shape[0] == 1
        weight = np.ascontiguousarray(weight.transpose(3, 0, 1, 2) if depthwise else weight.transpose(0, 3, 1, 2))
        outputs, channels = weight.shape[:2]
        network = Network("uint8")
        x = network.quantise("x", "q", Scales(0.02, 119))
        zeros = zero.astype(weight.dtype)
        wide = [scale, zeros] if scale.size == outputs else [scale.reshape(-1)[0], zeros.reshape(-1)[0]]
        matrix = network.constant("w", weight, *(np.asarray(part) for part in wide))
        window = {"stride": [1, 1], "padding": [weight.shape[2] // 2] * 2, "dilation": [1, 1]}
        network.add("convolution", "c", {"x": x, "weight": matrix}, groups=outputs if depthwise else 1, **window)
        pixels = rng.standard_normal((1, outputs if depthwise else channels, 6, 5)).astype(np.float32)
        (floats,) = reference.run(network.graph("c"), {"x": pixels}, network.constants)
        network.quantise("c", "y", Scales(float(np.float32(np.abs(floats).max() / 120)), 120))
        constants = {**network.constants, "w": tersely.encode(weight)}
        pipeline = Pipeline(network.graph("y"), constants)
        (found,) = pipeline.run(pixels)
        np.testing.assert_array_equal(found, expected(pipeline, pixels)[0])
        assert np.ptp(found.astype(int)) > 60
