"""Steps of bfloat16 in programs that nobody lowered: what would read or write beyond its memory is refused by name."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import tersely
from tersely.backends.cpu import native

pytestmark = pytest.mark.skipif(not native.available(), reason="there is no native module")

LAYOUTS = [(32, 6, 6, 1, 4), (32, 6, 6, 1, 2), (32, 3, 3, 0, 4), (32, 3, 3, 0, 2), (32, 6, 6, 0, 2), (32, 3, 3, 1, 2)]
"""Channels, height, width, halo and bytes of a number of each value; they lie behind one another."""
ROUND = {"operator": "round", "x": 0, "y": 1}
CONVOLUTION = {"operator": "convolution", "method": "bfloat16", "x": 1, "y": 2, "rounded": 3, "weight": "w",
               "height": 3, "width": 3, "stride_y": 2, "stride_x": 2, "pad_y": 1, "pad_x": 1}  # fmt: skip
ONLY_ROUNDED = {key: one for key, one in CONVOLUTION.items() if key != "y"}
ONLY_WIDE = {key: one for key, one in CONVOLUTION.items() if key != "rounded"}
WEIGHTS = {"w": np.ones(32 * 32 * 9, np.float32), "few": np.zeros(16, np.float32), "s": np.zeros(32, np.float32),
           "no": np.full(32 * 32 * 9, 1.001, np.float32)}  # fmt: skip


def opened(*steps: dict[str, Any], **constants: Any) -> Any:
    values, at = [], 0
    for channels, height, width, halo, size in LAYOUTS:
        values.append({"at": at, "images": 1, "channels": channels, "height": height, "width": width, "halo": halo,
                       "blocked": True, "element_bytes": size})  # fmt: skip
        at += -(-channels // 16) * 16 * (height + 2 * halo) * (width + 2 * halo) * size // 4
    text = {"version": 1, "arena": at, "values": values, "steps": list(steps)}
    return native.module.open_program(json.dumps(text), constants or WEIGHTS)


@pytest.mark.parametrize(
    "step", [ROUND, CONVOLUTION, ONLY_ROUNDED, ONLY_WIDE, {**CONVOLUTION, "groups": 4}, {**CONVOLUTION, "groups": 32},
             {**CONVOLUTION, "activation": "silu"}, {"operator": "clear", "y": 1}], ids=str
)  # fmt: skip
def test_these_are_sound(step: dict[str, Any]) -> None:
    program = opened(step)
    assert program.steps == 1
    program.run([], [], 2, False)


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ({**ROUND, "x": 1}, "float32"),
        ({**ROUND, "y": 0}, "bfloat16"),
        ({**ROUND, "y": 3}, "shape"),
        ({**CONVOLUTION, "x": 0}, "bfloat16"),
        ({**CONVOLUTION, "y": 3}, "float32"),
        ({**CONVOLUTION, "rounded": 2}, "bfloat16"),
        ({**CONVOLUTION, "rounded": 5}, "different layouts"),
        ({**CONVOLUTION, "rounded": 1}, "different layouts|over"),
        ({key: one for key, one in ONLY_WIDE.items() if key != "y"}, "y"),
        ({**ONLY_ROUNDED, "activation": "silu"}, "y is wanted"),
        ({**CONVOLUTION, "x": 4}, "halo"),
        ({**CONVOLUTION, "weight": "few"}, "too few numbers"),
        ({**CONVOLUTION, "weight": "no"}, "not bfloat16"),
        ({**CONVOLUTION, "groups": 5}, "shared out"),
        ({**CONVOLUTION, "stride_y": 3}, "larger than its input"),
        ({**CONVOLUTION, "dilation_x": 2**40}, "one pixel"),
        ({**CONVOLUTION, "residual": 0}, "another shape"),
        ({**CONVOLUTION, "residual": 3}, "float32"),
        ({**CONVOLUTION, "residual": 2}, "lies over"),
        ({**CONVOLUTION, "shift": "few"}, "too few"),
        ({"operator": "pool", "x": 1, "y": 2, "kind": "mean", "rows": [0, 2, 2] * 3, "columns": [0, 2, 2] * 3}, "float32"),
        ({"operator": "assemble", "y": 1, "xs": [0], "regions": [0] * 11, "fill": 0}, "bfloat16"),
        ({"operator": "assemble", "y": 0, "xs": [1], "regions": [0] * 11, "fill": 0}, "bfloat16"),
        ({"operator": "quantise", "x": 1, "y": 3}, "float32|bfloat16"),
        ({"operator": "move", "x": 0, "y": 4}, "float32"),
        ({"operator": "output", "x": 1, "index": 0}, "float32"),
    ],
    ids=str,
)  # fmt: skip
def test_refused(step: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        opened(step)


def test_words_of_another_dtype_are_refused() -> None:
    weight = tersely.encode(np.ones((32, 32, 3, 3), np.float32), formulation="split")
    with pytest.raises(ValueError, match="not bfloat16"):
        opened(CONVOLUTION, w=native.open_matrix(weight.encoded if hasattr(weight, "encoded") else weight))
