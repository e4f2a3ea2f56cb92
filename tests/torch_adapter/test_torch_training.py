"""Gradients, LoRA, compilers, threads."""

from __future__ import annotations

import gc
import inspect
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.multiprocessing
from networks import Llama
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch_fixtures import compressed, dtype, mode, two_threads

import tersely.torch
from tersely.core.errors import TerselyError
from tersely.torch import TerselyTensor
from tersely.torch.operators import compiled
from tersely.torch.weight import tersely_tensor as tensor


def test_gradients_flow_to_inputs_and_biases(compressed: Callable[..., Any], mode: str, dtype: Any) -> None:
    dense = nn.Sequential(nn.Linear(96, 128), nn.GELU(), nn.Linear(128, 64)).to(dtype)
    small = compressed(dense, mode=mode)
    x = torch.randn(2, 5, 96).to(dtype)
    found = []
    for model in (dense, small):
        own = x.clone().requires_grad_()
        model(own).float().square().sum().backward()
        found.append((own.grad, model[0].bias.grad, model[2].bias.grad))
    for expected, actual in zip(*found, strict=True):
        scale = expected.float().abs().max()
        assert ((expected.float() - actual.float()).abs().max() / scale).item() < (
            1e-5 if dtype is torch.float32 else 2e-2
        )
    assert small[0].weight.grad is None


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_transforms_and_modes_are_not_bypassed(compressed: Callable[..., Any]) -> None:
    dense = nn.Linear(64, 64)
    small = compressed(dense)
    dense.requires_grad_(False)
    x = torch.randn(3, 64)
    tangent = torch.autograd.forward_ad
    with torch.no_grad(), tangent.dual_level():
        dual = tangent.make_dual(x, torch.ones_like(x))
        assert tangent.unpack_dual(small(dual)).tangent is not None
    for model in (dense, small):
        assert torch.func.vmap(model)(x).shape == (3, 64)
    assert torch.allclose(torch.func.jacrev(small)(x[0]), torch.func.jacrev(dense)(x[0]), atol=1e-5)
    seen = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            seen.append(str(func))
            return func(*args, **(kwargs or {}))

    with torch.no_grad(), Watch():
        small(x)
    assert any("linear" in name or "addmm" in name for name in seen)


