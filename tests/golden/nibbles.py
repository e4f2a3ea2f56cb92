"""Builder of golden nibbles under fields; the rules are those of `builders`."""

from __future__ import annotations

import numpy as np

import tersely
from golden.arithmetic import noise


def integer_nibbles_1_0() -> dict[str, tersely.Tensor]:
    """`integer` with nibbles under fields: both orders, every number of bits, segments and groups of their own, views."""

    def pairs(shape: tuple[int, ...], seed: int, middle: int, size: int = 5) -> np.ndarray:
        """Values of two throws about a middle, modulo 16."""
        count = int(np.prod(shape))
        low, high = (
            sum(noise(count, seed + k + j).astype(np.int64) % size for j in range(2)) - (size - 1) + middle
            for k in (0, 2)
        )
        return (low & 15 | (high & 15) << 4).reshape(shape).astype(np.uint8)

    def coded(array: np.ndarray, **options: object) -> tersely.Tensor:
        own = {"code": "nibble_fields", "int4_columns": 2 * array.shape[-1], "profile": "portable", **options}
        return tersely.encode(array, formulation="integer", **own)

    found = {f"bits{bits}": coded(pairs((47, 70), 1300 + 10 * bits, 0), bits=bits) for bits in range(5)}
    found["unsigned"] = coded(pairs((47, 70), 1350, 8), signed=False)
    found["signed"] = coded(pairs((47, 70), 1360, 0), signed=True)
    found["unsigned.signed"] = coded(pairs((47, 70), 1370, 8), signed=True)
    groups = pairs((64, 1100), 1380, 0)
    groups[16:32] = 0x1F
    groups[32:48] &= 0x11
    found["groups"] = coded(groups, smallest=True)
    found["stack"] = coded(pairs((3, 31, 40), 1390, 0, 3))
    found["folded"] = coded(pairs((7, 5, 3, 3), 1400, 8))
    return found
