"""Whole networks as torch exports them, against torch; saved, and run where neither torch nor onnx can be imported."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.onnx_models import check_close

import tersely
import tersely.onnx
from tersely.core.errors import ArgumentError
from tersely.graph.pipeline import Pipeline

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.kernels

SIZES = {"hidden_size": 96, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 200}
IMAGES = {**SIZES, "image_size": 32, "patch_size": 8}


class First(torch.nn.Module):
    """The first of what a model returns."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model.eval()

    def forward(self, *inputs: Any) -> Any:
        return self.model(*inputs)[0]


def exported(model: Any, inputs: tuple[Any, ...], path: Path, axes: dict[int, str] | None, **choices: Any) -> Path:
    names = ["x", "mask"][: len(inputs)]
    dynamic = None if axes is None else dict.fromkeys(names, axes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model.eval(), inputs, path, dynamo=False, input_names=names, dynamic_axes=dynamic, **choices)
    return path


def compare(made: Pipeline, model: Any, *inputs: Any) -> None:
    with torch.no_grad():
        expected = model.double()(*(one.double() if one.is_floating_point() else one for one in inputs)).numpy()
        model.float()
    check_close(made.run(*(one.numpy() for one in inputs)), [expected], 4e-6)


def resnet() -> Any:
    torch.manual_seed(0)
    config = transformers.ResNetConfig(embedding_size=16, hidden_sizes=[32, 64], depths=[2, 2])
    return First(transformers.ResNetForImageClassification(config))


def mobilenet() -> Any:
    torch.manual_seed(0)
    config = transformers.MobileNetV2Config(depth_multiplier=0.35, image_size=64)
    model = First(transformers.MobileNetV2ForImageClassification(config))
    for one in model.modules():  # statistics as after training: numbers that stay as large as they are
        if isinstance(one, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(one.running_var, 0.02, 0.05)
    return model


def transformer(attention: str) -> Any:
    torch.manual_seed(0)
    config = transformers.ViTConfig(**IMAGES, attn_implementation=attention)
    return First(transformers.ViTForImageClassification(config))


@pytest.mark.parametrize("dynamic", [True, False])
@pytest.mark.parametrize("network", [resnet, mobilenet])
def test_convolutional_networks_of_any_batch(tmp_path: Path, each_isa: str, network: Any, dynamic: bool) -> None:
    model, images = network(), torch.randn(1, 3, 64, 64)
    made = tersely.onnx.pipeline(exported(model, (images,), tmp_path / "m.onnx", {0: "batch"} if dynamic else None))
    assert made.source.lengths == {"x": (None, 3, 64, 64)}
    for batch in (1, 3):
        compare(made, model, torch.randn(batch, 3, 64, 64))


@pytest.mark.parametrize("opset", [14, 17, 20])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("dynamic", [True, False])
def test_vision_transformers(tmp_path: Path, each_isa: str, attention: str, dynamic: bool, opset: int) -> None:
    """Norms, activations and attention that older opsets take apart are one operator each."""
    model, images = transformer(attention), torch.randn(2, 3, 32, 32)
    axes = {0: "batch"} if dynamic else None
    made = tersely.onnx.pipeline(exported(model, (images,), tmp_path / "m.onnx", axes, opset_version=opset))
    found = Counter(node.operator for node in made.source.nodes)
    assert found["layer_norm"] == 5
    assert found["gelu"] == found["attention"] == 2
    assert found["linear"] == 13
    assert not {"matrix_product", "softmax", "power", "erf", "multiply"} & set(found)
    assert made.source.lengths == {"x": (None, 3, 32, 32)}
    for batch in (2, 1, 5):
        compare(made, model, torch.randn(batch, 3, 32, 32))


def encoder(attention: str = "eager") -> Any:
    torch.manual_seed(0)
    config = transformers.BertConfig(**SIZES, vocab_size=60, max_position_embeddings=40, attn_implementation=attention)
    return First(transformers.BertModel(config))


def sentences(batch: int, tokens: int) -> tuple[Any, Any]:
    mask = torch.ones(batch, tokens, dtype=torch.int64)
    mask[-1, tokens // 2 :] = 0
    return torch.randint(0, 60, (batch, tokens)), mask


@pytest.mark.parametrize("opset", [14, 18])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("dynamic", [True, False])
def test_encoders_with_masks(tmp_path: Path, each_isa: str, attention: str, dynamic: bool, opset: int) -> None:
    """Batch and number of tokens stay open where the export leaves them open; masks and inputs go together."""
    model, inputs = encoder(attention), sentences(2, 7)
    axes = {0: "batch", 1: "tokens"} if dynamic else None
    made = tersely.onnx.pipeline(exported(model, inputs, tmp_path / "m.onnx", axes, opset_version=opset))
    found = Counter(node.operator for node in made.source.nodes)
    assert found["layer_norm"] == 5
    assert found["attention"] == found["gelu"] == 2
    once = made.run(*(one.numpy() for one in inputs), threads=1)[0]
    for threads in (2, 3):
        assert (made.run(*(one.numpy() for one in inputs), threads=threads)[0] == once).all()
    for batch, tokens in ((2, 7), (1, 33), (3, 2)) if dynamic else ((2, 7),):
        compare(made, model, *sentences(batch, tokens))
    numbers, mask = sentences(2, 9)
    said = r"\[batch, tokens\], batch 2, tokens 9, not \[2, 7\]" if dynamic else r"of shape \[2, 7\], not \[2, 9\]"
    with pytest.raises(ArgumentError, match=said):
        made.run(numbers.numpy(), mask[:, :7].numpy())
    if dynamic:
        with pytest.raises(ArgumentError, match="takes 41 of the 40"):
            made.run(*(one.numpy() for one in sentences(1, 41)))


WITHOUT = """
import sys
for name in ("torch", "onnx", "onnxruntime", "transformers"):
    sys.modules[name] = None
import numpy as np
import tersely
pipe = tersely.load_pipeline(sys.argv[1])
np.save(sys.argv[2], pipe.run(np.load(sys.argv[3]))[0])
"""


def test_a_file_runs_without_torch_and_onnx(tmp_path: Path) -> None:
    """Made there, too: `tersely.onnx` needs no package either."""
    images = torch.randn(2, 3, 64, 64)
    exported(resnet(), (images,), tmp_path / "m.onnx", {0: "batch"})
    made = tersely.onnx.pipeline(tmp_path / "m.onnx")
    made.save(tmp_path / "m.safetensors")
    np.save(tmp_path / "x.npy", images.numpy())
    for code, model in (
        (WITHOUT, "m.safetensors"),
        (WITHOUT.replace("tersely.load_pipeline", "tersely.onnx.pipeline"), "m.onnx"),
    ):
        arguments = [str(tmp_path / name) for name in (model, "y.npy", "x.npy")]
        subprocess.run([sys.executable, "-c", code, *arguments], check=True)
        np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), made.run(images.numpy())[0])


