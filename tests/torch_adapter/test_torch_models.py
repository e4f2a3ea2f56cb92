"""Real checkpoints in real architectures, and torch's own modules, in both modes."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from benchmarks import cifar
from networks import Experts, Llama, VitBlock
from safetensors.torch import load_file
from torch import nn
from torch_fixtures import compressed, dtype, mode, two_threads, under

import tersely.torch
from tersely.torch import TerselyTensor

_predictions: dict[str, torch.Tensor] = {}


def by_batches(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return torch.cat([model(batch) for batch in images.split(100)])


@pytest.mark.parametrize(("name", "accuracy"), [("resnet20", 0.804), ("resnet56", 0.825)])
def test_cifar_resnets_predict_the_same_image_by_image(
    models: Path, compressed: Callable[..., Any], mode: str, name: str, accuracy: float
) -> None:
    dense = cifar.trained(name, models)
    given, labels = cifar.test_images(models)
    images = torch.from_numpy(given)
    small = compressed(dense, mode=mode)
    if name not in _predictions:
        _predictions[name] = by_batches(dense, images)
    expected, actual = _predictions[name], by_batches(small, images)
    assert torch.equal(expected.argmax(1), actual.argmax(1))
    assert (actual.argmax(1).numpy() == labels).mean() == pytest.approx(accuracy, abs=1e-9)
    if mode == "identical":
        assert torch.equal(expected, actual)


def test_vit_tiny(
    models: Path, compressed: Callable[..., Any], mode: str, dtype: Any, under: Callable[[], Any]
) -> None:
    state = load_file(models / "vit-tiny-patch16-224-tinyimagenet-fp32.safetensors")
    dense = nn.ModuleDict({"blocks": nn.Sequential(*(VitBlock(192, 3) for _ in range(12)))}).eval()
    own = {name: tensor for name, tensor in state.items() if name.startswith("blocks.")}
    dense.load_state_dict(own)
    dense = dense.to(dtype)
    small = compressed(dense, mode=mode)
    x = torch.randn(1, 197, 192).to(dtype)
    with under():
        expected, actual = dense["blocks"](x), small["blocks"](x)
    if mode == "identical":
        assert torch.equal(expected, actual)
    else:
        bound = 1e-4 if dtype is torch.float32 else 0.05
        assert ((expected - actual).norm() / expected.norm()).item() < bound


@pytest.mark.parametrize("training", [False, True])
def test_encoder_layers_take_dense_torchs_path_in_identical_mode(
    compressed: Callable[..., Any], mode: str, training: bool, monkeypatch: pytest.MonkeyPatch, under: Callable[[], Any]
) -> None:
    dense = nn.TransformerEncoderLayer(128, 4, 256, batch_first=True, dropout=0.0).train(training)
    dense.requires_grad_(False)  # as compressed weights are: torch folds products differently for trainable ones
    small = compressed(dense, mode=mode)
    x = torch.randn(3, 10, 128)
    calls = []
    original = torch._transformer_encoder_layer_fwd
    monkeypatch.setattr(torch, "_transformer_encoder_layer_fwd", lambda *args: (calls.append(1), original(*args))[1])
    with under():
        expected, actual = dense(x), small(x)
    if mode == "identical":
        assert torch.equal(expected, actual)
        assert len(calls) == (0 if training else 2)
    else:
        assert torch.allclose(expected, actual, atol=1e-5)


@pytest.mark.parametrize("own_sizes", [False, True])
def test_multihead_attention(compressed: Callable[..., Any], mode: str, own_sizes: bool) -> None:
    dense = nn.MultiheadAttention(64, 4, batch_first=True, **({"kdim": 32, "vdim": 48} if own_sizes else {})).eval()
    dense.requires_grad_(False)  # as compressed weights are: torch folds products differently for trainable ones
    small = compressed(dense, mode=mode)
    q = torch.randn(2, 5, 64)
    k, v = (torch.randn(2, 7, 32), torch.randn(2, 7, 48)) if own_sizes else (q, q)
    for context in (torch.enable_grad, torch.no_grad, torch.inference_mode):
        with context():
            expected, actual = dense(q, k, v)[0], small(q, k, v)[0]
        assert torch.allclose(expected, actual, atol=1e-5)
        if mode == "identical":
            assert torch.equal(expected, actual)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_networks(compressed: Callable[..., Any], mode: str, kind: Any, under: Callable[[], Any]) -> None:
    dense = kind(48, 64, 2, bidirectional=True)
    small = compressed(dense, mode=mode)
    assert all(small._flat_weights[i] is getattr(small, name) for i, name in enumerate(small._flat_weights_names))
    x = torch.randn(6, 3, 48)
    with under():
        expected, actual = dense(x)[0], small(x)[0]
    assert torch.allclose(expected, actual, atol=1e-5)
    if mode == "identical":
        assert torch.equal(expected, actual)


@pytest.mark.parametrize("old", [False, True])
def test_recomputed_weights_are_skipped_with_a_reason(old: bool) -> None:
    linear = nn.Linear(256, 128)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        module = nn.utils.weight_norm(linear) if old else nn.utils.parametrizations.weight_norm(linear)
    x = torch.randn(2, 256)
    expected = module(x)
    summary = tersely.torch.compress_(module)
    assert not summary.compressed
    assert any("anew" in reason for reason in summary.skipped.values())
    assert torch.equal(expected, module(x))


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv1d(32, 48, 5),
        nn.Conv2d(32, 64, 3, stride=2, groups=2, bias=False),
        nn.Conv2d(32, 64, 3).to(memory_format=torch.channels_last),
        nn.Conv3d(16, 32, 3),
        nn.ConvTranspose2d(32, 16, 4, stride=2),
        nn.Bilinear(32, 16, 24),
        nn.EmbeddingBag(100, 32),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_layers_without_a_kernel_decode(compressed: Callable[..., Any], mode: str, layer: Any) -> None:
    small = compressed(layer, mode=mode, objective="size")
    assert small.weight.stride() == layer.weight.stride()
    inputs: tuple[Any, ...] = (torch.randn(2, layer.weight.shape[1], *[9] * (layer.weight.ndim - 2)),)
    if isinstance(layer, nn.Bilinear):
        inputs = (torch.randn(5, 32), torch.randn(5, 16))
    elif isinstance(layer, nn.EmbeddingBag):
        inputs = (torch.randint(0, 100, (3, 4)),)
    elif isinstance(layer, nn.ConvTranspose2d) or layer.groups == 2:
        inputs = (torch.randn(2, 32, 9, 9),)
    for context in (torch.enable_grad, torch.no_grad, torch.inference_mode):
        with context():
            assert torch.equal(layer(*inputs), small(*inputs))


def test_experts_stay_coded_and_only_chosen_ones_are_decoded(
    compressed: Callable[..., Any], mode: str, monkeypatch: pytest.MonkeyPatch, under: Callable[[], Any]
) -> None:
    dense = Experts().to(torch.bfloat16)
    small = compressed(dense, mode=mode)
    x = torch.randn(10, 64).to(torch.bfloat16)
    offsets = torch.tensor([4, 4, 10, 10], dtype=torch.int32)
    decoded: list[int] = []
    from tersely.torch.operators import views

    original = views.select
    monkeypatch.setattr(views, "select", lambda t, d, index: (decoded.append(index), original(t, d, index))[1])
    with under():
        expected, actual = dense(x, offsets), small(x, offsets)
    assert torch.allclose(expected.float(), actual.float(), atol=2e-3)
    assert set(decoded) == {0, 2}
    if mode == "identical":
        assert torch.equal(expected, actual)


def test_experts_merged_by_reference(mode: str, under: Callable[[], Any]) -> None:
    with under():
        merged_by_reference(mode)


def merged_by_reference(mode: str) -> None:
    weights = [torch.randn(96, 64) * 0.05 for _ in range(8)]
    coded = [tersely.torch.encode(weight, mode=mode) for weight in weights]
    gate, up = torch.stack(coded[:4]), torch.stack(coded[4:])
    both = torch.cat([gate, up], 1)
    dense = torch.cat([torch.stack(weights[:4]), torch.stack(weights[4:])], 1)
    assert isinstance(both, TerselyTensor)
    assert both.nbytes_stored == sum(one.nbytes_stored for one in coded)
    assert torch.equal(both.decode(), dense)
    assert torch.equal(both[2].decode(), dense[2])
    assert all(isinstance(part, TerselyTensor) for part in both.unbind())
    back = both.chunk(2, 1)
    assert back[0].storage_.pieces[3] is coded[3].storage_
    x = torch.randn(4, 3, 64)
    for actual, expected in (
        (torch.bmm(x, both.transpose(1, 2)), torch.bmm(x, dense.transpose(1, 2))),
        (torch.nn.functional.linear(x, both[1]), torch.nn.functional.linear(x, dense[1])),
    ):
        assert torch.allclose(actual, expected, atol=1e-5)


def test_tied_weights_stay_tied(mode: str) -> None:
    model = Llama()
    tokens = torch.randint(0, 512, (2, 9))
    expected = model(tokens)
    summary = tersely.torch.compress_(model, mode=mode)
    assert model.head.weight is model.embed.weight
    assert isinstance(model.head.weight, TerselyTensor)
    assert "head.weight" not in [report.name for report in summary.parameters]
    assert torch.allclose(model(tokens), expected, atol=1e-4)
    tersely.torch.decompress_(model)
    assert model.head.weight is model.embed.weight
    assert torch.equal(model(tokens), expected)
