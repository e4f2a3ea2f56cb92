"""What the executor does not have stays in torch; and torch.compile finds the backend by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.arrays import needs_native
from torch import nn

import tersely
import tersely.torch
from tersely.core.errors import ArgumentError

pytestmark = needs_native


class Mixed(nn.Module):
    """A convolution, a sum that no executor of ours has, a convolution and a product."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32)
        self.second, self.last = nn.Conv2d(32, 48, 3), nn.Linear(48, 7)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = torch.logcumsumexp(torch.relu(self.norm(self.first(x))), 1)
        y = torch.relu(self.second(y))
        return self.last(y.mean((2, 3))), y


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(3)
    torch._dynamo.reset()
    return Mixed().eval()


def images(count: int) -> torch.Tensor:
    return torch.randn(count, 3, 12, 10, generator=torch.Generator().manual_seed(count))


def check(found: Any, expected: Any) -> None:
    for one, other in zip(found, expected, strict=True):
        assert not one.requires_grad
        torch.testing.assert_close(one, other.detach(), rtol=1e-5, atol=1e-5)


def test_pieces_and_what_is_between_them(model: nn.Module, tmp_path: Path) -> None:
    pipe = tersely.torch.pipeline(model, (images(2),))
    check(pipe(images(2)), model(images(2)))
    assert list(pipe.left) == ["logcumsumexp"]
    assert "logcumsumexp" in repr(pipe)
    for done in (lambda: pipe.save(tmp_path / "net.safetensors"), lambda: pipe.profile(images(2))):
        with pytest.raises(ArgumentError, match="parts that torch runs cannot be .*aten.logcumsumexp"):
            done()
    assert not list(tmp_path.iterdir())


class Repeated(nn.Module):
    """Sums of a convolution with what has one pixel, from either side, and with what is computed after it."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.one = nn.Conv2d(3, 32, 3, padding=1), nn.Conv2d(3, 32, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        y = self.wide(x)
        first = torch.relu(y + self.one(x.mean((2, 3), keepdim=True)))
        second = self.one(x.amax((2, 3), keepdim=True)) + self.wide(torch.sigmoid(x))
        third = self.wide(x * x)
        return first, second, torch.relu(third + torch.tanh(first))


class _Named(nn.Module):
    """Takes and gives back what is no single tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(8, 8)

    def forward(self, pair: tuple[torch.Tensor, torch.Tensor], *, last: torch.Tensor) -> dict[str, torch.Tensor]:
        first, second = pair
        y = self.a(second)
        return {"sum": y + last, "first": self.a(first) * y}


def test_a_model_that_is_one_piece_is_run_past_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = [torch.randn(3, 8) for _ in range(3)]
    cases: list[tuple[nn.Module, tuple[Any, ...], dict[str, Any]]] = [
        (nn.Sequential(nn.Linear(8, 8), nn.ReLU()), (tensors[0],), {}),
        (_LaterFirst(), (tensors[0],), {}),
        (_Twice(), (tensors[0],), {}),
        (_Named(), ((tensors[0], tensors[1]),), {"last": tensors[2]}),
    ]
    for model, inputs, named in cases:
        pipe = tersely.torch.pipeline(model.eval(), inputs, example_kwargs=named)
        with torch.no_grad():
            expected = model(*inputs, **named)

        def interpreted(*_: Any, **__: Any) -> Any:
            raise AssertionError("torch interprets a graph of one call")

        monkeypatch.setattr(type(pipe._partitioned.module), "forward", interpreted)
        for _ in range(2):  # the second call is known by its shapes
            torch.testing.assert_close(pipe(*inputs, **named), expected)
    passing = tersely.torch.pipeline(_PassedOn().eval(), (tensors[0],))
    monkeypatch.setattr(type(passing._partitioned.module), "forward", interpreted)
    with pytest.raises(AssertionError, match="interprets"):  # what cannot be is still torch's
        passing(tensors[0])


def test_sums_that_repeat_an_operand_are_no_residuals() -> None:
    torch.manual_seed(4)
    model = Repeated().eval()
    check(tersely.torch.pipeline(model, (images(2),))(images(2)), model(images(2)))


