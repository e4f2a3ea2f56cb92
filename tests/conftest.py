"""Fixtures: instruction sets forced one by one, matrices that hurt, real models where they are at hand."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import settings

from tersely.backends.cpu import isa, native, threads
from tersely.codes import registry, slicing
from tersely.core.encoded import Encoded
from tersely.planner import choose


def installed(package: str) -> bool:
    """Whether a package can be imported; a mere folder of its name on the path is none."""
    found = importlib.util.find_spec(package)
    return found is not None and found.origin is not None


_ADAPTERS = {"torch_adapter": ("torch",), "transformers_adapter": ("torch", "transformers")}
collect_ignore = [folder for folder, needed in _ADAPTERS.items() if not all(map(installed, needed))]
"""Tests of adapters need what they adapt: `make test` installs it."""

settings.register_profile("quick", max_examples=60, deadline=None)
settings.load_profile("quick")

ISAS = tuple(os.environ.get("TERSELY_TEST_ISAS", "").split()) or isa.available()
"""Instruction sets that tests force one by one: all that there are, or those named by TERSELY_TEST_ISAS."""

MODELS = Path(__file__).parent.parent.parent / "shared" / "models"
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


@pytest.fixture(params=ISAS)
def each_isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Runs the test once for every instruction set of this processor, forced; fails if dispatch did not obey."""
    with isa.using(request.param):
        assert isa.active() == request.param
        yield request.param


@pytest.fixture(autouse=True)
def unchosen_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A number of threads that one test chose decides nothing in the tests after it in the same process."""
    monkeypatch.setattr(threads, "_chosen", None)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20260101)


@pytest.fixture
def models() -> Path:
    if not MODELS.is_dir():
        pytest.skip("real checkpoints (../shared/models) are not at hand")
    return MODELS


def reference_words(encoded: Encoded) -> np.ndarray:
    """What the NumPy reference decodes."""
    checked = registry.check(encoded)
    return checked.row.words(checked.root)


def slower_than_dense(encoded: Encoded, profile: str) -> bool:
    """What the formulation says of a tensor's products."""
    checked = registry.check(encoded)
    return checked.row.slower_than_dense(checked.root, profile)


def take(encoded: Encoded, first: int, last: int, **how: bool) -> Encoded | None:
    """`slicing.take` of a tensor that is checked first."""
    return slicing.take(registry.check(encoded), first, last, **how)


def join(kind: str, dim: int, tensors: Sequence[Encoded]) -> Encoded | None:
    """`slicing.join` of tensors that are checked first."""
    return slicing.join(kind, dim, [registry.check(one) for one in tensors])


def reference_components(array: np.ndarray, **options: Any) -> Mapping[str, np.ndarray]:
    """What the NumPy reference encodes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "module", None)
        return choose.encode(array, **options).components
