"""compress_ by a measured profile and for a batch."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import tersely.torch
from tersely.core.errors import ArgumentError


def test_compress_by_a_measured_profile(tmp_path: Path) -> None:
    """The profile's times decide; what is copied into a weight later is planned for the profile's class."""
    costs = {
        kernel: {"float32": {"1": [0, ns, 0, 0]}}
        for kernel, ns in (("sparse bitmap", 0.01), ("sparse gaps", 9), ("split packed", 9))
    }
    costs["dense"] = {"float32": {"1": [0, 0, 9, 0]}}
    path = tmp_path / "profile.json"
    path.write_text(json.dumps({"tersely_profile": 1, "machine": "portable", "costs": costs}))
    torch.manual_seed(1)
    module = torch.nn.Linear(512, 256, bias=False)
    with torch.no_grad():
        module.weight[torch.rand(256, 512) < 0.95] = 0
    before = module.weight.detach().clone()
    tersely.torch.compress_(module, objective="speed", profile=path, batch=4)
    assert module.weight.storage_.coded_tensor.parameters == {"positions": "bitmap"}
    assert torch.equal(module.weight.decode(), before)
    path.unlink()
    with torch.no_grad():
        module.weight.copy_(before * 2)
    assert torch.equal(module.weight.decode(), before * 2)
    with pytest.raises(ArgumentError, match="unknown profile"):
        tersely.torch.compress_(torch.nn.Linear(512, 256), profile=path)
    with pytest.raises(ArgumentError, match="batch"):
        tersely.torch.compress_(torch.nn.Linear(512, 256), batch=0)
