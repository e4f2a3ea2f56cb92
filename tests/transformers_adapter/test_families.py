"""Every family: compressed folder -> from_pretrained -> the dense model's answers -> save_pretrained -> again.

Mode "identical": equal to the bit, equal greedy tokens. Mode "fused": another order of summing up, so within `BOUNDS` of
the largest answer.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from families import FAMILIES, answer, greedy
from model_fixtures import folders, one_thread

from tersely.torch import TerselyTensor

BOUNDS = {torch.float32: 1e-5, torch.bfloat16: 3e-2}
DTYPES = pytest.mark.parametrize("dtype", BOUNDS, ids=["float32", "bfloat16"])
EACH = pytest.mark.parametrize("name", FAMILIES)
pytestmark = pytest.mark.filterwarnings("ignore:You passed `quantization_config`:UserWarning")


def compressed(model: torch.nn.Module) -> list[str]:
    return [name for name, weight in model.named_parameters() if isinstance(weight, TerselyTensor)]


def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    a, b = (tensor.contiguous().view(-1).view(torch.uint8) for tensor in (a, b))
    return torch.equal(a, b)


@DTYPES
@EACH
def test_identical_mode_gives_the_dense_bits(name: str, dtype: torch.dtype, folders: Callable) -> None:
    here = folders(name, dtype)
    dense, model = here.load(here.dense), here.load(here.packed, mode="identical")
    assert compressed(model)
    for under in (torch.no_grad, torch.inference_mode):
        assert torch.equal(answer(name, model, under), answer(name, dense, under)), under
    if FAMILIES[name].generates:
        assert torch.equal(greedy(name, model), greedy(name, dense))


@DTYPES
@EACH
def test_fused_mode_stays_close_and_saves_what_it_loaded(
    name: str, dtype: torch.dtype, folders: Callable, tmp_path: Path
) -> None:
    here = folders(name, dtype)
    dense, model = here.load(here.dense), here.load(here.packed)
    expected, found = answer(name, dense), answer(name, model)
    error = (expected.float() - found.float()).abs().max() / expected.float().abs().max()
    assert error <= BOUNDS[dtype]
    assert torch.equal(answer(name, model, torch.inference_mode), found)
    if FAMILIES[name].generates:
        assert greedy(name, model).shape == greedy(name, dense).shape
    model.save_pretrained(tmp_path / "again")
    again = here.load(tmp_path / "again")
    assert compressed(again) == compressed(model)
    assert torch.equal(answer(name, again), found)
    bits = {key: value.detach() for key, value in dense.state_dict().items()}
    for key, value in again.state_dict().items():
        given = value.decode() if isinstance(value, TerselyTensor) else value
        assert given.dtype == bits[key].dtype
        assert same_bits(given, bits[key]), key
