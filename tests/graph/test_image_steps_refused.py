"""Steps on images of programs that nobody lowered: what would read or write beyond its memory is refused by name."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from tersely.backends.cpu import native

pytestmark = pytest.mark.skipif(not native.available(), reason="there is no native module")


LAYOUTS = [(32, 6, 6, 1), (32, 3, 3, 0), (32, 1, 1, 0), (8, 6, 6, 0), (32, 6, 6, 0)]
"""Channels, height, width and halo of each value; they lie behind one another."""


def opened(step: dict[str, Any], **constants: np.ndarray) -> Any:
    values, at = [], 0
    for channels, height, width, halo in LAYOUTS:
        values.append({"at": at, "images": 1, "channels": channels, "height": height, "width": width, "halo": halo,
                       "blocked": True})  # fmt: skip
        at += -(-channels // 16) * 16 * (height + 2 * halo) * (width + 2 * halo)
    text = {"version": 1, "arena": at, "values": values, "steps": [step]}
    return native.module.open_program(json.dumps(text), constants)


def spans(count: int, first: int = 0) -> list[int]:
    return [n for place in range(count) for n in (first + 2 * place, 2, 2)]


CONVOLUTION = {"operator": "convolution", "x": 0, "y": 1, "weight": "w", "height": 3, "width": 3, "stride_y": 2,
               "stride_x": 2, "pad_y": 1, "pad_x": 1}  # fmt: skip
POOL = {"operator": "pool", "x": 0, "y": 1, "kind": "mean", "rows": spans(3), "columns": spans(3)}
RESIZE = {"operator": "resize", "x": 1, "y": 0, "rows": [0, 1, 0] * 6, "columns": [0, 2, 0] * 6}
REGION = [8, 3, 3, 0, 0, 0, 2, 2, 0, 0, 0]
ASSEMBLE = {"operator": "assemble", "y": 1, "xs": [3], "regions": REGION, "fill": 0}
COMBINE = {"operator": "combine", "kind": "multiply", "x": 0, "z": 2, "y": 4}
SCALE = {"operator": "scale_shift", "x": 0, "y": 4, "scale": "s", "shift": "s"}
ACTIVATE = {"operator": "activate", "x": 0, "y": 4, "activation": "silu"}

WEIGHTS = {"w": np.zeros(32 * 32 * 9, np.float32), "s": np.zeros(32, np.float32), "few": np.zeros(16, np.float32)}


@pytest.mark.parametrize("step", [CONVOLUTION, {**CONVOLUTION, "groups": 4}, {**CONVOLUTION, "groups": 32}, POOL,
                                  RESIZE, ASSEMBLE, COMBINE, SCALE, ACTIVATE], ids=str)  # fmt: skip
def test_these_are_sound(step: dict[str, Any]) -> None:
    assert opened(step, **WEIGHTS).steps == 1


def region(index: int, number: int) -> dict[str, Any]:
    return {**ASSEMBLE, "regions": [*REGION[:index], number, *REGION[index + 1 :]]}


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ({**CONVOLUTION, "weight": "few"}, "too few numbers"),
        ({**CONVOLUTION, "weight": "few", "groups": 32}, "too few numbers"),
        ({**CONVOLUTION, "height": 2**20, "width": 2**20}, "too few numbers|overflow|too large|other"),
        ({**CONVOLUTION, "groups": 0}, "shared out"),
        ({**CONVOLUTION, "height": 0}, "less than one pixel"),
        ({**CONVOLUTION, "height": -3, "width": -3}, "less than one pixel"),
        ({**CONVOLUTION, "groups": 5}, "shared out"),
        ({**CONVOLUTION, "stride_y": 3}, "larger than its input"),
        ({**CONVOLUTION, "stride_y": 4, "groups": 32}, "larger than its input"),
        ({**CONVOLUTION, "stride_x": 0}, "less than one pixel"),
        ({**CONVOLUTION, "dilation_y": -1}, "less than one pixel"),
        ({**CONVOLUTION, "dilation_x": 2**40}, "one pixel"),
        ({**CONVOLUTION, "pad_y": 2}, "halo"),
        ({**CONVOLUTION, "pad_x": -1}, "less than no pixel"),
        ({**CONVOLUTION, "groups": 32, "pad_x": 2}, "halo"),
        ({**CONVOLUTION, "groups": 32, "method": "winograd"}, "method"),
        ({**CONVOLUTION, "groups": 2, "method": "winograd"}, "3 x 3|one group"),
        ({**CONVOLUTION, "activation": "swoosh"}, "swoosh|unknown|finishes"),
        ({**CONVOLUTION, "shift": "few"}, "too few"),
        ({**POOL, "rows": spans(2)}, "other windows"),
        ({**POOL, "rows": spans(3, 1)}, "beyond x"),
        ({**POOL, "columns": spans(3, -1)}, "beyond x"),
        ({**POOL, "dilation_y": 7}, "beyond x"),
        ({**POOL, "dilation_x": 0}, "less than one pixel"),
        ({**POOL, "rows": [0, 0, 1] * 3}, "without a pixel"),
        ({**POOL, "rows": [0, 1, 0] * 3}, "mean of no pixel"),
        ({**POOL, "kind": "sum"}, "unknown kind"),
        ({**POOL, "y": 0}, "over x|other windows"),
        ({**POOL, "x": 3}, "as many images and channels"),
        ({**RESIZE, "rows": [0, 3, 0] * 6}, "beyond x"),
        ({**RESIZE, "columns": [-1, 0, 0] * 6}, "beyond x"),
        ({**RESIZE, "columns": [0, 0, 0] * 5}, "other pixels"),
        (region(0, 9), "beyond its image"),
        (region(0, 0), "beyond its image"),
        (region(1, 4), "beyond its image"),
        (region(3, 1), "beyond its image"),
        (region(4, 2), "beyond its image"),
        (region(5, -1), "beyond its image"),
        (region(6, 3), "beyond its image"),
        (region(7, 0), "beyond its image"),
        (region(7, 2**62), "beyond its image"),
        (region(8, 25), "beyond its image"),
        (region(10, 1), "beyond its image"),
        ({**ASSEMBLE, "xs": [3, 3]}, "without a region"),
        ({**ASSEMBLE, "xs": [1]}, "lies over it|beyond"),
        ({**COMBINE, "z": 1}, "does not fit"),
        ({**COMBINE, "z": 3}, "does not fit"),
        ({**COMBINE, "y": 1}, "another shape"),
        ({**COMBINE, "y": 0}, "lies over"),
        ({**COMBINE, "kind": "power"}, "unknown kind"),
        ({**COMBINE, "activation": "silu"}, "finishes"),
        ({**SCALE, "scale": "few"}, "too few"),
        ({**SCALE, "y": 1}, "different shapes"),
        ({**ACTIVATE, "activation": "swoosh"}, "swoosh|unknown|finishes"),
        ({**ACTIVATE, "y": 0}, "lies over"),
    ],
    ids=str,
)
def test_these_are_refused(step: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        opened(step, **WEIGHTS)
