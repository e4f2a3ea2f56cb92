"""What the golden stored files hold, by arithmetic alone. None of this ever changes.

`python -m golden.stored` in `tests` writes files that are missing, and only those.
"""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import safetensors.numpy

import tersely
from golden.arithmetic import noise, pruned, weights

FOLDER = Path(__file__).parent / "stored"
LEVELS = ("fast", "max")


def tensors_1() -> dict[str, np.ndarray]:
    """Blocks of every coder and way: large floats, coded lowest bits, whole numbers, palettes, pools, copies, text."""
    lowest = weights((96, 200), "float32", 1600).view(np.uint32) & np.uint32(0xFFFFFFF8)
    lowest |= (noise(96 * 200, 1610).astype(np.uint32) % 5).reshape(96, 200) // 2
    head = weights((150, 240), "bfloat16", 1620)
    found = {
        "large": weights((131, 130), "float32", 1630),
        "lowest": lowest.view(np.float32),
        "half": weights((64, 96), "float16", 1640),
        "head": head,
        "tied": head.copy(),
        "pruned": pruned((128, 160), "float32", 1650, 4),
        "whole": (noise(96 * 128, 1660).astype(np.int64) % 17 - 8).astype(np.int8).reshape(96, 128),
        "palette": np.linspace(-1, 1, 11, dtype=np.float32)[noise(90 * 130, 1670).astype(np.int64) % 11].reshape(
            90, 130
        ),
        "constant": np.full((40, 50), 0.25, np.float32),
        "empty": np.zeros((0, 4), np.float32),
        "scalar": np.array(3, np.int64),
        "noise": noise(3000, 1680).astype(np.uint8),
    }
    for number in range(12):
        found[f"layer.{number}.bias"] = weights((24,), "float32", 1700 + number).reshape(24)
        found[f"layer.{number}.scale"] = weights((24,), "float32", 1750 + number).reshape(24).astype(ml_dtypes.bfloat16)
    return found


def original_1() -> bytes:
    """The file that they were made from."""
    return safetensors.numpy.save(tensors_1(), {"format": "pt"})


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    source = FOLDER / "original.safetensors"
    if not source.exists():
        source.write_bytes(original_1())
    for level in LEVELS:
        if not (path := FOLDER / f"{level}.safetensors").exists():
            tersely.compress(source, path, store="smallest", level=level)  # type: ignore[arg-type]
