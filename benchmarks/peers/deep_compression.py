"""Our plain implementation of the coder of Deep Compression (Han, Mao, Dally, ICLR 2016); one thread.

Weights that are not zero are gaps and indices into a codebook, each with a Huffman code. A gap is the number of zeros
before the weight, of 5 bits in fully connected layers and of 8 bits in convolutions; a longer run is cut by weights that
are zero and have an index of their own (fillers). Zeros at the end are not stored. The paper's pruning and k-means are no
part of it: it takes tensors that have fewer than 2^16 distinct values. It has no product: it is decoded first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.peers import Stored, codes, compiled
from benchmarks.peers.words import MAX_DISTINCT, by_frequency, count_distinct, words_of

GAP_BITS, CONVOLUTION_GAP_BITS = 5, 8


def version() -> str:
    for name in ("codes", "deep_compression"):
        compiled.library(name)
    return "ours"


def takes(array: np.ndarray) -> bool:
    return count_distinct(words_of(array)) < MAX_DISTINCT  # one more for fillers


def encode(array: np.ndarray) -> Stored:
    words = words_of(array)
    places = np.flatnonzero(words)
    codebook, indices = by_frequency(words[places], MAX_DISTINCT - 1)
    span = 1 << (CONVOLUTION_GAP_BITS if array.ndim > 2 else GAP_BITS)
    gaps, symbols, fillers = with_fillers(places, indices, span)
    if fillers:
        codebook = np.append(codebook, np.zeros(1, codebook.dtype))
    coded = codes.encode(gaps, span), codes.encode(symbols, len(codebook))
    size = sum(one.nbytes for one in coded) + codebook.nbytes
    return Stored((*coded, codebook), size, array.shape, array.dtype)


def with_fillers(places: np.ndarray, indices: np.ndarray, span: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Gaps below `span` and indices, and how many of them are fillers, whose index is one more than the largest."""
    gaps = np.diff(places, prepend=-1) - 1
    before = gaps // span
    ends = np.cumsum(before + 1) - 1
    count = int(ends[-1]) + 1 if len(ends) else 0
    all_gaps = np.full(count, span - 1, np.uint16)
    symbols = np.full(count, int(indices.max(initial=0)) + 1, np.uint16)
    all_gaps[ends], symbols[ends] = gaps % span, indices
    return all_gaps, symbols, int(before.sum())


def decode(stored: Stored) -> Any:
    gaps, symbols, codebook = stored.data
    out = np.zeros(int(np.prod(stored.shape)), codebook.dtype)
    streams = (gaps.stream, *gaps.code, symbols.stream, *symbols.code, gaps.count)
    compiled.call("deep_compression", f"decode_{8 * out.itemsize}", *streams, codebook, out)
    return out


def product(stored: Stored, x: np.ndarray) -> Callable[[], Any] | None:
    return None
