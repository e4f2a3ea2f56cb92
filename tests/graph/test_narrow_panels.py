"""Matrices of few columns, whose panels share units: products by any code, though walks begin inside of one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tersely.backends.cpu import isa, native
from tersely.graph.graph import Graph, Node
from tersely.graph.pipeline import Pipeline
from tersely.tensors.encode import encode

ISAS = [name for name in ("scalar", "avx2", "avx512") if native.available() and name in isa.available()]
pytestmark = [pytest.mark.kernels, pytest.mark.skipif(not ISAS, reason="there is no native module")]

CODES: dict[str, dict[str, Any]] = {
    "packed": {"code": "packed"},
    "one level": {"code": "layered", "widths": (3,)},
    "two levels": {"code": "layered", "widths": (2, 2)},
    "four levels": {"code": "layered", "widths": (2, 2, 2, 3)},
}


def weights(rng: np.random.Generator, rows: int, columns: int, scattered: bool) -> np.ndarray:
    """Numbers of which many escape codes, if `scattered`; a few panels have short tails, some numbers are subnormal."""
    found = rng.normal(size=(rows, columns)).astype(np.float32)
    if scattered:
        found *= np.exp2(rng.integers(-30, 5, size=found.shape)).astype(np.float32)
    for first in range(0, rows, 64):
        panel = found[first : first + 16]
        panel[:] = (panel.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
    found[rng.random(found.shape) < 0.01] = 1e-40
    return found


@pytest.mark.parametrize("instruction_set", ISAS)
@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("scattered", [False, True])
@pytest.mark.parametrize(("rows", "columns"), [(48, 16), (165, 96), (97, 100), (208, 384), (176, 512), (64, 1040)])
def test_products_by_any_code(
    rng: np.random.Generator, instruction_set: str, code: str, scattered: bool, rows: int, columns: int
) -> None:
    weight = weights(rng, rows, columns, scattered)
    x = rng.normal(size=(1, 21, columns)).astype(np.float32)
    graph = Graph(("x",), ("y",), (Node("linear", {"x": "x", "weight": "weight"}, "y"),), frozenset({"weight"}))
    with isa.using(instruction_set):
        pipeline = Pipeline(graph, {"weight": encode(weight, "split", **CODES[code])})
        found = pipeline.run(x, threads=1)[0]
        assert np.array_equal(found, pipeline.run(x, threads=3)[0]), "threads change nothing"
    wanted = x.astype(np.float64) @ weight.T.astype(np.float64)
    bound = abs(x).astype(np.float64) @ abs(weight.T).astype(np.float64)
    assert (abs(found - wanted) <= (columns + 8) * 2.0**-24 * bound + 1e-38).all()


@pytest.mark.parametrize("instruction_set", ISAS)
@pytest.mark.parametrize(("rows", "columns", "size"), [(96, 384, 14), (150, 576, 7), (576, 96, 5)])
def test_a_last_unit_of_fewer_panels_is_shared_out_by_any_workers(
    rng: np.random.Generator, instruction_set: str, rows: int, columns: int, size: int
) -> None:
    weight = weights(rng, rows, columns, scattered=True).reshape(rows, columns, 1, 1)
    x = rng.normal(size=(1, columns, size, size)).astype(np.float32)
    window = {"stride": [1, 1], "padding": [0, 0], "dilation": [1, 1], "groups": 1}
    node = Node("convolution", {"x": "x", "weight": "weight"}, "y", window)
    with isa.using(instruction_set):
        pipeline = Pipeline(
            Graph(("x",), ("y",), (node,), frozenset({"weight"})), {"weight": encode(weight, "split", code="packed")}
        )
        found = pipeline.run(x, threads=1)[0]
        for threads in (2, 3, 5):
            np.testing.assert_array_equal(pipeline.run(x, threads=threads)[0], found)
    wanted = np.einsum("oc,nchw->nohw", weight[:, :, 0, 0].astype(np.float64), x.astype(np.float64))
    bound = np.einsum("oc,nchw->nohw", abs(weight[:, :, 0, 0]).astype(np.float64), abs(x).astype(np.float64))
    assert (abs(found - wanted) <= (columns + 8) * 2.0**-24 * bound + 1e-38).all()


@pytest.mark.parametrize("instruction_set", ISAS)
@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize(("outputs", "channels", "taps"), [(48, 32, 3), (64, 384, 1), (35, 1040, 1)])
def test_pixels_multiplied_while_weights_are_decoded_have_the_sums_of_others(
    rng: np.random.Generator, instruction_set: str, code: str, outputs: int, channels: int, taps: int
) -> None:
    """Of more than eight pixels the first ones may be multiplied meanwhile; of eight, none are."""
    weight = weights(rng, outputs, channels * taps * taps, scattered=True).reshape(outputs, channels, taps, taps)
    window = {"stride": [1, 1], "padding": [0, 0], "dilation": [1, 1], "groups": 1}
    node = Node("convolution", {"x": "x", "weight": "weight"}, "y", window)
    pipeline = Pipeline(
        Graph(("x",), ("y",), (node,), frozenset({"weight"})), {"weight": encode(weight, "split", **CODES[code])}
    )
    x = rng.normal(size=(1, channels, taps, 25 + taps - 1)).astype(np.float32)
    with isa.using(instruction_set):
        many = pipeline.run(x, threads=1)[0]
        few = [pipeline.run(np.ascontiguousarray(x[..., at : at + 7 + taps]), threads=1)[0] for at in (0, 8, 16)]
    assert np.array_equal(many[..., :24], np.concatenate(few, axis=-1))


@pytest.mark.parametrize("instruction_set", ISAS)
def test_programs_are_run_by_other_sets_than_they_were_made_under(
    rng: np.random.Generator, instruction_set: str
) -> None:
    weight = weights(rng, 165, 96, scattered=True)
    x = rng.normal(size=(1, 21, 96)).astype(np.float32)
    graph = Graph(("x",), ("y",), (Node("linear", {"x": "x", "weight": "weight"}, "y"),), frozenset({"weight"}))
    for code in CODES.values():
        pipeline = Pipeline(graph, {"weight": encode(weight, "split", **code)})
        with isa.using(ISAS[-1]):
            wanted = pipeline.run(x)[0]
        with isa.using(instruction_set):
            found = pipeline.run(x)[0]
        assert np.allclose(found, wanted, rtol=1e-4, atol=1e-4 * abs(wanted).max())


@pytest.mark.parametrize("instruction_set", ISAS)
@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("columns", [16, 100, 384])
def test_rows_by_number(rng: np.random.Generator, instruction_set: str, code: str, columns: int) -> None:
    table = weights(rng, 333, columns, scattered=True)
    node = Node("embedding", {"x": "x", "weight": "table"}, "y")
    numbers = rng.integers(0, 333, size=(1, 40)).astype(np.float32)
    with isa.using(instruction_set):
        pipeline = Pipeline(
            Graph(("x",), ("y",), (node,), frozenset({"table"})), {"table": encode(table, "split", **CODES[code])}
        )
        found = pipeline.run(numbers, threads=2)[0]
    assert np.array_equal(found.view(np.uint32), table[numbers.astype(np.int64)].view(np.uint32))
