"""Blocks of level `max`: forms chosen, coded by the native module where it is there and by the reference where not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from tersely.backends.cpu import native
from tersely.core.dtypes import DType
from tersely.core.errors import CorruptError
from tersely.storage.mixing import reference, reference_form
from tersely.storage.mixing.forms import NAMES, Cost, Layout, choose, layout_of, sides_of

Spec = tuple[DType, tuple[int, ...]]


def encode(tensors: Sequence[tuple[np.ndarray, DType, tuple[int, ...]]]) -> bytes:
    """Returns a block of tensors.

    Args:
        tensors: bytes (uint8, one dimension), dtype and shape of each.
    """
    return min((block for _, block in ways(tensors)), key=len)


def ways(tensors: Sequence[tuple[np.ndarray, DType, tuple[int, ...]]]) -> Iterator[tuple[str, bytes]]:
    """Yields the ways that are tried for a block: what each is called, and the block.

    Args:
        tensors: as of `encode`. Of several the form of each is chosen by itself, and there is one way.
    """
    layouts = [layout_of(dtype, shape, raw.size) for raw, dtype, shape in tensors]
    raws = [raw for raw, _, _ in tensors]
    asked = [_asked(raw, layout, dtype) for (raw, dtype, _), layout in zip(tensors, layouts, strict=True)]
    if len(tensors) == 1:
        yield from ((NAMES[side[0]], _encode(raws, layouts, [side])) for side in sides_of(*asked[0]))
    else:
        yield f"{len(tensors)} forms", _encode(raws, layouts, [choose(*one) for one in asked])


def decode(block: np.ndarray, specs: Sequence[tuple[DType, tuple[int, ...], int]]) -> list[np.ndarray]:
    """Returns the bytes of each tensor of a block.

    Args:
        block: uint8, one dimension.
        specs: dtype, shape and bytes of each tensor.

    Raises:
        CorruptError: for a block that holds no tensors like these.
    """
    layouts = [layout_of(*spec) for spec in specs]
    out = [np.zeros(nbytes, np.uint8) for _, _, nbytes in specs]
    if native.available():
        try:
            native.module.mixing_decode(block, [_described(raw, one) for raw, one in zip(out, layouts, strict=True)])
        except ValueError as error:
            raise CorruptError(str(error)) from None
        return out
    items = [_item(raw, layout) for raw, layout in zip(out, layouts, strict=True)]
    reference.decode(block.tobytes(), items)
    return [np.frombuffer(item.data, np.uint8) for item in items]


def _asked(raw: np.ndarray, layout: Layout, dtype: DType) -> tuple[np.ndarray, Layout, DType, Cost | None]:
    """What `forms` is asked about a tensor."""
    words = _aligned(raw, layout).view(f"<u{layout.word_bytes}")

    def cost(array: np.ndarray, side: bytes) -> int:
        axes = (array.shape[0], array.shape[1], array.shape[2], array.shape[3])
        part = Layout(layout.word_bytes, layout.exponent, layout.mantissa, axes)
        return len(_encode([array.reshape(-1).view(np.uint8)], [part], [side]))

    return words, layout, dtype, cost if native.available() else None


def _encode(raws: Sequence[np.ndarray], layouts: Sequence[Layout], sides: Sequence[bytes]) -> bytes:
    if native.available():
        described = [_described(raw, layout) for raw, layout in zip(raws, layouts, strict=True)]
        return bytes(native.module.mixing_encode(described, list(sides)))
    return reference.encode([_item(raw, layout) for raw, layout in zip(raws, layouts, strict=True)], sides)


def _aligned(raw: np.ndarray, layout: Layout) -> np.ndarray:
    return raw.copy() if raw.ctypes.data % layout.word_bytes else raw


def _described(raw: np.ndarray, one: Layout) -> tuple[np.ndarray, int, int, int, tuple[int, int, int, int]]:
    return raw, one.word_bytes, one.exponent, one.mantissa, one.axes


def _item(raw: np.ndarray, one: Layout) -> reference_form.Item:
    return reference_form.Item(bytearray(raw.tobytes()), one.word_bytes, one.exponent, one.mantissa, one.axes)
