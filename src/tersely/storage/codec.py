"""One block of a stored file: items that share a model, coded together. The first byte says which coder."""

from __future__ import annotations

import lzma
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tersely.core.dtypes import DType
from tersely.core.errors import CorruptError

PLAIN, LZMA = 0, 3
CODERS = {PLAIN: "plain", 1: "ans", 2: "mixing", LZMA: "lzma"}
"""Names of coders by the first byte of a block."""

_FILTERS = [{"id": lzma.FILTER_LZMA1, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": 1 << 22}]


class Item(NamedTuple):
    """Bytes (uint8) of a tensor or of whole rows of it."""

    raw: np.ndarray
    dtype: DType
    shape: tuple[int, ...]


class Spec(NamedTuple):
    """What is known of an item before its bytes."""

    dtype: DType
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return -(-math.prod(self.shape) * self.dtype.bits // 8)


def encode(items: Sequence[Item], level: str, threads: int) -> bytes:
    """The block of some items."""
    raw = b"".join(item.raw.tobytes() for item in items)
    coded = lzma.compress(raw, lzma.FORMAT_RAW, filters=_FILTERS)
    return bytes([LZMA]) + coded if len(coded) < len(raw) else bytes([PLAIN]) + raw


def decode(block: bytes | memoryview, specs: Sequence[Spec], threads: int) -> list[np.ndarray]:
    """The items of a block, uint8. Raises CorruptError."""
    total = sum(spec.nbytes for spec in specs)
    block = bytes(block)
    coder = block[0] if block else -1
    if coder == PLAIN:
        raw = block[1:]
    elif coder == LZMA:
        inflate = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=_FILTERS)
        try:
            raw = inflate.decompress(block[1:], total + 1)
        except (lzma.LZMAError, EOFError) as error:
            raise CorruptError(f"a block is damaged: {error}") from None
    else:
        raise CorruptError(f"a block of an unknown coder {coder}")
    if len(raw) != total:
        raise CorruptError(f"a block has {len(raw)} bytes, its items {total}")
    found, at = [], 0
    for spec in specs:
        found.append(np.frombuffer(raw, np.uint8, spec.nbytes, at))
        at += spec.nbytes
    return found
