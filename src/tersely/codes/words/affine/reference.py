"""`affine` in plain NumPy: what words are made of, encode, decode. Slow, short, and the oracle of every kernel.

FORMAT: docs/FORMAT.md, "Scales and tables by rows".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from tersely.codes.words.affine.layout import (
    DIRECTORY,
    DTYPES,
    NEGATIVE_ZERO,
    SCALES,
    SIGNS,
    ZEROS,
    Scaling,
    by_weights,
)
from tersely.codes.words.split.reference import from_chunks, to_chunks
from tersely.core.dtypes import by_name
from tersely.core.geometry import PANEL_ROWS, Geometry

MAX_TIMES = 255
"""Up to here |number - zero| is told from a bfloat16 word: that is off by at most one in 256, so word / scale by at most one."""
MAX_STEPS = 127
"""What the least size of a group may be a multiple of."""
FEW_VISITS = 64
"""Multiples that are tried for each of these, beside four for each size."""
TRIES = 16
"""Scales of each dtype that are tried in an interval."""
_SIZE_BITS = {"float32": (0x7FFFFFFF, 23), "bfloat16": (0x7FFF, 7), "float16": (0x7FFF, 10)}

Fit = tuple[dict[str, float], int, int]
"""A scale of each dtype that gives the words back, NaN if there is none; the least and the largest number minus zero."""


def values_of(words: np.ndarray, dtype: str) -> np.ndarray:
    """float32, exact."""
    kind = by_name(dtype).numpy
    assert kind is not None
    with np.errstate(invalid="ignore"):  # signalling NaN
        return np.ascontiguousarray(words).view(kind).astype(np.float32).reshape(words.shape)


def words_of(values: np.ndarray, dtype: str) -> np.ndarray:
    """float32 rounded to words of a dtype."""
    row = by_name(dtype)
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(values.astype(row.numpy)).view(row.word).reshape(values.shape)


def _usable(sizes: np.ndarray, dtype: str) -> bool:
    """Whether scales can be found for words of these sizes: none so small that its scale could be subnormal (processors
    may be told to take these for zero), none so large that what kernels make of other numbers could be infinite."""
    if dtype == "float16":
        return bool((sizes < 0x5400).all())
    exponent = sizes >> _SIZE_BITS[dtype][1]
    return bool(((exponent > 8) & (exponent < 190)).all())


def fit_group(words: np.ndarray, dtype: str) -> Fit | None:
    """What the words of a group are made of, -0.0 taken as 0.0; None where they are no integers times a scale.

    Words are what scale x k rounds to, so each k leaves an interval for the scale, and the intervals of all words have a
    scale in common.
    """
    mask, _ = _SIZE_BITS[dtype]
    wide = np.unique(words.astype(np.int64))
    sizes = np.unique(wide & mask)
    sizes = sizes[sizes > 0]
    if not _usable(sizes, dtype):
        return None
    if not sizes.size:
        return dict.fromkeys(DTYPES, 1.0), 0, 0
    word = by_name(dtype).word
    before, value, behind = (
        values_of((sizes + step).astype(word), dtype).astype(np.float64).tolist() for step in (-1, 0, 1)
    )
    words_between = [
        ((low + own) / 2, own, (own + high) / 2) for low, own, high in zip(before, value, behind, strict=True)
    ]

    def fit_of(times: list[int], lowest: float, highest: float) -> Fit | None:
        signed = np.array(
            [0] * (not (wide & mask).all())
            + [
                times[int(np.searchsorted(sizes, one & mask))] * (1 if one == one & mask else -1)
                for one in wide.tolist()
                if one & mask
            ]
        )
        low, high = int(signed.min()), int(signed.max())
        if high - low > MAX_TIMES:
            return None
        scales = {kind: _scale(kind, lowest, highest, sizes.astype(word), np.array(times), dtype) for kind in DTYPES}
        if math.isnan(scales["float32"]):  # a scale of 16 bits is one of 32, too
            scales["float32"] = scales["float16"] if math.isnan(scales["bfloat16"]) else scales["bfloat16"]
        return None if math.isnan(scales["float32"]) else (scales, low, high)

    for steps in range(1, MAX_STEPS + 1):
        found = _MultipleSearch(words_between, fit_of).find(steps)
        if found is not None:
            return found
    return None


class _MultipleSearch:
    """Multiples of one scale that round to the sizes, the least size being a given one.

    Where the middle of the interval that is left lies far from the scale, the nearest multiple is not the right one, so
    others that the interval allows are tried after it, nearest first, for so many visits.
    """

    def __init__(
        self,
        sizes: list[tuple[float, float, float]],
        fit_of: Callable[[list[int], float, float], Fit | None],
    ) -> None:
        """sizes: of each word what rounds to it, from where, itself, to where."""
        self.sizes, self.fit_of = sizes, fit_of
        self.visits = FEW_VISITS + 4 * len(sizes)
        self.times: list[int] = []

    def find(self, steps: int) -> Fit | None:
        return self._attempt(steps, 0.0, math.inf)[0]

    def _search(self, lowest: float, highest: float) -> Fit | None:
        if len(self.times) == len(self.sizes):
            return self.fit_of(self.times, lowest, highest)
        times = self.sizes[len(self.times)][1] / ((lowest + highest) / 2)
        if not times < MAX_TIMES + 2:
            return None
        nearest = math.floor(times + 0.5)
        found, _ = self._attempt(nearest, lowest, highest)
        sides = [1, -1] if times >= nearest else [-1, 1]
        far = 1
        while found is None and sides:
            for side in list(sides):
                found, empty = self._attempt(nearest + side * far, lowest, highest)
                if found is not None:
                    break
                if empty:
                    sides.remove(side)
            far += 1
        return found

    def _attempt(self, times: int, lowest: float, highest: float) -> tuple[Fit | None, bool]:
        """A fit, and whether that multiple leaves no interval."""
        if not 1 <= times <= MAX_TIMES or self.visits == 0:
            return None, True
        self.visits -= 1
        below, _, above = self.sizes[len(self.times)]
        lowest, highest = max(lowest, below / times), min(highest, above / times)
        if lowest > highest:
            return None, True
        self.times.append(times)
        found = self._search(lowest, highest)
        self.times.pop()
        return found, False


def _scale(kind: str, lowest: float, highest: float, sizes: np.ndarray, times: np.ndarray, dtype: str) -> float:
    """A scale of dtype `kind` in an interval that gives all sizes back; NaN if there is none."""

    def fits(scale: np.float32) -> bool:
        return bool(np.array_equal(words_of(scale * times.astype(np.float32), dtype), sizes))

    if kind == "float32":
        between = [(lowest + highest) / 2, *(lowest + (highest - lowest) * i / TRIES for i in range(TRIES + 1))]
        return next((float(np.float32(one)) for one in between if fits(np.float32(one))), math.nan)
    word = by_name(kind).word
    first = words_of(np.array([lowest], np.float32), kind)[0]
    for step in range(TRIES):
        scale = values_of(np.array([int(first) + step], word), kind)[0]
        if not float(scale) <= highest * (1 + 2.0**-20):
            break
        if scale > 0 and fits(scale):
            return float(scale)
    return math.nan


def fit(
    words: np.ndarray, geometry: Geometry, dtype: str, columns: int
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, bool] | None:
    """What every group has, by rows: scales by dtype, least and largest number minus zero; whether any word is -0.0.

    None where one group has none.
    """
    cube, _ = geometry.matrices(words)
    negative_zero = _SIZE_BITS[dtype][0] + 1
    step = columns or max(1, geometry.columns)
    groups = -(-geometry.columns // step)
    shape = (geometry.count, geometry.rows, groups)
    scales = {kind: np.ones(shape, np.float32) for kind in DTYPES}
    low, high = np.zeros(shape, np.int16), np.zeros(shape, np.int16)
    for matrix, row, group in np.ndindex(*shape):
        own = cube[matrix, row, group * step : (group + 1) * step]
        own = np.where(own == negative_zero, own.dtype.type(0), own)
        found = None if np.unique(own).size > MAX_TIMES + 1 else fit_group(own, dtype)
        if found is None:
            return None
        for kind, scale in found[0].items():
            scales[kind][matrix, row, group] = scale
        low[matrix, row, group], high[matrix, row, group] = found[1:]
    return scales, low, high, bool(np.any(cube == negative_zero))


def numbers_of(
    words: np.ndarray, geometry: Geometry, dtype: str, columns: int, scales: np.ndarray, zeros: np.ndarray, most: int
) -> tuple[np.ndarray, np.ndarray]:
    """What each weight is, in the tensor's shape: uint8 number up to `most`, and whether it is -0.0.

    scales: float32 [groups, 16]; zeros: likewise.
    """
    cube, _ = geometry.matrices(words)
    negative = cube == _SIZE_BITS[dtype][0] + 1
    wanted = np.where(negative, cube.dtype.type(0), cube)
    of_weights, from_zero = by_weights(scales, geometry, columns), by_weights(zeros, geometry, columns).astype(int)
    nearest = np.rint(values_of(cube, dtype).astype(np.float64) * (1.0 / of_weights.astype(np.float64))).astype(int)
    numbers, found = np.zeros(cube.shape, np.uint8), np.zeros(cube.shape, bool)
    for times in (nearest, nearest - 1, nearest + 1):
        own = times + from_zero
        fits = ~found & (own >= 0) & (own <= most)
        fits &= words_of(of_weights * times.astype(np.float32), dtype) == wanted
        numbers[fits], found = own[fits], found | fits
    assert found.all()
    return geometry.tensor(numbers), geometry.tensor(negative)


def _is_zero(numbers: np.ndarray, geometry: Geometry, columns: int, zeros: np.ndarray) -> np.ndarray:
    """bool [chunks, 64], by column x 16 + row: weights that are 0.0 or -0.0."""
    cube, _ = geometry.matrices(numbers)
    chunks, _ = to_chunks(geometry.tensor(cube == by_weights(zeros, geometry, columns)), geometry)
    return chunks.swapaxes(1, 2).reshape(-1, 64)


def signs_of(
    numbers: np.ndarray, negative: np.ndarray, geometry: Geometry, columns: int, zeros: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """uint64 [segments + 1], bytes before each segment; uint8, a bit for each weight that is zero: whether it is -0.0."""
    marked = _is_zero(numbers, geometry, columns, zeros)
    chunks, _ = to_chunks(negative, geometry)
    negative = chunks.swapaxes(1, 2).reshape(-1, 64)
    signs = [
        np.packbits(negative[first:last][marked[first:last]], bitorder="little")
        for first, last in geometry.segment_chunks()
    ]
    starts = np.cumsum([0, *(own.size for own in signs)], dtype="<u8")
    return starts, np.concatenate([np.zeros(0, np.uint8), *signs])


def decode(
    components: Mapping[str, np.ndarray],
    geometry: Geometry,
    dtype: str,
    scaling: Scaling,
    numbers: np.ndarray,
    *,
    from_zero: bool = False,
) -> np.ndarray:
    """The tensor's words, from its numbers and valid components. from_zero: numbers are what `from_zeros` makes, modulo 256."""
    count = scaling.all_groups(geometry) * PANEL_ROWS
    kind = by_name(scaling.dtype)
    raw = components[SCALES][: count * kind.bits // 8].view(kind.word)
    scales = values_of(raw, scaling.dtype).reshape(-1, PANEL_ROWS)
    if scaling.zero is None:
        zeros = components[ZEROS][: count * 2].view("<i2").reshape(-1, PANEL_ROWS)
    else:
        zeros = np.full((count // PANEL_ROWS, PANEL_ROWS), scaling.zero, np.int16)
    cube, _ = geometry.matrices(numbers)
    if from_zero:
        cube = cube + by_weights(zeros, geometry, scaling.columns).astype(np.uint8)
    steps = cube.astype(np.float32) - by_weights(zeros, geometry, scaling.columns).astype(np.float32)
    with np.errstate(over="ignore"):
        found = geometry.tensor(words_of(by_weights(scales, geometry, scaling.columns) * steps, dtype))
    if not scaling.signed_zeros:
        return found
    negative = _negative(components, geometry, scaling, numbers, zeros)
    return np.where(negative, found.dtype.type(_SIZE_BITS[dtype][0] + 1), found)


def from_zeros(numbers: np.ndarray, geometry: Geometry, columns: int, zeros: np.ndarray) -> np.ndarray:
    """number - zero, int16 in the tensor's shape: 0 where the weight is. zeros: int16 [groups, 16]."""
    cube, _ = geometry.matrices(numbers)
    return geometry.tensor(cube.astype(np.int16) - by_weights(zeros, geometry, columns))


def _negative(
    components: Mapping[str, np.ndarray], geometry: Geometry, scaling: Scaling, numbers: np.ndarray, zeros: np.ndarray
) -> np.ndarray:
    """Which weights are -0.0."""
    marked = _is_zero(numbers, geometry, scaling.columns, zeros)
    starts = components[DIRECTORY][: (geometry.segments + 1) * 8].view("<u8").astype(np.int64)
    chunks, _ = to_chunks(numbers, geometry)
    negative = chunks.swapaxes(1, 2).reshape(-1, 64) == NEGATIVE_ZERO  # no weight of a file that is not damaged
    for segment, (first, last) in enumerate(geometry.segment_chunks()):
        bits = np.unpackbits(components[SIGNS][starts[segment] : starts[segment + 1]], bitorder="little")
        zeros_here = np.flatnonzero(marked[first:last])
        own = np.zeros(zeros_here.size, np.uint8)
        own[: bits.size] = bits[: zeros_here.size]
        negative[first:last].reshape(-1)[zeros_here] |= own.astype(bool)
    return from_chunks(negative.reshape(-1, 4, PANEL_ROWS).swapaxes(1, 2), geometry).astype(bool)
