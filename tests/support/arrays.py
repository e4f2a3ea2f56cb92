"""Matrices that hurt, the dtypes, codes and instruction sets that tests take, and what is at hand on this machine."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from tersely.backends.cpu import isa, native

ISAS = tuple(os.environ.get("TERSELY_TEST_ISAS", "").split()) or isa.available()
"""Instruction sets that tests force one by one: all that there are, or those named by TERSELY_TEST_ISAS."""
MODELS = Path(__file__).parents[3] / "shared" / "models"
DTYPES = tuple(
    np.dtype(scalar)
    for scalar in (np.float32, ml_dtypes.bfloat16, np.float16, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2)
)
CODES = (
    {"code": "packed", "bits": 4},
    {"code": "layered", "widths": (3,)},
    {"code": "layered", "widths": (2, 2, 2)},
    {"code": "layered", "widths": (1, 2)},
    {"code": "layered", "widths": (2, 1, 3)},
    {"code": "layered", "widths": (1, 1, 1, 1, 1, 1)},
)
needs_native = pytest.mark.skipif(not native.available(), reason="needs the native module")


def installed(package: str) -> bool:
    """Whether a package can be imported; a mere folder of its name on the path is none."""
    found = importlib.util.find_spec(package)
    return found is not None and found.origin is not None


def normal(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Weights drawn as networks have them."""
    return (rng.standard_normal(shape) * 0.05).astype(dtype)


def random_bits(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Every bit pattern alike: NaN payloads, infinities, subnormals, -0.0."""
    count = int(np.prod(shape, dtype=np.int64))
    return np.frombuffer(rng.bytes(max(1, count) * dtype.itemsize), dtype)[:count].reshape(shape)


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal as unsigned integers, in shape and dtype."""
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


def k_means(array: np.ndarray, words: int) -> np.ndarray:
    """Each weight replaced by the nearest of so many centres (Lloyd's algorithm, from quantiles on)."""
    ordered = np.sort(array.reshape(-1)).astype(np.float64)
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    centres = np.quantile(ordered, (np.arange(words) + 0.5) / words)
    for _ in range(10):
        edges = np.searchsorted(ordered, (centres[1:] + centres[:-1]) / 2)
        edges = np.concatenate([[0], edges, [ordered.size]])
        counts = np.maximum(np.diff(edges), 1)
        centres = np.where(np.diff(edges) > 0, np.diff(sums[edges]) / counts, centres)
    nearest = np.searchsorted((centres[1:] + centres[:-1]) / 2, array)
    return centres.astype(array.dtype)[nearest]


@contextmanager
def without_native() -> Iterator[None]:
    """NumPy references do all of the work, as where there is no native module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "module", None)
        yield