@pytest.mark.filterwarnings("ignore:compressed weights are moved")
@pytest.mark.parametrize("lower", [torch.bfloat16, torch.float16], ids=str)
def test_autocast(
    compressed: Callable[..., Any], mode: str, dtype: Any, lower: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    dense = nn.Sequential(nn.Linear(96, 128), nn.GELU(), nn.Linear(128, 64)).to(dtype)
    small, x = compressed(dense, mode=mode), torch.randn(3, 96, requires_grad=True)
    dense.requires_grad_(False)
    tensor._said.clear()
    results = []
    for model in (dense, small):
        own = x.detach().clone().requires_grad_()
        with torch.autocast("cpu", lower), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            if mode == "fused" and model is small:
                monkeypatch.setattr(TerselyTensor, "decode", None)
                assert torch.is_autocast_enabled("cpu")
                with torch.no_grad():
                    small(x)
                monkeypatch.undo()
            result = model(own)
        assert result.dtype == lower
        result.float().square().sum().backward()
        results.append((result.detach(), own.grad))
    assert any("dense weights" in str(w.message) for w in caught) == (mode == "identical" and dtype != lower)
    for expected, found in zip(*results, strict=True):
        exact = mode == "identical" and expected.dtype == lower
        bound = 0 if exact else 2e-2 * expected.abs().max().item()
        assert (expected.float() - found.float()).abs().max().item() <= bound
    with torch.autocast("cpu", lower), pytest.raises(RuntimeError, match="dtype"):
        small(x.double())  # autocast leaves float64 alone


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_lora_trains_on_compressed_weights(compressed: Callable[..., Any], mode: str) -> None:
    peft = pytest.importorskip("peft", reason="LoRA needs peft: make test installs it")
    base = Llama(width=64, hidden=160, vocabulary=128)
    small = compressed(base, mode=mode)
    model = peft.get_peft_model(small, peft.LoraConfig(r=8, target_modules=["q", "v", "gate", "down"], lora_alpha=16))
    assert isinstance(model.base_model.model.q.base_layer.weight, TerselyTensor)
    tokens = torch.randint(0, 128, (4, 17))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(12):
        logits = model(tokens[:, :-1])
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    assert torch.equal(model.base_model.model.q.base_layer.weight.decode(), base.q.weight)
    with pytest.raises(Exception, match="compressed"):
        model.merge_and_unload()


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.filterwarnings("ignore")
def test_compile_has_no_graph_breaks(compressed: Callable[..., Any], mode: str, dtype: Any, dynamic: bool) -> None:
    dense = Llama().to(dtype).eval()
    small = compressed(dense, mode=mode)
    graphs: list[torch.fx.GraphModule] = []

    def backend(graph: torch.fx.GraphModule, inputs: Any) -> Any:
        from torch._dynamo.backends.common import aot_autograd
        from torch._functorch.aot_autograd import make_boxed_compiler

        def keep(inner: torch.fx.GraphModule, _: Any) -> Any:
            graphs.append(inner)
            return inner

        return aot_autograd(fw_compiler=make_boxed_compiler(keep))(graph, inputs)

    torch._dynamo.reset()
    fast = torch.compile(small, fullgraph=True, backend=backend, dynamic=dynamic)
    with torch.no_grad():
        for length in (5, 9):
            tokens = torch.randint(0, 512, (2, length))
            assert torch.allclose(
                fast(tokens).float(), small(tokens).float(), atol=1e-5 if dtype is torch.float32 else 0.1
            )
    called = [str(node.target) for node in graphs[0].graph.nodes if node.op == "call_function"]
    products = sum("tersely.product" in name for name in called)
    assert products == (8 if mode == "fused" else 0)
    assert sum("tersely" in name for name in called) >= 8


@pytest.mark.filterwarnings("ignore")
def test_compiled_models_train_adapters(compressed: Callable[..., Any]) -> None:
    small = compressed(nn.Linear(64, 64))
    torch._dynamo.reset()
    fast = torch.compile(small, fullgraph=True, backend="aot_eager")
    x = torch.randn(3, 64, requires_grad=True)
    fast(x).square().sum().backward()
    (expected,) = torch.autograd.grad(small(x).square().sum(), x)
    assert torch.allclose(x.grad, expected, atol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_compiled_models_that_are_gone_keep_no_memory(compressed: Callable[..., Any]) -> None:
    small = compressed(nn.Linear(64, 64))
    storage = small.weight.storage_
    before = len(compiled._kept)
    call = (torch.randn(2, 64), list(storage.components), storage.spec.text, 0, 64, False, None, False)
    assert torch.equal(torch.ops.tersely.product(*call), torch.ops.tersely.product(*call))
    assert len(compiled._kept) == before + 1
    del small, storage, call
    gc.collect()
    assert len(compiled._kept) == before


@pytest.mark.filterwarnings("ignore")
def test_compiled_models_are_moved_shared_and_given_new_weights(compressed: Callable[..., Any], mode: str) -> None:
    small = compressed(nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32)), mode=mode)
    x, first = torch.randn(2, 64), small[0].weight
    torch._dynamo.reset()
    fast = torch.compile(small, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        expected = fast(x)
        small.cpu().float()
        assert torch.equal(fast(x), expected)
        small.share_memory()
        assert small[0].weight is first
        assert first.is_shared()
        assert torch.equal(fast(x), expected)
        for fresh in (torch.randn(64, 64), torch.zeros(64, 64)):
            first.copy_(fresh)
            assert torch.allclose(fast(x), small[2](torch.relu(x @ fresh.T + small[0].bias)), atol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_fsdp_is_refused_and_ddp_trains(compressed: Callable[..., Any], mode: str, tmp_path: Path) -> None:
    from torch import distributed
    from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
    from torch.distributed.fsdp._fully_shard import _fsdp_param

    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        small = compressed(nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 32)), mode=mode)
        parallel = nn.parallel.DistributedDataParallel(small)
        parallel(torch.randn(2, 64)).square().sum().backward()
        assert small[0].bias.grad is not None
        if "_fsdp_orig_uid" in inspect.getsource(_fsdp_param):  # older ones shard decoded weights
            with pytest.raises(TerselyError, match="FSDP cannot shard compressed weights.*decompress_"):
                fully_shard(small)
        with pytest.raises(TerselyError, match="FSDP cannot shard compressed weights"):
            FullyShardedDataParallel(small, device_id=torch.device("cpu"))
        with torch.no_grad():
            assert torch.isfinite(small(torch.randn(2, 64))).all()
        other = compressed(nn.Linear(64, 64), mode=mode)
        tersely.torch.decompress_(other)
        fully_shard(other)
    finally:
        distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.filterwarnings("error:.*_stable_hash_for_caching")
