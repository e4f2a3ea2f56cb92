"""Blocks of coder 'ans': one tensor as words, or several items as bytes, whichever way is smallest.

The first byte says which: WORDS (docs/FORMAT.md), or bytes by DEFLATE or LZMA, which serve text and repeats; or GROUPS, items of one
kind of words after those of another, each group in a way of its own.
"""

from __future__ import annotations

import lzma
import math
import zlib
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from tersely.backends.cpu import native
from tersely.backends.cpu.threads import workers_of
from tersely.core.dtypes import DType
from tersely.core.errors import CorruptError
from tersely.storage.ans import plan, reference, survey
from tersely.storage.ans.logarithm import ONE, entropy

WORDS: Final = 0
DEFLATE: Final = 1
LZMA: Final = 2
GROUPS: Final = 3
MAX_BYTES: Final = 1 << 22
"""Blocks of more are not tried as bytes."""
MAX_UNASKED: Final = 1 << 14
"""A tensor of more bytes is tried as bytes only where a part of it has repeats."""
_FILTERS: list[dict[str, int]] = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": 1 << 22}]

Kind = tuple[DType, tuple[int, ...]]


def encode(items: Sequence[tuple[np.ndarray, DType, tuple[int, ...]]], threads: int | None) -> bytes:
    """A block of items: their bytes, dtypes and shapes."""
    return min((block for _, block in ways(items, threads)), key=len)


def ways(
    items: Sequence[tuple[np.ndarray, DType, tuple[int, ...]]], threads: int | None, head: bytes = b""
) -> Iterator[tuple[str, bytes]]:
    """The ways that are tried for a block: what each is called, and the block behind `head`, so that large blocks are not
    copied for it."""
    workers = workers_of(threads)
    yield from _ways_alone(_joined([one[0] for one in items]), [one[1:] for one in items], workers, head)
    groups = _groups([one[1:] for one in items])
    if len(groups) > 1:
        parts = [
            _encode_alone(_joined([items[i][0] for i in group]), [(items[group[0]][1], (-1,))], workers)
            for group in groups
        ]
        yield "groups", head + bytes([GROUPS]) + b"".join(len(part).to_bytes(4, "little") + part for part in parts)


