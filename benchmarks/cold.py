"""From a file to the first answer, in a process of its own: how long that takes, and how much memory at most.

    python -m benchmarks.cold ENGINE FILE THREADS INPUT.npy ...

prints one line of JSON: milliseconds from opening the file to the first answer, and from the second on (the least of
five); megabytes that the process had at most, and before it opened the file. Files come from the page cache. It imports
neither torch nor another engine than the one it is asked for, nor anything else of the benchmarks.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

Infer = Callable[[], np.ndarray]
Open = Callable[[Path, Sequence[np.ndarray], int], Infer]


def tersely(path: Path, inputs: Sequence[np.ndarray], threads: int) -> Infer:
    from tersely.graph.files import load

    pipeline = load(path)
    return lambda: pipeline.run(*inputs, threads=threads)[0]


def onnx_runtime(path: Path, inputs: Sequence[np.ndarray], threads: int) -> Infer:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feed = {one.name: value for one, value in zip(session.get_inputs(), inputs, strict=True)}
    return lambda: session.run(None, feed)[0]  # type: ignore[no-any-return]


def openvino(path: Path, inputs: Sequence[np.ndarray], threads: int, precision: str = "f32") -> Infer:
    import openvino as ov

    read = ov.Core().read_model(path)
    read.reshape({i: list(one.shape) for i, one in enumerate(inputs)})
    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision}
    request = ov.Core().compile_model(read, "CPU", settings).create_infer_request()
    feed = dict(enumerate(inputs))
    return lambda: np.asarray(request.infer(feed)[0])


def mnn(path: Path, inputs: Sequence[np.ndarray], threads: int) -> Infer:
    import MNN.expr
    import MNN.nn

    runtime = MNN.nn.create_runtime_manager(({"backend": "CPU", "numThread": threads, "precision": "high"},))
    module = MNN.nn.load_module_from_file(str(path), [], [], runtime_manager=runtime)
    dtypes = {"f": MNN.expr.float, "i": MNN.expr.int}

    def run() -> np.ndarray:
        given = []
        for one in inputs:
            given.append(MNN.expr.placeholder(list(one.shape), MNN.expr.NCHW, dtypes[one.dtype.kind]))
            given[-1].write(one if one.dtype.kind == "f" else one.astype(np.int32))
        found = module.forward(given)
        first = found[0] if isinstance(found, (list, tuple)) else found
        return np.array(MNN.expr.convert(first, MNN.expr.NCHW).read())

    return run


ENGINES: dict[str, tuple[str, Open]] = {
    "tersely": ("tersely.graph.files", tersely),
    "ONNX Runtime": ("onnxruntime", onnx_runtime),
    "OpenVINO": ("openvino", openvino),
    "MNN": ("MNN.nn", mnn),
}
"""By name: the module that is imported before the clock starts, and what opens a file."""


def megabytes(member: str) -> float:
    """VmHWM, the most that the process has had, or VmRSS, what it has."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(member)) / 1e3


def main(engine: str, path: str, threads: str, *inputs: str) -> None:
    module, begin = ENGINES[engine]
    __import__(module)
    arrays = [np.load(one) for one in inputs]
    before, start = megabytes("VmRSS"), time.perf_counter()
    run = begin(Path(path), arrays, int(threads))
    answer = run()
    first = time.perf_counter()
    found = {"first_ms": 1e3 * (first - start), "most_mb": megabytes("VmHWM"), "before_mb": before}
    times = []
    for _ in range(5):
        start = time.perf_counter()
        run()
        times.append(1e3 * (time.perf_counter() - start))
    np.save(Path(path).with_suffix(".answer.npy"), answer)
    print(json.dumps({**found, "next_ms": min(times)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
