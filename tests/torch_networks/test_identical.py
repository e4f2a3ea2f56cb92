"""Mode "identical": the bits of the model as it was, from compressed weights; and Winograd's method as a choice."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.arrays import needs_native, same_bits
from torch import nn

import tersely
import tersely.torch
from tersely.core.errors import ArgumentError
from tersely.torch.networks import dynamo

pytestmark = needs_native


def convolutions() -> nn.Module:
    layers = [nn.Conv2d(3, 64, 3, padding=1), nn.BatchNorm2d(64), nn.SiLU(), nn.Conv2d(64, 64, 3, padding=1)]
    return nn.Sequential(*layers, nn.GELU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 300))


def tokens() -> nn.Module:
    return nn.TransformerEncoderLayer(128, 4, 512, batch_first=True)


MODELS = {
    "convolutions": (convolutions, (2, 3, 20, 20), (1, 3, 33, 24)),
    "channels last": (lambda: convolutions().to(memory_format=torch.channels_last), (2, 3, 20, 20), (1, 3, 33, 24)),
    "tokens": (tokens, (2, 9, 128), (1, 17, 128)),
}


def made(name: str) -> tuple[nn.Module, list[torch.Tensor]]:
    torch.manual_seed(2)
    make, *shapes = MODELS[name]
    return make().eval(), [torch.randn(shape) for shape in shapes]


@pytest.mark.parametrize("objective", ["size", "balanced"])
@pytest.mark.parametrize("name", MODELS)
def test_results_have_the_bits_of_the_model(name: str, objective: Any) -> None:
    model, inputs = made(name)
    before = {key: one.clone() for key, one in model.state_dict().items()}
    pipe = tersely.torch.pipeline(model, (inputs[0],), objective, mode="identical")
    for x in inputs:
        with torch.no_grad():
            assert same_bits(pipe(x).numpy(), model(x).numpy())
        assert not pipe(x).requires_grad
    plain, held = pipe.weight_bytes
    assert held < 0.95 * plain
    assert "torch's operators" in repr(pipe)
    assert all(torch.equal(one, before[key]) for key, one in model.state_dict().items())


def test_it_is_of_the_model_as_it_was() -> None:
    model, (x, _) = made("tokens")
    pipe = tersely.torch.pipeline(model, (x,), mode="identical")
    with torch.no_grad():
        expected = model(x)
        for one in model.parameters():
            one.mul_(2)
    assert torch.equal(pipe(x), expected)


def test_what_has_no_program_cannot_be_saved_or_profiled(tmp_path: Path) -> None:
    model, (x, _) = made("tokens")
    pipe = tersely.torch.pipeline(model, (x,), mode="identical")
    for done in (lambda: pipe.save(tmp_path / "net"), lambda: pipe.profile(x), lambda: pipe.graph):
        with pytest.raises(ArgumentError, match="in mode 'identical' torch runs every operator"):
            done()


def test_a_model_that_cannot_be_copied_is_refused() -> None:
    class Kept(nn.Linear):
        def __deepcopy__(self, memo: object) -> None:
            raise RuntimeError("not me")

    with pytest.raises(ArgumentError, match="cannot be copied"):
        tersely.torch.pipeline(Kept(4, 4).eval(), (torch.ones(1, 4),), mode="identical")


@pytest.mark.parametrize("given", [{"mode": "exact"}, {"objective": "fast"}])
def test_modes_and_objectives_that_there_are_not(given: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError, match="use one of"):
        tersely.torch.pipeline(nn.Linear(4, 4).eval(), (torch.ones(1, 4),), **given)


@pytest.mark.parametrize("name", MODELS)
def test_compiled_too(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch._dynamo.reset()
    coded: list[object] = []
    encode = dynamo.coded_parameter
    monkeypatch.setattr(dynamo, "coded_parameter", lambda *given: coded.append(given) or encode(*given))
    model, inputs = made(name)
    fast = torch.compile(model, backend="tersely", options={"mode": "identical"})
    exact = torch.compile(copy.deepcopy(model), backend="eager")
    with torch.inference_mode():
        for x in inputs:
            assert same_bits(fast(x).numpy(), exact(x).numpy())
    assert len(coded) == len(list(model.parameters()))  # once, whatever the shapes
    with torch.no_grad():
        next(model.parameters()).mul_(2)
    with torch.inference_mode():
        assert same_bits(fast(inputs[0]).numpy(), model(inputs[0]).numpy())
    assert len(coded) == len(list(model.parameters())) + 1


def steps(program: Any) -> list[str]:
    return [step.get("method", "direct") for step in program.steps if step["operator"] == "convolution"]


def test_winograd_is_a_choice_that_files_do_not_hold(tmp_path: Path) -> None:
    torch.manual_seed(2)
    model, x = nn.Conv2d(32, 32, 3, padding=1).eval(), torch.randn(1, 32, 24, 24)
    with torch.no_grad():
        exact = model.double()(x.double())
    model.float()
    shape = tuple(x.shape)
    for winograd, expected in ((True, "winograd"), (False, "direct")):
        pipe = tersely.torch.pipeline(model, (x,), winograd=winograd)
        assert steps(pipe._whole("seen").program(shape)) == [expected]
        torch.testing.assert_close(pipe(x).double(), exact, rtol=0, atol=1e-5)
        pipe.save(tmp_path / f"{expected}.safetensors")
        for again in (True, False):
            opened = tersely.load_pipeline(tmp_path / f"{expected}.safetensors", winograd=again)
            assert steps(opened.program(shape)) == ["winograd" if again else "direct"]
            if again == winograd:
                np.testing.assert_array_equal(opened.run(x.numpy())[0], pipe(x).numpy())
    torch._dynamo.reset()
    direct = tersely.torch.pipeline(model, (x,), winograd=False)
    with torch.inference_mode():
        found = torch.compile(model, backend="tersely", options={"winograd": False})(x)
    assert torch.equal(found, direct(x))
