"""`compress_(target_bits=)`: within the limit, faster codes where there is room, refusals that name what can be had."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch_fixtures import EVERYTHING

import tersely.torch
from tersely.core.errors import ArgumentError, TerselyError
from tersely.torch import Int8Linear, Summary


def network() -> nn.Sequential:
    torch.manual_seed(5)
    model = nn.Sequential(nn.Linear(512, 512), nn.Linear(512, 512, bias=False), nn.Linear(512, 256)).bfloat16()
    with torch.no_grad():
        for layer in model:
            layer.weight.normal_(std=0.02)
        model[1].weight[torch.rand(512, 512) < 0.8] = 0
    return model


def bits(model: nn.Module, summary: Summary) -> float:
    return summary.bytes_after * 8 / sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("target", [8.6, 9, 10, 12, 17])
def test_all_parameters_together_keep_to_the_limit(target: float) -> None:
    model = network()
    weights = [parameter.detach().clone() for parameter in model.parameters()]
    summary = tersely.torch.compress_(model, target_bits=target, profile="avx512")
    assert bits(model, summary) <= target
    assert summary.bytes_after == sum(
        getattr(parameter, "nbytes_stored", parameter.nbytes) for parameter in model.parameters()
    )
    tersely.torch.decompress_(model)
    for before, after in zip(weights, model.parameters(), strict=True):
        assert torch.equal(before.view(torch.int16), after.detach().view(torch.int16))


def test_more_room_goes_to_speed() -> None:
    """The smallest codes where nothing else fits; codes that multiply fast where there is room for them."""
    sizes = {}
    for objective in ("size", "speed"):
        model = network()
        sizes[objective] = bits(model, tersely.torch.compress_(model, objective=objective, profile="avx512"))
    assert sizes["size"] < sizes["speed"]
    tight, roomy = network(), network()
    summary = tersely.torch.compress_(tight, target_bits=sizes["size"] + 0.001, profile="avx512")
    assert bits(tight, summary) <= sizes["size"] + 0.001
    tersely.torch.compress_(roomy, target_bits=sizes["speed"] + 0.001, profile="avx512")
    assert [layer.weight.formulation for layer in tight] != [layer.weight.formulation for layer in roomy]


def test_unreachable_limits_are_refused_and_nothing_changes() -> None:
    model = network()
    with pytest.raises(
        TerselyError, match=r"6 bits per weight cannot be reached: the smallest codes take (\d+\.\d+)"
    ) as told:
        tersely.torch.compress_(model, target_bits=6)
    assert all(type(parameter) is nn.Parameter for parameter in model.parameters())
    fewest = float(str(told.value).split("take ")[1].split(",")[0])
    summary = tersely.torch.compress_(model, target_bits=fewest)
    assert bits(model, summary) <= fewest
    for wrong in (0, -1, "8", True, float("inf"), float("nan")):
        with pytest.raises(ArgumentError, match="`target_bits` must be a number above 0"):
            tersely.torch.compress_(network(), target_bits=wrong)


def test_what_config_names_keeps_it() -> None:
    model = network()
    config = {"0": {"formulation": "split", "code": "packed"}, "1": "size", "2": None}
    summary = tersely.torch.compress_(model, target_bits=12, config=config)
    assert model[0].weight.formulation == "split packed(4)"
    assert model[1].weight.formulation.startswith("sparse")
    assert summary.skipped["2.weight"] == "left dense by config"
    assert bits(model, summary) <= 12
    with pytest.raises(ArgumentError, match=r"config for '0': unknown formulation"):
        tersely.torch.compress_(network(), target_bits=12, config={"0": {"formulation": "what"}})


def test_other_layouts_and_int8_weights() -> None:
    turned = nn.Linear(256, 256).bfloat16()
    turned.weight = nn.Parameter((torch.randn(256, 256) * 0.02).bfloat16().t())
    images = nn.Conv2d(32, 32, 3).to(memory_format=torch.channels_last)
    whole = Int8Linear(256, 256)
    whole.weight = (torch.randn(256, 256) * 5).round().to(torch.int8)
    model = nn.ModuleDict({"turned": turned, "images": images, "whole": whole})
    before = copy.deepcopy(model)
    summary = tersely.torch.compress_(model, target_bits=15, config=EVERYTHING)
    assert {"turned.weight", "whole.weight"} <= set(summary.compressed)
    tersely.torch.decompress_(model)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.state_dict().items())
