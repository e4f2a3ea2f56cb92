"""Parts and joins of coded tensors by their stored bytes: the oracle is NumPy on the decoded tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.references import join, take

import tersely
from tersely.codes import registry
from tersely.codes.node import Formulation
from tersely.core.dtypes import by_name
from tersely.core.encoded import Encoded
from tersely.files.container.description import crc32, joined_crc32

SPLIT = {
    "packed": {"formulation": "split", "code": "packed"},
    "layered": {"formulation": "split", "code": "layered", "widths": (1, 2)},
}
DTYPES = ("float32", "bfloat16", "float16", "float8_e4m3fn")


def weights(*shape: int, dtype: str = "bfloat16", seed: int = 1) -> np.ndarray:
    """Weights with rare exponents, so that every level and the escapes of some segments hold something."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=shape) * np.exp2(rng.integers(-9, 1, shape) * (rng.random(shape) < 0.1))
    array = values.astype(by_name(dtype).numpy)
    if dtype == "float32":  # some panels without low bits: short tails
        array[..., : shape[-2] // 2, :] = array[..., : shape[-2] // 2, :].astype(np.float16)
    return array


def same(found: Encoded | None, expected: np.ndarray) -> bool:
    assert found is not None
    tensor = tersely.Tensor(found)  # validates
    return tensor.shape == expected.shape and tensor.decode().tobytes() == np.ascontiguousarray(expected).tobytes()


@pytest.mark.parametrize("code", SPLIT)
@pytest.mark.parametrize("dtype", DTYPES)
def test_matrices_of_stacks(dtype: str, code: str) -> None:
    for orientation in ("out_in", "in_out"):
        array = weights(5, 80, 80, dtype=dtype)
        whole = tersely.encode(array, orientation=orientation, **SPLIT[code])
        if dtype == "float32" and orientation == "out_in":
            assert "short_panels" in whole.components
        for first, last in ((0, 5), (1, 3), (4, 5)):
            assert same(take(whole.encoded, first, last), array[first:last])
        assert same(take(whole.encoded, 2, 3, squeezed=True), array[2])
        pieces = [take(whole.encoded, k, k + 1, squeezed=True) for k in (3, 0, 0)]
        assert same(join("stack", 0, pieces), array[[3, 0, 0]])
        longer = [take(whole.encoded, *span) for span in ((3, 5), (0, 1))]
        assert same(join("cat", 0, longer), array[[3, 4, 0]])


@pytest.mark.parametrize("columns", [300, 4099], ids=["panels in a segment", "segments in a panel"])
@pytest.mark.parametrize("code", SPLIT)
def test_rows_from_segment_to_segment(code: str, columns: int) -> None:
    array = weights(200, columns)
    whole = tersely.encode(array, **SPLIT[code])
    unit = whole.geometry.panels_per_unit * 16
    assert unit == (96 if columns == 300 else 16)
    assert same(take(whole.encoded, unit, 200), array[unit:])
    assert same(take(whole.encoded, 0, 2 * unit), array[: 2 * unit])
    for first, last in ((1, 200), (0, unit - 1), (0, 0)):
        assert take(whole.encoded, first, last) is None
    assert take(whole.encoded, 0, 1, squeezed=True) is None
    head, tail = take(whole.encoded, 0, unit), take(whole.encoded, unit, 200)
    assert same(join("cat", 0, [head, head, tail]), array[[*range(unit), *range(unit), *range(unit, 200)]])
    assert join("cat", 0, [tail, head]) is None
    assert join("cat", 1, [head, head]) is None


@pytest.mark.parametrize("code", SPLIT)
def test_rows_of_stacks_side_by_side(code: str) -> None:
    array = weights(3, 192, 300)
    whole = tersely.encode(array, **SPLIT[code]).encoded
    gate, up = (take(whole, *span) for span in ((0, 2), (1, 3)))
    expected = np.concatenate([array[:2], array[1:]], 1)
    assert same(join("cat", 1, [gate, up]), expected)


@pytest.mark.parametrize("options", [{}, {"code": "layered", "widths": (2, 2)}, {"code": "packed"}], ids=str)
def test_palettes(options: dict[str, Any]) -> None:
    rng = np.random.default_rng(2)
    array = rng.choice(
        weights(12, 1)[:, 0], (4, 64, 80), p=np.exp2(-np.arange(1, 13)) / np.exp2(-np.arange(1, 13)).sum()
    )
    whole = tersely.encode(array, formulation="palette", **options)
    assert ("indices.tiles" in whole.components) == bool(options)
    one, two = (take(whole.encoded, k, k + 1, squeezed=True) for k in (2, 1))
    assert same(one, array[2])
    assert same(join("stack", 0, [one, two]), array[[2, 1]])
    other = tersely.encode(array[0] * np.asarray(2, array.dtype), formulation="palette", **options)
    assert join("stack", 0, [one, other.encoded]) is None


def test_what_does_not_fit_is_left_alone() -> None:
    a, b = (
        tersely.encode(weights(64, 64) * np.asarray(scale, "bfloat16"), **SPLIT["packed"]).encoded for scale in (1, 64)
    )
    assert a.node != b.node
    assert join("stack", 0, [a, b]) is None
    assert join("cat", 0, [a, tersely.encode(weights(64, 96), **SPLIT["packed"]).encoded]) is None
    assert join("stack", 0, [a, tersely.encode(weights(64, 64), **SPLIT["layered"]).encoded]) is None
    assert take(tersely.encode(weights(64, 64), formulation="dense").encoded, 0, 64) is None
    assert all(type(row).slice_panels is not Formulation.slice_panels for row in registry.ROWS)


def test_checksums_of_joined_bytes() -> None:
    rng = np.random.default_rng(4)
    for lengths in ((0, 0), (5, 0), (0, 5), (1, 1), (1000, 65537)):
        first, second = (rng.bytes(length) for length in lengths)
        assert joined_crc32(crc32(first), crc32(second), len(second)) == crc32(first + second)
