"""Engines that run whole networks, to compare with: each makes a function of nothing that gives the first output.

Each has its best settings for one request at a time in float32: static shapes, so many threads, no lower precision.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

Infer = Callable[[], np.ndarray]
Inputs = tuple[torch.Tensor, ...]


def torch_eager(model: torch.nn.Module, inputs: Inputs, threads: int) -> Infer:
    def run() -> np.ndarray:
        with torch.inference_mode():
            return first(model(*inputs)).numpy()

    return run


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
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        path = _onnx(model, inputs, Path(folder))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feed = {one.name: value.numpy() for one, value in zip(session.get_inputs(), inputs, strict=True)}
    return lambda: session.run(None, feed)[0]  # type: ignore[no-any-return]


def openvino(model: torch.nn.Module, inputs: Inputs, threads: int) -> Infer:
    import openvino as ov

    core = ov.Core()
    with tempfile.TemporaryDirectory() as folder:
        read = core.read_model(_onnx(model, inputs, Path(folder)))
        read.reshape({i: list(one.shape) for i, one in enumerate(inputs)})
        settings = {
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
        }
        request = core.compile_model(read, "CPU", settings).create_infer_request()
    feed = {i: one.numpy() for i, one in enumerate(inputs)}
    return lambda: np.asarray(request.infer(feed)[0])


ENGINES: dict[str, Callable[[torch.nn.Module, Inputs, int], Infer]] = {
    "ONNX Runtime": onnx_runtime,
    "OpenVINO": openvino,
    "torch.compile": torch_compile,
    "PyTorch": torch_eager,
}


def first(output: Any) -> torch.Tensor:
    """The first tensor of what a model returns."""
    while not isinstance(output, torch.Tensor):
        output = output[0]
    return output


def _onnx(model: torch.nn.Module, inputs: Inputs, folder: Path) -> Path:
    path = folder / "model.onnx"
    names = [f"x{i}" for i in range(len(inputs))]
    torch.onnx.export(model, inputs, str(path), dynamo=False, input_names=names)
    return path
