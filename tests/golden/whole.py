"""Tensors of golden files that are integers, most of them zero. None of this ever changes."""

from __future__ import annotations

import numpy as np

import tersely
from golden.arithmetic import noise


def sparse_whole_1_0() -> dict[str, tersely.Tensor]:
    """`sparse` of int8 and uint8: every kind of positions, values as they are and under every cut, views, no values at all."""

    def holed(shape: tuple[int, ...], dtype: str, seed: int, kept: int, spread: int = 20) -> np.ndarray:
        """Sums of four even distributions, of which about one in `kept` stays."""
        count = int(np.prod(shape))
        sums = sum(noise(count, seed + k).astype(np.int64) % spread for k in range(4)) - 2 * spread
        sums = np.where(noise(count, seed + 4) % kept == 0, sums + (100 if dtype == "uint8" else 0), 0)
        return sums.reshape(shape).astype(dtype)

    options = {"formulation": "sparse", "profile": "portable"}
    found = {}
    for seed, dtype in enumerate(("int8", "uint8")):
        array = holed((47, 70), dtype, 1400 + 10 * seed, 5)
        for positions in ("bitmap", "gaps", "elias_fano"):
            found[f"{positions}.{dtype}"] = tersely.encode(array, positions=positions, **options)
            for bit_layout in ("index", "float8_e5m2", "float8_e4m3fn"):
                coded = {"values": "integer", "bit_layout": bit_layout, "code": "layered", "widths": (2, 1)}
                found[f"{positions}.{dtype}.{bit_layout}"] = tersely.encode(
                    array, positions=positions, **coded, **options
                )
    coded = {"values": "integer", "bit_layout": "index", "code": "packed"}
    found["ends"] = tersely.encode(holed((48, 64), "int8", 1420, 3, 64), **coded, **options)
    found["segments"] = tersely.encode(holed((17, 4099), "int8", 1430, 9), **coded, **options)
    found["windows"] = tersely.encode(holed((275, 40), "uint8", 1440, 6), positions="gaps", **options)
    found["fillers"] = tersely.encode(holed((17, 4099), "int8", 1450, 301), positions="gaps", **coded, **options)
    found["stack"] = tersely.encode(holed((3, 31, 40), "int8", 1460, 5), positions="gaps", **options)
    found["convolution"] = tersely.encode(holed((16, 17, 3, 3), "int8", 1470, 5), **coded, **options)
    found["folded"] = tersely.encode(holed((7, 310), "uint8", 1480, 5), positions="elias_fano", **coded, **options)
    found["in_out"] = tersely.encode(holed((64, 48), "int8", 1490, 4), orientation="in_out", **options)
    found["zeros"] = tersely.encode(np.zeros((32, 32), np.int8), **coded, **options)
    found["constant"] = tersely.encode(
        np.full((32, 32), -3, np.int8), values="integer", bit_layout="index", code="constant", **options
    )
    return found
