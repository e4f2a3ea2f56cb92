"""Values of one byte: the exact integers of the reference, on every instruction set and for any number of threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.arrays import needs_native
from support.quantised_networks import WINDOW, Network, Scales, expected, weights

from tersely.graph import reference
from tersely.graph.graph import Graph, Node
from tersely.graph.pipeline import Pipeline

pytestmark = needs_native

CASES = [
    # outputs, channels, taps, stride, padding, dilation, groups, height, width
    (16, 16, (1, 1), 1, 0, 1, 1, 5, 6),
    (32, 16, (3, 3), 1, 1, 1, 1, 7, 8),
    (40, 24, (3, 3), 2, 1, 1, 1, 9, 9),
    (8, 3, (7, 7), 2, 3, 1, 1, 20, 13),
    (5, 7, (2, 1), 1, 0, 1, 1, 4, 5),
    (20, 48, (3, 3), 1, 2, 2, 1, 8, 8),
    (12, 6, (3, 3), 1, 1, 1, 2, 6, 6),
    (48, 32, (3, 3), 1, 1, 1, 2, 7, 5),
    (32, 32, (3, 3), 1, 1, 1, 32, 8, 9),
    (24, 24, (5, 5), 2, 2, 1, 24, 9, 7),
]
KINDS = [
    ("uint8", "int8", True, False),
    ("int8", "int8", False, False),
    ("uint8", "uint8", True, True),
    ("int8", "uint8", False, False),
    ("int8", "int8", True, True),
]
"""dtypes of values and of weights, a scale for each output or one, weights with zero points of their own."""


def one_convolution(rng: np.random.Generator, case: Any, kind: Any, activation: str | None = None) -> Network:
    outputs, channels, taps, stride, padding, dilation, groups, _, _ = case
    dtype, weight_dtype, per_channel, zeros = kind
    low = -128 if dtype == "int8" else 0
    network = Network(dtype)
    x = network.quantise("x", "q", Scales(0.02, low + int(rng.integers(256))))
    numbers, scale, zero = weights(rng, (outputs, channels // groups, *taps), weight_dtype, per_channel, zeros)
    weight = network.constant("w", numbers, scale, zero)
    bias = rng.integers(-20000, 20000, outputs).astype(np.int32)
    added = network.constant("b", bias, np.float32(0.02) * scale)
    window = {"stride": [stride] * 2, "padding": [padding] * 2, "dilation": [dilation] * 2, "groups": groups}
    y = network.add("convolution", "c", {"x": x, "weight": weight, "bias": added}, **window)
    if activation is not None:
        y = network.add(activation, "a", {"x": y})
    size = 0.05 * np.sqrt(numbers[0].size) * 0.3
    network.quantise(y, "y", Scales(float(np.float32(size)), low + int(rng.integers(256))))
    return network


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_convolutions(case: Any, kind: Any, each_isa: str, rng: np.random.Generator) -> None:
    network = one_convolution(rng, case, kind)
    pipeline = network.pipeline("y", formulation="integer" if kind[2] else None)
    assert [node.operator for node in pipeline.graph.nodes] == ["quantise", "quantised_convolution"]
    x = (3 * rng.standard_normal((2, case[1], *case[-2:]))).astype(np.float32)
    (wanted,) = expected(pipeline, x)
    for threads in (1, 3):
        (found,) = pipeline.run(x, threads=threads)
        assert found.dtype == kind[0]
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
    "encoding",
    [{"formulation": "integer"}, {"formulation": "integer", "code": "distances"}, {"formulation": "sparse"}],
    ids=str,
)
def test_coded_weights(encoding: dict[str, str], each_isa: str, rng: np.random.Generator) -> None:
    for case in ((40, 32, (3, 3), 1, 1, 1, 1, 6, 6), (70, 64, (1, 1), 1, 0, 1, 1, 5, 5)):
        network = one_convolution(rng, case, KINDS[0])
        network.constants["w"][rng.random(network.constants["w"].shape) < 0.7] = 0
        coded, plain = network.pipeline("y", **encoding), network.pipeline("y")
        x = (3 * rng.standard_normal((2, case[1], *case[-2:]))).astype(np.float32)
        np.testing.assert_array_equal(coded.run(x)[0], plain.run(x)[0])
        np.testing.assert_array_equal(plain.run(x)[0], expected(plain, x)[0])


@pytest.mark.parametrize("activation", ["relu", "relu6"])
def test_what_passes_make_is_within_a_step_of_what_they_were_given(activation: str, rng: np.random.Generator) -> None:
    """Roundings of float32 may turn a tie; in nearly all places not even that."""
    for case in CASES:
        network = one_convolution(rng, case, KINDS[0], activation)
        pipeline = network.pipeline("y")
        x = (3 * rng.standard_normal((2, case[1], *case[-2:]))).astype(np.float32)
        (wanted,) = reference.run(network.graph("y"), {"x": x}, network.constants)
        (found,) = pipeline.run(x)
        np.testing.assert_array_equal(found, expected(pipeline, x)[0])
        assert np.abs(found - wanted).max() <= 1
        assert np.mean(found != wanted) < 1e-3


@pytest.mark.parametrize("sizes", [(1, 1), (5, 3), (70, 33), (9, 2050)], ids=str)
def test_products_of_rows(sizes: tuple[int, int], each_isa: str, rng: np.random.Generator) -> None:
    outputs, columns = sizes
    for leading in ((1,), (7,), (2, 3)):
        network = Network("int8")
        x = network.quantise("x", "q", Scales(0.02, -7))
        numbers, scale, _ = weights(rng, (outputs, columns), "int8", True, False)
        weight = network.constant("w", numbers, scale)
        network.add("linear", "c", {"x": x, "weight": weight})
        network.quantise("c", "y", Scales(float(np.float32(0.02 * np.sqrt(columns))), 3))
        pipeline = network.pipeline("y", formulation="integer")
        assert [node.operator for node in pipeline.graph.nodes] == ["quantise", "quantised_linear"]
        x_numbers = rng.standard_normal((*leading, columns)).astype(np.float32)
        np.testing.assert_array_equal(pipeline.run(x_numbers)[0], expected(pipeline, x_numbers)[0])


def test_products_end_in_floats_where_nothing_quantises_them(each_isa: str, rng: np.random.Generator) -> None:
    network = Network("int8")
    x = network.quantise("x", "q", Scales(0.02, 9))
    numbers, scale, _ = weights(rng, (37, 50), "int8", True, False)
    network.add("linear", "y", {"x": x, "weight": network.constant("w", numbers, scale)})
    pipeline = network.pipeline("y")
    assert [node.operator for node in pipeline.graph.nodes] == ["quantise", "quantised_linear"]
    x_numbers = rng.standard_normal((3, 50)).astype(np.float32)
    (found,) = pipeline.run(x_numbers)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected(pipeline, x_numbers)[0].astype(np.float32))


def test_extremes_are_exact(each_isa: str) -> None:
    """255 x -128 in every product: pairs of them leave 16 bits, and 2,048 of them are far from 24."""
    for weight, x in ((-128, 255.0), (127, 255.0), (-128, 0.0)):
        network = Network("uint8")
        source = network.quantise("x", "q", Scales(1.0, 0))
        matrix = network.constant("w", np.full((17, 2048), weight, np.int8), np.float32(1.0).reshape(()))
        network.add("linear", "y", {"x": source, "weight": matrix})
        (found,) = network.pipeline("y").run(np.full((1, 2048), x, np.float32))
        np.testing.assert_array_equal(found, np.full((1, 17), np.float32(weight * x * 2048)))


def test_weights_of_nine_bits_are_exact(each_isa: str, rng: np.random.Generator) -> None:
    """uint8 weights less a zero point of 0 are up to 255: two or three bytes each."""
    for zero in (0, 1, 255):
        network = Network("uint8")
        source = network.quantise("x", "q", Scales(1.0, 3))
        numbers = rng.integers(0, 256, (20, 19)).astype(np.uint8)
        numbers[0], numbers[1] = 0, 255
        matrix = network.constant("w", numbers, np.array(1.0, np.float32), np.array(zero, np.uint8))
        network.add("linear", "y", {"x": source, "weight": matrix})
        x = rng.integers(-3, 253, (4, 19)).astype(np.float32)
        (found,) = network.pipeline("y").run(x)
        np.testing.assert_array_equal(found, (x @ (numbers.astype(np.float64) - zero).T).astype(np.float32))


def test_ties_go_to_even_and_what_is_beyond_is_cut_off(each_isa: str) -> None:
    for dtype, zero in (("int8", -3), ("uint8", 77)):
        network = Network(dtype)
        network.quantise("x", "y", Scales(2.0, zero))
        x = np.array(
            [[-1e30, -7, -5, -3, -1, 0, 1, 3, 5, 7, 1e30, np.inf, -np.inf, np.nan, 0.99999, 1e-45]], np.float32
        )
        (found,) = network.pipeline("y").run(x)
        low, high = (-128, 127) if dtype == "int8" else (0, 255)
        whole = [-4, -2, -2, 0, 0, 0, 2, 2, 4]
        assert found[0].tolist() == [low, *(one + zero for one in whole), high, high, low, low, zero, zero]


@pytest.mark.parametrize("kind", ["int8", "uint8"])
def test_sums(kind: str, each_isa: str, rng: np.random.Generator) -> None:
    """By its definition, division and all."""
    for scales in ((0.02, 0.03, 0.04), (0.1, 0.1, 0.1), (0.5, 0.25, 0.125), (1e-3, 7.0, 3.0)):
        low = -128 if kind == "int8" else 0
        network = Network(kind)
        zeros = [low + int(one) for one in rng.integers(0, 256, 3)]
        a = network.quantise("x", "a", Scales(float(np.float32(scales[0])), zeros[0]))
        b = network.quantise(
            network.add("negative", "n", {"x": "x"}), "b", Scales(float(np.float32(scales[1])), zeros[1])
        )
        network.add("relu", "r", {"x": network.add("add", "s", {"x": a, "z": b})})
        network.quantise("r", "y", Scales(float(np.float32(scales[2])), zeros[2]))
        pipeline = network.pipeline("y")
        assert "quantised_add" in [node.operator for node in pipeline.graph.nodes]
        x = (3 * rng.standard_normal((2, 21, 9, 5))).astype(np.float32)
        (found,) = pipeline.run(x)
        np.testing.assert_array_equal(found, expected(pipeline, x)[0])
        np.testing.assert_array_equal(found, reference.run(network.graph("y"), {"x": x}, network.constants)[0])


@pytest.mark.parametrize("kind", ["int8", "uint8"])
def test_every_pair_of_bytes(kind: str, each_isa: str) -> None:
    """All sums of two bytes under scales that make ties."""
    low = -128 if kind == "int8" else 0
    numbers = np.arange(low, low + 256).astype(np.float32)
    x, z = np.repeat(numbers, 256).reshape(1, -1), np.tile(numbers, 256).reshape(1, -1)
    for scales in ((0.5, 0.5, 1.0), (0.3, 0.1, 0.4), (1.0, 1.0, 2.0)):
        attributes: dict[str, Any] = {"dtype": kind, "y_zero": low + 40, "y_scale": float(np.float32(scales[2]))}
        for role, scale in zip("xz", scales[:2], strict=True):
            attributes |= {f"{role}_scale": float(np.float32(scale)), f"{role}_zero": low + 100}
        as_bytes = {"y_scale": 1.0, "y_zero": 0, "dtype": kind}
        nodes = (
            Node("quantise", {"x": "x"}, "a", as_bytes),
            Node("quantise", {"x": "z"}, "b", as_bytes),
            Node("quantised_add", {"x": "a", "z": "b"}, "y", attributes),
        )
        graph = Graph(("x", "z"), ("y",), nodes, frozenset())
        (found,) = Pipeline(graph, {}).run(x, z)
        np.testing.assert_array_equal(found, reference.run(graph, {"x": x, "z": z}, {})[0])


def test_pools(each_isa: str, rng: np.random.Generator) -> None:
    window = {"kernel": [3, 3], "stride": [2, 2], "padding": [1, 1], "ceil": False}
    for operator, attributes in (
        ("adaptive_average_pool", {"size": [1, 1]}),
        ("adaptive_average_pool", {"size": [3, 2]}),
        ("mean", {"axes": [2, 3], "keep": True}),
        ("mean", {"axes": [-2, -1], "keep": False}),
        ("average_pool", {**window, "count_padding": False}),
        ("average_pool", {**window, "count_padding": True}),
        ("max_pool", {**window, "dilation": [1, 1]}),
    ):
        network = Network("uint8")
        x = network.quantise("x", "q", Scales(0.02, 200))
        network.add(operator, "p", {"x": x}, **attributes)
        network.quantise("p", "y", Scales(0.02 if operator == "max_pool" else 0.013, 200))
        pipeline = network.pipeline("y")
        assert "dequantise" not in [node.operator for node in pipeline.graph.nodes]
        numbers = rng.standard_normal((2, 37, 7, 9)).astype(np.float32)
        (found,) = pipeline.run(numbers)
        np.testing.assert_array_equal(found, expected(pipeline, numbers)[0])
        (wanted,) = reference.run(network.graph("y"), {"x": numbers}, network.constants)
        assert np.abs(found - wanted).max() <= 1


def test_activations_are_tables(each_isa: str, rng: np.random.Generator) -> None:
    for kind in ("int8", "uint8"):
        for operator in ("sigmoid", "hard_swish", "tanh", "relu6", "gelu"):
            network = Network(kind)
            network.add(operator, "a", {"x": network.quantise("x", "q", Scales(0.03, 20))})
            network.quantise("a", "y", Scales(0.01, 7))
            pipeline = network.pipeline("y")
            assert [node.operator for node in pipeline.graph.nodes] == ["quantise", "look_up"]
            x = (2 * rng.standard_normal((3, 50))).astype(np.float32)
            (wanted,) = reference.run(network.graph("y"), {"x": x}, network.constants)
            np.testing.assert_array_equal(pipeline.run(x)[0], wanted)


def test_bytes_are_moved_as_bytes(each_isa: str, rng: np.random.Generator) -> None:
    """Reshapes, slices, padding, concatenation, to a product of rows."""
    network = Network("uint8")
    x = network.quantise("x", "q", Scales(0.02, 130))
    padded = network.add("pad", "p", {"x": x}, before=[0, 0, 1, 0], behind=[0, 0, 0, 2], value=0.0)
    part = network.add("slice", "s", {"x": padded}, axis=2, begin=1, end=6, step=2)
    both = network.add("concatenate", "j", {"x0": part, "x1": part}, axis=1)
    turned = network.add("permute", "t", {"x": both}, order=[0, 2, 3, 1])
    flat = network.add("reshape", "f", {"x": turned}, shape=[0, -1])
    numbers, scale, _ = weights(rng, (10, 3 * 8 * 42), "int8", True, False)
    network.add("linear", "c", {"x": flat, "weight": network.constant("w", numbers, scale)})
    network.quantise("c", "y", Scales(0.6, 100))
    pipeline = network.pipeline("y")
    operators = [node.operator for node in pipeline.graph.nodes]
    assert operators == ["quantise", "pad", "slice", "concatenate", "permute", "reshape", "quantised_linear"]
    x_numbers = rng.standard_normal((3, 21, 6, 6)).astype(np.float32)
    (found,) = pipeline.run(x_numbers)
    np.testing.assert_array_equal(found, expected(pipeline, x_numbers)[0])
    (wanted,) = reference.run(network.graph("y"), {"x": x_numbers}, network.constants)
    assert np.abs(found - wanted).max() <= 1


def test_parts_of_other_scales_are_joined_in_the_scale_of_the_whole(rng: np.random.Generator) -> None:
    network = Network("uint8")
    parts = {
        f"x{i}": network.quantise(
            "x" if i == 0 else network.add("negative", "n", {"x": "x"}), f"q{i}", Scales(0.02 + i / 100, 30 + i)
        )
        for i in range(2)
    }
    network.quantise(network.add("concatenate", "j", parts, axis=1), "y", Scales(0.03, 31))
    pipeline = network.pipeline("y")
    assert sorted(node.operator for node in pipeline.graph.nodes) == [
        "concatenate",
        "look_up",
        "negative",
        "quantise",
        "quantise",
    ]
    x = rng.standard_normal((2, 20, 4, 4)).astype(np.float32)
    (wanted,) = reference.run(network.graph("y"), {"x": x}, network.constants)
    np.testing.assert_array_equal(pipeline.run(x)[0], wanted)


def test_what_is_not_fused_runs_as_itself(rng: np.random.Generator) -> None:
    """Weights alone quantised; a sum that repeats an operand; a bias in another scale."""
    network = Network("uint8")
    numbers, scale, zero = weights(rng, (8, 5, 3, 3), "int8", True, True)
    weight = network.constant("w", numbers, scale, zero)
    y = network.add("convolution", "c", {"x": "x", "weight": weight}, **WINDOW)
    a = network.quantise(y, "a", Scales(0.1, 128))
    b = network.quantise(network.add("mean", "m", {"x": a}, axes=[2, 3], keep=True), "b", Scales(0.05, 120))
    network.quantise(network.add("multiply", "s", {"x": a, "z": b}), "y", Scales(0.2, 100))
    pipeline = network.pipeline("y")
    x = rng.standard_normal((2, 5, 8, 8)).astype(np.float32)
    (wanted,) = reference.run(network.graph("y"), {"x": x}, network.constants)
    assert np.abs(pipeline.run(x)[0] - wanted).max() <= 2  # a float convolution in another order


def test_a_pipeline_is_saved_with_its_integers(tmp_path: Any, rng: np.random.Generator) -> None:
    import tersely

    network = one_convolution(rng, CASES[1], KINDS[2])
    pipeline = network.pipeline("y", formulation="integer")
    x = rng.standard_normal((1, 16, 7, 8)).astype(np.float32)
    pipeline.save(tmp_path / "quantised.safetensors")
    again = tersely.load_pipeline(tmp_path / "quantised.safetensors")
    assert again.original["b"].dtype == np.int32
    np.testing.assert_array_equal(again.run(x)[0], pipeline.run(x)[0])
