"""Engines that run whole networks, to compare with: each makes a function of nothing that gives the first output.

Each has its best settings for one request at a time in float32: static shapes, so many threads, no lower precision.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import cold

Infer = Callable[[], np.ndarray]
Inputs = tuple[torch.Tensor, ...]


def torch_eager(model: torch.nn.Module, inputs: Inputs, threads: int) -> Infer:
    def run() -> np.ndarray:
        with torch.inference_mode():
            return first(model(*inputs)).float().numpy()

    return run


def uncoded(model: torch.nn.Module, inputs: Inputs) -> Any:
    """A pipeline whose weights are dense: what coding them costs or saves is the difference."""
    from tersely.torch.networks.pipeline import Choices, Pipeline, encoder

    whole = encoder("speed")
    return Pipeline(model, inputs, {}, lambda name, tensor, rows, in_out: whole(name, tensor, 0, in_out), Choices())


def torch_compile(model: torch.nn.Module, inputs: Inputs, threads: int) -> Infer:
    """Inductor with freezing; images with channels last."""
    from torch._inductor import config

    last = [one.contiguous(memory_format=torch.channels_last) if one.dim() == 4 else one for one in inputs]
    with config.patch(freezing=True):
        compiled = torch.compile(model)
        with torch.no_grad():
            compiled(*last)

    def run() -> np.ndarray:
        with torch.no_grad():
            return first(compiled(*last)).numpy()

    return run


def onnx_runtime(model: torch.nn.Module, inputs: Inputs, threads: int) -> Infer:
    with tempfile.TemporaryDirectory() as folder:
        return cold.onnx_runtime(onnx_file(model, inputs, Path(folder)), [one.numpy() for one in inputs], threads)


def openvino(model: torch.nn.Module, inputs: Inputs, threads: int) -> Infer:
    with tempfile.TemporaryDirectory() as folder:
        return cold.openvino(onnx_file(model, inputs, Path(folder)), [one.numpy() for one in inputs], threads)


def openvino_wide(model: torch.nn.Module, inputs: Inputs, threads: int, precision: str = "f32") -> Infer:
    """A model in half precision with its weights widened, computed in `precision`."""
    model, inputs = widened(model, inputs)
    with tempfile.TemporaryDirectory() as folder:
        path = onnx_file(model, inputs, Path(folder))
        return cold.openvino(path, [one.numpy() for one in inputs], threads, precision)


def openvino_bfloat16(model: torch.nn.Module, inputs: Inputs, threads: int) -> Infer:
    return openvino_wide(model, inputs, threads, "bf16")


def mnn(model: torch.nn.Module, inputs: Inputs, threads: int) -> Infer:
    with tempfile.TemporaryDirectory() as folder:
        return cold.mnn(mnn_file(onnx_file(model, inputs, Path(folder))), [one.numpy() for one in inputs], threads)


def mnn_file(model: Path) -> Path:
    """The same network as MNN has it. By its native converter: importing MNN.tools installs a package, and reports home."""
    import _tools

    found = model.with_suffix(".mnn")
    _tools.mnnconvert(["mnnconvert", "-f", "ONNX", "--modelFile", str(model), "--MNNModel", str(found)])
    return found


ENGINES: dict[str, Callable[[torch.nn.Module, Inputs, int], Infer]] = {
    "ONNX Runtime": onnx_runtime,
    "OpenVINO": openvino,
    "MNN": mnn,
    "torch.compile": torch_compile,
    "PyTorch": torch_eager,
}


HALF_ENGINES: dict[str, dict[str, Callable[[torch.nn.Module, Inputs, int], Infer]]] = {
    "bfloat16": {"OpenVINO": openvino_bfloat16, "OpenVINO in float32": openvino_wide, "PyTorch": torch_eager},
    "float16": {"OpenVINO in float32": openvino_wide, "PyTorch": torch_eager},
}
"""Of models in half precision: what computes in it, and the same weights in float32."""


def widened(model: torch.nn.Module, inputs: Inputs) -> tuple[torch.nn.Module, Inputs]:
    """The same weights and inputs in float32."""
    return copy.deepcopy(model).float(), tuple(one.float() if one.is_floating_point() else one for one in inputs)


def first(output: Any) -> torch.Tensor:
    """The first tensor of what a model returns."""
    while not isinstance(output, torch.Tensor):
        output = output[0]
    return output


def onnx_file(model: torch.nn.Module, inputs: Inputs, folder: Path) -> Path:
    """The same network as an ONNX file."""
    path = folder / "model.onnx"
    names = [f"x{i}" for i in range(len(inputs))]
    torch.onnx.export(model, inputs, str(path), dynamo=False, input_names=names)
    return path
