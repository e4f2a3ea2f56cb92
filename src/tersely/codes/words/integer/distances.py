"""`integer` with a child `distances`: each weight's distance from a centre, folded to sign and size, under `split`.

A *folded* word has the sign of the distance in its highest bit and below it the distance, or its complement where it is
negative: 0, 1, 2 ... for 0, 1, 2 and as many again, from the highest bit on, for -1, -2, -3. That is how floats are made,
so `split` can split the word as one of a float's dtype (the parameter `like`): high bits of the size become symbols, the others stay as
they are. So the code takes what the histogram needs, whatever the number of values, where fields take whole bits.

    8 bits     'index': the whole word is the symbol; 'float8_e5m2' and 'float8_e4m3fn': five or four bits of the size are
    16 bits    'bfloat16' and 'float16': eight or five bits are; distances from -128 to 127: as words of 8 bits

FORMAT: docs/FORMAT.md, "Integers".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tersely.codes.layouts import Groups
from tersely.codes.node import INDEX, prefixed
from tersely.codes.words.integer import codec
from tersely.codes.words.integer.layout import BYTES, DISTANCES, NAME, VERSION, flip
from tersely.codes.words.split import codec as split
from tersely.codes.words.split.layout import FIELDS
from tersely.codes.words.split.sizes import SizeModel, Statistics
from tersely.core.dtypes import by_name
from tersely.core.encoded import Node
from tersely.core.errors import UnsupportedError
from tersely.core.geometry import Geometry

NARROW = (INDEX, "float8_e5m2", "float8_e4m3fn")
WIDE = ("bfloat16", "float16")
"""dtypes that folded words of 8 and 16 bits are laid out like."""
_BLOCK_WORDS = 1 << 16
"""Words that are counted while they are in the cache."""


def layouts_of(dtype: str) -> tuple[str, ...]:
    return NARROW if dtype in BYTES else NARROW + WIDE


def fold(words: np.ndarray, centre: int) -> np.ndarray:
    """Words of 8 or 16 bits, folded about a centre (a word)."""
    top = words.dtype.type(words.itemsize * 8 - 1)
    distance = words - words.dtype.type(centre)
    return distance ^ (distance >> top) * words.dtype.type((1 << int(top)) - 1)


def unfold(folded: np.ndarray, centre: int, out: np.ndarray) -> None:
    """Inverse of `fold`, into `out`; folded words of 8 bits give out of 8 or 16 bits.

    What kernels do is compared with it.
    """
    kind, top = out.dtype.type, out.itemsize * 8 - 1
    words = widen(folded) if folded.itemsize < out.itemsize else folded
    negative = (words >> kind(top)) * kind((1 << top) - 1)
    out[...] = ((words ^ negative) + kind(centre)).reshape(out.shape)


def narrow(folded: np.ndarray) -> np.ndarray:
    """Folded words of 16 bits, their sizes below 128, as folded words of 8 bits."""
    return (folded >> np.uint16(8) & np.uint16(0x80) | folded & np.uint16(0x7F)).astype(np.uint8)


def widen(folded: np.ndarray) -> np.ndarray:
    """Inverse of `narrow`."""
    wide = folded.astype(np.uint16)
    return (wide & np.uint16(0x80)) << np.uint16(8) | wide & np.uint16(0x7F)


@dataclass(frozen=True)
class Centre:
    """A node's parameters. like: the dtype whose bit layout folded words have. value: a word."""

    bit_layout: str
    value: int

    def parameters(self, dtype: str) -> dict[str, Any]:
        bits = by_name(dtype).bits
        negative = dtype.startswith("int") and self.value >> (bits - 1)
        return {"centre": self.value - (1 << bits if negative else 0), "bit_layout": self.bit_layout}

    @staticmethod
    def parse(parameters: Mapping[str, Any], dtype: str) -> Centre:
        """Inverse of `parameters`. Raises UnsupportedError."""
        centre, bit_layout, kind = parameters.get("centre"), parameters.get("bit_layout"), by_name(dtype)
        limits = np.iinfo(kind.numpy)
        if (
            set(parameters) != {"centre", "bit_layout"}
            or bit_layout not in layouts_of(dtype)
            or type(centre) is not int
        ):
            raise UnsupportedError(
                f"formulation 'integer' with distances takes an integer 'centre' and 'bit_layout', one of "
                f"{', '.join(layouts_of(dtype))}; the file is damaged or needs a newer tersely"
            )
        if not limits.min <= centre <= limits.max:
            raise UnsupportedError(f"centre {centre} is out of range for {dtype}; the file is damaged")
        return Centre(str(bit_layout), centre & (1 << kind.bits) - 1)


