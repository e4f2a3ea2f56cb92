"""Differences of words in NumPy: the oracle of differences.cpp.

Floats in their order are integers: the word itself, or all its bits but the sign's turned round for negative ones. A
difference is that of two such integers modulo 2^bits, as one without a sign: twice itself, or what it lacks to zero
times two, less one. It is taken apart by the reference's exponent, on which its size depends.
"""

from __future__ import annotations

import numpy as np


def ordered(words: np.ndarray) -> np.ndarray:
    """Words of floats as integers, modulo 2^bits, that rise as the floats do. The inverse of itself."""
    bits = words.dtype.itemsize * 8
    below = words.dtype.type((1 << bits - 1) - 1)
    return np.where(words >> words.dtype.type(bits - 1), words ^ below, words)


def difference(words: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Differences, unsigned: small where words are near."""
    bits = words.dtype.type(words.dtype.itemsize * 8 - 1)
    distance = ordered(words) - ordered(reference)
    return np.where(distance >> bits, ~(distance << words.dtype.type(1)), distance << words.dtype.type(1))


def undone(coded: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Inverse of `difference`."""
    one = coded.dtype.type(1)
    distance = np.where(coded & one, ~(coded >> one), coded >> one)
    return ordered(ordered(reference) + distance)


def exponents(words: np.ndarray, exponent: int, mantissa: int) -> np.ndarray:
    """The exponent of each word, int64."""
    return (words >> words.dtype.type(mantissa)).astype(np.int64) & ((1 << exponent) - 1)


def order(words: np.ndarray, exponent: int, mantissa: int, classes: np.ndarray) -> np.ndarray:
    """The places of words in the order of the classes of their exponents; those of a class as they are."""
    return np.argsort(classes[exponents(words, exponent, mantissa)], kind="stable")
