"""In which form a tensor is coded at level `max`: sides of blocks, and the choice between them by what they cost.

A *side* is a form (word_form.hpp) as bytes; FORMAT.md has its layout. Anything that fits gives the words back: what
is chosen here decides about bytes alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from tersely.core.dtypes import DType
from tersely.storage.mixing.reference import MAX_CHOSEN, MAX_SYMBOLS, SIGN_CONTEXTS
from tersely.storage.mixing.reference_form import BYTES, FLOATING, INTEGER, PALETTE

FLOATS = {
    "float32": (8, 23),
    "bfloat16": (8, 7),
    "float16": (5, 10),
    "float64": (11, 52),
    "complex64": (8, 23),
    "float8_e4m3fn": (4, 3),
    "float8_e4m3fnuz": (4, 3),
    "float8_e5m2": (5, 2),
    "float8_e5m2fnuz": (5, 2),
}
"""Bits of exponent and mantissa."""
BYTES_SIDE = bytes([BYTES])
MIN_WORDS = 1024
"""Smaller tensors are bytes: what they could say of their symbols costs more than it tells."""
_TOP_BITS = 3
_TAILS = {23: (16, 13)}
"""Lowest bits that floats have as zeros which hold shorter ones: float32 those of bfloat16 and float16."""
_LOWEST_BITS = 4
_SAMPLE_WORDS = 1 << 16
_GAIN = 3e-4
_GAIN_OF_FLOATS = 1.5e-4
"""A context that saves less is not worth its time; most of a float's time goes by without contexts."""
_DEPTHS = (2, 3, 4, 6, 8, 64)
"""How many decisions may be mixed; no tree is deeper than the last."""
_OFTEN_BEST = (9, 7, 1, 4, 10, 6, 8, 2, 11, 5, 3)
"""Contexts in the order in which they are tried."""

Cost = Callable[[np.ndarray, bytes], int]
"""Bytes of a block that holds words (an array of four axes) under a side."""


@dataclass(frozen=True)
class Layout:
    """How a tensor lies before the coder: bytes of a number, bits of floats (0: none), four axes."""

    word_bytes: int
    exponent: int
    mantissa: int
    axes: tuple[int, int, int, int]


