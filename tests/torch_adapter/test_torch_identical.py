"""Mode "identical" gives the bits of the dense model wherever its weights lay in memory, by every way of loading."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn
from torch_fixtures import EVERYTHING, two_threads

import tersely
import tersely.torch
from tersely.torch import TerselyTensor
from tersely.torch.weight.placement import LINE, laid_at, residue_of

BATCHES = (1, 2, 3, 4, 8, 16, 64)
RESIDUES = (0, 8, 16, 24, 40, 56)


class Net(nn.Module):
    """One layer of each kind that reads its weight where it lies."""

    def __init__(self, dtype: Any = torch.float32) -> None:
        super().__init__()
        self.embed = nn.Embedding(96, 130)
        self.up = nn.Linear(130, 260, bias=False)
        self.turned = nn.Parameter(
            torch.randn(260, 70) * 0.05
        )  # multiplied from the right, as Conv1D of transformers is
        self.conv = nn.Conv2d(1, 24, 3, padding=1, bias=False)
        self.wide = nn.Conv2d(24, 24, 3, bias=False).to(memory_format=torch.channels_last)
        self.point = nn.Conv2d(24, 40, 1, bias=False)
        self.to(dtype).requires_grad_(False)

    def forward(self, ids: Tensor) -> list[Tensor]:
        hidden = self.up(self.embed(ids))
        right = hidden @ self.turned
        image = self.conv(right.reshape(-1, 1, 7, 10))
        return [hidden, right, image, self.wide(image), self.point(image)]


def moved(model: nn.Module, residue: int) -> nn.Module:
    """A copy of which every weight lies at a residue."""
    model = copy.deepcopy(model)
    for parameter in model.parameters():
        parameter.data = laid_at(parameter.detach().clone(memory_format=torch.preserve_format), residue)
        assert residue_of(parameter) == residue
    return model


def equal(model: nn.Module, dense: nn.Module, batches: Any = BATCHES) -> None:
    for batch in batches:
        ids = torch.arange(batch) % 96
        for number, (found, expected) in enumerate(zip(model(ids), dense(ids), strict=True)):
            assert torch.equal(found, expected), (batch, number)


@pytest.fixture(params=["no_grad", "inference_mode"], autouse=True)
def without_gradients(request: pytest.FixtureRequest) -> Iterator[None]:
    with getattr(torch, request.param)():
        yield


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("residue", RESIDUES)
def test_compressed_in_memory(residue: int, dtype: Any) -> None:
    dense = moved(Net(dtype), residue)
    model = moved(dense, residue)
    tersely.torch.compress_(model, mode="identical", config=EVERYTHING)
    equal(model, dense)
    for name, parameter in model.named_parameters():
        found = parameter.decode() if isinstance(parameter, TerselyTensor) else parameter
        assert residue_of(found) == residue, name
        assert found.stride() == dense.get_parameter(name).stride(), name


@pytest.mark.filterwarnings("ignore:.*have codes that are slower:UserWarning")
@pytest.mark.parametrize("length", [0, 8, 24, 56])
def test_loaded_from_files(length: int, tmp_path: Path) -> None:
    """Dense weights as safetensors maps them; compressed ones by `tersely compress`, by save_model, by pickles."""
    original, small, saved = (tmp_path / f"{name}.safetensors" for name in ("original", "small", "saved"))
    safetensors.torch.save_file(
        {name: tensor.contiguous() for name, tensor in Net().state_dict().items()}, original, {"note": "x" * length}
    )
    dense = Net()
    dense.load_state_dict(safetensors.torch.load_file(original), assign=True)
    tersely.compress(original, small, objective="size")
    packed = Net()
    tersely.torch.load_model(packed, small, mode="identical")
    equal(packed, dense, (1, 3, 16))
    tersely.torch.save_model(packed, saved)
    again = Net()
    tersely.torch.load_model(again, saved, mode="identical")
    equal(again, dense, (1, 3))
    torch.save(packed.state_dict(), tmp_path / "saved.pt")
    again.load_state_dict(torch.load(tmp_path / "saved.pt", weights_only=True), assign=True)
    equal(again, dense, (1, 3))


def test_new_weights_lie_where_the_old_ones_did() -> None:
    dense = moved(Net(), 8)
    model = moved(dense, 8)
    tersely.torch.compress_(model, mode="identical", config=EVERYTHING)
    fresh = Net()
    model.load_state_dict(fresh.state_dict())
    dense.load_state_dict(fresh.state_dict())
    equal(model, dense, (1, 3))


def test_parts_lie_where_they_lie_in_the_whole() -> None:
    dense = laid_at(torch.randn(6, 33, 50), 24)
    w = tersely.torch.encode(dense, mode="identical", formulation="split")
    for one, other in zip([w[2], w[1:4], w[3][5:9]], [dense[2], dense[1:4], dense[3][5:9]], strict=True):
        assert torch.equal(one + 0, other)
    for place in range(6):
        assert residue_of(w[place].decode()) == residue_of(dense[place])
        x = torch.randn(1, 50)
        assert torch.equal(nn.functional.linear(x, w[place]), nn.functional.linear(x, dense[place]))


def test_memory_that_no_weight_can_lie_at_is_not_asked_for() -> None:
    assert residue_of(laid_at(torch.ones(3), 2)) % 4 == 0
    assert laid_at(torch.ones(0), 8).numel() == 0
    assert all(0 <= residue_of(laid_at(torch.ones(3, dtype=torch.bfloat16), residue)) < LINE for residue in range(LINE))