@dataclass(frozen=True)
class Choice:
    """One way to code distances, sized to the byte."""

    centre: Centre
    coded: split.Coded

    def node(self, dtype: str) -> Node:
        return Node(NAME, VERSION, self.centre.parameters(dtype), {DISTANCES: self.coded.node})

    def encode(self, threads: int) -> dict[str, np.ndarray]:
        return prefixed(DISTANCES, self.coded.encode(threads))


def choices(
    words: np.ndarray, layout: Geometry | Groups, dtype: str, threads: int, bit_layout: str | None = None
) -> list[Choice]:
    """Each way to code C-contiguous words by its smallest code; those with `bit_layout` alone if it is given."""
    if isinstance(layout, Groups):
        counts = split.statistics(words, layout, INDEX, threads).histograms
        found = _about_best_centres(counts, np.zeros(1, np.uint8))
    elif dtype in BYTES:
        levels = codec.statistics(words, layout, dtype, threads)[:, np.arange(256) ^ flip(dtype)]
        found = _about_best_centres(levels, np.zeros(layout.panels, np.uint8))
    else:
        found = _about_median(words, layout, dtype, threads)
    return [
        _choice(words, centre, SizeModel(statistics, layout, centre.bit_layout))
        for centre, statistics in found
        if bit_layout in (None, centre.bit_layout)
    ]


def _choice(words: np.ndarray, centre: Centre, model: SizeModel) -> Choice:
    return Choice(centre, split.under(model, folding(words, centre)))


def folding(words: np.ndarray, centre: Centre) -> Callable[[], np.ndarray]:
    """What makes the words that are coded."""

    def folded() -> np.ndarray:
        found = fold(words, centre.value)
        return narrow(found) if words.itemsize == 2 and centre.bit_layout in NARROW else found

    return folded


def smallest(found: list[Choice]) -> Choice | None:
    return min(found, key=lambda choice: choice.coded.nbytes, default=None)


def _about_best_centres(by_word: np.ndarray, tail_kinds: np.ndarray) -> list[tuple[Centre, Statistics]]:
    """For each bit layout the centre that leaves the least to the symbols, by their entropy, and how often each symbol
    occurs, as split counts them. by_word: how often each word does, [segments, 256].
    """
    totals, found = by_word.sum(axis=0), []
    every = np.arange(256, dtype=np.uint8)
    for bit_layout in NARROW:
        symbols = _symbols(every, bit_layout)
        centre = 0 if bit_layout == INDEX else _best_centre(totals, symbols)
        histograms = np.zeros(by_word.shape, np.uint32)
        for word, symbol in enumerate(symbols[fold(every, centre)].tolist()):
            histograms[:, symbol] += by_word[:, word].astype(np.uint32)
        found.append((Centre(bit_layout, centre), Statistics(histograms, tail_kinds, None)))
    return found


def _best_centre(totals: np.ndarray, symbols: np.ndarray) -> int:
    every, entropies = np.arange(256, dtype=np.uint8), np.zeros(256)
    for centre in range(256):
        counts = np.bincount(symbols[fold(every, centre)], weights=totals, minlength=32)
        counts = counts[counts > 0]
        entropies[centre] = -(counts * np.log2(counts / counts.sum())).sum()
    return int(entropies.argmin())


def _symbols(folded: np.ndarray, bit_layout: str) -> np.ndarray:
    fields = FIELDS[bit_layout]
    return folded >> fields.symbol_shift & ((1 << fields.symbol_bits) - 1)


def _about_median(words: np.ndarray, geometry: Geometry, dtype: str, threads: int) -> list[tuple[Centre, Statistics]]:
    """16 bits about the median; where all distances fit, as words of 8 bits too."""
    counts, flat = np.zeros(1 << 16, np.int64), words.reshape(-1)
    for first in range(0, flat.size, _BLOCK_WORDS):
        counts += np.bincount(flat[first : first + _BLOCK_WORDS], minlength=1 << 16)
    upside = 0x8000 if dtype == "int16" else 0
    ordered = counts[np.arange(1 << 16) ^ upside]  # by value
    seen = np.flatnonzero(ordered)
    low, high = (int(seen[0]), int(seen[-1])) if seen.size else (0, 0)
    middle = int(np.searchsorted(np.cumsum(ordered), flat.size / 2))
    small = high - low < 256
    if small:
        middle = min(max(middle, high - 127), low + 128)
    centres = [Centre(bit_layout, middle ^ upside) for bit_layout in WIDE + (NARROW if small else ())]
    return [(one, split.statistics(folding(words, one)(), geometry, one.bit_layout, threads)) for one in centres]