def layout_of(dtype: DType, shape: tuple[int, ...], nbytes: int) -> Layout:
    """The layout of a tensor of so many bytes. Axes of length 1 are left out; of more than four, the first are one."""
    word_bytes = 1 if dtype.packed else dtype.bits // 8
    lengths = list(dtype.array_shape(shape))
    if dtype.name == "complex64":
        word_bytes, lengths = 4, [*lengths, 2]
    if math.prod(lengths) * word_bytes != nbytes:
        lengths = [nbytes // word_bytes]
    exponent, mantissa = FLOATS.get(dtype.name, (0, 0))
    lengths = [length for length in lengths if length != 1]
    if len(lengths) > 4:
        lengths[:-3] = [math.prod(lengths[:-3])]
    if len(lengths) < 2:
        return Layout(word_bytes, exponent, mantissa, (1, 1, 1, lengths[0] if lengths else 1))
    first, *rest = lengths
    axes = [first, *[1] * (3 - len(rest)), *rest]
    return Layout(word_bytes, exponent, mantissa, (axes[0], axes[1], axes[2], axes[3]))


@dataclass(frozen=True)
class _Side:
    """A side, its contexts, those of signs and the depth open."""

    kind: int
    symbols: bytes
    rest: bytes
    contexts: int = 1
    signs: int = (1 << SIGN_CONTEXTS) - 1
    depth: int = 4

    def to_bytes(self) -> bytes:
        return bytes([self.kind, self.signs]) + _u16(self.contexts) + bytes([self.depth]) + self.symbols + self.rest


def _u16(value: int) -> bytes:
    return value.to_bytes(2, "little")


def _symbols(magnitudes: np.ndarray) -> bytes | None:
    """The smallest magnitude, how many there are from it on, logarithms of their counts; None for too many."""
    smallest = int(magnitudes.min())
    if int(magnitudes.max()) - smallest >= MAX_SYMBOLS or smallest >= 1 << 16:
        return None
    counts = np.bincount((magnitudes - smallest).astype(np.int64))
    bits = np.frexp(counts.astype(np.float64))[1]  # the bit length
    logs = np.where(counts > 0, np.maximum(1, 15 + bits - bits.max()), 0).astype(np.uint8)
    logs = np.append(logs, np.zeros(logs.size % 2, np.uint8))
    return _u16(smallest) + _u16(counts.size) + (logs[0::2] | logs[1::2] << 4).tobytes()


def _floating(words: np.ndarray, layout: Layout) -> _Side | None:
    mantissa = layout.mantissa
    magnitudes = words & words.dtype.type((1 << (layout.exponent + mantissa)) - 1)
    for top in range(min(_TOP_BITS, mantissa), -1, -1):
        below = mantissa - top
        symbols = _symbols((magnitudes >> words.dtype.type(below)).astype(np.int64))
        if symbols is not None:
            break
    else:
        return None
    used = int(np.bitwise_or.reduce(magnitudes))
    zeros = min(below, (used & -used).bit_length() - 1) if used else below
    some = magnitudes[magnitudes != 0]
    tail = 0
    for one in _TAILS.get(mantissa, ()):
        if zeros < one <= below and np.mean(some & words.dtype.type((1 << one) - 1) == 0) > 0.02:
            tail = one
            break
    lowest = min(_LOWEST_BITS, below - zeros)
    return _Side(FLOATING, symbols, bytes([top, zeros, tail, lowest if _tells_lowest(some, zeros, lowest) else 0]))


def _tells_lowest(magnitudes: np.ndarray, zeros: int, count: int) -> bool:
    """Whether the lowest bits of floats are no noise: some were rounded more than once."""
    if count == 0 or magnitudes.size == 0:
        return False
    kind = magnitudes.dtype.type
    counts = np.bincount((magnitudes >> kind(zeros) & kind((1 << count) - 1)).astype(np.int64), minlength=1 << count)
    share = counts[counts > 0] / magnitudes.size
    noise = (1 << count) / magnitudes.size  # what a sample of equally likely numbers falls short of their entropy by
    return count + float((share * np.log2(share)).sum()) > 0.002 + noise


def _integer(words: np.ndarray) -> _Side | None:
    zero = int(np.bincount(words, minlength=256).argmax())
    ahead = words.astype(np.int64) - zero & 255
    symbols = _symbols(np.minimum(ahead, 256 - ahead))
    return None if symbols is None else _Side(INTEGER, symbols, _u16(zero))


def _palette(words: np.ndarray, distinct: np.ndarray, numbers: np.dtype) -> _Side | None:
    if distinct.size > MAX_SYMBOLS or 2 * distinct.size > words.size:
        return None
    with np.errstate(invalid="ignore", over="ignore"):
        order = np.argsort(distinct.view(numbers).astype(np.float64), kind="stable")
    index = np.empty(distinct.size, np.int64)
    index[order] = np.arange(distinct.size)
    found = index[np.searchsorted(distinct, words)]
    zero = int(np.bincount(found).argmax())
    symbols = _symbols(np.abs(found - zero))
    if symbols is None:
        return None
    return _Side(PALETTE, symbols, _u16(zero) + _u16(distinct.size) + distinct[order].tobytes())


NAMES = {BYTES: "bytes", INTEGER: "integers", PALETTE: "few words", FLOATING: "floats"}
"""Forms by the first byte of a side, for people."""


def _candidates(words: np.ndarray, layout: Layout, dtype: DType) -> Iterator[_Side]:
    if layout.word_bytes == 1 and not layout.exponent:
        found = _integer(words)
        if found is not None:
            yield found
        return
    numbers = np.dtype(np.float32) if dtype.name == "complex64" else dtype.numpy
    palette = _palette(words, np.unique(words), numbers) if layout.word_bytes > 1 else None
    if palette is not None:
        yield palette
    if layout.exponent:
        floating = _floating(words, layout)
        if floating is not None:
            yield floating


def sides_of(words: np.ndarray, layout: Layout, dtype: DType, cost: Cost | None) -> list[bytes]:
    """The sides of a tensor that are tried: one of each form that fits.

    Args:
        words: unsigned integers of `layout.word_bytes`, one dimension.
        layout: of the tensor.
        dtype: of the tensor.
        cost: measures a side; None where there is nothing to measure with: contexts that suit most tensors are taken.
    """
    if words.size < MIN_WORDS:
        return [BYTES_SIDE]
    sides = list(_candidates(words, layout, dtype))
    if not sides:
        return [BYTES_SIDE]
    if cost is None:
        return [replace(sides[0], contexts=1 | 1 << 9 | 1 << 7 | 1 << 1).to_bytes()]
    shaped = words.reshape(layout.axes)
    sample = shaped[: max(1, _SAMPLE_WORDS // max(1, shaped[0].size))]
    tried = [_tuned(side, sample, cost) for side in sides]
    if layout.word_bytes == 1 and max(layout.axes) == words.size:
        tried.append(BYTES_SIDE)  # text, maybe
    return tried


def choose(words: np.ndarray, layout: Layout, dtype: DType, cost: Cost | None) -> bytes:
    """The side of a tensor: of those that are tried, the one that costs least. Arguments are those of `sides_of`."""
    sides, shaped = sides_of(words, layout, dtype, cost), words.reshape(layout.axes)
    return sides[0] if len(sides) == 1 or cost is None else min(sides, key=lambda side: cost(shaped, side))


def _tuned(side: _Side, sample: np.ndarray, cost: Cost) -> bytes:
    """A side with the contexts that pay, found one after the other on a part of the tensor whose symbols it knows."""

    def bytes_of(side: _Side) -> int:
        return cost(sample, side.to_bytes())

    gain = _GAIN_OF_FLOATS if side.kind == FLOATING else _GAIN
    best = replace(side, signs=1)
    least = bytes_of(best)
    for context in range(1, SIGN_CONTEXTS):
        one = replace(best, signs=best.signs | 1 << context)
        if (found := bytes_of(one)) < least * (1 - gain):
            best, least = one, found
    if (found := bytes_of(replace(best, signs=0))) <= least * (1 + gain):
        best, least = replace(best, signs=0), found
    for context in _OFTEN_BEST:
        one = replace(best, contexts=best.contexts | 1 << context)
        if one.contexts.bit_count() > MAX_CHOSEN or not _tells(context, sample.shape):
            continue
        if (found := bytes_of(one)) < least * (1 - gain):
            best, least = one, found
    deepest = bytes_of(replace(best, depth=_DEPTHS[-1]))
    shallow = (one for depth in _DEPTHS if bytes_of(one := replace(best, depth=depth)) <= deepest * (1 + gain))
    return next(shallow).to_bytes()


def _tells(context: int, axes: tuple[int, ...]) -> bool:
    """Whether a context can differ from one word to another: not what is along axes of length 1."""
    needs = {1: (0,), 2: (1,), 3: (2,), 4: (3,), 5: (2,), 8: (0, 1), 11: (0, 1)}
    return context not in needs or any(axes[axis] > 1 for axis in needs[context])
