"""Operators on tokens, from torch.export to the executor, against torch in float64 on every instruction set."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tersely.core.errors import ArgumentError
from tersely.torch.networks.pipeline import Pipeline, pipeline

pytestmark = pytest.mark.kernels


class Of(nn.Module):
    """A function of tensors as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.function(*inputs)


def drawn(*shapes: tuple[int, ...], scale: float = 2.0) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(5)
    return tuple(scale * torch.randn(shape, generator=generator) for shape in shapes)


def check(module: nn.Module, inputs: tuple[torch.Tensor, ...], bound: float = 2e-6) -> Pipeline:
    """Compares in units of the greatest number; nothing may be left to torch, and threads change no bit."""
    made = pipeline(module.eval(), inputs)
    assert made.left == {}
    with torch.no_grad():
        expected = module.double()(*(one.double() if one.is_floating_point() else one for one in inputs))
    found = made(*inputs)
    several = isinstance(expected, tuple)
    for one, other in zip(found if several else (found,), expected if several else (expected,), strict=True):
        assert one.shape == other.shape
        torch.testing.assert_close(one.double(), other, rtol=0, atol=bound * max(1.0, float(other.abs().max())))
    (executed,) = made._partitioned.pieces
    order = {name: one.numpy() for name, one in zip(placeholders(made), inputs, strict=True)}
    arrays = [order[name] for name in executed.graph.inputs]
    once = executed.run(*arrays, threads=1)
    for threads in (2, 3):
        for one, other in zip(once, executed.run(*arrays, threads=threads), strict=True):
            np.testing.assert_array_equal(one.view(np.uint32), other.view(np.uint32))
    return made


def placeholders(made: Pipeline) -> list[str]:
    return [node.name for node in made._partitioned.module.graph.nodes if node.op == "placeholder"]


ACTIVATIONS = {
    "gelu": F.gelu,
    "gelu, tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "exp": torch.exp,
    "erf": torch.erf,
    "sqrt of squares": lambda x: torch.sqrt(x**2),
    "negative": lambda x: -x,
}


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("shape", [(2, 7, 48), (3, 5), (1, 1, 3)], ids=str)
def test_activations_of_any_shape(each_isa: str, name: str, shape: tuple[int, ...]) -> None:
    check(Of(ACTIVATIONS[name]), drawn(shape))


@pytest.mark.parametrize("rows", [(2, 3), (1, 9), (3, 17), (1, 33), (40,)], ids=str)
@pytest.mark.parametrize(("inputs", "outputs"), [(48, 96), (40, 72), (8, 10), (300, 16)])
def test_linear_layers_of_few_and_many_rows(each_isa: str, rows: tuple[int, ...], inputs: int, outputs: int) -> None:
    check(nn.Linear(inputs, outputs), drawn((*rows, inputs)))


class Block(nn.Module):
    """Norm, two layers with an activation between them, and the sum with what went in."""

    def __init__(self, width: int, act: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.act = act

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(self.act(self.up(self.norm(x)))) + x


@pytest.mark.parametrize("name", [*ACTIVATIONS][:5])
@pytest.mark.parametrize("width", [160, 20])
@pytest.mark.parametrize("rows", [(2, 17), (1, 3)], ids=str)
def test_layers_finish_with_activations_and_residuals(
    each_isa: str, name: str, width: int, rows: tuple[int, ...]
) -> None:
    made = check(Block(width, ACTIVATIONS[name]), drawn((*rows, width)))
    operators = [node.operator for node in made._partitioned.pieces[0].graph.nodes]
    assert operators == ["layer_norm", "linear", "linear"]


@pytest.mark.parametrize("shape", [(2, 7, 48), (3, 5), (2, 2, 9, 20), (1, 64)], ids=str)
def test_layer_norm(each_isa: str, shape: tuple[int, ...]) -> None:
    norm = nn.LayerNorm(shape[-1])
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    check(norm, drawn(shape))
    check(nn.LayerNorm(shape[-1], elementwise_affine=False), drawn(shape))


@pytest.mark.parametrize("axis", [-1, 1, 0])
@pytest.mark.parametrize("shape", [(2, 7, 48), (3, 5)], ids=str)
def test_softmax(each_isa: str, axis: int, shape: tuple[int, ...]) -> None:
    check(Of(lambda x: F.softmax(x, axis)), drawn(shape, scale=10))


@pytest.mark.parametrize("size", [16, 64, 24, 8])
@pytest.mark.parametrize(("queries", "keys"), [(17, 11), (1, 40), (150, 150)])
def test_attention(each_isa: str, size: int, queries: int, keys: int) -> None:
    inputs = drawn((2, 3, queries, size), (2, 3, keys, size), (2, 3, keys, size), scale=1)
    check(Of(lambda q, k, v: F.scaled_dot_product_attention(q, k, v)), inputs)
    check(Of(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, scale=0.3)), inputs)
    three = tuple(one[:, 0] for one in inputs)
    check(Of(lambda q, k, v: F.scaled_dot_product_attention(q, k, v)), three)


