"""Layers of real models after what people do to them - pruned, 2:4, k-means by tensor and by row, both - under the default
objective: fewer bits, every bit back, products of the weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.arrays import k_means, normal, same_bits
from support.products import assert_close

import tersely

MODELS = ("minilm-l6-v2-body-fp32", "resnet50v2-partial-fp32")
Change = Callable[[np.ndarray], np.ndarray]


def pruned(zeros: float) -> Change:
    """The smallest set to zero."""

    def change(array: np.ndarray) -> np.ndarray:
        return np.where(np.abs(array) <= np.quantile(np.abs(array), zeros), np.float32(0), array)

    return change


def two_of_four(array: np.ndarray) -> np.ndarray:
    """The two smallest of four neighbouring inputs set to zero."""
    rows = array.reshape(len(array), -1)
    groups = rows.reshape(len(array), -1, 4).copy()
    np.put_along_axis(groups, np.argsort(np.abs(groups), axis=2)[:, :, :2], 0, axis=2)
    return groups.reshape(array.shape)


def by_rows(words: int) -> Change:
    """k-means with centres for each row, as lookup-table quantisers leave it."""
    return lambda array: np.stack([k_means(row, words) for row in array])


def both(array: np.ndarray) -> np.ndarray:
    """One weight in ten is left, of 16 values."""
    kept = np.abs(array) > np.quantile(np.abs(array), 0.9)
    found = np.zeros_like(array)
    found[kept] = k_means(array[kept], 16)
    return found


def without_channels(array: np.ndarray) -> np.ndarray:
    """Half of the outputs and a quarter of the inputs set to zero, those of the smallest norms."""
    found = array.copy()
    squares = (array**2).reshape(*array.shape[:2], -1).sum(axis=2)
    found[np.argsort(squares.sum(axis=1))[: len(array) // 2]] = 0
    found[:, np.argsort(squares.sum(axis=0))[: array.shape[1] // 4]] = 0
    return found


CHANGES: dict[str, tuple[Change, str, float]] = {
    "50 % zeros": (pruned(0.5), "sparse", 17.3),
    "80 % zeros": (pruned(0.8), "sparse", 9.0),
    "90 % zeros": (pruned(0.9), "sparse", 4.8),
    "95 % zeros": (pruned(0.95), "sparse", 2.8),
    "2 of 4": (two_of_four, "sparse", 17.3),
    "16 words": (lambda array: k_means(array, 16), "palette", 4.1),
    "32 words": (lambda array: k_means(array, 32), "palette", 5.2),
    "16 words a row": (by_rows(16), "row_palette", 5.5),
    "1/2 outputs, 1/4 inputs empty": (without_channels, "submatrix", 10.8),
    "90 % zeros, 16 words": (both, "sparse", 4.8),
}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("change", CHANGES)
def test_changed_layers(models: Path, model: str, change: str, rng: np.random.Generator) -> None:
    make, formulation, bits = CHANGES[change]
    tensors = tersely.load_file(models / f"{model}.safetensors").values()
    stored = weights = 0
    for tensor in [one for one in tensors if one.ndim in (2, 4) and one.size >= 250_000][:6]:
        array = make(tensor.decode())
        coded = tersely.encode(array)
        # Pruning single weights can leave outputs and inputs without any.
        kept = coded.encoded.node.children.get("kept") if formulation == "sparse" else None
        assert (kept or coded.encoded.node).formulation == formulation, array.shape
        assert same_bits(coded.decode(), array)
        stored, weights = stored + coded.nbytes_stored, weights + array.size
        matrix = array.reshape(len(array), -1)
        if array.ndim == 4:
            if array.shape[2:] != (1, 1):
                continue  # taps have an order of their own: no matrix of them is multiplied
            coded = tersely.encode(matrix)
        for batch in (1, 5):
            x = normal(rng, (batch, matrix.shape[1]), np.dtype(np.float32))
            assert_close(tersely.linear(x, coded), x, matrix, None)
    assert stored * 8 / weights <= bits
