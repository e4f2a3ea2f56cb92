"""Tensors of golden files that are equal to others of their file. None of this ever changes."""

from __future__ import annotations

import numpy as np

import tersely
from golden.arithmetic import noise, weights


def copies_1_0() -> dict[str, tersely.Tensor]:
    """Copies of coded tensors of several formulations and views; equal weights under other codes are no copies."""
    options = {"profile": "portable"}
    head = weights((64, 48), "bfloat16", 1500)
    whole = (sum(noise(33 * 64, 1510 + k).astype(np.int64) % 6 for k in range(4)) - 12).reshape(33, 64).astype(np.int8)
    turned, stack = weights((48, 48), "float32", 1520), weights((3, 32, 40), "bfloat16", 1530)

    def split(array: np.ndarray, **more: object) -> tersely.Tensor:
        return tersely.encode(array, formulation="split", code="packed", **options, **more)

    return {
        "embed.weight": split(head),
        "lm_head.weight": split(head),
        "decoder.weight": split(head.copy()),
        "layered": tersely.encode(head, formulation="split", code="layered", widths=(2, 1), **options),
        "whole": tersely.encode(whole, formulation="integer", **options),
        "whole.copy": tersely.encode(whole, formulation="integer", **options),
        "square": split(turned),
        "square.in_out": split(turned, orientation="in_out"),
        "square.in_out.copy": split(turned, orientation="in_out"),
        "stack": split(stack),
        "stack.copy": split(stack),
        "dense": tersely.encode(head, formulation="dense", **options),
        "dense.again": tersely.encode(head, formulation="dense", **options),
    }