@pytest.mark.parametrize("shape", [(2, 1, 1, 11), (2, 3, 17, 11), (17, 11), (1, 1, 17, 1)], ids=str)
def test_attention_with_masks(each_isa: str, shape: tuple[int, ...]) -> None:
    inputs = drawn((2, 3, 17, 16), (2, 3, 11, 16), (2, 3, 11, 16), shape)
    check(Of(F.scaled_dot_product_attention), inputs)
    q, k, v, added = inputs
    truths = added > -1
    truths[..., 0] = True  # somebody is attended to
    check(Of(F.scaled_dot_product_attention), (q, k, v, truths))


def test_attention_to_nobody_is_zero(each_isa: str) -> None:
    q, k, v = drawn((1, 2, 9, 16), (1, 2, 5, 16), (1, 2, 5, 16))
    mask = torch.ones(1, 1, 9, 5, dtype=torch.bool)
    mask[..., 3, :] = False
    check(Of(F.scaled_dot_product_attention), (q, k, v, mask))


def test_causal_attention(each_isa: str) -> None:
    check(Of(lambda x: F.scaled_dot_product_attention(x, x, x, is_causal=True)), drawn((2, 3, 140, 16)))


def test_nan_is_seen_and_stays_where_it_is(each_isa: str) -> None:
    x = drawn((1, 2, 9, 16))[0]
    x[0, 1, 3, 5] = float("nan")
    keys = drawn((1, 2, 9, 16))[0]
    found = pipeline(Of(lambda q, k: F.scaled_dot_product_attention(q, k, k)).eval(), (x, keys))(x, keys)
    expected = torch.zeros(1, 2, 9, 16, dtype=torch.bool)
    expected[0, 1, 3] = True
    assert torch.equal(found.isnan(), expected)
    assert torch.equal(pipeline(nn.LayerNorm(16).eval(), (x,))(x).isnan(), expected)
    for function in (F.gelu, torch.tanh, F.silu, torch.exp, torch.erf):
        assert torch.equal(pipeline(Of(function).eval(), (x,))(x).isnan(), x.isnan())


@pytest.mark.parametrize(
    ("one", "other"),
    [((2, 7, 48), (2, 48, 20)), ((2, 3, 9, 20), (2, 3, 20, 5)), ((5, 7), (7, 40)), ((2, 4, 3), (3, 4))],
    ids=str,
)
def test_products_of_two_values(each_isa: str, one: tuple[int, ...], other: tuple[int, ...]) -> None:
    check(Of(torch.matmul), drawn(one, other))


