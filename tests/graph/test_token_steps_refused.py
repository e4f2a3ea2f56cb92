"""Steps on tokens of programs that nobody lowered: what would read or write beyond its memory is refused by name."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from tersely.backends.cpu import native

pytestmark = pytest.mark.skipif(not native.available(), reason="there is no native module")

ONE = 0x3F800000
"""The bits of 1."""
LAYOUTS = [(32, 6, True), (32, 6, True), (32, 6, True), (32, 6, True), (192, 1, False), (4, 1, False)]
"""Channels, width, and whether they are in blocks; values lie behind one another."""
HEADS = [96, 96, 96, 16, 1]


def opened(step: dict[str, Any], **constants: np.ndarray) -> Any:
    values, at = [], 0
    for channels, width, blocked in LAYOUTS:
        values.append({"at": at, "images": 1, "channels": channels, "height": 1, "width": width, "halo": 0,
                       "blocked": blocked})  # fmt: skip
        at += -(-channels * width // 16) * 16
    text = {"version": 1, "arena": at, "values": values, "steps": [step]}
    return native.module.open_program(json.dumps(text), constants)


def heads(role: str, value: int, **given: Any) -> dict[str, Any]:
    return {role: value, f"{role}_strides": HEADS, **{f"{role}_{key}": one for key, one in given.items()}}


COPY = {"operator": "elementwise", "kind": "copy", "sizes": [6, 32], "x": 4, "x_strides": [32, 1], "y": 0,
        "y_strides": [32, 1]}  # fmt: skip
ADD = {**COPY, "kind": "add", "z_constant": "w", "z_strides": [0, 1]}
MEAN = {"operator": "reduce", "kind": "mean", "sizes": [32], "over": [6], "x": 4, "x_strides": [1, 32], "y": 0,
        "y_strides": [1]}  # fmt: skip
ATTENTION = {"operator": "attention", "images": 1, "heads": 2, "queries": 6, "keys": 6, "size": 16, "value_size": 16,
             "scale": ONE, **heads("x", 0), **heads("k", 1), **heads("v", 2), **heads("y", 3)}  # fmt: skip
NORM = {"operator": "layer_norm", "x": 0, "y": 1, "eps": ONE, "weight": "w"}
EMBEDDING = {"operator": "embedding", "x": 5, "y": 4, "weight": "w", "rows": 2}
CONSTANTS = {"w": np.zeros(32, np.float32), "few": np.zeros(16, np.float32)}


@pytest.mark.parametrize("step", [COPY, ADD, MEAN, ATTENTION, NORM], ids=str)
def test_these_are_sound(step: dict[str, Any]) -> None:
    assert opened(step, **CONSTANTS).steps == 1


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ({**COPY, "x_strides": [33, 1]}, "outside of its value"),
        ({**COPY, "x_at": 1}, "outside of its value"),
        ({**COPY, "x_at": -1}, "other axes|negative"),
        ({**COPY, "y_strides": [32, -1]}, "negative"),
        ({**COPY, "y_strides": [2**62, 1]}, "too large"),
        ({**COPY, "sizes": [6, 0]}, "not positive"),
        ({**COPY, "sizes": [2**40, 2**40]}, "too large"),
        ({**COPY, "x_strides": [32]}, "other axes"),
        ({**COPY, "x": 0}, "y lies over"),
        ({**COPY, "kind": "move"}, "unknown kind"),
        ({**ADD, "z_constant": "few"}, "too few"),
        ({**MEAN, "over": [7]}, "outside of its value"),
        ({**MEAN, "kind": "median"}, "unknown kind"),
        ({**ATTENTION, "heads": 3}, "outside of its value"),
        ({**ATTENTION, "keys": 7}, "outside of its value"),
        ({**ATTENTION, "value_size": 17}, "outside of its value"),
        ({**ATTENTION, "queries": 0}, "not positive"),
        ({**ATTENTION, "x_strides": [96, 96, 96, 8, 1]}, "blocks of 16"),
        ({**ATTENTION, **heads("y", 2)}, "y lies over"),
        ({**ATTENTION, "mask_constant": "few", "mask_strides": [0, 0, 6, 1]}, "too few"),
        ({**ATTENTION, "mask_constant": "w", "mask_strides": [0, 0, 1, 2]}, "side by side|too few"),
        ({**NORM, "weight": "few"}, "too few"),
        ({**NORM, "y": 4}, "tokens"),
        ({**NORM, "y": 0}, "y lies over"),
        ({**NORM, "eps": 2**32}, "float32"),
        (EMBEDDING, "plain row"),
        ({"operator": "softmax", "x": 0, "y": 1}, "plain rows"),
        ({"operator": "matrix_product", "x": 0, "z": 1, "y": 2}, "other columns"),
        ({"operator": "pointwise", "kind": "swoosh", "x": 0, "y": 1}, "swoosh"),
        ({"operator": "input", "y": 4, "index": -1}, "out of range"),
        ({"operator": "input", "y": 0, "index": 0, "integers": 1}, "as they come"),
    ],
    ids=str,
)
def test_what_would_leave_its_memory_is_refused(step: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        opened(step, **CONSTANTS)


def test_inputs_and_outputs_are_what_steps_take() -> None:
    program = opened({"operator": "input", "y": 4, "index": 1})
    right = np.zeros(192, np.float32)
    program.run([right[:3], right], [], 1)
    for wrong in ([right], [right, right[:191]], [right, right.astype(np.int64)], [right, right.astype(np.float64)]):
        with pytest.raises(ValueError, match=r"inputs|input is neither"):
            program.run(wrong, [], 1)
    program = opened({"operator": "output", "x": 4, "index": 0})
    with pytest.raises(ValueError, match="outputs"):
        program.run([], [right[:191].copy()], 1)