def decode(block: memoryview, kinds: Sequence[Kind], threads: int | None) -> np.ndarray:
    """The bytes of all items. Raises CorruptError."""
    workers = workers_of(threads)
    sizes = [-(-math.prod(shape) * dtype.bits // 8) for dtype, shape in kinds]
    if not len(block) or block[0] != GROUPS:
        return _decode_alone(block, kinds, sum(sizes), workers)
    out, rest = np.empty(sum(sizes), np.uint8), block[1:]
    starts = np.cumsum([0, *sizes])
    for group in _groups(kinds):
        length = int.from_bytes(rest[:4], "little")
        if len(rest) < 4 or length > len(rest) - 4:
            raise CorruptError("a group of a block is shorter than it says")
        total = sum(sizes[i] for i in group)
        part, at = _decode_alone(rest[4 : 4 + length], [(kinds[group[0]][0], (-1,))], total, workers), 0
        for i in group:
            out[starts[i] : starts[i + 1]] = part[at : at + sizes[i]]
            at += sizes[i]
        rest = rest[4 + length :]
    if len(rest):
        raise CorruptError("a block has bytes behind its last group")
    return out


def _groups(kinds: Sequence[Kind]) -> list[list[int]]:
    """Items whose words are alike, by number; groups in the order of their first."""
    groups: dict[tuple[str, int], list[int]] = {}
    for number, kind in enumerate(kinds):
        groups.setdefault(_kind([kind]), []).append(number)
    return list(groups.values())


def _joined(pieces: Sequence[np.ndarray]) -> np.ndarray:
    return pieces[0] if len(pieces) == 1 else np.concatenate([np.zeros(0, np.uint8), *pieces])


def _encode_alone(raw: np.ndarray, kinds: Sequence[Kind], workers: int) -> bytes:
    return min((block for _, block in _ways_alone(raw, kinds, workers)), key=len)


def _ways_alone(raw: np.ndarray, kinds: Sequence[Kind], workers: int, head: bytes = b"") -> Iterator[tuple[str, bytes]]:
    words, tag, shape = words_of(raw, kinds)
    if len(words):
        chosen = plan.choose(words, tag, shape, workers)
        rotated, begin = tag in plan.MANTISSAS, head + bytes([WORDS])
        yield "words", min((encode_words(words, chosen, rotated, workers, begin) for _ in chosen.variants()), key=len)
    pooled = len(kinds) != 1 or kinds[0][1] == (-1,)
    if len(raw) <= MAX_BYTES and (
        not len(words) or pooled or len(raw) < MAX_UNASKED or _repeats(raw, tag, words.itemsize)
    ):
        data = raw.tobytes()
        deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
        yield "bytes by DEFLATE", head + bytes([DEFLATE]) + deflate.compress(data) + deflate.flush()
        yield "bytes by LZMA", head + bytes([LZMA]) + lzma.compress(data, lzma.FORMAT_RAW, filters=_FILTERS)


def _decode_alone(block: memoryview, kinds: Sequence[Kind], size: int, workers: int) -> np.ndarray:
    if not len(block):
        raise CorruptError("a block ends where it should say which way it is coded")
    way, rest = block[0], block[1:]
    if way == WORDS:
        tag, itemsize = _kind(kinds)
        count = size // itemsize
        if not count:
            raise CorruptError("a block of words for items that have none")
        return decode_words(rest, count, np.dtype(f"<u{itemsize}"), tag in plan.MANTISSAS, workers)
    if way == DEFLATE:
        return _inflate(zlib.decompressobj(-15), rest, size)
    if way == LZMA:
        return _inflate(lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=_FILTERS), rest, size)
    raise CorruptError(f"a block says way {way}, which there is not")


def encode_words(words: np.ndarray, chosen: plan.Plan, rotated: bool, workers: int, head: bytes = b"") -> bytes:
    """A block of words, as `reference.encode` makes it, behind `head`."""
    d = chosen.description
    if not native.available():
        return head + reference.encode(words, d, rotated)
    classes = [one for one in d.classes if one is not None]
    return native.module.ans_encode(
        np.frombuffer(head, np.uint8),
        words,
        chosen.symbols,
        words.dtype.itemsize,
        rotated,
        np.array([d.lanes, d.trim, d.raw, d.zero, d.base, d.steps, d.low], np.int32),
        d.palette,
        np.array(d.starts, np.uint64),
        np.array(d.extras, np.uint8),
        np.array(d.dims, np.int64),
        np.array([one is not None for one in d.classes], np.uint8),
        np.concatenate([np.zeros(0, np.int8), *classes]),
        np.ascontiguousarray(d.logs),
        np.ascontiguousarray(d.low_logs),
        workers,
    )


def decode_words(block: memoryview, count: int, dtype: np.dtype, rotated: bool, workers: int) -> np.ndarray:
    """The bytes of the words of a block, as `reference.decode` reads it. Raises CorruptError."""
    if not native.available():
        return reference.decode(bytes(block), count, rotated, dtype).view(np.uint8)
    out = np.empty(count * dtype.itemsize, np.uint8)
    if problem := native.module.ans_decode(np.frombuffer(block, np.uint8), dtype.itemsize, rotated, out, workers):
        raise CorruptError(problem)
    return out


def _inflate(decompressor: object, data: memoryview, size: int) -> np.ndarray:
    try:
        out = decompressor.decompress(data, size + 1)  # type: ignore[attr-defined]
    except (zlib.error, lzma.LZMAError) as error:
        raise CorruptError(f"bytes of a block cannot be expanded: {error}") from None
    if len(out) != size or not decompressor.eof or decompressor.unused_data:  # type: ignore[attr-defined]
        raise CorruptError(f"bytes of a block expand to another number than {size}, or end elsewhere")
    return np.frombuffer(out, np.uint8)


def _kind(kinds: Sequence[Kind]) -> tuple[str, int]:
    """The tag under which a block's words are coded, and the bytes of a word."""
    if not kinds or any(kind[0] != kinds[0][0] for kind in kinds) or kinds[0][0].packed or kinds[0][0].bits == 8:
        return "U8", 1
    dtype = kinds[0][0]
    return dtype.tag, 4 if dtype.tag == "C64" else dtype.bits // 8


def words_of(raw: np.ndarray, kinds: Sequence[Kind]) -> tuple[np.ndarray, str, tuple[int, ...]]:
    tag, itemsize = _kind(kinds)
    words = np.ascontiguousarray(raw).view(f"<u{itemsize}")
    if len(kinds) != 1:
        return words, tag, (len(words),)
    dtype, shape = kinds[0]
    if shape == (-1,):  # several items of this dtype, joined
        return words, tag, (len(words),)
    if tag == "C64":
        shape = (*shape, 2)
    return words, tag, dtype.array_shape(shape)


def _repeats(raw: np.ndarray, tag: str, itemsize: int) -> bool:
    """Whether a part of it has more repeats than order 0 sees: then it is tried as bytes."""
    part = raw[: 1 << 16]
    if tag in plan.MANTISSAS and not survey.repeats(part[: 1 << 15], itemsize):
        return False
    return len(zlib.compress(part.tobytes(), 1)) * 8 * 5 * ONE < 4 * entropy(np.bincount(part, minlength=256))