def test_weights_are_those_of_the_model_bit_for_bit(tmp_path: Path) -> None:
    """Names, shapes and bits; those that a Transpose turned are stored as they were before it."""
    onnx = pytest.importorskip("onnx")
    path = exported(transformer("eager"), (torch.randn(1, 3, 32, 32),), tmp_path / "m.onnx", None)
    tersely.onnx.pipeline(path).save(tmp_path / "m.safetensors")
    found = tersely.load_file(tmp_path / "m.safetensors")
    for weight in onnx.load(path).graph.initializer:
        array = onnx.numpy_helper.to_array(weight)
        if array.ndim >= 2 and weight.name in found:
            np.testing.assert_array_equal(found[weight.name].decode().view(np.uint32), array.view(np.uint32))
    matrices = [name for name, one in found.items() if len(one.shape) == 2]
    assert len(matrices) >= 13


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision(dtype: str, tmp_path: Path, each_isa: str) -> None:
    """Weights in their own dtype, the model's dtypes in the file, numbers between operators in float32."""
    half = getattr(torch, dtype)
    model, x = resnet().eval().to(half), torch.randn(2, 3, 32, 32, dtype=half)
    made = tersely.onnx.pipeline(exported(model, (x,), tmp_path / "model.onnx", None), objective="size")
    assert {one.dtype.name for one in made.original.values()} <= {dtype, "float32"}
    assert sum(one.size for one in made.original.values() if one.dtype.name == "float32") < 100
    assert (made.source.input_dtypes, made.source.output_dtypes) == ((dtype,), (dtype,))
    made.save(tmp_path / "net.safetensors")
    loaded = tersely.load_pipeline(tmp_path / "net.safetensors")
    (found,) = loaded.run(x.float().numpy())
    with torch.no_grad():
        expected = model.double()(x.double()).numpy()
    # The exporter multiplies norms into weights, and rounds them.
    assert abs(found - expected).max() <= {"float16": 3e-3, "bfloat16": 3e-2}[dtype] * abs(expected).max()


def test_casts_to_half_precision_round_nothing(tmp_path: Path) -> None:
    from support.onnx_models import model_of, node, pipeline_of

    w = np.linspace(-2, 2, 48 * 32).astype(np.float16).reshape(48, 32)
    nodes = [
        node("Cast", "x", "h", to=10),
        node("MatMul", "h w", "p"),
        node("Softmax", "p", "s"),
        node("Cast", "s", "y", to=1),
    ]
    x = np.random.default_rng(0).standard_normal((5, 48)).astype(np.float32)
    made = pipeline_of(model_of(nodes, {"x": x}, {"w": w}), tmp_path)
    assert [one.dtype for one in made.original.values()] == [np.float16]
    product = x.astype(np.float64) @ w.astype(np.float64)
    expected = np.exp(product - product.max(1, keepdims=True))
    expected /= expected.sum(1, keepdims=True)
    np.testing.assert_allclose(made.run(x)[0], expected, atol=3e-6)