def test_the_model_is_left_as_it_is(model: nn.Module) -> None:
    before = {name: one.clone() for name, one in model.state_dict().items()}
    tersely.torch.pipeline(model, (images(1),))(images(1))
    assert all(torch.equal(one, before[name]) for name, one in model.state_dict().items())


def test_whole_networks_run_without_torch(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 32, 3)).eval()
    pipe = tersely.torch.pipeline(model, (images(1),))
    pipe.save(tmp_path / "net.safetensors")
    loaded = tersely.load_pipeline(tmp_path / "net.safetensors")
    for count in (1, 3):
        np.testing.assert_array_equal(loaded.run(images(count).numpy())[0], pipe(images(count)).numpy())
    assert loaded.graph.examples == {"input": (1, 3, 12, 10)} or list(loaded.graph.examples.values()) == [
        (1, 3, 12, 10)
    ]


def test_a_pipeline_is_of_the_model_as_it_was(model: nn.Module) -> None:
    """New shapes are exported again: old weights beside new biases would be nobody's model."""
    pipe = tersely.torch.pipeline(model, (images(2),))
    before = pipe(images(2))
    with torch.no_grad():
        model.last.bias.add_(1)  # type: ignore[union-attr,operator]
    check(pipe(images(2)), before)
    with pytest.raises(ArgumentError, match="'last.bias' of the model was changed"):
        pipe(images(3))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_the_backend_of_torch_compile(model: nn.Module, mode: Any) -> None:
    compiled = torch.compile(model, backend="tersely")
    with mode():
        for count in (2, 3, 2, 5):
            check(compiled(images(count)), model(images(count)))


def test_the_backend_sees_what_is_written_to_a_weight(model: nn.Module) -> None:
    compiled = torch.compile(model, backend="tersely")
    with torch.no_grad():
        compiled(images(1))
        model.second.weight.mul_(3)  # type: ignore[union-attr]
        check(compiled(images(1)), model(images(1)))


def test_gradients_are_torchs(model: nn.Module) -> None:
    compiled = torch.compile(model, backend="tersely")
    compiled(images(1))[0].sum().backward()
    found = model.first.weight.grad.clone()  # type: ignore[union-attr]
    model.zero_grad()
    model(images(1))[0].sum().backward()
    torch.testing.assert_close(found, model.first.weight.grad)  # type: ignore[union-attr]


def test_options_of_the_backend(model: nn.Module) -> None:
    compiled = torch.compile(model, backend="tersely", options={"objective": "size"})
    with torch.no_grad():
        check(compiled(images(1)), model(images(1)))
        torch._dynamo.reset()
        with pytest.raises(Exception, match="backend tersely takes options"):
            torch.compile(model, backend="tersely", options={"level": 3})(images(1))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: (Mixed(), (images(1),)), "training mode"),
        (lambda: (len, (images(1),)), "torch.nn.Module"),
    ],
)
def test_what_is_refused(make: Any, sentence: str) -> None:
    with pytest.raises(ArgumentError, match=sentence):
        tersely.torch.pipeline(*make())


class _LaterFirst(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        first = self.a(x)
        return self.b(first), first


def test_a_saved_pipeline_gives_outputs_in_the_model_s_order(tmp_path: Path) -> None:
    model, x = _LaterFirst().eval(), torch.randn(2, 8)
    made = tersely.torch.pipeline(model, (x,))
    made.save(tmp_path / "model.safetensors")
    found = tersely.load_pipeline(tmp_path / "model.safetensors").run(x.numpy())
    for one, other in zip(found, model(x), strict=True):
        np.testing.assert_allclose(one, other.detach().numpy(), atol=1e-5)


class _Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = self.a(x)
        return y, y


class _PassedOn(_Twice):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.a(x), x


@pytest.mark.parametrize("made", [_Twice, _PassedOn])
def test_outputs_that_torch_gives_back_are_right_and_not_saved(made: type[nn.Module], tmp_path: Path) -> None:
    model, x = made().eval(), torch.randn(2, 8)
    pipe = tersely.torch.pipeline(model, (x,))
    for one, other in zip(pipe(x), model(x), strict=True):
        torch.testing.assert_close(one, other)
    with pytest.raises(ArgumentError, match="rearranged by torch"):
        pipe.save(tmp_path / "model.safetensors")
    assert not list(tmp_path.iterdir())