@pytest.mark.filterwarnings("ignore")
def test_inductor(compressed: Callable[..., Any], mode: str) -> None:
    """Against the dense model compiled: Inductor rounds bfloat16 less often than eager torch does."""
    dense = Llama().to(torch.bfloat16).requires_grad_(False)
    small = compressed(dense, mode=mode)
    tokens = torch.randint(0, 512, (1, 6))
    with torch.no_grad():
        torch._dynamo.reset()
        expected = torch.compile(dense, fullgraph=True)(tokens).float()
        torch._dynamo.reset()
        found = torch.compile(small, fullgraph=True)(tokens).float()
    assert (found - expected).abs().max() <= (0.02 if mode == "fused" else 0) * expected.abs().max()


@pytest.mark.filterwarnings("ignore")
def test_export(compressed: Callable[..., Any], mode: str) -> None:
    small = compressed(Llama().eval(), mode=mode)
    tokens = torch.randint(0, 512, (2, 6))
    with torch.no_grad():
        program = torch.export.export(small, (tokens,))
        assert torch.allclose(program.module()(tokens), small(tokens), atol=1e-5)
        lowered = program.run_decompositions()
    called = [str(node.target) for node in lowered.graph.nodes if node.op == "call_function"]
    assert sum("tersely" in name for name in called) >= 8


def test_several_threads_at_once(compressed: Callable[..., Any], mode: str) -> None:
    small = compressed(nn.Sequential(nn.Linear(200, 300), nn.ReLU(), nn.Linear(300, 100)), mode=mode)
    inputs = [torch.randn(n + 1, 200) for n in range(4)]
    with torch.no_grad():
        expected = [small(x) for x in inputs]
    wrong: list[int] = []

    def work(place: int) -> None:
        with torch.no_grad():
            for _ in range(20):
                if not torch.equal(small(inputs[place]), expected[place]):
                    wrong.append(place)

    workers = [threading.Thread(target=work, args=(place,)) for place in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def test_torchs_number_of_threads_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    from tersely.backends.cpu import threads

    monkeypatch.delenv("TERSELY_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads, "_chosen", None)  # whatever tests before this one asked for
    for count in (1, 2):
        torch.set_num_threads(count)
        assert threads.get_num_threads() == count
    monkeypatch.setenv("TERSELY_NUM_THREADS", "3")
    assert threads.get_num_threads() == 3
    monkeypatch.setattr(threads, "_chosen", 4)
    assert threads.get_num_threads() == 4


def _multiply(model: Any, x: Any, queue: Any) -> None:
    with torch.no_grad():
        queue.put(model(x).sum().item())


def test_workers_get_the_model(compressed: Callable[..., Any]) -> None:
    small, x = compressed(nn.Linear(64, 64)), torch.randn(2, 64)
    context = torch.multiprocessing.get_context("spawn")
    queue = context.Queue()
    worker = context.Process(target=_multiply, args=(small, x, queue))
    worker.start()
    with torch.no_grad():
        assert queue.get(timeout=120) == pytest.approx(small(x).sum().item(), abs=1e-4)
    worker.join()
