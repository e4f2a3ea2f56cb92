"""NaN and infinities: in whatever operator one goes, what comes out is NaN or infinite where torch's is in float64.

In float32 torch's vectorised GELU makes NaN of infinity, and its fused attention zeros of a query of NaN.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

torch = pytest.importorskip("torch")
import torch.nn.functional as F  # noqa: E402

import tersely.torch  # noqa: E402

pytestmark = pytest.mark.kernels
SPECIAL = (float("nan"), float("inf"), float("-inf"))


class Called(torch.nn.Module):
    def __init__(self, function: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return self.function(*inputs)


def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, causal: bool = False) -> torch.Tensor:
    """As it is defined, zeros where a query sees no key; torch's own for float32, which the executor is given."""
    if q.dtype == torch.float32:
        return F.scaled_dot_product_attention(q, k, v, is_causal=causal)
    scores = q @ k.mT / q.shape[-1] ** 0.5
    if causal:
        scores = scores.masked_fill(torch.ones_like(scores, dtype=torch.bool).triu(1), float("-inf"))
    blind = (scores == float("-inf")).all(-1, keepdim=True)
    return torch.softmax(scores, -1).masked_fill(blind, 0.0) @ v


IMAGE, TOKENS, HEADS = (2, 32, 14, 14), (2, 9, 48), (2, 3, 9, 16)
CASES: dict[str, tuple[Callable[[], torch.nn.Module], tuple[tuple[int, ...], ...]]] = {
    "relu": (torch.nn.ReLU, (IMAGE,)),
    "relu of tokens": (torch.nn.ReLU, (TOKENS,)),
    "relu6": (torch.nn.ReLU6, (IMAGE,)),
    "gelu": (torch.nn.GELU, (TOKENS,)),
    "gelu tanh": (lambda: torch.nn.GELU(approximate="tanh"), (TOKENS,)),
    "silu": (torch.nn.SiLU, (IMAGE,)),
    "hardswish": (torch.nn.Hardswish, (IMAGE,)),
    "hardsigmoid": (torch.nn.Hardsigmoid, (IMAGE,)),
    "sigmoid": (torch.nn.Sigmoid, (IMAGE,)),
    "tanh": (torch.nn.Tanh, (TOKENS,)),
    "exp": (lambda: Called(torch.exp), (TOKENS,)),
    "softmax": (lambda: torch.nn.Softmax(-1), (TOKENS,)),
    "softmax over tokens": (lambda: torch.nn.Softmax(1), (TOKENS,)),
    "layer norm": (lambda: torch.nn.LayerNorm(48), (TOKENS,)),
    "layer norm of odd width": (lambda: torch.nn.LayerNorm(37), ((2, 9, 37),)),
    "batch norm": (lambda: torch.nn.BatchNorm2d(32), (IMAGE,)),
    "max pool": (lambda: torch.nn.MaxPool2d(3, 2, 1), (IMAGE,)),
    "average pool": (lambda: torch.nn.AvgPool2d(2), (IMAGE,)),
    "global pool": (lambda: torch.nn.AdaptiveAvgPool2d(1), (IMAGE,)),
    "convolution": (lambda: torch.nn.Conv2d(32, 48, 3, stride=2, padding=1), (IMAGE,)),
    "convolution of one tap": (lambda: torch.nn.Conv2d(32, 48, 1), (IMAGE,)),
    "convolution of few channels": (lambda: torch.nn.Conv2d(3, 16, 3), ((1, 3, 9, 9),)),
    "groups": (lambda: torch.nn.Conv2d(32, 32, 3, padding=1, groups=2), (IMAGE,)),
    "depthwise": (lambda: torch.nn.Conv2d(32, 32, 3, padding=1, groups=32), (IMAGE,)),
    "convolution and relu": (
        lambda: torch.nn.Sequential(torch.nn.Conv2d(32, 48, 3, stride=2), torch.nn.ReLU()),
        (IMAGE,),
    ),
    "convolution, norm, relu6": (
        lambda: torch.nn.Sequential(torch.nn.Conv2d(32, 48, 3, stride=2), torch.nn.BatchNorm2d(48), torch.nn.ReLU6()),
        (IMAGE,),
    ),
    "convolution and silu": (
        lambda: torch.nn.Sequential(torch.nn.Conv2d(32, 48, 1), torch.nn.SiLU()),
        (IMAGE,),
    ),
    "linear": (lambda: torch.nn.Linear(48, 40), (TOKENS,)),
    "linear and gelu": (lambda: torch.nn.Sequential(torch.nn.Linear(48, 40), torch.nn.GELU()), (TOKENS,)),
    "linear of a row and relu": (lambda: torch.nn.Sequential(torch.nn.Linear(48, 40), torch.nn.ReLU()), ((1, 48),)),
    "attention": (lambda: Called(attention), (HEADS, HEADS, HEADS)),
    "causal attention": (
        lambda: Called(lambda q, k, v: attention(q, k, v, True)),
        (HEADS, HEADS, HEADS),
    ),
    "sum": (lambda: Called(torch.add), (TOKENS, TOKENS)),
    "product": (lambda: Called(torch.mul), (TOKENS, TOKENS)),
    "mean": (lambda: Called(lambda x: x.mean(1)), (TOKENS,)),
    "resized": (lambda: torch.nn.Upsample(scale_factor=2, mode="nearest"), (IMAGE,)),
}


def kinds(found: torch.Tensor) -> torch.Tensor:
    """NaN, the infinities and numbers told apart."""
    return torch.where(found.isnan(), 2, torch.where(found.isinf(), found.sign(), 0))


@pytest.mark.parametrize("name", CASES)
def test_what_is_not_finite_stays_where_torch_has_it(name: str, each_isa: str) -> None:
    make, shapes = CASES[name]
    torch.manual_seed(0)
    model = make().eval()
    inputs = tuple(torch.randn(shape) for shape in shapes)
    pipe = tersely.torch.pipeline(model, inputs)
    assert not pipe.left
    exact = model.double()
    for index in range(len(inputs)):
        for special in SPECIAL:
            some = [one.clone() for one in inputs]
            flat = some[index].view(-1)
            flat[flat.numel() // 3] = special
            with torch.no_grad():
                expected = exact(*(one.double() for one in some))
            assert torch.equal(kinds(pipe(*some)), kinds(expected)), special


@pytest.mark.parametrize("special", SPECIAL)
def test_winograd_keeps_them_within_a_tile(special: float, each_isa: str) -> None:
    """Its tiles are sums of pixels: what is not finite may reach a tile's neighbours, never a number that is not near."""
    torch.manual_seed(0)
    model = torch.nn.Conv2d(32, 32, 3, padding=1).eval()
    x = torch.randn(1, 32, 20, 20)
    x[0, 5, 9, 10] = special
    found = tersely.torch.pipeline(model, (x,))(x)
    with torch.no_grad():
        expected = model(x)
    assert not found[~expected.isfinite()].isfinite().any()
    apart = torch.ones(20, 20, dtype=torch.bool)
    apart[6:13, 7:14] = False
    torch.testing.assert_close(found[..., apart], expected[..., apart], rtol=1e-4, atol=1e-4)
