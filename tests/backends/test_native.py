"""The core without Python: a C++ program opens what tersely wrote, decodes, picks, multiplies, and refuses what is cut."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from numpy.random import Generator
from support.native import built, write_coded

import tersely


@pytest.fixture(scope="module")
def program() -> Path:
    return built("tersely_native_tests")


def floats(rng: Generator, shape: tuple[int, ...] = (63, 2100)) -> np.ndarray:
    return (rng.standard_normal(shape) * 0.02).astype(np.float32)


def few(rng: Generator, words: int) -> np.ndarray:
    return rng.choice(floats(rng, (words,)), (63, 2100))


def pruned(rng: Generator, share: float = 0.7) -> np.ndarray:
    array = floats(rng)
    array[rng.random(array.shape) < share] = 0
    return array


def two_of_four(rng: Generator) -> np.ndarray:
    array = floats(rng).reshape(63, -1, 4)
    array[..., 1::2] = 0
    return array.reshape(63, 2100)


def without_columns(rng: Generator) -> np.ndarray:
    array = floats(rng)
    array[:, ::3] = 0
    array[5:20] = 0
    return array


def empty_blocks(rng: Generator) -> np.ndarray:
    array = floats(rng)
    array.reshape(63, -1, 4)[:, rng.random(525) < 0.5] = 0
    return array


def small(rng: Generator, spread: float = 9) -> np.ndarray:
    return np.clip(np.rint(rng.standard_normal((63, 2100)) * spread), -127, 127).astype(np.int8)


def on_grid(rng: Generator) -> np.ndarray:
    steps = np.clip(np.rint(rng.standard_normal((63, 2100)) * 2), -7, 7)
    return ((steps + 0.0) * 0.01).astype(np.float32)  # one zero


def of_rows(rng: Generator) -> np.ndarray:
    return np.take_along_axis(floats(rng, (63, 16)), rng.integers(0, 16, (63, 2100)), axis=1)


def scaled_rows(rng: Generator) -> np.ndarray:
    steps = np.clip(np.rint(rng.standard_normal((63, 2100)) * 3), -8, 7).astype(np.float32)
    return steps * rng.uniform(0.01, 0.02, (63, 1)).astype(np.float32)


def test_a_program_opens_and_multiplies_every_formulation(program: Path, tmp_path: Path, rng: Generator) -> None:
    import ml_dtypes

    nibbles = (small(rng, 2).view(np.uint8) & 15) | (small(rng, 2).view(np.uint8) & 15) << 4
    cases = [
        (floats(rng), {"formulation": "split"}),
        (floats(rng), {"formulation": "split", "code": "packed"}),
        (floats(rng, (63, 39)), {"formulation": "split"}),
        (floats(rng).astype(ml_dtypes.bfloat16).astype(np.float32), {"formulation": "split"}),
        (floats(rng).astype(ml_dtypes.bfloat16), {"formulation": "split"}),
        (floats(rng).astype(np.float16), {"formulation": "split"}),
        (pruned(rng), {"formulation": "sparse", "positions": "bitmap"}),
        (pruned(rng), {"formulation": "sparse", "positions": "bitmap", "values": "split"}),
        (pruned(rng, 0.95), {"formulation": "sparse", "positions": "elias_fano"}),
        (pruned(rng, 0.95), {"formulation": "sparse", "positions": "gaps"}),
        (two_of_four(rng), {"formulation": "sparse", "positions": "n_of_m"}),
        (np.where(pruned(rng) == 0, np.float32(0), few(rng, 100)), {"formulation": "sparse", "values": "palette"}),
        (few(rng, 13), {"formulation": "palette"}),
        (few(rng, 200), {"formulation": "palette", "code": "layered", "widths": (2, 2)}),
        (on_grid(rng), {"formulation": "palette", "code": "grid"}),
        (of_rows(rng), {"formulation": "row_palette"}),
        (scaled_rows(rng), {"formulation": "affine"}),
        (np.repeat(few(rng, 3)[:, ::4], 4, axis=1), {"formulation": "blocks", "block": "chunk"}),
        (empty_blocks(rng), {"formulation": "block_sparse", "block": "chunk"}),
        (without_columns(rng), {"formulation": "submatrix"}),
        *(
            (np.where(empty_blocks(rng) == 0, np.int8(0), small(rng)), {"formulation": "block_sparse", "block": block})
            for block in ("row", "16x1", "chunk")
        ),
        *(
            (np.where(without_columns(rng) == 0, np.int8(0), small(rng)), {"formulation": "submatrix", "kept": kept})
            for kept in ("integer", "dense", "block_sparse")
        ),
        (small(rng), {"formulation": "integer"}),
        (small(rng), {"formulation": "integer", "code": "distances"}),
        (small(rng).astype(np.int16) * np.int16(50), {"formulation": "integer"}),
        (nibbles, {"formulation": "integer", "code": "nibbles", "int4_columns": 4200}),
        (
            np.where(rng.random((63, 2100)) < 0.9, np.int8(0), small(rng)),
            {"formulation": "sparse", "positions": "gaps"},
        ),
    ]
    folders = []
    for number, (array, options) in enumerate(cases):
        encoded = tersely.encode(array, **options).encoded  # type: ignore[arg-type]
        folder = tmp_path / f"{number} {' '.join(map(str, options.values()))} {array.dtype}"
        write_coded(encoded, folder)
        np.ascontiguousarray(array).tofile(folder / "words")
        array.astype("<f8").tofile(folder / "values")
        folders.append(folder)
    run = subprocess.run([program, *folders], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout == f"{len(cases)} tensors\n"
