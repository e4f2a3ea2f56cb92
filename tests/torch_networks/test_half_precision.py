"""Networks in bfloat16 and float16: their weights bit for bit, computed in float32 or by pairs of bfloat16, against torch
in float64 and in half."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_networks import FAMILIES
from support.arrays import same_bits
from torch import nn

import tersely
import tersely.torch
from tersely.backends.cpu import isa
from tersely.graph.graph import Graph, Node
from tersely.graph.pipeline import Pipeline
from tersely.planner import choose
from tersely.tensors.tensor import Tensor
from tersely.torch.weight.dtypes import as_array

pytestmark = [pytest.mark.kernels, pytest.mark.filterwarnings("ignore:.*multiplies more slowly")]

HALVES = [torch.bfloat16, torch.float16]
EXACT = 5e-6
"""Of the greatest output: what float32 sums differ by from float64's."""
BOUNDS = {"sentences": 1e-5, "one sentence": 1e-5, "Llama": 2e-4}
"""What these models compute in float32 is so in float64, too; angles of positions are constants, which they round."""
LOOSE = {torch.bfloat16: 5e-2, torch.float16: 1e-2}
"""The same, of torch, which rounds after every operator."""
ONE_ROUNDING = {torch.bfloat16: 2.0**-8, torch.float16: 2.0**-11}
SIZES = {"hidden_size": 96, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 200}


class First(nn.Module):
    """The first of what a model returns."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.model(*inputs)[0]


class RootMeanSquare(nn.Module):
    """As transformers write it: in float32, and back."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(channels) + 0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        wide = x.to(torch.float32)
        wide = wide / torch.sqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6)
        return self.weight * wide.to(x.dtype)


