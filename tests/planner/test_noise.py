"""Weights that are noise are not shown to formulations that want few words; all others are."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from tersely.codes.protocol import Request
from tersely.core.dtypes import of_array
from tersely.planner import choose


def _request(array: np.ndarray, objective: str = "balanced") -> Request:
    dtype = of_array(array)
    return Request(array.view(dtype.word), dtype.name, objective=objective, profile="avx512")


def _weights(rng: np.random.Generator) -> np.ndarray:
    return (rng.standard_normal((256, 512)) * np.exp(rng.standard_normal((256, 1)) / 2)).astype(np.float32)


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16, np.float16])
def test_what_a_sample_rules_out_nothing_offers(dtype: type, monkeypatch: pytest.MonkeyPatch) -> None:
    array = _weights(np.random.default_rng(0)).astype(dtype)
    assert choose._is_noise(_request(array))
    quick = choose.decide(_request(array))
    monkeypatch.setattr(choose, "_is_noise", lambda request: False)
    assert [one.candidate.options for one in choose.decide(_request(array))] == [one.candidate.options for one in quick]


def test_patterns_are_seen() -> None:
    rng = np.random.default_rng(1)
    dense = _weights(rng)
    scales = np.abs(dense).max(1, keepdims=True) / 127
    table = np.sort(rng.standard_normal(4000)).astype(np.float32)
    of_rows = np.sort(rng.standard_normal((256, 64)), axis=1).astype(np.float32)
    patterned = {
        "rounded by row": np.round(dense / scales) * scales,
        "pruned": np.where(np.abs(dense) < 0.05, np.float32(0), dense),
        "negative zeros": np.where(np.abs(dense) < 0.05, np.float32(-0.0), dense),
        "few words": table[rng.integers(0, 4000, dense.shape)],
        "few words in a row": np.take_along_axis(of_rows, rng.integers(0, 64, dense.shape), 1),
    }
    for name, array in patterned.items():
        assert not choose._is_noise(_request(array.astype(np.float32))), name
    assert not choose._is_noise(_request(dense[:20]))  # small enough to be looked at by all
    assert not choose._is_noise(_request(np.zeros((300, 300), np.int8)))
