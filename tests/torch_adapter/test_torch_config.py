"""`config=` of compress_: everything of a formulation can be asked for, and nothing changes where it cannot be had."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import prune
from torch_fixtures import two_threads

import tersely.torch
from tersely.core.errors import ArgumentError, TerselyError
from tersely.torch import TerselyTensor


def network() -> nn.Sequential:
    torch.manual_seed(2)
    model = nn.Sequential(nn.Linear(128, 256), nn.ReLU(), nn.Linear(256, 128))
    with torch.no_grad():
        model[0].weight[torch.rand(256, 128) < 0.9] = 0
    return model


def unchanged(model: nn.Sequential, before: dict[str, Any]) -> bool:
    """The same objects, and not only the same values."""
    now = dict(model.named_parameters())
    return list(now) == list(before) and all(now[name] is kept for name, kept in before.items())


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"0": 5}, "config for '0': settings are None, an objective or a mapping, not 5"),
        ({"re:[": "size"}, r"config: 're:\[' is no regular expression"),
        ({7: "size"}, "config: names are text, not 7"),
        ({"0": {"minimum_bytes": "x"}}, "config for '0': minimum_bytes must be a number of at least 0, not 'x'"),
        ({"0": {"minimum_bytes": -1}}, "config for '0': minimum_bytes"),
        ({"0": "best"}, "config for '0': unknown objective 'best': use one of size"),
        ({"0": {"objective": ["size"]}}, "config for '0': unknown objective"),
        ({"0": {"mode": "fast"}}, "config for '0': unknown mode 'fast'"),
        ({"0": {"formulation": "what"}}, "config for '0': unknown formulation 'what': use one of dense"),
        ({"0": {"code": "packed"}}, "config for '0': unknown setting 'code'.*formulation"),
        ({"0": {"formulation": "split", "threads": 1}}, "config for '0': unknown setting 'threads'"),
        ({"0": {"formulation": "split", "view": "round"}}, "config for '0': unknown view 'round'"),
        ({"nope": "size"}, "config: 'nope' is neither a parameter nor a module"),
        ({"0.weigth": "size"}, "did you mean '0.weight'"),
        ({"2": {"formulation": "palette"}}, "config for '2.weight': palette holds at most 256"),
        ({"2": {"formulation": "split", "code": "what"}}, "config for '2.weight'"),
        ({"2": {"formulation": "split", "positions": "gaps"}}, "config for '2.weight'.*'positions'"),
        ({"2": {"formulation": "integer"}}, "config for '2.weight': formulation 'integer' codes"),
        ([("0", "size")], "config must be a mapping"),
    ],
    ids=str,
)
@pytest.mark.parametrize("target_bits", [None, 30])
def test_what_cannot_be_meant_is_refused_by_name_and_nothing_changes(
    config: Any, words: str, target_bits: float | None
) -> None:
    model = network()
    before = dict(model.named_parameters())
    with pytest.raises(ArgumentError, match=words):
        tersely.torch.compress_(model, config=config, target_bits=target_bits)
    assert unchanged(model, before)


@pytest.mark.parametrize(
    ("options", "description"),
    [
        ({"formulation": "sparse", "positions": "gaps"}, "sparse gaps"),
        ({"formulation": "sparse", "positions": "elias_fano"}, "sparse elias_fano"),
        ({"formulation": "sparse", "positions": "bitmap", "values": "split", "code": "packed"}, "split packed"),
        ({"formulation": "split", "code": "packed", "bits": 4}, "split packed(4)"),
        ({"formulation": "split", "view": "folded"}, "split"),
        ({"formulation": "block_sparse", "block": "row"}, "block_sparse"),
    ],
    ids=str,
)
def test_every_parameter_of_a_formulation(options: dict[str, Any], description: str) -> None:
    model = network()
    dense = model[0].weight.detach().clone()
    tersely.torch.compress_(model, config={"0.weight": options, "2": None})
    weight = model[0].weight
    assert isinstance(weight, TerselyTensor)
    assert description in weight.formulation
    assert torch.equal(weight.decode(), dense)
    if "view" in options:
        assert weight.storage_.coded_tensor.geometry.view == "folded"


def test_grids_and_groups_of_columns() -> None:
    model = nn.Sequential(nn.Linear(128, 256))
    with torch.no_grad():
        model[0].weight.copy_((torch.randn(256, 128) * 2).round().clamp(-7, 7) / 8 + 0.0)
    for options, word in (
        ({"formulation": "palette", "code": "grid"}, "scale"),
        ({"formulation": "affine", "columns": 64}, "columns"),
    ):
        tersely.torch.compress_(model, config={"0": options})
        coded = model[0].weight.storage_.coded_tensor
        assert coded.formulation == options["formulation"]
        assert coded.parameters[word] == options.get(word, coded.parameters[word])
        tersely.torch.decompress_(model)


def test_names_of_ties_and_of_masks() -> None:
    tied = nn.ModuleDict({"embed": nn.Embedding(512, 64), "head": nn.Linear(64, 512, bias=False)})
    tied["head"].weight = tied["embed"].weight
    with pytest.raises(ArgumentError, match="'head' has is tied to 'embed.weight'"):
        tersely.torch.compress_(tied, config={"head": "size"})
    assert tersely.torch.compress_(tied, config={"embed": {"minimum_bytes": 0}}).compressed == ("embed.weight",)
    model = network()
    prune.l1_unstructured(model[2], "weight", amount=0.9)
    tersely.torch.compress_(model, config={"2.weight": {"formulation": "sparse", "positions": "gaps"}, "0": None})
    assert "sparse gaps" in model[2].weight.formulation
    alone = nn.Linear(256, 256)
    assert tersely.torch.compress_(alone, config={"": "size"}).compressed == ("weight",)
    assert not tersely.torch.compress_(nn.ReLU(), config={"re:nothing": "size"}).parameters


@pytest.mark.parametrize("way", ["target_bits", "config"])
def test_errors_leave_masks_where_they_were(way: str) -> None:
    model = network()
    prune.l1_unstructured(model[0], "weight", amount=0.5)
    prune.random_unstructured(model[0], "bias", amount=0.5)
    prune.l1_unstructured(model[2], "weight", amount=0.5)
    prune.l1_unstructured(model[2], "weight", amount=0.5)
    before, buffers = dict(model.named_parameters()), dict(model.named_buffers())
    values = {name: parameter.detach().clone() for name, parameter in before.items()}
    x = torch.randn(3, 128)
    expected = model(x)
    masked, hooks = model[0].weight, [list(layer._forward_pre_hooks) for layer in model]
    arguments: dict[str, Any] = {
        "target_bits": {"target_bits": 0.5},
        "config": {"config": {"2.weight": {"formulation": "affine"}}},
    }[way]
    with pytest.raises(TerselyError, match=r"cannot be reached|config for '2\.weight': affine"):
        tersely.torch.compress_(model, **arguments)
    assert unchanged(model, before)
    assert all(torch.equal(before[name], value) for name, value in values.items())
    assert all(one is other for one, other in zip(model.buffers(), buffers.values(), strict=True))
    assert [list(layer._forward_pre_hooks) for layer in model] == hooks
    assert model[0].weight is masked
    assert torch.equal(model(x), expected)
    model(x).sum().backward()  # masks still take part in gradients
    assert (model[0].weight_orig.grad[model[0].weight_mask == 0] == 0).all()
    model.zero_grad()
    assert tersely.torch.compress_(model).folded == ("0.weight", "0.bias", "2.weight")
