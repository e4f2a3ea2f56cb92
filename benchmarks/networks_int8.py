"""Whole quantised networks: pipelines on compressed weights against other engines, side by side.

    python -m benchmarks.networks_int8 [--networks resnet50 ...] [--batches 1 8] [--isas avx512 avx2]

Networks are those of `benchmarks.networks`, quantised by ONNX Runtime's own tool: QDQ, uint8 activations by int8 weights
with a scale for each output, scales of values from two random images. Ours is compared with the exact reference first,
bit by bit; how far others are from it is printed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

import tersely.onnx
from benchmarks import engines, networks, protocol, record
from benchmarks.protocol import Protocol
from tersely.backends.cpu import isa
from tersely.graph import reference
from tersely.graph.pipeline import Pipeline

NETWORKS = ("resnet50", "mobilenet_v2")
CALIBRATION = 2
"""Images."""


class _Images:
    """What ONNX Runtime's tool reads to find scales."""

    def __init__(self, name: str) -> None:
        self._feeds: Iterator[dict[str, np.ndarray]] = iter(
            {name: np.random.default_rng(i).standard_normal((1, *networks.IMAGE)).astype(np.float32)}
            for i in range(CALIBRATION)
        )

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._feeds, None)


def quantised(name: str, folder: Path) -> Path:
    """The network as a QDQ model. Raises ImportError without ONNX Runtime and its tools."""
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quant_pre_process, quantize_static

    floats, prepared, path = (folder / f"{one}.onnx" for one in ("floats", "prepared", name))
    example = (torch.randn(1, *networks.IMAGE),)
    torch.onnx.export(
        networks.prepared(name), example, str(floats), input_names=["x"], opset_version=17, dynamo=False,
        dynamic_axes={"x": {0: "batch"}},
    )  # fmt: skip
    quant_pre_process(str(floats), str(prepared))
    quantize_static(
        str(prepared), str(path), _Images("x"), quant_format=QuantFormat.QDQ, per_channel=True,
        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
    )  # fmt: skip
    onnx.checker.check_model(str(path))
    return path


def exact(pipeline: Pipeline, x: np.ndarray) -> np.ndarray:
    """What the NumPy reference makes of the operators that a pipeline runs."""
    constants = {name: np.asarray(one if isinstance(one, np.ndarray) else one.decode())
                 for name, one in pipeline.constants.items()}  # fmt: skip
    return reference.run(pipeline.graph, {pipeline.graph.inputs[0]: x}, constants)[0].astype(np.float32)


def ours(pipeline: Pipeline, x: np.ndarray, name: str, threads: int) -> engines.Infer:
    def run() -> np.ndarray:
        with isa.using(name):
            return pipeline.run(x, threads=threads)[0]

    return run


def onnx_runtime(path: Path, x: np.ndarray, threads: int) -> engines.Infer:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"x": x})[0]  # type: ignore[no-any-return]


def openvino(path: Path, x: np.ndarray, threads: int) -> engines.Infer:
    import openvino as ov

    core = ov.Core()
    read = core.read_model(path)
    read.reshape({0: list(x.shape)})
    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    request = core.compile_model(read, "CPU", settings).create_infer_request()
    return lambda: np.asarray(request.infer({0: x})[0])


def row(name: str, path: Path, batch: int, plan: Protocol, isas: list[str]) -> dict[str, Any]:
    """One network and batch: milliseconds by engine, and how far each is from the exact answer."""
    x = np.random.default_rng(7).standard_normal((batch, *networks.IMAGE)).astype(np.float32)
    pipeline = tersely.onnx.pipeline(path)
    runs = {f"tersely {one}": ours(pipeline, x, one, plan.threads) for one in isas}
    left_out: dict[str, str] = {}
    for engine, make in (("ONNX Runtime", onnx_runtime), ("OpenVINO", openvino)):
        try:
            runs[engine] = make(path, x, plan.threads)
        except ImportError as missing:
            left_out[engine] = f"is not installed: {missing}"
        except Exception as error:  # an engine that cannot run a network is a row of the record
            left_out[engine] = f"{type(error).__name__}: {error}"[:200]
        if engine in left_out:
            print(f"{name}: {engine} is left out: {left_out[engine]}", flush=True)
    expected = exact(pipeline, x)
    error = {key: float(np.abs(run() - expected).max() / np.abs(expected).max()) for key, run in runs.items()}
    for key, value in error.items():
        if key.startswith("tersely") and value != 0:
            raise SystemExit(f"{name}: {key} answers otherwise than the exact reference, by {value:.1e}")
    times = protocol.measure({key: networks.alone(run, plan) for key, run in runs.items()}, plan)
    plain, held = pipeline.weight_bytes
    return {
        "network": name,
        "batch": batch,
        "ms": times.median_ms,
        "least_ms": times.least_ms,
        "rounds": times.rounds,
        "busy": times.busy,
        "error": error,
        "left_out": left_out,
        "smaller": plain / held,
        "weight_bytes": {"dense": plain, "balanced": held},
    }


def line(found: dict[str, Any]) -> str:
    """A row for people: each engine, ours against the fastest of the others, and errors."""
    ms = found["ms"]
    others = [value for key, value in ms.items() if not key.startswith("tersely")]
    shown = ", ".join(f"{key} {value:.2f} ms (error {found['error'][key]:.1e})" for key, value in ms.items())
    ratios = ", ".join(
        f"{key} {min(others) / value:.2f} x as fast"
        for key, value in ms.items()
        if others and key.startswith("tersely")
    )
    busy = f" (busy: {found['busy']})" if found["busy"] else ""
    return f"{found['network']} batch {found['batch']}: {shown}; against the fastest: {ratios}{busy}"


def main() -> None:
    default = Protocol(seconds=3.0)
    parser = protocol.options(__doc__, default)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--batches", nargs="+", type=int, default=[1])
    parser.add_argument("--isas", nargs="+", default=[isa.active()])
    arguments = parser.parse_args()
    plan = protocol.begin(arguments, default)
    found = record.new("networks_int8", plan)
    found["rows"] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.networks:
            path = quantised(name, Path(folder))
            for batch in arguments.batches:
                found["rows"].append(row(name, path, batch, plan, arguments.isas))
                print(line(found["rows"][-1]), flush=True)
    record.save(found, arguments.output)


if __name__ == "__main__":
    main()
