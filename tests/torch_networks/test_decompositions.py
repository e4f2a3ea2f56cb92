"""Operators of aten that are others of ours, against torch in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support.arrays import needs_native
from torch import nn

from tersely.torch.networks.pipeline import Pipeline, pipeline

pytestmark = needs_native


class Of(nn.Module):
    """A function of tensors as a module, with a weight or two."""

    def __init__(self, function: Callable[..., Any], *shapes: tuple[int, ...]) -> None:
        super().__init__()
        self.function = function
        self.weights = nn.ParameterList(torch.randn(shape) for shape in shapes)

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.function(*inputs, *self.weights)


def drawn(*shapes: tuple[int, ...]) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(5)
    return tuple(2 * torch.randn(shape, generator=generator) for shape in shapes)


def check(module: nn.Module, inputs: tuple[torch.Tensor, ...], bound: float = 3e-6) -> Pipeline:
    """Compares in units of the greatest number; nothing may be left to torch."""
    made = pipeline(module.eval(), inputs)
    assert made.left == {}
    found = made(*inputs)
    with torch.no_grad():
        expected = module.double()(*(one.double() if one.is_floating_point() else one for one in inputs))
    assert found.shape == expected.shape
    assert found.dtype == (torch.float32 if expected.is_floating_point() else expected.dtype)
    found, expected = found.double(), expected.double()
    finite = expected.isfinite()
    torch.testing.assert_close(found[~finite], expected[~finite], equal_nan=True)
    largest = max([1.0, *expected[finite].abs().tolist()])
    torch.testing.assert_close(found[finite], expected[finite], rtol=0, atol=bound * largest)
    return made


PLACES: dict[str, Callable[[torch.Tensor], Any]] = {
    "rolled": lambda x: x.roll((-1, 2), (1, 2)),
    "rolled by more than all": lambda x: x.roll((9, 7), (1, 2)),
    "rolled as a row": lambda x: x.roll(5),
    "stacked": lambda x: torch.stack([x, 2 * x, -x], -1),
    "repeated": lambda x: x.repeat(2, 1, 3, 2),
    "repeated, more axes": lambda x: x.repeat(3, 1, 1, 1, 2),
    "repeated one by one": lambda x: x.repeat_interleave(3, 1),
    "by numbers": lambda x: x[:, [4, 0, 1, 2, -1]],
    "by numbers of the last axis": lambda x: x.index_select(-1, torch.tensor([3, 3, 0])),
    "turned round": lambda x: x.flip((1, 3)),
    "channels shuffled": lambda x: F.channel_shuffle(x[:, :4], 2),
    "mirrored": lambda x: F.pad(x, (2, 1, 3, 0), mode="reflect"),
    "edges": lambda x: F.pad(x, (2, 1, 0, 3), mode="replicate"),
    "round": lambda x: F.pad(x, (2, 1, 0, 3), mode="circular"),
    "larger pixels": lambda x: F.pixel_shuffle(x[:, :4], 2),
    "smaller pixels": lambda x: F.pixel_unshuffle(x[..., :4], 2),
    "windows": lambda x: F.unfold(x[..., :4], 2, stride=2),
    "windows, put back": lambda x: F.fold(x[..., :4].reshape(2, 20, 6), (4, 6), 2, stride=2),
    "axes moved": lambda x: x.movedim(1, -1).swapaxes(0, 1),
    "cut": lambda x: x.narrow(2, 1, 3),
    "as another": lambda x: x.reshape_as(x.transpose(1, 2)),
    "sums one after another": lambda x: x.cumsum(1),
    "sums of the last axis": lambda x: x.cumsum(-1),
    "products of indices": lambda x: torch.einsum("bchw,bdhw->bcd", x, x),
}


@pytest.mark.parametrize("name", PLACES)
def test_where_numbers_lie(name: str) -> None:
    check(Of(PLACES[name]), drawn((2, 5, 6, 5)))


VALUES: dict[str, Callable[[torch.Tensor], Any]] = {
    "leaky": lambda x: F.leaky_relu(x, 0.2),
    "leaky the other way": lambda x: F.leaky_relu(x, 1.5),
    "leaky in place": lambda x: F.leaky_relu(x + 1, 0.1, inplace=True) * 2,
    "elu": lambda x: F.elu(x, 0.7),
    "selu": F.selu,
    "celu": lambda x: F.celu(x, 1.3),
    "mish": lambda x: F.mish(10 * x),
    "hard tanh": lambda x: F.hardtanh(x, -0.5, 1.5),
    "relu6": lambda x: F.hardtanh(3 * x, 0, 6),
    "between": lambda x: x.clamp(-1, 2),
    "between others": lambda x: x.clamp(-x, x * x),
    "at least": lambda x: x.clamp_min(0.3),
    "at most": lambda x: x.clamp(max=0.3),
    "absolute": torch.abs,
    "squares": torch.square,
    "with a factor": lambda x: torch.add(x, x * x, alpha=0.5) - torch.sub(x, 3, alpha=2),
    "products added": lambda x: torch.addcmul(x, x, x, value=0.1) + torch.addcdiv(x, x, x * x + 1),
    "length": lambda x: torch.linalg.vector_norm(x, dim=-1, keepdim=True),
    "normalised": lambda x: F.normalize(x, dim=1),
    "variance": lambda x: x.var(-1) + x.var((1, 2), correction=0, keepdim=True).sum(-1),
    "deviation": lambda x: x.std(1, keepdim=True),
    "greatest": lambda x: x.amax(1) + x.max(1)[0],
    "least": lambda x: x.amin(-1, keepdim=True) + x.min(3, keepdim=True)[0],
    "chosen": lambda x: torch.where(x > 0.5, x, -2 * x),
    "chosen or a number": lambda x: torch.where(x <= 0.5, x, 7.0) + torch.where(x < 0, 0.0, x),
    "hidden": lambda x: x.masked_fill(x.ge(1), float("-inf")),
    "hidden infinities": lambda x: (1 / (x - x)).masked_fill(~(x < -1000), 2.0),
    "truths": lambda x: ((x > 0) | (x < -1)) & ~(x > 2) ^ (x == 0),
    "compared": lambda x: (x > 0.0).float() * 3 - (x < x * x).float(),
    "ones alike": lambda x: x + torch.ones_like(x) * x.new_full((6, 1), 3.0),
    "mean of squares": lambda x: F.rms_norm(x, (5,)),
    "mean of squares of two axes": lambda x: F.rms_norm(x, (6, 5), eps=1e-4),
    "norm of two axes": lambda x: F.layer_norm(x, (6, 5)),
    "written over": lambda x: torch.cat([x[:, :2] * 0, x[:, 2:]], 1),
}


@pytest.mark.parametrize("name", VALUES)
def test_what_is_done_to_numbers(name: str) -> None:
    check(Of(VALUES[name]), drawn((2, 5, 6, 5)))


MODULES: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "signal": (nn.Conv1d(6, 20, 3, padding=1), (2, 6, 15)),
    "signal, strides and groups": (nn.Conv1d(6, 12, 5, stride=2, dilation=2, groups=3, bias=False), (2, 6, 31)),
    "signal, same": (nn.Conv1d(6, 8, 4, padding="same"), (1, 6, 9)),
    "mean of signals": (nn.AdaptiveAvgPool1d(1), (2, 6, 15)),
    "means of signals": (nn.AdaptiveAvgPool1d(4), (2, 6, 15)),
    "pool of signals": (nn.AvgPool1d(3, 2, 1), (2, 6, 15)),
    "greatest of signals": (nn.MaxPool1d(3, 2, 1), (2, 6, 15)),
    "groups": (nn.GroupNorm(3, 12), (2, 12, 5, 4)),
    "groups of signals": (nn.GroupNorm(1, 12), (2, 12, 9)),
    "instances": (nn.InstanceNorm2d(12, affine=True), (2, 12, 5, 4)),
    "instances of signals": (nn.InstanceNorm1d(6), (2, 6, 9)),
    "batch norm of rows": (nn.BatchNorm1d(20), (3, 20)),
    "batch norm of signals": (nn.BatchNorm1d(20), (3, 20, 7)),
    "one slope for each channel": (nn.PReLU(12), (2, 12, 5, 4)),
    "one slope for all": (nn.PReLU(), (2, 12)),
    "root mean square": (nn.RMSNorm(24), (2, 7, 24)),
    "norm of images": (nn.LayerNorm((5, 4)), (2, 12, 5, 4)),
}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize("name", MODULES)
def test_modules(name: str) -> None:
    module, shape = MODULES[name]
    for one in [*module.parameters(), *module.buffers()]:
        if one.is_floating_point():
            nn.init.uniform_(one, 0.5, 1.5)
    check(module, drawn(shape))


@pytest.mark.parametrize("rows", [(9,), (2, 17)], ids=str)
def test_weights_stored_by_inputs(rows: tuple[int, ...]) -> None:
    """As in GPT-2: a linear layer of a weight that lies [inputs, outputs], which is coded so."""
    made = check(Of(lambda x, w, b: torch.addmm(b, x.view(-1, 48), w), (48, 20), (20,)), drawn((*rows, 48)))
    (linear,) = (node for node in made.graph.nodes if node.operator == "linear")
    assert linear.attributes["in_out"]
    assert "bias" in linear.inputs
    made = check(Of(lambda x, w: F.gelu(x @ w), (48, 20)), drawn((*rows, 48)))
    assert [node.operator for node in made.graph.nodes] == ["linear"]


def test_products_that_are_no_linear_layers() -> None:
    check(Of(lambda x, w, b: torch.addmm(b, x, w, beta=0.5, alpha=2), (6, 4), (4,)), drawn((3, 6)))
    check(Of(lambda x, z, b: torch.addmm(b, x, z), (4,)), drawn((3, 6), (6, 4)))
    check(Of(lambda x, z, b: torch.baddbmm(b, x, z, beta=2, alpha=0.5), (2, 3, 4)), drawn((2, 3, 6), (2, 6, 4)))


def test_a_weight_that_is_read_both_ways() -> None:
    check(Of(lambda x, w: F.linear(x @ w, w), (48, 20)), drawn((9, 48)))
    check(Of(lambda x, w, b: F.linear(torch.addmm(b, x, w), w), (48, 20), (20,)), drawn((9, 48)))


def test_attention_of_more_axes_and_shared_keys() -> None:
    check(Of(F.scaled_dot_product_attention), drawn(*[(2, 3, 2, 9, 16)] * 3))
    check(Of(F.scaled_dot_product_attention), drawn(*[(9, 16)] * 3))
    mask = drawn((3, 1, 9, 9))[0]
    check(Of(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, mask.to(q.dtype))), drawn(*[(2, 3, 2, 9, 16)] * 3))
    grouped = drawn((2, 4, 9, 16), (2, 2, 9, 16), (2, 2, 9, 16))
    check(Of(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)), grouped)


def test_positions_counted_from_a_mask() -> None:
    """As of RoBERTa: integers stay what they are."""

    def positions(numbers: torch.Tensor) -> torch.Tensor:
        known = numbers.ne(1).int()
        return (torch.cumsum(known, 1).type_as(known) * known).long() + 1

    numbers = torch.randint(0, 3, (2, 300))
    check(Of(positions), (numbers,))


def test_numbers_that_are_drawn_are_drawn_at_each_call() -> None:
    made = pipeline(Of(lambda x: x + torch.rand(5)).eval(), drawn((2, 5)))
    assert not torch.equal(made(*drawn((2, 5))), made(*drawn((2, 5))))
    assert [*made.left] == ["rand"]
