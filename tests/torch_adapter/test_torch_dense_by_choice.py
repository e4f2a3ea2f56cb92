"""Weights that stay dense because codes could only lose, or because their owner writes to them; and what weights take."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from torch import nn
from torch_fixtures import EVERYTHING, Tied, dtype, two_threads

import tersely.torch
from tersely.core.errors import TerselyError
from tersely.torch import TerselyTensor, memory_footprint

REASON = "memory only: decoding comes on top of the convolution; objective='size' codes it"


class OwnKernel(nn.Module):
    """A convolution by a kernel that the module keeps for itself."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(shape) * 0.1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.conv2d(x, self.kernel)


DECODED = {
    "taps": lambda: nn.Conv2d(48, 64, 3),
    "one dimension": lambda: nn.Conv1d(64, 64, 32),  # in shape a stack of matrices
    "three dimensions": lambda: nn.Conv3d(16, 32, 3),
    "groups": lambda: nn.Conv2d(64, 64, 1, groups=2),
    "depthwise": lambda: nn.Conv2d(64, 64, 5, groups=64),
    "padded": lambda: nn.Conv2d(48, 64, 1, padding=1),
    "transposed": lambda: nn.ConvTranspose2d(48, 64, 1),
    "channels last": lambda: nn.Conv2d(48, 64, 3).to(memory_format=torch.channels_last),
    "own kernel": lambda: OwnKernel(48, 32, 3, 3),
}
MULTIPLIED = {
    "one tap": lambda: nn.Conv2d(48, 64, 1, stride=2),
    "one tap, padding by name": lambda: nn.Conv1d(48, 64, 1, padding="same"),
    "own kernel of one tap": lambda: OwnKernel(48, 32, 1, 1),
    "linear": lambda: nn.Linear(48, 64),
}


def weights_of(module: nn.Module) -> list[torch.Tensor]:
    return [weight for weight in module.parameters() if weight.ndim > 1]


@pytest.mark.parametrize("objective", ["balanced", "speed"])
@pytest.mark.parametrize("kind", DECODED)
def test_convolutions_that_only_decode_stay_dense(kind: str, objective: str) -> None:
    module = DECODED[kind]().bfloat16()
    summary = tersely.torch.compress_(module, objective=objective, config=EVERYTHING)
    assert not summary.compressed
    assert REASON in summary.skipped.values()
    assert REASON in str(summary)


@pytest.mark.parametrize("kind", DECODED)
def test_size_and_forms_that_are_named_code_them(kind: str) -> None:
    module = DECODED[kind]().bfloat16()
    summary = tersely.torch.compress_(module, objective="size", config=EVERYTHING)
    (report,) = [report for report in summary.parameters if not report.reason]
    assert report.note == "memory only"
    assert str(summary).splitlines()[0].endswith("memory only")
    tersely.torch.decompress_(module)
    forced = {"_default": {"minimum_bytes": 0, "formulation": "split"}}
    assert tersely.torch.compress_(module, config=forced).compressed
    tersely.torch.decompress_(module)
    assert tersely.torch.compress_(module, config={"_default": {"objective": "size", "minimum_bytes": 0}}).compressed


@pytest.mark.parametrize("kind", MULTIPLIED)
def test_what_products_multiply_is_coded_by_default(kind: str) -> None:
    module = MULTIPLIED[kind]().bfloat16()
    summary = tersely.torch.compress_(module, config=EVERYTHING)
    (report,) = [report for report in summary.parameters if not report.reason]
    assert not report.note


def test_a_budget_takes_matrices_first_and_convolutions_where_it_must() -> None:
    def model() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(64, 64, 3), nn.Flatten(), nn.Linear(192, 192)).bfloat16()

    loose = tersely.torch.compress_(model(), target_bits=14.6, config=EVERYTHING)
    assert loose.compressed == ("2.weight",)
    tight = tersely.torch.compress_(model(), target_bits=12.2, config=EVERYTHING)
    assert tight.compressed == ("0.weight", "2.weight")


def test_lookups_that_decode_say_so() -> None:
    for module in (nn.EmbeddingBag(200, 64), nn.Bilinear(32, 16, 24)):
        summary = tersely.torch.compress_(module, config=EVERYTHING)
        assert [report.note for report in summary.parameters if not report.reason] == ["memory only"]


# -- owners that write to their weight -----------------------------------------------------------------------------------


def _quantised() -> nn.Module:
    from torch.ao.nn.qat import Linear
    from torch.ao.quantization import get_default_qat_qconfig

    return Linear(96, 64, qconfig=get_default_qat_qconfig("x86"))


