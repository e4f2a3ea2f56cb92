"""scipy's compressed sparse rows, float32, one row of x; one thread, because it has no other product."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.peers import Stored


def version() -> str:
    import scipy

    return str(scipy.__version__)


def encode(array: np.ndarray) -> Stored:
    import scipy.sparse

    csr = scipy.sparse.csr_matrix(array)
    return Stored(csr, csr.data.nbytes + csr.indices.nbytes + csr.indptr.nbytes, array.shape, array.dtype)


def decode(stored: Stored) -> Any:
    return stored.data.toarray()


def product(stored: Stored, x: np.ndarray) -> Callable[[], Any] | None:
    if len(x) != 1 or stored.dtype != np.float32:
        return None
    column = x[0]
    return lambda: stored.data @ column
