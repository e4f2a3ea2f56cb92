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
from benchmarks.peers.words import MAX_DISTINCT, by_frequency, has_few, with_fillers, words_of

GAP_BITS, CONVOLUTION_GAP_BITS = 5, 8


def version() -> str:
    for name in ("codes", "deep_compression"):
        compiled.library(name)
    return "ours"


def takes(array: np.ndarray) -> bool:
    return has_few(words_of(array), MAX_DISTINCT - 1)  # one more for fillers


def encode(array: np.ndarray) -> Stored:
    words = words_of(array)
    places = np.flatnonzero(words)
    codebook, indices = by_frequency(words[places], MAX_DISTINCT - 1)
    span = 1 << (CONVOLUTION_GAP_BITS if array.ndim > 2 else GAP_BITS)
    gaps, own = with_fillers(np.diff(places, prepend=-1) - 1, span)
    symbols = np.full(len(gaps), len(codebook), np.uint16)
    symbols[own] = indices
    if len(gaps) > len(own):
        codebook = np.append(codebook, np.zeros(1, codebook.dtype))
    coded = codes.encode(gaps, span), codes.encode(symbols, len(codebook))
    size = sum(one.nbytes for one in coded) + codebook.nbytes
    return Stored((*coded, codebook), size, array.shape, array.dtype)


def decode(stored: Stored) -> Any:
    gaps, symbols, codebook = stored.data
    out = np.zeros(int(np.prod(stored.shape)), codebook.dtype)
    streams = (gaps.stream, *gaps.code, symbols.stream, *symbols.code, gaps.count)
    compiled.call("deep_compression", f"decode_{8 * out.itemsize}", *streams, codebook, out)
    return out


def product(stored: Stored, x: np.ndarray) -> Callable[[], Any] | None:
    return None
