"""Which tensors of a file are nearly earlier ones: they may be stored by their differences (`storage.differences`).

Averages of weights beside the weights, copies that were trained a little further, snapshots of one training. A sample of
each tensor decides what is tried; the bytes of both ways decide what is written. A reference has none itself, so to
decode a tensor decodes one other at most.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tersely.core.dtypes import DType
from tersely.storage import codec
from tersely.storage.archive import limits
from tersely.storage.archive.layout import Block
from tersely.storage.differences.coder import FLOATS
from tersely.storage.differences.reference import ordered

_SAMPLE = 256
"""Elements of each tensor that are looked at."""
_NEAR = 0.5
"""Share of a sample that must be near the other's: that of independent weights is an eighth."""
_CANDIDATES = 1024
"""Most earlier tensors that one is compared with, the latest."""


@dataclass(frozen=True)
class Reference:
    """What a block may have differences from. back: how many tensors before it; raw: the bytes at its place."""

    back: int
    raw: np.ndarray


def find(source: Any, blocks: Sequence[Block]) -> dict[int, int]:
    """Returns the reference of each tensor for which one is worth trying, by numbers.

    Args:
        source: what is stored, with `raw` and `forget`.
        blocks: all that the file has.
    """
    alike: dict[tuple[str, tuple[int, ...]], list[int]] = defaultdict(list)
    entries = source.text.entries
    for block in blocks:
        part = block.parts[0]
        if part.tensor < 0 or part.begin or block.pooled or not codec.takes_reference(part.spec.dtype):
            continue
        if math.prod(entries[part.tensor].shape) >= limits.OWN_ELEMENTS:
            alike[part.spec.dtype.tag, entries[part.tensor].shape].append(part.tensor)
    dtypes = {block.parts[0].spec.dtype.tag: block.parts[0].spec.dtype for block in blocks}
    found: dict[int, int] = {}
    for (tag, _), numbers in alike.items():
        if len(numbers) > 1:
            found |= _within(source, numbers, dtypes[tag])
    return found


def _within(source: Any, numbers: Sequence[int], dtype: DType) -> dict[int, int]:
    """References among tensors of one dtype and shape."""
    samples = np.empty((len(numbers), _SAMPLE), dtype.word)
    first: list[int] = []
    found: dict[int, int] = {}
    for row, number in enumerate(numbers):
        words = source.raw(number).view(dtype.word)
        samples[row] = words[np.linspace(0, words.size - 1, _SAMPLE).astype(np.int64)]
        del words
        source.forget(number)
        rows = np.array(first[-_CANDIDATES:], np.int64)
        shares = _shares(samples[row], samples[rows], FLOATS[dtype.tag][1])
        if rows.size and shares.max() >= _NEAR:
            found[number] = numbers[rows[int(shares.argmax())]]
        else:
            first.append(row)
    return found


def _shares(words: np.ndarray, others: np.ndarray, mantissa: int) -> np.ndarray:
    """The share of words, zeros left out, that differ from those of each row by less than half an octave."""
    own = ordered(words)
    distance = (own[None] - ordered(others)).view(f"<i{words.dtype.itemsize}")
    counted = words << words.dtype.type(1) != 0
    near = np.abs(distance.astype(np.int64)) < 1 << mantissa - 1
    return (near & counted).sum(1) / max(1, int(counted.sum()))


def of(block: Block, refers: Mapping[int, int], raw: Callable[[int], np.ndarray]) -> Reference | None:
    """What a block may have differences from, None where there is nothing. raw: the bytes of a tensor, by number."""
    part = block.parts[0]
    other = refers.get(part.tensor)
    if other is None:
        return None
    return Reference(part.tensor - other, raw(other)[part.begin : part.end])