class Sentences(nn.Module):
    """A table, a norm, a product whose softmax is in float32, and one with the table."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.norm = nn.Embedding(97, 64), RootMeanSquare(64)
        self.within, self.out = nn.Linear(64, 80), nn.Linear(80, 64)

    def forward(self, numbers: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.table(numbers))
        y = torch.softmax(self.within(x), -1, dtype=torch.float32).to(x.dtype)
        return (x + self.out(y)) @ self.table.weight.t()


def bert() -> nn.Module:
    transformers = pytest.importorskip("transformers")
    return First(transformers.BertModel(transformers.BertConfig(**SIZES, vocab_size=60, max_position_embeddings=40)))


def vit() -> nn.Module:
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(**SIZES, image_size=32, patch_size=8)
    return First(transformers.ViTForImageClassification(config))


def llama() -> nn.Module:
    """A decoder: norms by reciprocal roots in float32, rotated positions, a causal mask."""
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(**SIZES, vocab_size=60, num_key_value_heads=3, use_cache=False)
    return First(transformers.LlamaForCausalLM(config))


def numbers(*shape: int) -> torch.Tensor:
    return torch.randint(0, 60, shape, generator=torch.Generator().manual_seed(3))


def images(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(4))


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[torch.Tensor, ...]]] = {
    **{name: (make, (images(1, 3, 67, 75),)) for name, make in FAMILIES.items()},
    "BERT": (bert, (numbers(2, 9), torch.tensor([[1] * 9, [1] * 4 + [0] * 5]))),
    "Llama": (llama, (numbers(2, 9),)),
    "ViT": (vit, (images(2, 3, 32, 32),)),
    "sentences": (Sentences, (numbers(2, 11),)),
    "one sentence": (Sentences, (numbers(1, 3),)),
}


def made(name: str, dtype: torch.dtype) -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    torch.manual_seed(1)
    make, inputs = NETWORKS[name]
    model = make().eval().to(dtype)
    return model, tuple(one.to(dtype) if one.is_floating_point() else one for one in inputs)


def exact(model: nn.Module, inputs: tuple[torch.Tensor, ...]) -> np.ndarray:
    """What the model is in float64, `to(float32)` within it too."""
    wide = copy.deepcopy(model).double()
    with torch.no_grad():
        return wide(*(one.double() if one.is_floating_point() else one for one in inputs)).numpy()


def arrays(inputs: tuple[torch.Tensor, ...]) -> list[np.ndarray]:
    return [as_array(one) for one in inputs]


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("name", NETWORKS)
def test_networks(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    model, inputs = made(name, dtype)
    pipe = tersely.torch.pipeline(model, inputs, objective="size", bfloat16_products=False)
    assert pipe.left == {}
    expected = exact(model, inputs)
    scale = abs(expected).max()
    with torch.no_grad():
        in_half = model(*inputs)
    bound = BOUNDS.get(name, EXACT)
    for one in isa.available():
        with isa.using(one):
            (found,) = pipe._whole("tried").run(*arrays(inputs), threads=2)
            (alone,) = pipe._whole("tried").run(*arrays(inputs), threads=1)
            rounded = pipe(*inputs)
        assert found.dtype == np.float32
        assert same_bits(found, alone)
        assert abs(found - expected).max() <= bound * scale
        assert rounded.dtype == in_half.dtype
        assert torch.equal(rounded, torch.from_numpy(found).to(dtype))
    assert (rounded.double() - in_half.double()).abs().max() <= LOOSE[dtype] * scale
    assert abs(rounded.double().numpy() - expected).max() <= (bound + ONE_ROUNDING[dtype]) * scale
    plain, held = pipe.weight_bytes
    assert held < plain
    pipe.save(tmp_path / "net.safetensors")
    loaded = tersely.load_pipeline(tmp_path / "net.safetensors", bfloat16_products=False)
    assert same_bits(loaded.run(*arrays(inputs))[0], pipe._whole("tried").run(*arrays(inputs))[0])


@pytest.mark.skipif("avx512_bf16" not in isa.available(), reason="no kernels multiply pairs of bfloat16 here")
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_by_pairs(name: str, tmp_path: Path) -> None:
    """What products round is rounded by torch, too, which also rounds sums, norms and what is added."""
    model, inputs = made(name, torch.bfloat16)
    pipe = tersely.torch.pipeline(model, inputs, objective="size")
    expected = exact(model, inputs)
    with torch.no_grad():
        in_half = model(*inputs).double().numpy()
    with isa.using("avx512_bf16"):
        (found,) = pipe._whole("tried").run(*arrays(inputs), threads=2)
        assert same_bits(found, pipe._whole("tried").run(*arrays(inputs), threads=1)[0])
        assert any(one.method == "bfloat16" for one in pipe.profile(*inputs).nodes) or name == "one sentence"
        pipe.save(tmp_path / "net.safetensors")
        loaded = tersely.load_pipeline(tmp_path / "net.safetensors")
        assert same_bits(found, loaded.run(*arrays(inputs))[0])
    scale = abs(expected).max()
    assert abs(found - expected).max() <= LOOSE[torch.bfloat16] * scale
    assert (
        np.sqrt(np.mean((found - expected) ** 2)) <= 1.1 * np.sqrt(np.mean((in_half - expected) ** 2)) + EXACT * scale
    )


@pytest.mark.skipif("avx512_bf16" not in isa.available(), reason="no kernels multiply pairs of bfloat16 here")
def test_products_of_bfloat16_are_a_choice() -> None:
    torch.manual_seed(9)
    model, x = nn.Conv2d(32, 48, 3).bfloat16().eval(), torch.randn(1, 32, 9, 9).bfloat16()
    torch._dynamo.reset()
    with isa.using("avx512_bf16"):
        for wanted in (True, False):
            pipe = tersely.torch.pipeline(model, (x,), bfloat16_products=wanted)
            assert any(one.method == "bfloat16" for one in pipe.profile(x).nodes) == wanted
            with torch.inference_mode():
                compiled = torch.compile(model, backend="tersely", options={"bfloat16_products": wanted})
                assert torch.equal(compiled(x), pipe(x))
            torch._dynamo.reset()
    with pytest.raises(Exception, match="bfloat16_products"):
        torch.compile(model, backend="tersely", options={"bfloat16_products": 3})(x)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("objective", ["size", "balanced", "speed"])
def test_every_bit_comes_back_from_the_file(objective: Any, dtype: torch.dtype, tmp_path: Path) -> None:
    torch.manual_seed(5)
    layers = [nn.Conv2d(3, 40, 3), nn.BatchNorm2d(40), nn.ReLU(), nn.Conv2d(40, 48, 1), nn.Flatten(), nn.Linear(48, 70)]
    model = nn.Sequential(*layers).eval().to(dtype)
    special = torch.tensor(
        [0.0, -0.0, float("inf"), float("-inf"), float("nan"), torch.finfo(dtype).smallest_normal / 4]
    )
    with torch.no_grad():
        for one in model.parameters():
            one.view(-1)[:6] = special.to(dtype)
        model[5].weight[1].view(torch.int16)[:3] = torch.tensor([0x7FC1, -2, 1], dtype=torch.int16)  # payloads of NaN
    pipe = tersely.torch.pipeline(model, (torch.ones(1, 3, 3, 3, dtype=dtype),), objective=objective)
    pipe.save(tmp_path / "net.safetensors")
    found = tersely.load_file(tmp_path / "net.safetensors")
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            assert same_bits(found[name].decode(), as_array(tensor)), name
    graph = tersely.load_pipeline(tmp_path / "net.safetensors").source
    assert (graph.input_dtypes, graph.output_dtypes) == ((str(dtype)[6:],), (str(dtype)[6:],))


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("rows", [1, 40])
def test_products_are_of_the_weights_as_they_are(dtype: torch.dtype, rows: int, each_isa: str) -> None:
    """A row that picks one weight gives it, widened: subnormals of float16 and what is not finite too."""
    torch.manual_seed(6)
    weight = torch.randn(72, 64).to(dtype)
    weight[:, 5] = torch.linspace(-5, 5, 72).to(dtype) * torch.finfo(torch.float16).smallest_normal
    weight[3, 5], weight[4, 5], weight[5, 5] = float("inf"), float("-inf"), float("nan")
    model = nn.Linear(64, 72, bias=False).to(dtype)
    model.weight.data = weight
    x = torch.zeros(rows, 64, dtype=dtype)
    x[:, 5] = 1
    pipe = tersely.torch.pipeline(model.eval(), (x,), objective="size")
    expected = torch.zeros(rows, 72) + weight[:, 5].float()
    (found,) = pipe._whole("tried").run(*arrays((x,)))
    np.testing.assert_array_equal(found, expected.numpy())
    torch.testing.assert_close(pipe(x), expected.to(dtype), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("formulation", ["split", "palette", "sparse", "signed_zeros", "dense"])
@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_tables_are_widened_bit_by_bit(dtype: torch.dtype, formulation: str, each_isa: str) -> None:
    generator = torch.Generator().manual_seed(7)
    table = torch.randn(70, 48, generator=generator).to(dtype)
    if formulation != "split":
        table = (table * 4).round().clamp(-3, 3)
        table[torch.rand(70, 48, generator=generator) < 0.8] = 0
    if formulation == "signed_zeros":
        table[::3] *= -1
    table[1, 3], table[2, 4] = torch.finfo(dtype).max, torch.finfo(dtype).tiny
    coded = Tensor(choose.encode(as_array(table), formulation=formulation))
    graph = Graph(("x",), ("y",), (Node("embedding", {"x": "x", "weight": "w"}, "y"),), frozenset({"w"}))
    pipe = Pipeline(graph, {"w": coded})
    rows = np.array([[1, 69, 2], [33, 1, 0]])
    for threads in (1, 2):
        (found,) = pipe.run(rows, threads=threads)
        assert same_bits(found, table.float().numpy()[rows])
    with pytest.raises(tersely.TerselyError, match="rows 0 to 69"):
        pipe.run(np.array([[70]]))


@pytest.mark.parametrize("positions", ["gaps", "bitmap"])
@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_convolutions_of_pruned_weights(dtype: torch.dtype, positions: str, each_isa: str) -> None:
    torch.manual_seed(8)
    model = nn.Conv2d(32, 48, 3, padding=1, bias=False).eval()
    with torch.no_grad():
        model.weight[torch.rand_like(model.weight) < 0.9] = 0
    model = model.to(dtype)
    coded = Tensor(choose.encode(as_array(model.weight.detach()), formulation="sparse", positions=positions))
    attributes = {"stride": [1, 1], "padding": [1, 1], "dilation": [1, 1], "groups": 1}
    node = Node("convolution", {"x": "x", "weight": "w"}, "y", attributes)
    pipe = Pipeline(Graph(("x",), ("y",), (node,), frozenset({"w"})), {"w": coded}, bfloat16_products=False)
    x = torch.randn(2, 32, 9, 11)
    (found,) = pipe.run(x.numpy())
    expected = exact(model, (x,))
    assert abs(found - expected).max() <= EXACT * abs(expected).max()


def test_outputs_are_rounded_once_to_even() -> None:
    a = torch.tensor([1.0, 1.0, 1.0, 1.0078125], dtype=torch.bfloat16)
    b = torch.tensor([2**-8, 2**-9, -(2**-9), 2**-8], dtype=torch.bfloat16)
    c = torch.tensor([0.0, 2**-9, 2**-9, 0.0], dtype=torch.bfloat16)
    pipe = tersely.torch.pipeline(Sum().eval(), (a, b, c))
    assert pipe._whole("asked").source.output_dtypes == ("bfloat16",)
    assert pipe(a, b, c).tolist() == [1.0, 1.0, 1.0, 1.015625]


class Sum(nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        return a + b + c


def test_what_half_precision_overflows_stays_finite_within() -> None:
    class Scaled(nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return x * x / 1024, x * x

    x = torch.tensor([[1000.0, 2.0]], dtype=torch.float16)
    small, large = tersely.torch.pipeline(Scaled().eval(), (x,))(x)
    assert small[0, 0] == torch.tensor(1e6 / 1024).half()
    assert large[0, 0] == float("inf")


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_compiled(dtype: torch.dtype) -> None:
    torch._dynamo.reset()
    model, inputs = made("sentences", dtype)
    compiled = torch.compile(model, backend="tersely")
    with torch.inference_mode():
        found = compiled(*inputs)
    assert found.dtype == dtype
    assert torch.equal(found, tersely.torch.pipeline(model, inputs)(*inputs))


def test_a_pipeline_is_of_the_biases_as_they_were() -> None:
    model = nn.Linear(8, 8).to(torch.bfloat16).eval()
    x = torch.ones(2, 8, dtype=torch.bfloat16)
    pipe = tersely.torch.pipeline(model, (x,))
    before = pipe(x)
    with torch.no_grad():
        model.bias.add_(1)
        model.weight.mul_(2)
    assert torch.equal(pipe(x), before)


def test_profiles_take_the_models_own_tensors() -> None:
    model, inputs = made("ViT", torch.bfloat16)
    profile = tersely.torch.pipeline(model, inputs).profile(*inputs)
    assert len(profile.nodes) > 5


class Partly(nn.Module):
    """A region of its own precision between two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(48, 64), nn.Linear(64, 32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            y = torch.relu(self.first(x))
        return self.last(y.float())


def test_regions_of_autocast_are_left_to_torch() -> None:
    torch.manual_seed(9)
    torch._dynamo.reset()
    model, x = Partly().eval(), torch.randn(5, 48)
    pipe = tersely.torch.pipeline(model, (x,))
    assert any("autocast" in reason for reason in pipe.left.values())
    compiled = torch.compile(model, backend="tersely")
    with torch.inference_mode():
        for found in (pipe(x), compiled(x)):
            torch.testing.assert_close(found, model(x), rtol=1e-5, atol=1e-5)


def test_a_pipeline_made_under_autocast_is_of_the_weights_that_it_rounds() -> None:
    torch.manual_seed(9)
    model, x = nn.Sequential(nn.Linear(48, 64), nn.ReLU()).eval(), torch.randn(5, 48)
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        pipe = tersely.torch.pipeline(model, (x,))
        expected = model(x)
        found = pipe(x)
    assert found.dtype == expected.dtype == torch.bfloat16
    torch.testing.assert_close(found, expected, rtol=2e-2, atol=2e-2)
