"""Hypothesis: whatever the shape, the bits and the code, decode(encode(w)) has the bits of w."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.arrays import DTYPES, ISAS, random_bits, same_bits

from tersely.backends.cpu import isa
from tersely.planner import choose as plan
from tersely.tensors.tensor import Tensor

pytestmark = [pytest.mark.kernels, pytest.mark.bfloat16_kernels]

shapes = st.one_of(
    st.lists(st.integers(0, 40), max_size=4).map(tuple),
    st.tuples(st.integers(1, 70), st.integers(1, 300)),
    st.tuples(st.integers(16, 33), st.integers(2040, 2060)),
)


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray:
    """Random bits, a few values repeated, or few exponents with one outlier."""
    dtype, shape = draw(st.sampled_from(DTYPES)), draw(shapes)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    array = random_bits(rng, shape, dtype).copy()
    kind = draw(st.sampled_from(["random", "few", "gaussian"]))
    if kind == "few" and array.size:
        array = rng.choice(array.reshape(-1)[:3], size=shape)
    if kind == "gaussian" and array.size:
        outlier = array.reshape(-1)[:1].copy()
        array = (rng.standard_normal(shape) * 0.02).astype(dtype)
        array.reshape(-1)[rng.integers(array.size)] = outlier[0]
    return array


@given(arrays(), st.sampled_from(plan.OBJECTIVES), st.sampled_from(("portable", "avx512")))
def test_planned_tensors_come_back_bit_for_bit(array: np.ndarray, objective: str, profile: str) -> None:
    encoded = plan.encode(array, objective=objective, profile=profile)
    assert encoded.nbytes_stored <= array.nbytes
    for name in ISAS:
        with isa.using(name):
            assert same_bits(Tensor(encoded).decode(), array)
