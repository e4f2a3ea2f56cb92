"""Which bytes of which tensor are in which block: it follows from the tensors alone, so no file says it.

    text            blocks of at most POOL_BYTES, first
    large tensors   blocks of their own, of whole rows where rows are short enough
    small tensors   pooled by dtype in the order of the file; a pool's place is that of its first tensor

FORMAT: docs/FORMAT.md, "Stored files".
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from tersely.core.dtypes import BY_TAG
from tersely.core.errors import CorruptError
from tersely.files.container.header import Entry
from tersely.storage.archive import limits
from tersely.storage.codec import Spec

_TEXT = BY_TAG["U8"]


class Part(NamedTuple):
    """Bytes [begin, end) of a tensor, as a block's item. tensor: its number, -1 for the text."""

    tensor: int
    begin: int
    end: int
    spec: Spec


@dataclass
class Block:
    """The items of one block."""

    parts: list[Part] = field(default_factory=list)

    @cached_property
    def nbytes(self) -> int:
        return sum(part.end - part.begin for part in self.parts)

    @property
    def specs(self) -> list[Spec]:
        return [part.spec for part in self.parts]

    @property
    def pooled(self) -> bool:
        """Whether several tensors share it."""
        return len(self.parts) > 1


def text_blocks(text_bytes: int) -> list[Block]:
    """The blocks of a text."""
    starts = range(0, text_bytes, limits.POOL_BYTES)
    ranges = [(begin, min(text_bytes, begin + limits.POOL_BYTES)) for begin in starts]
    return [Block([Part(-1, begin, end, Spec(_TEXT, (end - begin,)))]) for begin, end in ranges]


def spec_of(entry: Entry) -> Spec:
    """A tensor as an item; of elements that are no whole bytes it has the bytes they lie in."""
    dtype = BY_TAG[entry.tag]
    return Spec(_TEXT, dtype.array_shape(entry.shape)) if dtype.packed else Spec(dtype, entry.shape)


def tensor_blocks(entries: Sequence[Entry], copies: Mapping[int, int], limit: int) -> list[Block]:
    """The blocks of tensors, in the order of the file.

    copies: tensors that are stored as another one, by number. limit: the number of blocks that there are; raises
    CorruptError as soon as there would be more, so that no claim makes a long list.
    """
    blocks: list[Block] = []
    pools: dict[str, tuple[Block, int]] = {}
    for number, entry in enumerate(entries):
        if not entry.nbytes or number in copies:
            continue
        spec = spec_of(entry)
        if math.prod(spec.shape) >= limits.OWN_ELEMENTS:
            if _count(spec) > limit - len(blocks):
                raise CorruptError("the tensors need more blocks than there are; get the file again")
            blocks += [Block([part]) for part in _cut(number, spec)]
            continue
        pool, pooled = pools.get(spec.dtype.tag, (None, 0))
        if pool is None or pooled + entry.nbytes > limits.POOL_BYTES:
            pool, pooled = Block(), 0
            blocks.append(pool)
        pool.parts.append(Part(number, 0, entry.nbytes, spec))
        pools[spec.dtype.tag] = pool, pooled + entry.nbytes
    if len(blocks) > limit:
        raise CorruptError("the tensors need more blocks than there are; get the file again")
    return blocks


def _rows(spec: Spec) -> tuple[int, int]:
    """Rows of a tensor that is to be cut, and elements of each; single elements where rows are too long."""
    row = math.prod(spec.shape[1:])
    return (spec.shape[0], row) if 0 < row <= limits.BLOCK_ELEMENTS else (math.prod(spec.shape), 1)


def _count(spec: Spec) -> int:
    rows, row = _rows(spec)
    return -(-rows // _height(rows, row))


def _height(rows: int, row: int) -> int:
    """Rows of each block but the last, so that all have nearly as many."""
    most = max(1, limits.BLOCK_ELEMENTS // row)
    return -(-rows // -(-rows // most))


def _cut(number: int, spec: Spec) -> Iterator[Part]:
    rows, row = _rows(spec)
    height, width = _height(rows, row), row * spec.dtype.bits // 8
    inner = spec.shape[1:] if row > 1 or (len(spec.shape) > 1 and rows == spec.shape[0]) else ()
    for begin in range(0, rows, height):
        end = min(rows, begin + height)
        yield Part(number, begin * width, end * width, Spec(spec.dtype, (end - begin, *inner)))