SHAPES: dict[str, Callable[[torch.Tensor], Any]] = {
    "turned": lambda x: x.permute(2, 0, 1) * 2,
    "transposed": lambda x: x.transpose(0, 2),
    "slices": lambda x: x[:, 1:, 3:20:2] + 1,
    "slice of blocks": lambda x: x[..., 16:32],
    "one": lambda x: x[:, 0],
    "last": lambda x: x[..., -1],
    "parts": lambda x: x.chunk(3, -1)[1] * x.split([7, 16, 25], 2)[1],
    "unbound": lambda x: x.unbind(1)[2] - x.unbind(0)[1][0],
    "other shape": lambda x: x.reshape(2, 21, 16).transpose(1, 2).reshape(-1, 6),
    "more axes": lambda x: x.unsqueeze(1).expand(2, 3, 7, 48) + 0.5,
    "fewer axes": lambda x: x[:1].squeeze(0),
    "padded": lambda x: F.pad(x, (1, 2, 3, 4)),
    "padded with ones, cut": lambda x: F.pad(x, (-1, 2, 0, -3), value=1.0),
    "joined": lambda x: torch.cat([x, 2 * x[:, :3]], 1),
    "joined channels": lambda x: torch.cat([x[..., :5], x], -1),
    "mean of tokens": lambda x: x.mean(1),
    "mean, kept": lambda x: x.mean((0, 2), keepdim=True),
    "sum of all": lambda x: x.sum() / 26,  # which is as exact as a number of x
    "divided by a number": lambda x: (x + 3) / 7 - 2 * x,
    "number minus": lambda x: 1 - x,
    "repeated": lambda x: x * x[:, :1] + x[..., :1],
    "compared": lambda x: (x >= 0).to(torch.float32) * x,
}


@pytest.mark.parametrize("name", SHAPES)
def test_shapes(each_isa: str, name: str) -> None:
    check(Of(SHAPES[name]), drawn((2, 7, 48)))
    check(nn.Sequential(nn.Linear(32, 48), Of(SHAPES[name])), drawn((2, 7, 32)))


class Heads(nn.Module):
    """timm's attention: one product for queries, keys and values."""

    def __init__(self, heads: int, size: int) -> None:
        super().__init__()
        self.heads, self.size = heads, size
        self.qkv, self.out = nn.Linear(48, 3 * heads * size), nn.Linear(heads * size, 48)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        images, tokens, _ = x.shape
        parts = self.qkv(x).reshape(images, tokens, 3, self.heads, self.size).permute(2, 0, 3, 1, 4)
        q, k, v = parts.unbind(0)
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(images, tokens, -1)
        return self.out(y) + x


@pytest.mark.parametrize("images", [1, 3])
@pytest.mark.parametrize(("heads", "size"), [(3, 16), (2, 32), (2, 24)])
def test_heads_are_ranges_of_channels(each_isa: str, images: int, heads: int, size: int) -> None:
    made = check(Heads(heads, size), drawn((images, 17, 48)))
    steps = [step["operator"] for step in made._partitioned.pieces[0].program((images, 17, 48)).steps]
    assert "attention" in steps
    if size % 16 == 0:  # only the input is put in blocks, and the output taken out of them
        assert steps == ["input", "elementwise", "convolution", "attention", "convolution", "elementwise", "output"]


def test_attention_of_torchs_own_layer(each_isa: str) -> None:
    check(nn.TransformerEncoderLayer(48, 3, 96, batch_first=True), drawn((2, 19, 48)))
    check(nn.TransformerEncoderLayer(48, 3, 96, batch_first=False, norm_first=True), drawn((19, 2, 48)))


def test_embeddings(each_isa: str) -> None:
    for width in (48, 20):
        table = nn.Embedding(50, width)
        numbers = torch.randint(0, 50, (2, 7), generator=torch.Generator().manual_seed(1))
        made = check(nn.Sequential(table, nn.LayerNorm(width)), (numbers,))
        with pytest.raises(ArgumentError, match="rows 0 to 49"):
            made(torch.full((2, 7), 50))
        with pytest.raises(ArgumentError, match="rows 0 to 49"):
            made(torch.full((2, 7), -1))
        with pytest.raises(ArgumentError, match="beyond 2\\^24"):
            made(torch.full((2, 7), 2**24 + 1))


@pytest.mark.parametrize("channels", [24, 32])
@pytest.mark.parametrize("batch", [1, 3])
def test_attention_without_heads_is_read_by_rows(channels: int, batch: int) -> None:
    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.queries, self.last = nn.Linear(channels, channels), nn.Linear(channels, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(F.scaled_dot_product_attention(self.queries(x), x, x))

    torch.manual_seed(0)
    model, x = Reader().eval(), torch.randn(batch, 5, channels)
    with torch.no_grad():
        found = pipeline(model, (torch.randn(1, 5, channels),))(x)
        torch.testing.assert_close(found, model(x), atol=1e-5, rtol=1e-5)
