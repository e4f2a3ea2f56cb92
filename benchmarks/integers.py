"""Integers of 8 bits in each of their forms beside dense ones: a pruned matrix, and convolutions in a network.

    python -m benchmarks.integers
    python -m benchmarks.integers --isa avx2 --threads 1

What `balanced` may choose follows from it: `planner/network_cost.py` and the `costs` of `sparse` have the figures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import tersely
from benchmarks import cases, protocol, record
from benchmarks.protocol import Protocol
from tersely.backends.cpu import isa
from tersely.graph.graph import Graph, Node
from tersely.graph.pipeline import Pipeline

MATRIX = (4096, 4096)
CONVOLUTIONS = (
    # outputs, channels, taps, pixels a side, zeros, standard deviation
    (128, 128, 3, 28, 0.0, 12),
    (128, 128, 3, 14, 0.8, 20),
    (256, 256, 1, 14, 0.0, 12),
    (512, 512, 3, 7, 0.0, 12),
    (512, 512, 3, 7, 0.8, 20),
)
FORMS: dict[str, dict[str, Any]] = {
    "dense": {"formulation": "dense"},
    "bitmap": {"formulation": "sparse", "positions": "bitmap"},
    "gaps": {"formulation": "sparse", "positions": "gaps"},
    "fields": {"formulation": "integer", "code": "fields"},
    "distances": {"formulation": "integer", "code": "distances"},
}
Runs = dict[str, Callable[[int], object]]


def integers(rows: int, columns: int, spread: int, zeros: float) -> np.ndarray:
    """Normal numbers of int8, a share of them pruned."""
    found = cases.int8((rows, columns), spread)
    found[np.random.default_rng(1).random(found.shape) < zeros] = 0
    return found


def matrices() -> Iterator[tuple[str, dict[str, float], Runs]]:
    """What, bits per weight by form, products of one row of x."""
    x = np.random.default_rng(2).standard_normal((1, MATRIX[1]), dtype=np.float32)
    for zeros in (0.8, 0.9):
        array = integers(*MATRIX, 20, zeros)
        tensors = {name: tersely.encode(array, **form) for name, form in FORMS.items() if name != "distances"}
        runs: Runs = {name: lambda k, one=one: tersely.linear(x, one) for name, one in tensors.items()}
        yield f"{MATRIX[0]} x {MATRIX[1]}, {zeros:.0%} zeros", _bits(tensors), runs


def convolutions() -> Iterator[tuple[str, dict[str, float], Runs]]:
    """The same of networks of one convolution, quantised before and after."""
    for outputs, channels, taps, side, zeros, spread in CONVOLUTIONS:
        flat = integers(outputs, channels * taps * taps, spread, zeros)
        array = flat.reshape(outputs, channels, taps, taps)
        kept = [name for name in FORMS if name != "gaps" and (zeros or name != "bitmap")]
        tensors = {name: tersely.encode(array, **FORMS[name]) for name in kept}
        x = np.random.default_rng(3).standard_normal((1, channels, side, side), dtype=np.float32)
        pipelines = {name: _pipeline(array if name == "dense" else one, taps) for name, one in tensors.items()}
        expected = pipelines["dense"].run(x)[0]
        for name, one in pipelines.items():
            if not np.array_equal(one.run(x)[0], expected):
                raise SystemExit(f"{name}: the answer is wrong; nothing was timed")
        runs: Runs = {name: lambda k, one=one, x=x: one.run(x) for name, one in pipelines.items()}
        yield (
            f"{outputs} x {channels}, {taps} x {taps} taps, {side} x {side} pixels, {zeros:.0%} zeros",
            _bits(tensors),
            runs,
        )


def _bits(tensors: dict[str, Any]) -> dict[str, float]:
    return {name: 8 * one.encoded.nbytes_stored / one.size for name, one in tensors.items()}


def _pipeline(weight: Any, taps: int) -> Pipeline:
    window = {"stride": [1, 1], "padding": [taps // 2] * 2, "dilation": [1, 1], "groups": 1}
    scales = {"scale": "scale", "zero": "zero"}
    nodes = (
        Node("quantise", {"x": "x", **scales}, "q", {"dtype": "uint8"}),
        Node("dequantise", {"x": "q", **scales}, "floats"),
        Node("dequantise", {"x": "w", "scale": "w.scale"}, "w.floats", {"axis": 0}),
        Node("convolution", {"x": "floats", "weight": "w.floats"}, "c", window),
        Node("quantise", {"x": "c", **scales}, "y", {"dtype": "uint8"}),
        Node("dequantise", {"x": "y", **scales}, "result"),
    )
    constants = {
        "w": weight,
        "w.scale": np.array(0.01, np.float32),
        "scale": np.array(0.02, np.float32),
        "zero": np.array(128, np.uint8),
    }
    return Pipeline(Graph(("x",), ("result",), nodes, frozenset(constants)), constants)


def main() -> None:
    default = Protocol(threads=1, seconds=0.3, tries=1)
    parser = protocol.options(__doc__, default)
    parser.add_argument("--isa", nargs="*", default=[name for name in isa.available() if name != "scalar"])
    arguments = parser.parse_args()
    plan = protocol.begin(arguments, default)
    found = record.new("integers", plan) | {"rows": []}
    for cases_of in (matrices, convolutions):
        for what, bits, runs in cases_of():
            for chosen in arguments.isa:
                with isa.using(chosen):
                    times = protocol.measure(runs, plan)
                shares = {name: one / times.least_ms["dense"] for name, one in times.least_ms.items()}
                found["rows"].append(
                    {"what": what, "isa": chosen, "bits": bits, "least_ms": times.least_ms, "busy": times.busy}
                )
                print(what, chosen, {name: f"{shares[name]:.2f} x, {bits[name]:.2f} bits" for name in runs}, flush=True)
    record.save(found, arguments.output)


if __name__ == "__main__":
    main()
