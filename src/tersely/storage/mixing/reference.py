"""Blocks of level `max` in Python: the oracle of block.cpp, some thousand times slower. FORMAT.md has the text."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tersely.core.errors import CorruptError
from tersely.storage.mixing.reference_form import BYTES, FLOATING, INTEGER, Form, Item, tree
from tersely.storage.mixing.reference_mixer import (
    NEW_SLOT,
    BitReader,
    Bits,
    BitWriter,
    Coder,
    Decoder,
    Encoder,
    Mixer,
    Slot,
    code_alone,
    mix_hash,
    moved,
)

MAX_SYMBOLS = 4096
WORD_CONTEXTS, MAX_CHOSEN, SIGN_CONTEXTS = 12, 8, 6
LENGTH_BYTES = 8
_SETS = 32
_ZERO, _TAIL = 0, 1


class BytesModel:
    """The model of bytes: text of headers, small tensors, tables. One for a block.

    A byte is guessed first, where guesses were right before: what followed the same three bytes the last time, or in
    numbers the byte at its place in the one before.
    """

    def __init__(self, total_bytes: int) -> None:
        lines = 1 << 10
        while lines < total_bytes * 8 and lines < 1 << 17:
            lines *= 2
        self._mixer = Mixer(6, lines, 4, 128, 1, 25, 12)
        self._guesses = Mixer(3, 1 << 14, 0, 2, 1, 25, 12)
        self._followed = bytearray(1 << 14)
        self._right = [NEW_SLOT] * 256
        self._run = 0
        self._seen = bytearray()

    def _back(self, distance: int) -> int:
        return self._seen[-distance] if distance <= len(self._seen) else 0

    def code(self, coder: Coder, data: bytearray, item: int) -> None:
        for k in range(len(data)):
            data[k] = self.one(coder, data[k], k % item, item)

    def one(self, coder: Coder, byte: int, place: int, item: int) -> int:
        kind = item * 16 + place
        b3s = self._back(1) << 16 | self._back(2) << 8 | self._back(3)
        followed = mix_hash(1, b3s) & len(self._followed) - 1
        guess = self._followed[followed] if item == 1 else self._back(item)
        found = 0
        if self._right[kind][0] >= (1 << 21 if item == 1 else 3 << 20):
            contexts = [
                mix_hash(1, kind, self._run),
                mix_hash(2, kind, guess),
                mix_hash(3, self._back(1) << 8 | self._back(2), guess),
            ]
            lines = [self._guesses.line(one) for one in contexts]
            found = self._guesses.code(coder, int(byte == guess), lines, 0, int(item > 1))
        byte = guess if found else self._bits(coder, byte, b3s, place, item)
        self._right[kind] = moved(self._right[kind], int(byte == guess))
        self._run = min(31, self._run + 1) if byte == guess else 0
        self._followed[followed] = byte
        self._seen.append(byte)
        return byte

    def _bits(self, coder: Coder, byte: int, b3s: int, place: int, item: int) -> int:
        kind, same = item * 16 + place, self._back(item)
        contexts = [
            mix_hash(1, kind),
            mix_hash(2, self._back(1), kind),
            mix_hash(3, b3s),
            mix_hash(4, same, kind),
            mix_hash(5, same << 8 | self._back(2 * item), kind),
            mix_hash(6, b3s, self._back(4) << 16 | self._back(5) << 8 | self._back(6)),
        ]
        node = 1
        for half in range(2):
            lines = [self._mixer.line(one if half == 0 else mix_hash(one, node)) for one in contexts]
            local = 1
            for shift in range(7 - 4 * half, 3 - 4 * half, -1):
                bit = self._mixer.code(coder, byte >> shift & 1, lines, local, item * 8 % 128 + place)
                local, node = local * 2 + bit, node * 2 + bit
        return node & 255


class WordsModel:
    """The model of a tensor's words: each symbol by its place and by what lies around it (words_model.hpp)."""

    def __init__(self, form: Form, axes: tuple[int, int, int, int]) -> None:
        self._form, self._axes = form, axes
        self._strides = (axes[1] * axes[2] * axes[3], axes[2] * axes[3], axes[3], 1)
        self._words = axes[0] * self._strides[0]
        self._chosen = [context for context in range(WORD_CONTEXTS) if form.contexts >> context & 1]
        self._nodes, self._root = tree(form.logs)
        self._depth = form.depth if len(self._chosen) > 1 else 0
        self._symbols = Mixer(len(self._chosen), _lines(self._words), min(4, form.depth), _SETS, 60, 15, 3)
        self._alone: dict[int, Slot] = {}
        self._signs = Mixer(form.signs.bit_count(), _lines(self._words // 4), 0, 1, 60, 15, 3)
        self._marks = Mixer(4, 1 << 12, 0, 2, 20, 30, 6)
        self._seen, self._turned = bytearray(self._words), bytearray(self._words)
        described = [_describe(form, symbol) for symbol in range(len(form.logs))]
        self._levels, self._kinds = [level for level, _ in described], [kind for _, kind in described]
        self._averages = [[-1] * length for length in axes]
        self._outer, self._inner = [-1] * (axes[0] * axes[1]), [-1] * (axes[2] * axes[3])
        self._lowest = Mixer(5, 1 << 12, 4, 4, 60, 25, 3)
        self._recent, self._last_tail, self._last_lowest = [-1], 0, 0

    def code(self, coder: Coder, low: Bits, data: bytearray, word_bytes: int) -> None:
        for k in range(self._words):
            word = int.from_bytes(data[k * word_bytes : (k + 1) * word_bytes], "little")
            word = self._one(coder, low, word, k)
            data[k * word_bytes : (k + 1) * word_bytes] = word.to_bytes(word_bytes, "little")

    def _one(self, coder: Coder, low: Bits, word: int, k: int) -> int:
        form = self._form
        place = [k // self._strides[axis] % self._axes[axis] for axis in range(4)]
        symbol, negative, kept = form.split(word) if coder.encodes else (0, False, 0)
        near = [self._seen[k - self._strides[a]] if place[a] else 0 for a in range(4)]
        turned = [self._turned[k - self._strides[a]] if place[a] else 0 for a in range(4)]
        second = self._seen[k - 2] if place[3] > 1 else 0
        symbol = self._symbol(coder, symbol, self._contexts(place, near, second))
        zero = symbol + form.smallest == 0
        if zero and form.kind == FLOATING:
            zero = bool(self._mark(coder, _ZERO, not negative and kept == 0, near, place))
        if zero:
            negative, kept = False, 0
        else:
            if form.signs:
                negative = bool(self._sign(coder, negative, symbol, k, place, turned))
            else:
                negative = bool(low.bits(int(negative), 1))
            count = form.mantissa - form.top - form.zeros if form.kind == FLOATING else 0
            if count:
                kept = self._low(coder, low, (symbol, negative, kept), count, near, place)
        self._learn(symbol, k, place)
        self._turned[k] = 0 if zero else 1 + negative
        return word if coder.encodes else form.join(symbol, negative, kept)

    def _low(
        self, coder: Coder, low: Bits, parts: tuple[int, bool, int], count: int, near: list[int], place: list[int]
    ) -> int:
        form, value = self._form, parts[2]
        if form.tail:
            tail = form.tail - form.zeros
            self._last_tail = self._mark(coder, _TAIL, value & (1 << tail) - 1 == 0, near, place)
            if self._last_tail:
                return low.bits(value >> tail, count - tail) << tail
        if not form.modelled:
            return low.bits(value, count)
        above = low.bits(value >> form.modelled, count - form.modelled)
        after = above >> max(0, count - form.modelled - 3)
        return above << form.modelled | self._lowest_bits(coder, *parts, after)

    def _lowest_bits(self, coder: Coder, symbol: int, negative: bool, value: int, after: int) -> int:
        contexts = [
            mix_hash(1, 0),
            mix_hash(2, symbol),
            mix_hash(3, symbol, 1 + after),
            mix_hash(4, self._last_lowest),
            mix_hash(5, symbol >> self._form.top, negative),
        ]
        lines, local = [self._lowest.line(one) for one in contexts], 1
        for bit in range(self._form.modelled - 1, -1, -1):
            local = local * 2 + self._lowest.code(coder, value >> bit & 1, lines, local, bit)
        self._last_lowest = local - (1 << self._form.modelled)
        return self._last_lowest

    def _symbol(self, coder: Coder, given: int, hashes: list[int]) -> int:
        node, local, depth = self._root, 1, 0
        lines: list[int] = []
        while node >= 0:
            split, children = self._nodes[node]
            if depth >= self._depth:
                node = children[code_alone(coder, int(given >= split), self._alone, node)]
                continue
            if depth % 4 == 0:
                local = 1
                lines = [self._symbols.line(one if depth == 0 else mix_hash(one, node)) for one in hashes]
            bit = self._symbols.code(coder, int(given >= split), lines, local, min(depth, _SETS - 1))
            local, node, depth = local * 2 + bit, children[bit], depth + 1
        return -1 - node

    def _contexts(self, place: list[int], near: list[int], second: int) -> list[int]:
        average = [_level(self._averages[axis][place[axis]]) for axis in range(4)]
        outer = _level(self._outer[place[0] * self._axes[1] + place[1]])
        inner = _level(self._inner[place[2] * self._axes[3] + place[3]])
        told = [
            (0, 0),
            (place[0], 0),
            (place[1], 0),
            (place[2], 0),
            (place[3], 0),
            (place[2], place[3]),
            (near[3] << 8 | second, 0),
            (near[3] << 8 | near[2], 0),
            (near[1] << 8 | near[0], 0),
            (average[3] << 12 | average[2], average[1]),
            (average[0] << 12 | _level(self._recent[0]), 0),
            (outer << 12 | inner, 0),
        ]
        return [mix_hash(context + 1, *told[context]) for context in self._chosen]

    def _sign(self, coder: Coder, given: bool, symbol: int, k: int, place: list[int], near: list[int]) -> int:
        second = self._turned[k - 2] if place[3] > 1 else 3
        contexts = [
            mix_hash(1, self._kinds[symbol]),
            mix_hash(2, near[3] * 4 + second),
            mix_hash(3, near[2] * 4 + near[3]),
            mix_hash(4, near[1] * 4 + near[0]),
            mix_hash(5, place[0]),
            mix_hash(6, place[3], place[1] * self._axes[2] + place[2]),
        ]
        lines = [self._signs.line(one) for n, one in enumerate(contexts) if self._form.signs >> n & 1]
        if len(lines) == 1:
            return code_alone(coder, int(given), self._signs.slots, lines[0])
        return self._signs.code(coder, int(given), lines, 0, 0)

    def _mark(self, coder: Coder, which: int, given: bool, near: list[int], place: list[int]) -> int:
        contexts = [
            mix_hash(1, which),
            mix_hash(2, which, self._last_tail),
            mix_hash(3, which, place[0]),
            mix_hash(4, which, near[3]),
        ]
        return self._marks.code(coder, int(given), [self._marks.line(one) for one in contexts], 0, which)

    def _learn(self, symbol: int, k: int, place: list[int]) -> None:
        self._seen[k] = self._kinds[symbol]
        level = self._levels[symbol] << 8

        def move(averages: list[int], at: int, shift: int) -> None:
            averages[at] = level if averages[at] < 0 else averages[at] + (level - averages[at] >> shift)

        for axis in range(4):
            move(self._averages[axis], place[axis], 5)
        move(self._outer, place[0] * self._axes[1] + place[1], 3)
        move(self._inner, place[2] * self._axes[3] + place[3], 5)
        move(self._recent, 0, 4)


def _lines(words: int) -> int:
    lines = 1 << 8
    while lines < words * 2 and lines < 1 << 16:
        lines *= 2
    return lines


def _level(average: int) -> int:
    return 4095 if average < 0 else average >> 9


def _describe(form: Form, symbol: int) -> tuple[int, int]:
    """What contexts say of a symbol: a level in eighths of an octave, and a class."""
    magnitude = symbol + form.smallest
    if form.kind == FLOATING:
        level = magnitude >> form.top - 3 if form.top >= 3 else magnitude << 3 - form.top
        return level, min(symbol >> max(0, form.top - 1), 253) + 1
    octave = max(0, magnitude.bit_length() - 1)
    level = magnitude * 3 if magnitude < 8 else octave << 3 | magnitude >> octave - 3 & 7
    return level, min(magnitude if magnitude < 16 else level - 16, 253) + 1


def parse(item: Item, take: Callable[[int], bytes]) -> Form:
    """Reads a form, `take(count)` giving its next bytes. Raises CorruptError for what fits no tensor like this."""

    def number(count: int) -> int:
        return int.from_bytes(take(count), "little")

    form = Form(number(1))
    _need(form.kind <= FLOATING, "an unknown kind of words")
    if form.kind == BYTES:
        return form
    _need(form.kind != INTEGER or item.word_bytes == 1, "integers of more than a byte")
    _need(form.kind != FLOATING or item.exponent > 0, "a float's form for what is none")
    form.signs = number(1)
    _need(form.signs < 1 << SIGN_CONTEXTS and form.signs & 1 == (form.signs > 0), "unknown contexts of signs")
    form.contexts = number(2) & (1 << WORD_CONTEXTS) - 1 | 1
    _need(form.contexts.bit_count() <= MAX_CHOSEN, "more contexts than a form may have")
    form.depth = number(1)
    form.smallest = number(2)
    symbols = number(2)
    _need(0 < symbols <= MAX_SYMBOLS, "too many symbols, or none")
    packed = take((symbols + 1) // 2)
    form.logs = [packed[k // 2] >> k % 2 * 4 & 15 for k in range(symbols)]
    _need(any(form.logs), "no symbol has a count")
    form.word_bits = item.word_bytes * 8
    if form.kind == FLOATING:
        form.mantissa, form.top, form.zeros = item.mantissa, number(1), number(1)
        form.tail, form.modelled = number(1), number(1)
        below = form.mantissa - form.top
        fits = below >= 0 and form.zeros <= below and form.tail <= below
        fits = fits and form.modelled <= min(4, below - form.zeros)
        _need(fits and not 0 < form.tail <= form.zeros, "bits of mantissa that do not fit the dtype")
        return form
    form.zero = number(2)
    if form.kind == INTEGER:
        _need(form.zero < 256, "a zero beyond 8 bits")
        return form
    words = number(2)
    _need(0 < words <= MAX_SYMBOLS and form.zero < words, "a palette that does not fit")
    form.palette = np.frombuffer(take(words * item.word_bytes), f"<u{item.word_bytes}").tolist()
    return form


def _need(holds: bool, otherwise: str) -> None:
    if not holds:
        raise CorruptError(otherwise)


def encode(items: Sequence[Item], sides: Sequence[bytes]) -> bytes:
    """Returns a block of the items, each in the form that its side says."""
    coder, low = Encoder(), BitWriter()
    model = BytesModel(sum(len(item.data) for item in items))
    for item, side in zip(items, sides, strict=True):
        rest = bytearray(side)

        def take(count: int, rest: bytearray = rest) -> bytes:
            taken = rest[:count]
            del rest[:count]
            model.code(coder, taken, 1)
            return bytes(taken)

        _code(item, parse(item, take), model, coder, low)
    coded = coder.finish()
    return len(coded).to_bytes(LENGTH_BYTES, "little") + coded + low.finish()


def decode(block: bytes, items: Sequence[Item]) -> None:
    """Fills the items from a block. Raises CorruptError."""
    _need(len(block) >= LENGTH_BYTES, "a block of fewer bytes than its length has")
    end = LENGTH_BYTES + int.from_bytes(block[:LENGTH_BYTES], "little")
    _need(end <= len(block), "a block that is cut short")
    coder, low = Decoder(block[LENGTH_BYTES:end]), BitReader(block[end:])
    model = BytesModel(sum(len(item.data) for item in items))

    def take(count: int) -> bytes:
        taken = bytearray(count)
        model.code(coder, taken, 1)
        return bytes(taken)

    for item in items:
        _code(item, parse(item, take), model, coder, low)
    _need(coder.exact and low.exact, "a block that is cut short, or that holds more than its tensors")


def _code(item: Item, form: Form, model: BytesModel, coder: Coder, low: Bits) -> None:
    if form.kind == BYTES:
        model.code(coder, item.data, item.word_bytes)
    else:
        WordsModel(form, item.axes).code(coder, low, item.data, item.word_bytes)
