"""`integer` with a child `distances`: each weight's distance from a centre, folded to sign and size, under `split`.

A *folded* word has the sign of the distance in its highest bit and below it the distance, or its complement where it is
negative: 0, 1, 2 ... for 0, 1, 2 and as many again, from the highest bit on, for -1, -2, -3. That is how floats are made,
so `split` can cut the word as one of a float's dtype (`like`): high bits of the size become symbols, the others stay as
they are. So the code takes what the histogram needs, whatever the number of values, where fields take whole bits.

    8 bits     'index': the whole word is the symbol; 'float8_e5m2' and 'float8_e4m3fn': five or four bits of the size are
    16 bits    'bfloat16' and 'float16': eight or five bits are; distances from -128 to 127: as words of 8 bits

FORMAT: docs/FORMAT.md, "Distances".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tersely.codes.integer import codec
from tersely.codes.integer.layout import BYTES, NAME, VERSION, flip
from tersely.codes.split import codec as split
from tersely.codes.split import formulation as split_formulation
from tersely.codes.split import reference
from tersely.codes.split.layout import FIELDS, Parameters
from tersely.codes.split.sizes import PLANNED_LEVELS, SizeModel, Statistics
from tersely.core.dtypes import by_name
from tersely.core.encoded import Encoded, Node
from tersely.core.errors import UnsupportedError
from tersely.core.geometry import Geometry

CHILD = "distances"
NARROW = ("index", "float8_e5m2", "float8_e4m3fn")
WIDE = ("bfloat16", "float16")
"""dtypes that folded words of 8 and 16 bits are cut like."""
_BLOCK_WORDS = 1 << 16
"""Words that are counted while they are in the cache."""


def likes_of(dtype: str) -> tuple[str, ...]:
    return NARROW if dtype in BYTES else NARROW + WIDE


def fold(words: np.ndarray, centre: int) -> np.ndarray:
    """Words of 8 or 16 bits, folded about a centre (a word)."""
    top = words.dtype.type(words.itemsize * 8 - 1)
    distance = words - words.dtype.type(centre)
    return distance ^ (distance >> top) * words.dtype.type((1 << int(top)) - 1)


def unfold(folded: np.ndarray, centre: int, out: np.ndarray) -> None:
    """Inverse of `fold`, into `out`; folded words of 8 bits give out of 8 or 16 bits. What kernels do is compared with it."""
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
class Choice:
    """One way to code distances, sized to the byte. centre: a word."""

    like: str
    centre: int
    model: SizeModel
    parameters: Parameters

    @property
    def nbytes(self) -> int:
        return self.model.total(self.parameters)

    def node(self, dtype: str) -> Node:
        bits = by_name(dtype).bits
        negative = dtype.startswith("int") and self.centre >> (bits - 1)
        value = self.centre - (1 << bits if negative else 0)
        return Node(NAME, VERSION, {"centre": value, "like": self.like}, {CHILD: split.node(self.parameters)})

    def encode(self, words: np.ndarray, threads: int) -> dict[str, np.ndarray]:
        folded = fold(words, self.centre)
        if words.itemsize == 2 and self.like in NARROW:
            folded = narrow(folded)
        found = split.encode(folded, self.model, self.parameters, threads)
        return {f"{CHILD}.{name}": component for name, component in found.items()}


def choose(words: np.ndarray, geometry: Geometry, dtype: str, threads: int, like: str | None = None) -> Choice | None:
    """The smallest way to code C-contiguous words, cut like `like` if given; None where that cannot hold them."""
    found = _of_bytes(words, geometry, dtype, threads) if dtype in BYTES else _of_pairs(words, geometry, dtype, threads)
    fitting = [_smallest(*one) for one in found if like in (None, one[0])]
    return min(fitting, key=lambda choice: choice.nbytes, default=None)


def _smallest(like: str, centre: int, statistics: Statistics, geometry: Geometry) -> Choice:
    model = SizeModel(statistics, geometry, like)
    return Choice(like, centre, model, model.parameters(*model.codes(PLANNED_LEVELS)[0]))


def _of_bytes(words: np.ndarray, geometry: Geometry, dtype: str, threads: int) -> list[Any]:
    """From one pass over the weights."""
    levels = codec.statistics(words, geometry, dtype, threads)
    kinds = np.zeros(geometry.panels, np.uint8)
    return [
        (like, centre, Statistics(histograms, kinds, None), geometry)
        for like, centre, histograms in cuts_of_bytes(levels[:, np.arange(256) ^ flip(dtype)])
    ]


def cuts_of_bytes(by_word: np.ndarray) -> list[tuple[str, int, np.ndarray]]:
    """For each cut the centre that leaves the least to the symbols, by their entropy, and how often each symbol occurs,
    as split counts them. by_word: how often each word does, [segments, 256].
    """
    totals, found = by_word.sum(axis=0), []
    every = np.arange(256, dtype=np.uint8)
    for like in NARROW:
        symbols = _symbols(every, like)
        centre = 0 if like == "index" else _best_centre(totals, symbols)
        histograms = np.zeros(by_word.shape, np.uint32)
        for word, symbol in enumerate(symbols[fold(every, centre)].tolist()):
            histograms[:, symbol] += by_word[:, word].astype(np.uint32)
        found.append((like, centre, histograms))
    return found


def _best_centre(totals: np.ndarray, symbols: np.ndarray) -> int:
    every, entropies = np.arange(256, dtype=np.uint8), np.zeros(256)
    for centre in range(256):
        counts = np.bincount(symbols[fold(every, centre)], weights=totals, minlength=32)
        counts = counts[counts > 0]
        entropies[centre] = -(counts * np.log2(counts / counts.sum())).sum()
    return int(entropies.argmin())


def _symbols(folded: np.ndarray, like: str) -> np.ndarray:
    fields = FIELDS[like]
    return folded >> fields.symbol_shift & ((1 << fields.symbol_bits) - 1)


def _of_pairs(words: np.ndarray, geometry: Geometry, dtype: str, threads: int) -> list[Any]:
    """About the median; where all distances fit, as words of 8 bits too."""
    counts, flat = np.zeros(1 << 16, np.int64), words.reshape(-1)
    for first in range(0, flat.size, _BLOCK_WORDS):
        counts += np.bincount(flat[first : first + _BLOCK_WORDS], minlength=1 << 16)
    upside = 0x8000 if dtype == "int16" else 0
    ordered = counts[np.arange(1 << 16) ^ upside]  # by value
    seen = np.flatnonzero(ordered)
    least, most = (int(seen[0]), int(seen[-1])) if seen.size else (0, 0)
    centre = int(np.searchsorted(np.cumsum(ordered), flat.size / 2))
    small = most - least < 256
    if small:
        centre = min(max(centre, most - 127), least + 128)
    folded = fold(words, centre ^ upside)
    found = []
    for like in WIDE + (NARROW if small else ()):
        own = narrow(folded) if like in NARROW else folded
        found.append((like, centre ^ upside, split.statistics(own, geometry, like, threads), geometry))
    return found


def inner(encoded: Encoded) -> tuple[Encoded, int]:
    """The folded words as a tensor under `split`, and the centre. Raises UnsupportedError for other parameters."""
    parameters, dtype = encoded.node.parameters, by_name(encoded.dtype)
    centre, like = parameters.get("centre"), parameters.get("like")
    limits = np.iinfo(dtype.numpy)
    if set(parameters) != {"centre", "like"} or like not in likes_of(encoded.dtype) or type(centre) is not int:
        raise UnsupportedError(
            f"formulation 'integer' with distances takes a whole 'centre' and 'like', one of "
            f"{', '.join(likes_of(encoded.dtype))}; the file is damaged or needs a newer tersely"
        )
    if not limits.min <= centre <= limits.max:
        raise UnsupportedError(f"centre {centre} is out of range for {dtype.name}; the file is damaged")
    return child_of(encoded, CHILD, str(like), encoded.shape), centre & (1 << dtype.bits) - 1


def child_of(encoded: Encoded, child: str, dtype: str, shape: tuple[int, ...]) -> Encoded:
    """A child of `split` as a tensor of its own."""
    prefix = f"{child}."
    own = {name[len(prefix) :]: data for name, data in encoded.components.items() if name.startswith(prefix)}
    words = (encoded.view, encoded.orientation, encoded.column_order)
    return Encoded(shape, dtype, *words, encoded.node.children[child], own)


def decode(encoded: Encoded, geometry: Geometry) -> np.ndarray:
    """The NumPy reference: the tensor's words, from valid components."""
    folded, centre = inner(encoded)
    words = reference_words(folded, geometry)
    out = np.empty(encoded.shape, by_name(encoded.dtype).word)
    unfold(words, centre, out)
    return out


def reference_words(encoded: Encoded, geometry: Geometry) -> np.ndarray:
    parameters = split_formulation.parameters_of(encoded)
    word = np.dtype("<u2") if encoded.dtype in WIDE else np.dtype(np.uint8)
    return reference.decode(encoded.components, geometry, encoded.dtype, parameters, word)


def validate(encoded: Encoded, geometry: Geometry) -> None:
    split_formulation.validate(inner(encoded)[0], geometry)
