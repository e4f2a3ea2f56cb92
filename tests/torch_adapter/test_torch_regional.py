"""Regional compilation: one compilation serves every layer of a shape, whatever its tables of codes are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("torch")

import numpy as np
import torch
import torch._dynamo
from torch import nn
from torch_fixtures import EVERYTHING, two_threads

import tersely.torch
from tersely.core.errors import CorruptError
from tersely.torch.weight.coded import Coded
from tersely.torch.weight.tensor_spec import TensorSpec

LAYERS = 10


def _int8() -> nn.Module:
    layer = tersely.torch.Int8Linear(64, 96)
    layer.weight = (torch.randn(96, 64) * 4).round().to(torch.int8)
    return layer


class Expert(nn.Module):
    """One matrix of a stack, the other way round."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = nn.Parameter(torch.randn(2, 64, 96) / 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.stack[1]


KINDS: dict[str, tuple[Callable[[], nn.Module], torch.Tensor]] = {
    "linear": (lambda: nn.Linear(64, 96), torch.randn(2, 64)),
    "embedding": (lambda: nn.Embedding(96, 64), torch.arange(4)),
    "one tap": (lambda: nn.Conv1d(64, 96, 1), torch.randn(2, 64, 5)),
    "taps": (lambda: nn.Conv1d(64, 96, 3), torch.randn(2, 64, 5)),
    "part of a stack": (Expert, torch.randn(2, 64)),
    "int8": (_int8, torch.randn(2, 64)),
}


def layers(make: Callable[[], nn.Module]) -> list[nn.Module]:
    """Layers of one shape with weights of very different sizes, hence with tables of their own."""
    found = []
    for number in range(LAYERS):
        torch.manual_seed(number)
        layer = make().requires_grad_(False)
        for weight in layer.parameters():
            weight.mul_(4.0 ** (number - 3))
        config = (
            {"_default": {"minimum_bytes": 0, "formulation": "integer"}}
            if isinstance(layer, tersely.torch.Int8Linear)
            else EVERYTHING
        )
        assert tersely.torch.compress_(layer, objective="size", config=config).compressed
        found.append(layer)
    return found


def compiled(counts: list[int]) -> Any:
    from torch._dynamo.backends.common import aot_autograd

    def backend(graph: Any, examples: Any) -> Any:
        counts.append(1)
        return graph

    torch._dynamo.reset()
    return torch.compile(
        lambda layer, x: torch.relu(layer(x)), backend=aot_autograd(fw_compiler=backend), fullgraph=True
    )


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_one_compilation_serves_all_layers_of_a_shape(kind: str) -> None:
    make, x = KINDS[kind]
    counts: list[int] = []
    block = compiled(counts)
    texts, frames = set(), set()
    with torch.no_grad():
        for layer in layers(make):
            torch.testing.assert_close(block(layer, x), torch.relu(layer(x)))
            weight: Any = next(
                value for value in layer.state_dict(keep_vars=True).values() if hasattr(value, "storage_")
            )
            texts.add(weight.storage_.spec.text)
            frames.add(weight.__tensor_flatten__()[1][0])
    assert len(counts) == len(frames) <= 2  # layers whose codes have other numbers of levels
    assert len(texts) > 2 or kind == "int8"


def test_new_weights_under_one_compilation() -> None:
    counts: list[int] = []
    block, x = compiled(counts), torch.randn(2, 64)
    (layer, *others) = layers(lambda: nn.Linear(64, 96))
    for other in others:
        with torch.no_grad():
            layer.load_state_dict(other.state_dict())
            torch.testing.assert_close(block(layer, x), torch.relu(other(x)))
    assert len(counts) <= 2


def leaf(scale: float = 1.0) -> Coded:
    weight: Any = tersely.torch.encode(torch.randn(96, 64) * scale, formulation="split")
    assert isinstance(weight.storage_, Coded)
    return weight.storage_


def test_frames_hold_what_shapes_follow_from_and_fillings_the_rest() -> None:
    one, other = leaf(), leaf(64.0)
    assert one.spec.text != other.spec.text
    assert one.framed.spec.text == other.framed.spec.text
    assert one.framed.components[-1].shape == other.framed.components[-1].shape
    for whole in (one, other):
        frame, filling = whole.spec.frame, whole.spec.filling()
        assert (frame.shape, frame.dtype, frame.names) == (whole.spec.shape, whole.spec.dtype, whole.spec.names)
        assert frame.filled(filling).document == whole.spec.document
        turned, expected = frame.transposed(), whole.spec.transposed()
        assert turned is not None
        assert expected is not None
        assert turned.filled(filling).document == expected.document


def test_a_filling_that_does_not_fit_is_refused() -> None:
    one = leaf()
    frame = one.spec.frame
    others = [
        tersely.torch.encode(torch.randn(96, 64).half(), formulation="split"),
        tersely.torch.encode(torch.randn(96, 64) * (torch.rand(96, 64) > 0.9), formulation="sparse"),
    ]
    for other in others:
        assert isinstance(other.storage_, Coded)
        with pytest.raises(CorruptError, match="does not fit"):
            frame.filled(other.storage_.spec.filling())
    for bad in (b"", b"{", b"\xff" * 512, b"[]"):
        with pytest.raises(CorruptError):
            frame.filled(np.frombuffer(bad.ljust(512), np.uint8))
    with pytest.raises(CorruptError):
        _ = TensorSpec("{}").frame
