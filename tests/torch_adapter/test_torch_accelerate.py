"""accelerate's hooks on compressed models: codes stay where they are, dense weights are moved, and answers stay."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("accelerate", reason="needs accelerate")

import accelerate
import torch
from accelerate.hooks import AlignDevicesHook, add_hook_to_module, remove_hook_from_submodules
from torch import nn
from torch_fixtures import EVERYTHING, Tied, two_threads

import tersely.torch
from tersely.core.errors import TerselyError
from tersely.torch import TerselyTensor
from tersely.torch.interop import offloading

pytestmark = pytest.mark.filterwarnings(
    "ignore:compressed weights stay in memory", "ignore::FutureWarning", "ignore::DeprecationWarning"
)
X = torch.linspace(-1, 1, 2 * 96).view(2, 96)


def network() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(96, 96), nn.ReLU(), nn.Linear(96, 64), nn.LayerNorm(64)).eval().requires_grad_(False)


@pytest.fixture
def coded() -> nn.Module:
    model = network()
    assert tersely.torch.compress_(model, config=EVERYTHING).compressed == ("0.weight", "2.weight")
    return model


WAYS: dict[str, Callable[[Any, Path], Any]] = {
    "prepare": lambda model, folder: accelerate.Accelerator(cpu=True).prepare(model),
    "device map": lambda model, folder: accelerate.infer_auto_device_map(model, max_memory={"cpu": "1GB"}) and model,
    "dispatch": lambda model, folder: accelerate.dispatch_model(model, {"": "cpu"}),
    "dispatch with hooks": lambda model, folder: accelerate.dispatch_model(model, {"": "cpu"}, force_hooks=True),
    "dispatch to disk": lambda model, folder: accelerate.dispatch_model(
        model, {"0": "cpu", "1": "cpu", "2": "disk", "3": "disk"}, offload_dir=folder
    ),
    "cpu_offload": lambda model, folder: accelerate.cpu_offload(model),
    "cpu_offload to the cpu": lambda model, folder: accelerate.cpu_offload(model, execution_device="cpu"),
    "cpu_offload_with_hook": lambda model, folder: accelerate.cpu_offload_with_hook(model, "cpu")[0],
    "disk_offload": lambda model, folder: accelerate.disk_offload(model, folder, offload_buffers=True),
}


@pytest.mark.parametrize("way", WAYS)
def test_hooks_leave_codes_where_they_are(way: str, coded: nn.Module, tmp_path: Path) -> None:
    weights, expected = [coded[0].weight, coded[2].weight], coded(X)
    model = WAYS[way](coded, tmp_path)
    for _ in range(2):
        assert torch.equal(model(X), expected)
    assert coded[0].weight is weights[0]
    assert coded[2].weight is weights[1]
    if "offload" in way and "with_hook" not in way:
        assert coded[0].bias.device.type == "meta"  # which went where it was sent
    remove_hook_from_submodules(coded)
    assert torch.equal(coded(X), expected)


def test_models_of_nothing_but_codes_are_offloaded_to_disk(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Embedding(64, 96), nn.Linear(96, 96, bias=False)).eval().requires_grad_(False)
    tokens = torch.arange(6).view(2, 3)
    assert len(tersely.torch.compress_(model, config=EVERYTHING).compressed) == 2
    expected = model(tokens)
    for folder in ("new", "new"):  # and again, where it is there
        assert torch.equal(accelerate.disk_offload(model, str(tmp_path / folder))(tokens), expected)
        remove_hook_from_submodules(model)


def test_tied_weights_under_hooks() -> None:
    model = Tied().eval().requires_grad_(False)
    tokens = torch.arange(6).view(2, 3)
    assert tersely.torch.compress_(model, config=EVERYTHING).compressed
    expected = model(tokens)
    accelerate.dispatch_model(model, {"": "cpu"}, force_hooks=True)
    assert torch.equal(model(tokens), expected)
    assert model.head.weight is model.embed.weight


@pytest.mark.parametrize("how", ["dispatch_model", "main_device", "cpu_offload", "disk_offload", "hook"])
def test_other_devices_are_refused_before_anything_is_moved(how: str, coded: nn.Module, tmp_path: Path) -> None:
    expected = coded(X)
    halves = {"0": "cpu", "1": "cpu", "2": 0, "3": 0}
    calls: dict[str, Callable[[], Any]] = {
        "dispatch_model": lambda: accelerate.dispatch_model(coded, halves),
        "main_device": lambda: accelerate.dispatch_model(coded, {"": "cpu"}, main_device="cuda:0", force_hooks=True),
        "cpu_offload": lambda: accelerate.cpu_offload(coded, execution_device="cuda"),
        "disk_offload": lambda: accelerate.disk_offload(coded, str(tmp_path), execution_device=torch.device("cuda")),
        "hook": lambda: add_hook_to_module(coded[0], AlignDevicesHook(execution_device="cuda")),
    }
    with pytest.raises(TerselyError, match=r"weight, \.\.\.\) are multiplied on the CPU.*decompress_"):
        calls[how]()
    assert not list(tmp_path.iterdir())
    assert not any(hasattr(module, "_hf_hook") for module in coded.modules() if how != "hook")
    assert torch.equal(coded(X), expected)


def test_a_parameter_that_is_set_is_a_dense_one(coded: nn.Module) -> None:
    set_module_tensor_to_device = accelerate.utils.set_module_tensor_to_device
    new = torch.randn(96, 96)
    set_module_tensor_to_device(coded, "0.weight", "cpu", value=new)
    assert type(coded[0].weight) is nn.Parameter
    assert torch.equal(coded[0].weight, new)
    other = tersely.torch.encode(torch.randn(64, 96))
    set_module_tensor_to_device(coded, "2.weight", "cpu", value=other)
    assert isinstance(coded[2].weight, nn.Parameter)
    assert torch.equal(coded[2].weight.decode(), other.decode())
    set_module_tensor_to_device(coded, "2.weight", "cpu")
    assert isinstance(coded[2].weight, TerselyTensor)
    set_module_tensor_to_device(coded, "2.weight", "meta")
    assert coded[2].weight.device.type == "meta"
    assert type(coded[2].weight) is nn.Parameter
    with pytest.raises(ValueError, match="shape"):
        set_module_tensor_to_device(coded, "0.weight", "cpu", value=torch.randn(2, 2))


def test_checkpoints_load_into_compressed_and_into_empty_models(coded: nn.Module, tmp_path: Path) -> None:
    fresh = network()
    with torch.no_grad():
        fresh[0].weight.mul_(2)
    accelerate.Accelerator(cpu=True).save_model(fresh, tmp_path)
    accelerate.load_checkpoint_and_dispatch(coded, tmp_path, device_map={"": "cpu"}, force_hooks=True)
    assert torch.equal(coded(X), fresh(X))

    tersely.torch.compress_(fresh, config=EVERYTHING)
    tersely.torch.save_model(fresh, tmp_path / "coded.safetensors")
    with accelerate.init_empty_weights():
        empty = copy.deepcopy(network())
    tersely.torch.load_model(empty, tmp_path / "coded.safetensors")
    assert torch.equal(empty(X), fresh(X))
    accelerate.cpu_offload(empty)
    assert torch.equal(empty(X), fresh(X))


def test_saving_says_what_to_do_instead(coded: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(TerselyError, match="save_file"):
        accelerate.Accelerator(cpu=True).save_model(coded, str(tmp_path / "saved"))
    assert not list(tmp_path.rglob("*.safetensors"))


def test_wrappers_are_transparent() -> None:
    offloading.install()
    for name in ("cpu_offload", "disk_offload", "dispatch_model"):
        wrapped = getattr(accelerate, name)
        assert wrapped.of_tersely
        assert not hasattr(wrapped.__wrapped__, "of_tersely")
        assert inspect.signature(wrapped) == inspect.signature(wrapped.__wrapped__)
    assert AlignDevicesHook.init_hook.of_tersely
    dense = network()
    before = dict(dense.named_parameters())
    accelerate.dispatch_model(dense, {"": "cpu"}, force_hooks=True)
    assert all(weight is before[name] for name, weight in dense.named_parameters())
