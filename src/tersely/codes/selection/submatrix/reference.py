"""`submatrix` in plain NumPy: which rows and columns are kept, taking them out, putting them back. The oracle.

FORMAT: docs/FORMAT.md, "Submatrix".
"""

from __future__ import annotations

import numpy as np

from tersely.core.encoded import index_bytes, stored
from tersely.core.geometry import Geometry


def matrix_of(words: np.ndarray, geometry: Geometry) -> np.ndarray:
    """The tensor's words as [rows, columns]: a view."""
    return geometry.matrices(words)[0][0]


def alive(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """bool [rows], bool [columns]: which have a word that is not zero."""
    return np.asarray(matrix.any(axis=1)), np.asarray(matrix.any(axis=0))


def bitmap(kept: np.ndarray) -> np.ndarray:
    """bool [rows or columns] as a component."""
    return stored(np.packbits(kept, bitorder="little"), index_bytes)


def kept_numbers(component: np.ndarray, count: int) -> np.ndarray:
    """int64: the first `count` bits that are set."""
    return np.flatnonzero(np.unpackbits(component, count=count, bitorder="little"))


def take(matrix: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """What the kept rows and columns (bool) hold, C-contiguous."""
    return np.ascontiguousarray(matrix[np.ix_(rows, columns)])


def put(kept: np.ndarray, rows: np.ndarray, columns: np.ndarray, geometry: Geometry) -> np.ndarray:
    """Inverse of `take`: the tensor's words, zero elsewhere. rows, columns: numbers."""
    cube = np.zeros((1, geometry.rows, geometry.columns), kept.dtype)
    cube[0][np.ix_(rows, columns)] = kept
    return geometry.tensor(cube)