TOKENS = torch.arange(6).view(2, 3)
OWNERS: dict[str, tuple[Callable[[], nn.Module], torch.Tensor, str]] = {
    "Embedding": (lambda: nn.Embedding(200, 64, max_norm=1.0), TOKENS, "max_norm"),
    "EmbeddingBag": (lambda: nn.EmbeddingBag(200, 64, max_norm=1.0), TOKENS, "max_norm"),
    "spectral_norm": (lambda: nn.utils.spectral_norm(nn.Linear(64, 96)), torch.ones(2, 64), "anew"),
    "weight_norm": (lambda: nn.utils.parametrizations.weight_norm(nn.Linear(64, 96)), torch.ones(2, 64), "anew"),
    "quantisation-aware": (_quantised, torch.ones(2, 96), "anew"),
}


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore:.*reduce_range:UserWarning")
@pytest.mark.parametrize("owner", OWNERS)
def test_weights_that_their_owner_writes_or_computes_stay_dense(owner: str, tmp_path: Path) -> None:
    import copy

    make, x, reason = OWNERS[owner]
    model = nn.Sequential(make()).requires_grad_(False)
    expected = copy.deepcopy(model)(x)
    summary = tersely.torch.compress_(model, objective="size", config=EVERYTHING)
    assert not summary.compressed
    assert any(reason in one for one in summary.skipped.values())
    assert torch.allclose(model(x), expected, atol=1e-6)


def test_a_weight_under_max_norm_is_dense_in_all_its_places_and_after_loading(tmp_path: Path) -> None:
    tied, limited = Tied(), Tied()
    limited.embed.max_norm = 1.0
    assert not tersely.torch.compress_(limited, config=EVERYTHING).compressed
    tied.load_state_dict(limited.state_dict())
    assert tersely.torch.compress_(tied, config=EVERYTHING).compressed
    tersely.torch.save_model(tied, tmp_path / "tied.safetensors")
    tersely.torch.load_model(limited, tmp_path / "tied.safetensors")
    assert type(limited.embed.weight) is nn.Parameter
    assert limited.head.weight is limited.embed.weight
    assert torch.equal(limited.head.weight, tied.head.weight.decode())
    with torch.no_grad():
        limited(TOKENS)


def test_a_limit_that_comes_later_is_refused_by_name() -> None:
    layer = nn.Embedding(200, 64).requires_grad_(False)
    tersely.torch.compress_(layer, config=EVERYTHING)
    layer.max_norm = 0.1
    with pytest.raises(TerselyError, match=r"embedding_renorm_ .*decompress_"):
        layer(TOKENS)


# -- what weights take ---------------------------------------------------------------------------------------------------


def test_memory_footprint_is_that_of_the_codes(dtype: torch.dtype) -> None:
    model = nn.Sequential(nn.Linear(256, 256), nn.BatchNorm1d(256)).to(dtype)
    dense = sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))
    assert memory_footprint(model) == dense
    summary = tersely.torch.compress_(model)
    buffers = sum(buffer.nbytes for buffer in model.buffers())
    assert memory_footprint(model, buffers=False) == summary.bytes_after
    assert memory_footprint(model) == summary.bytes_after + buffers < dense
    assert sum(weight.nbytes for weight in model.parameters()) + buffers == dense  # elements, as torch counts them


def test_memory_that_is_shared_counts_once() -> None:
    model = Tied()
    tersely.torch.compress_(model, config=EVERYTHING)
    once = memory_footprint(model)
    twin: Any = model.head.weight.clone()  # other weights over the same codes
    assert isinstance(twin, TerselyTensor)
    model.head.weight = nn.Parameter(twin, requires_grad=False)
    assert memory_footprint(model) == once
    assert memory_footprint(nn.Linear(8, 8, device="meta")) == 288


def test_models_of_transformers_tell_it_themselves() -> None:
    transformers = pytest.importorskip("transformers", reason="needs transformers")
    config = transformers.GPT2Config(n_layer=1, n_embd=64, n_head=2, vocab_size=300, n_positions=32)
    model = transformers.GPT2LMHeadModel(config).eval()
    dense = model.get_memory_footprint()
    tersely.torch.compress_(model, config=EVERYTHING)
    assert model.get_memory_footprint() == memory_footprint(model) < dense
    assert model.get_memory_footprint(return_buffers=False) == memory_footprint(model, buffers=False)
    tersely.torch.decompress_(model)
    assert model.get_memory_footprint() == dense
