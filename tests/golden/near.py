"""What the golden stored files of near copies hold, by arithmetic alone. None of this ever changes.

`python -m golden.near` in `tests` writes files that are missing, and only those.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import ml_dtypes
import numpy as np
import safetensors.numpy

import tersely
from golden.arithmetic import noise, weights

FOLDER = Path(__file__).parent / "stored"
LEVELS = ("fast", "max")
SHAPE = (132, 125)


def tensors_2() -> dict[str, np.ndarray]:
    """Weights, near copies of them, which are stored by their differences, and small tensors that are coded as one."""
    found: dict[str, np.ndarray] = {}
    for place, dtype in enumerate(("bfloat16", "float16")):
        weight = weights(SHAPE, dtype, 2000 + 10 * place)
        words = weight.view(np.uint16)
        step = noise(words.size, 2030 + 10 * place).astype(np.uint64).astype(np.uint16).reshape(SHAPE) % np.uint16(7)
        found[f"{dtype}.weight"] = weight
        found[f"{dtype}.average"] = (words + step // np.uint16(3)).view(weight.dtype)
    found["odd"] = found["bfloat16.weight"].copy()
    found["odd"].view(np.uint16)[::9, ::7] = np.array([0x7FC1, 0x8000, 0xFF80, 1], np.uint16)[
        np.arange(15 * 18).reshape(15, 18) % 4
    ]
    for number in range(9):
        found[f"layer.{number}.bias"] = 1 + weights((200,), "float32", 2100 + number) / np.float32(8)
        found[f"layer.{number}.scale"] = weights((40,), "float32", 2150 + number).astype(ml_dtypes.bfloat16)
    return found


def original_2() -> bytes:
    """The file that they were made from."""
    return safetensors.numpy.save(tensors_2(), {"format": "pt"})


if __name__ == "__main__":
    for level in LEVELS:
        path = FOLDER / f"near-{level}.safetensors"
        if not path.exists():
            with tempfile.TemporaryDirectory() as folder:
                source = Path(folder, "original.safetensors")
                source.write_bytes(original_2())
                tersely.compress(source, path, store="smallest", level=level)  # type: ignore[arg-type]
