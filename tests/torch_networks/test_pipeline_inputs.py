"""What a pipeline of a model is handed: plain tensors of the CPU, and a clear word about everything else."""

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


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Conv2d(3, 32, 3), nn.ReLU()).eval()


X = torch.randn(2, 3, 9, 8, generator=torch.Generator().manual_seed(1))


def test_strides_gradients_and_empty_batches(model: nn.Module) -> None:
    pipe = tersely.torch.pipeline(model, (X,))
    expected = pipe(X)
    for x in (X.to(memory_format=torch.channels_last), X.clone().requires_grad_(), X.repeat_interleave(2, 3)[..., ::2]):
        found = pipe(x)
        assert torch.equal(found, expected)
        assert not found.requires_grad
    assert pipe(X[:0]).shape == (0, 32, 7, 6)
    assert torch.equal(pipe(input=X), expected)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (X.numpy(), "takes tensors"),
        (X.to("meta"), "an input is meta"),
        (X.to_sparse(), "an input is torch.sparse_coo"),
    ],
)
def test_what_is_no_tensor_of_the_cpu(given: Any, sentence: str, model: nn.Module) -> None:
    pipe = tersely.torch.pipeline(model, (X,))
    for call in (pipe, pipe.profile, lambda x: tersely.torch.pipeline(model, (x,))):
        with pytest.raises(ArgumentError, match=sentence):
            call(given)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.complex64, torch.int32])
def test_dtypes_that_the_model_refuses_are_refused(dtype: torch.dtype, model: nn.Module) -> None:
    """In torch's words, which name both dtypes: a pipeline takes what its model takes."""
    pipe = tersely.torch.pipeline(model, (X,))
    with pytest.raises(RuntimeError, match="should be the same"):
        model(X.to(dtype))
    with pytest.raises(RuntimeError, match="should be the same"):
        pipe(X.to(dtype))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_models_of_other_dtypes_stay_in_torch(dtype: torch.dtype, model: nn.Module) -> None:
    pipe = tersely.torch.pipeline(model.to(dtype), (X.to(dtype),))
    assert all(str(dtype) in reason or "no tensor of" in reason for reason in pipe.left.values())
    with torch.no_grad():
        assert torch.equal(pipe(X.to(dtype)), model(X.to(dtype)))


def test_a_model_without_weights_in_memory_is_refused() -> None:
    with pytest.raises(ArgumentError, match="'weight' of the model is on meta"):
        tersely.torch.pipeline(nn.Conv2d(3, 32, 3, device="meta").eval(), (X,))


def test_a_saved_pipeline_takes_tensors_too(model: nn.Module, tmp_path: Path) -> None:
    pipe = tersely.torch.pipeline(model, (X,))
    pipe.save(tmp_path / "net.safetensors")
    opened = tersely.load_pipeline(tmp_path / "net.safetensors")
    (found,) = opened.run(X)
    np.testing.assert_array_equal(found, pipe(X).numpy())
    for x in (X.to("meta"), X.clone().requires_grad_(), X.bfloat16()):
        with pytest.raises(ArgumentError, match=r"no array in memory .*: give a NumPy array"):
            opened.run(x)
