"""`signed_zeros` in plain NumPy: which weights are -0.0, and the words without and with their signs.

FORMAT: docs/FORMAT.md, "Signed zeros".
"""

from __future__ import annotations

import numpy as np


def negative_zero(word: np.dtype) -> int:
    """The word of -0.0 in every format that this formulation codes: the highest bit alone."""
    return 1 << (word.itemsize * 8 - 1)


def signs_of(words: np.ndarray) -> np.ndarray:
    """Tell which words are -0.0: bool, in the tensor's own order, flat."""
    return np.asarray(words.reshape(-1) == negative_zero(words.dtype))


def cleaned(words: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """Return the words, C-contiguous, with +0.0 wherever `signs` (flat) is set."""
    return np.where(signs.reshape(words.shape), words.dtype.type(0), words)


def with_signs(words: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """Return the inverse of `cleaned`. What a damaged file sets for a weight that is not zero changes nothing."""
    zeros = (words == 0) & signs.reshape(words.shape)
    return np.where(zeros, words.dtype.type(negative_zero(words.dtype)), words)
