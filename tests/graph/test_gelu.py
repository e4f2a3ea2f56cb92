"""GELU against the normal distribution's share in float64, on every instruction set."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tersely.backends.cpu import isa, native
from tersely.graph.graph import Graph, Node
from tersely.graph.pipeline import Pipeline

ISAS = [name for name in ("scalar", "avx2", "avx512") if native.available() and name in isa.available()]
pytestmark = [pytest.mark.kernels, pytest.mark.skipif(not ISAS, reason="there is no native module")]


@pytest.mark.parametrize("instruction_set", ISAS)
def test_of_any_size(instruction_set: str) -> None:
    sizes = np.concatenate([np.linspace(0, 8, 20011), np.geomspace(1e-30, 1e30, 4001), [5.55, np.nextafter(5.55, 6)]])
    x = np.concatenate([-sizes, sizes]).astype(np.float32)
    pipeline = Pipeline(Graph(("x",), ("y",), (Node("gelu", {"x": "x"}, "y"),), frozenset()), {})
    with isa.using(instruction_set):
        found = pipeline.run(x[None, :])[0][0].astype(np.float64)
    exact = np.array([one * 0.5 * math.erfc(-one / math.sqrt(2)) for one in x.astype(np.float64)])
    worst = (abs(found - exact) / (abs(x.astype(np.float64)) + 1e-37)).max()
    assert worst <= 4 * 2.0**-24
    assert (found[x < -6] == 0).all()
    assert (found[x > 6] == x[x > 6]).all()


@pytest.mark.parametrize("instruction_set", ISAS)
def test_what_is_no_number(instruction_set: str) -> None:
    x = np.array([[np.nan, np.inf, -np.inf, -0.0, 0.0]], np.float32)
    pipeline = Pipeline(Graph(("x",), ("y",), (Node("gelu", {"x": "x"}, "y"),), frozenset()), {})
    with isa.using(instruction_set):
        found = pipeline.run(x)[0][0]
    assert np.isnan(found[[0, 2]]).all()
    assert found[1] == np.inf
    assert (found[3:] == 0).all()
