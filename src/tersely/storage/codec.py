"""Blocks of the storage tier: what a file keeps of one tensor, or of many small ones. Each is decoded by itself.

The first byte of a block says which coder it is of; the rest is the coder's. A block does not say what it holds: dtypes
and shapes are given when it is decoded.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from tersely.backends.cpu.float_environment import under_default
from tersely.core.choices import StorageLevel
from tersely.core.dtypes import DType
from tersely.core.errors import ArgumentError, CorruptError, UnsupportedError
from tersely.storage.ans import coder as ans
from tersely.storage.differences import coder as differences
from tersely.storage.mixing import codec as mixing
from tersely.storage.numbers import Cursor, varints

STORED: Final = 0
ANS: Final = 1
MIXING: Final = 2
DIFFERENCES: Final = 3
JOINED: Final = 4
_SMALL_BYTES = 1 << 16
"""Blocks of several items, and of fewer bytes, are mixed at both levels: they take no time that anybody notices."""


@dataclass(frozen=True)
class Spec:
    """What an item is. shape: of elements, as a file's header says it."""

    dtype: DType
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """How many bytes it has."""
        return -(-math.prod(self.shape) * self.dtype.bits // 8)


@dataclass(frozen=True)
class Item:
    """Something to store. raw: its bytes, uint8, one dimension."""

    raw: np.ndarray
    dtype: DType
    shape: tuple[int, ...]

    @property
    def spec(self) -> Spec:
        """What remains of it when its bytes are coded."""
        return Spec(self.dtype, self.shape)


@under_default
def encode(
    items: Sequence[Item], level: StorageLevel = "fast", threads: int | None = None, *, mixed: bool | None = None
) -> bytes:
    """Code items as one block.

    Args:
        items: they share a model.
        level: 'fast' decodes at the speed of memory, 'max' is smaller and slow.
        threads: how many workers, None for the usual number. The bytes do not depend on it.
        mixed: whether the slow coder is tried, too, as `mixes` says; None for what suits the level and the items.

    Returns:
        The block, never longer than the items and one byte.

    Raises:
        ArgumentError: for an item whose bytes are not as many as its shape says.
    """
    stored = sum(item.spec.size for item in items)
    best = min((block for _, block in _coded(items, level, threads, mixed)), key=len)
    if len(best) > stored:
        best = bytes([STORED]) + b"".join(item.raw.tobytes() for item in items)
    return best


def ways(
    items: Sequence[Item], level: StorageLevel = "fast", threads: int | None = None, *, mixed: bool | None = None
) -> Iterator[tuple[str, int]]:
    """Yields what `encode` tries: the coder and its way, and the bytes of the block; the first of the smallest is taken.

    Args:
        items: as of `encode`, like the other arguments.
    """
    yield "plain", 1 + sum(item.spec.size for item in items)
    yield from _sizes(items, level, threads, mixed)


@under_default
def _sizes(
    items: Sequence[Item], level: StorageLevel, threads: int | None, mixed: bool | None
) -> list[tuple[str, int]]:
    return [(name, len(block)) for name, block in _coded(items, level, threads, mixed)]


def _coded(
    items: Sequence[Item], level: StorageLevel, threads: int | None, mixed: bool | None
) -> Iterator[tuple[str, bytes]]:
    for item in items:
        if item.raw.dtype != np.uint8 or item.raw.ndim != 1 or item.raw.size != item.spec.size:
            raise ArgumentError(
                f"an item of shape {item.shape} and dtype {item.dtype.name} has {item.spec.size} bytes, uint8 in one "
                f"dimension, not {item.raw.dtype}{list(item.raw.shape)}"
            )
    given = [(item.raw, item.dtype, item.shape) for item in items]
    if _is_mixed(level, len(items), sum(item.spec.size for item in items)) if mixed is None else mixed:
        yield from ((f"mixing {name}", bytes([MIXING]) + block) for name, block in mixing.ways(given))
        if len(items) > 1 and _joined([item.spec for item in items]) is not None:
            yield "mixing as one", bytes([JOINED]) + mixing.encode([_as_one(items)])
    yield from ((f"ans {name}", block) for name, block in ans.ways(given, threads, bytes([ANS])))


def takes_reference(dtype: DType) -> bool:
    """Whether a tensor of this dtype may be coded by its differences from another."""
    return dtype.tag in differences.FLOATS


@under_default
def encode_near(
    item: Item, back: int, reference: np.ndarray, level: StorageLevel = "fast", threads: int | None = None
) -> bytes:
    """Code an item by its differences from another of the same dtype and shape, as a block.

    Args:
        item: of a dtype that takes a reference.
        back: how many tensors before its own the other one is, at least 1.
        reference: the other one's bytes.
        level: as of `encode`.
        threads: as of `encode`.
    """

    def code(raw: np.ndarray, dtype: DType) -> bytes:
        one = Item(raw, dtype, (raw.size // (dtype.bits // 8),))
        return encode([one], level, threads, mixed=level == "max" and dtype.bits == 16)  # wider ones gain nothing

    return bytes([DIFFERENCES]) + varints([back]) + differences.encode(item.raw, reference, item.dtype, code)


def back_of(block: memoryview) -> int:
    """How many tensors before its own the reference of a block is; 0 for a block without one. Raises CorruptError."""
    if block[0] != DIFFERENCES:
        return 0
    back = Cursor(block[1:]).number(1 << 31, "the place of a reference")
    if not back:
        raise CorruptError("a tensor that refers to itself; get the file again")
    return back


def _joined(specs: Sequence[Spec]) -> Spec | None:
    """Items of one dtype as one of one dimension, None for those that are of several: what is known of the numbers of
    one tensor serves the next."""
    if len({spec.dtype.tag for spec in specs}) != 1 or specs[0].dtype.packed:
        return None
    return Spec(specs[0].dtype, (sum(math.prod(spec.shape) for spec in specs),))


def _as_one(items: Sequence[Item]) -> tuple[np.ndarray, DType, tuple[int, ...]]:
    joined = _joined([item.spec for item in items])
    assert joined is not None
    return np.concatenate([item.raw for item in items]), joined.dtype, joined.shape


def mixes(level: StorageLevel, items: int, nbytes: int, room: int) -> bool:
    """Whether a block of a file is mixed. room: bytes that may still be at level 'fast', or a file of many small tensors
    would take longer to decode for them than for all others."""
    return level == "max" or (nbytes <= room and _is_mixed(level, items, nbytes))


def _is_mixed(level: StorageLevel, items: int, nbytes: int) -> bool:
    return level == "max" or items > 1 or nbytes <= _SMALL_BYTES


def decode(
    block: bytes | memoryview | np.ndarray,
    specs: Sequence[Spec],
    threads: int | None = None,
    reference: np.ndarray | None = None,
) -> list[np.ndarray]:
    """Decode a block.

    Args:
        block: as `encode` returned it.
        specs: of all its items, in their order.
        threads: how many workers, None for the usual number.
        reference: the bytes of what its one item has differences from, where it has.

    Returns:
        The bytes of each item, uint8. They may be parts of one array.

    Raises:
        CorruptError: where the block is damaged, or of other items.
        UnsupportedError: for a coder that this release does not know.
    """
    data = memoryview(
        np.ascontiguousarray(np.frombuffer(block, np.uint8) if not isinstance(block, np.ndarray) else block)
    )
    if not len(data):
        raise CorruptError("a block of no bytes: compress the original again")
    coder, rest = data[0], data[1:]
    if coder == STORED:
        whole = np.frombuffer(rest, np.uint8)
        if whole.size != sum(spec.size for spec in specs):
            raise CorruptError(f"a block holds {whole.size} bytes, not those of its items: compress the original again")
        return _parts(whole, specs)
    if coder == ANS:
        return _parts(ans.decode(rest, [(spec.dtype, spec.shape) for spec in specs], threads), specs)
    if coder == MIXING:
        return mixing.decode(np.frombuffer(rest, np.uint8), [(spec.dtype, spec.shape, spec.size) for spec in specs])
    if coder == JOINED:
        joined = _joined(specs)
        if joined is None:
            raise CorruptError("a block of items as one that are of several dtypes; get the file again")
        rest_bytes = np.frombuffer(rest, np.uint8)
        return _parts(mixing.decode(rest_bytes, [(joined.dtype, joined.shape, joined.size)])[0], specs)
    if coder == DIFFERENCES:
        return [_decode_near(data, specs, threads, reference)]
    raise UnsupportedError(f"a block of coder {coder}, which this release does not know: install a newer tersely")


def _decode_near(
    block: memoryview, specs: Sequence[Spec], threads: int | None, reference: np.ndarray | None
) -> np.ndarray:
    if reference is None or len(specs) != 1 or not takes_reference(specs[0].dtype) or reference.size != specs[0].size:
        raise CorruptError("a block of differences where there is nothing to differ from; get the file again")

    def decode_class(data: memoryview, dtype: DType, count: int) -> np.ndarray:
        if data[0] not in (STORED, ANS, MIXING):
            raise CorruptError(f"a class of differences is of coder {data[0]}, which none is; get the file again")
        return decode(data, [Spec(dtype, (count,))], threads)[0]

    rest = block[1 + len(varints([back_of(block)])) :]
    return differences.decode(rest, np.ascontiguousarray(reference), specs[0].dtype, decode_class)


def _parts(whole: np.ndarray, specs: Sequence[Spec]) -> list[np.ndarray]:
    ends = np.cumsum([0] + [spec.size for spec in specs]).tolist()
    return [whole[first:end] for first, end in itertools.pairwise(ends)]
