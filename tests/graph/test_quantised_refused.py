"""Programs and graphs of bytes that nobody lowered: what does not fit is refused by name, before it runs."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import pytest
from support.arrays import needs_native
from support.quantised_networks import WINDOW, Network, Scales, weights

from tersely.backends.cpu import native
from tersely.core.errors import ArgumentError, TerselyError
from tersely.graph.graph import Graph, Node
from tersely.graph.pipeline import Pipeline

pytestmark = needs_native

LAYOUTS = [(32, 6, 6, 1, 1), (32, 3, 3, 0, 1), (32, 6, 6, 0, 1), (32, 6, 6, 0, 4), (40, 6, 6, 0, 1), (32, 6, 6, 0, 1)]
"""Channels, height, width, halo and bytes of a number of each value; they lie behind one another."""


def real(number: float) -> int:
    return int(struct.unpack("<I", struct.pack("<f", number))[0])


def opened(step: dict[str, Any]) -> Any:
    values, at = [], 0
    for channels, height, width, halo, size in LAYOUTS:
        values.append({"at": at, "images": 1, "channels": channels, "height": height, "width": width, "halo": halo,
                       "blocked": True, "element_bytes": size})  # fmt: skip
        numbers = -(-channels // 16) * 16 * (height + 2 * halo) * (width + 2 * halo)
        at += -(-numbers * size // 64) * 16
    text = {"version": 1, "arena": at, "values": values, "steps": [step]}
    return native.module.open_program(json.dumps(text), CONSTANTS)


CONSTANTS = {
    "w": np.zeros(32 * 32 * 9, np.int8),
    "large": np.full(32 * 32 * 9, 127, np.int8),
    "s": np.full(32, 0.5, np.float32),
    "infinite": np.full(32, np.inf, np.float32),
    "few": np.ones(16, np.float32),
    "b": np.zeros(32, np.int32),
    "huge": np.full(32, 2**31 - 1, np.int32),
    "table": np.zeros(256, np.uint8),
    "short": np.zeros(255, np.uint8),
}
CONVOLUTION = {"operator": "quantised_convolution", "x": 0, "y": 1, "weight": "w", "scale": "s", "height": 3, "width": 3,
               "stride_y": 2, "stride_x": 2, "pad_y": 1, "pad_x": 1, "signed": 1, "x_zero": 7, "zero": 0, "low": 0,
               "high": 255}  # fmt: skip
QUANTISE = {"operator": "quantise", "x": 3, "y": 2, "scale": real(0.5), "zero": 3}
DEQUANTISE = {"operator": "dequantise", "x": 2, "y": 3, "scale": real(0.5), "zero": 3}
ADD = {"operator": "quantised_add", "x": 0, "z": 2, "y": 5, "x_scale": real(1), "z_scale": real(1), "y_scale": real(1),
       "x_zero": 0, "z_zero": 0, "zero": 0, "low": 0, "high": 255}  # fmt: skip
SPANS = [n for place in range(3) for n in (2 * place, 2, 2)]
POOL = {"operator": "quantised_pool", "x": 2, "y": 1, "kind": "mean", "rows": SPANS, "columns": SPANS, "scale": real(1),
        "x_zero": 0, "zero": 0, "low": 0, "high": 255}  # fmt: skip
LOOK_UP = {"operator": "look_up", "x": 0, "y": 2, "table": "table"}
COPY = {"operator": "copy_bytes", "sizes": [36, 16], "x": 2, "x_at": 0, "x_strides": [16, 1], "y": 5, "y_at": 0,
        "y_strides": [16, 1]}  # fmt: skip
SOUND = [CONVOLUTION, {**CONVOLUTION, "groups": 32}, {**CONVOLUTION, "groups": 4, "bias": "b", "weight_zero": "b"},
         QUANTISE, DEQUANTISE, ADD, POOL, {**POOL, "kind": "max"}, LOOK_UP, COPY,
         {"operator": "clear", "y": 0, "fill": 255}]  # fmt: skip


@pytest.mark.parametrize("step", SOUND, ids=str)
def test_these_are_sound(step: dict[str, Any]) -> None:
    program = opened(step)
    assert program.steps == 1
    program.run([], [], 2)


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ({**CONVOLUTION, "x": 3}, "x has floats, not bytes"),
        ({**CONVOLUTION, "y": 0}, "y lies over x"),
        ({**CONVOLUTION, "weight": "few"}, "too few bytes"),
        ({**CONVOLUTION, "weight": "short"}, "too few bytes"),
        ({**CONVOLUTION, "scale": "few"}, "scale has too few numbers"),
        ({**CONVOLUTION, "scale": "infinite"}, "no finite number"),
        ({**CONVOLUTION, "bias": "s"}, "bias has too few integers"),
        ({**CONVOLUTION, "bias": "huge", "weight": "large"}, "could leave 32 bits"),
        ({**CONVOLUTION, "weight_zero": "huge"}, "no number of theirs"),
        ({**CONVOLUTION, "x_zero": 256}, "x_zero is no byte"),
        ({**CONVOLUTION, "low": -1}, "low is no byte"),
        ({**CONVOLUTION, "low": 9, "high": 8}, "nothing lies between"),
        ({**CONVOLUTION, "pad_y": 2}, "halo as wide as its padding"),
        ({**CONVOLUTION, "stride_y": 4}, "larger than its input"),
        ({**CONVOLUTION, "stride_y": 0}, "less than one pixel"),
        ({**CONVOLUTION, "groups": 5}, "not shared out"),
        ({**CONVOLUTION, "in_out": 1}, "only matrices"),
        ({**CONVOLUTION, "y": 4}, "too few numbers"),
        ({**QUANTISE, "y": 1}, "different shapes"),
        ({**QUANTISE, "y": 3}, "y has floats, not bytes"),
        ({**QUANTISE, "scale": real(0)}, "above zero"),
        ({**QUANTISE, "scale": real(float("nan"))}, "above zero"),
        ({**DEQUANTISE, "y": 2}, "y has bytes, not floats"),
        ({**ADD, "z": 1}, "different layouts"),
        ({**ADD, "y": 2}, "y lies over x or z"),
        ({**ADD, "x_scale": real(3e38)}, "sums are no floats"),
        ({**ADD, "y_scale": real(1e-42)}, "sums are no floats"),
        ({**POOL, "columns": SPANS[3:]}, "other windows than y has"),
        ({**POOL, "rows": [5, 2, 2, *SPANS[3:]]}, "beyond x"),
        ({**POOL, "kind": "least"}, "unknown kind"),
        ({**POOL, "scale": real(float("inf"))}, "no finite number"),
        ({**LOOK_UP, "table": "short"}, "256 bytes"),
        ({**LOOK_UP, "table": "s"}, "256 bytes"),
        ({**COPY, "x_strides": [33, 1]}, "outside of its value"),
        ({**COPY, "y": 3}, "y has floats, not bytes"),
        ({**COPY, "y": 2}, "y lies over x"),
        ({"operator": "clear", "y": 0, "fill": 256}, "cleared"),
        ({"operator": "clear", "y": 3, "fill": 1}, "cleared"),
        ({"operator": "pointwise", "kind": "relu", "x": 0, "y": 3}, "x has bytes, not floats"),
        ({"operator": "output", "x": 2, "index": 0}, "x has bytes, not floats"),
    ],
    ids=lambda one: one if isinstance(one, str) else one["operator"],
)
def test_refused(step: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        opened(step)


def test_numbers_have_one_byte_two_or_four() -> None:
    value = {"at": 0, "images": 1, "channels": 1, "height": 1, "width": 1, "halo": 0, "blocked": True}
    text = {"version": 1, "arena": 16, "values": [{**value, "element_bytes": 3}], "steps": []}
    with pytest.raises(ValueError, match="one byte, two or four"):
        native.module.open_program(json.dumps(text), {})
    text = {"version": 1, "arena": 16, "values": [{**value, "channels": 65, "element_bytes": 1}], "steps": []}
    with pytest.raises(ValueError, match="beyond the arena"):
        native.module.open_program(json.dumps(text), {})


Q = {"y_scale": 0.1, "y_zero": 3, "dtype": "uint8"}


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ([Node("quantise", {"x": "x"}, "y", {**Q, "dtype": "int16"})], "int16.*no dtype of one byte"),
        ([Node("quantise", {"x": "x"}, "y", {**Q, "y_zero": 300})], "300 is no number of uint8"),
        ([Node("quantise", {"x": "x"}, "y", {**Q, "y_scale": -1.0})], "no finite number above zero"),
        ([Node("quantise", {"x": "x"}, "y", {**Q, "y_scale": 1e-60})], "above zero"),
        ([Node("dequantise", {"x": "x"}, "y", {"x_scale": 1.0, "x_zero": 0})], "x is float32: quantise it first"),
        ([Node("quantise", {"x": "x"}, "q", Q), Node("relu", {"x": "q"}, "y")], "x is uint8: dequantise it first"),
        ([Node("quantise", {"x": "x"}, "q", Q), Node("concatenate", {"x0": "q", "x1": "x"}, "y", {"axis": 1})],
         "float32 and uint8 together"),
    ],
    ids=lambda one: one if isinstance(one, str) else one[-1].operator,
)  # fmt: skip
def test_graphs_refused_by_node(nodes: list[Node], said: str) -> None:
    graph = Graph(("x",), ("y",), tuple(nodes), frozenset())
    with pytest.raises(TerselyError, match=said):
        Pipeline(graph, {}).run(np.zeros((1, 16, 4, 4), np.float32))


def test_sums_that_could_leave_32_bits_are_refused_by_node(rng: np.random.Generator) -> None:
    network = Network("uint8")
    x = network.quantise("x", "q", Scales(1.0, 0))
    matrix = network.constant("w", np.full((2, 70000), 127, np.int8), np.array(1.0, np.float32))
    network.add("linear", "y", {"x": x, "weight": matrix})
    with pytest.raises(ArgumentError, match="y: .*could leave 32 bits"):
        network.pipeline("y").run(np.zeros((1, 70000), np.float32))


def test_two_paddings_of_one_value_are_refused(rng: np.random.Generator) -> None:
    attributes = {**WINDOW, "padding": [1, 1], "x_scale": 1.0, "y_scale": 1.0, "y_zero": 0, "dtype": "uint8"}
    numbers, scale, _ = weights(rng, (16, 16, 3, 3), "int8", True, False)
    nodes = [Node("quantise", {"x": "x"}, "q", Q)]
    nodes += [
        Node(
            "quantised_convolution",
            {"x": "q", "weight": "w", "weight_scale": "s"},
            f"y{zero}",
            {**attributes, "x_zero": zero},
        )
        for zero in (0, 1)
    ]
    graph = Graph(("x",), ("y0", "y1"), tuple(nodes), frozenset({"w", "s"}))
    with pytest.raises(ArgumentError, match="different zero points"):
        Pipeline(graph, {"w": numbers, "s": scale}).run(np.zeros((1, 16, 4, 4), np.float32))
