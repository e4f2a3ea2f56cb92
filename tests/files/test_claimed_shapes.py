"""Small files that claim to be large: refused before anything is made by the claim, or with one sentence where they hold."""

from __future__ import annotations

import dataclasses
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.arrays import normal

import tersely
from tersely.backends.cpu import native
from tersely.codes.node import Checked
from tersely.core.encoded import Encoded
from tersely.core.errors import CorruptError, FormatError, TooLargeError
from tersely.core.geometry import Geometry
from tersely.tensors.tensor import Tensor

EYE = np.eye(64, 96, dtype=np.float32)
TALL = np.eye(96, 64, dtype=np.float32)
BYTES = (np.arange(64 * 96) % 7).reshape(64, 96).astype(np.int8)
SIGNED = np.where(np.arange(64 * 96).reshape(64, 96) % 3 == 0, -0.0, (np.arange(64 * 96) % 5 - 2.0).reshape(64, 96))


def forged(array: np.ndarray, shape: tuple[int, ...], options: dict[str, Any], **other: Any) -> Tensor:
    """A tensor of an honest array that claims another shape; nothing is checked."""
    honest = tersely.encode(array, **options)
    found = object.__new__(Tensor)
    encoded = dataclasses.replace(honest.encoded, shape=shape, **other)
    found.checked, found.crc32 = Checked(encoded, honest.checked.root), "0" * 8
    return found


INDEXED = (
    ("bitmap", EYE, {"formulation": "sparse", "positions": "bitmap"}),
    ("bitmap of split", EYE, {"formulation": "sparse", "positions": "bitmap", "values": "split"}),
    ("elias_fano", EYE, {"formulation": "sparse", "positions": "elias_fano"}),
    ("gaps", EYE, {"formulation": "sparse", "positions": "gaps"}),
    ("fields", BYTES, {"formulation": "integer"}),
    ("fields of no bits", np.zeros((64, 96), np.int8), {"formulation": "integer", "bits": 0}),
    ("distances", BYTES, {"formulation": "integer", "code": "distances"}),
    ("affine", SIGNED.astype(np.float32), {"formulation": "affine"}),
    ("affine coded", SIGNED.astype(np.float32), {"formulation": "affine", "code": "packed"}),
    ("split", EYE + np.float32(1), {"formulation": "split", "code": "layered", "widths": (2, 2)}),
)
"""Forms with a directory: a file has an entry for every segment that its shape claims, or is refused."""


@pytest.mark.parametrize("power", [36, 46])
@pytest.mark.parametrize(("array", "options"), [case[1:] for case in INDEXED], ids=[case[0] for case in INDEXED])
def test_segments_are_counted_before_anything_is_made_of_them(
    array: np.ndarray, options: dict[str, Any], power: int, tmp_path: Path
) -> None:
    path = tmp_path / "f.safetensors"
    for shape in ((64, 1 << power), (1 << power, 96)):
        if "gaps" in options.values() and shape[0] == 64:
            continue  # a row without entries may have any number of columns: see below
        tersely.save_file({"w": forged(array, shape, options)}, path)
        tracemalloc.start()
        with pytest.raises(CorruptError, match="tensor 'w'.* need ") as caught:
            tersely.load_file(path)
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
        tracemalloc.stop()
        assert str(path) in str(caught.value)


def test_max_bytes_counts_before_any_tensor_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "f.safetensors"
    tersely.save_file({"w": tersely.encode(EYE), "d": EYE}, path)
    assert set(tersely.load_file(path, max_bytes=2 * EYE.nbytes)) == {"w", "d"}

    def never(encoded: Encoded) -> None:
        raise AssertionError("looked at")

    monkeypatch.setattr("tersely.codes.registry.check", never)
    with pytest.raises(CorruptError, match=f"decoded tensors have {2 * EYE.nbytes} bytes, max_bytes allows"):
        tersely.load_file(path, max_bytes=2 * EYE.nbytes - 1)


ONES = np.ones((64, 96), np.float32)
CLAIMS = (
    ("gaps", np.zeros((64, 96), np.float32), (64, 1 << 50), {"formulation": "sparse", "positions": "gaps"}),
    ("split constant", ONES, (1 << 25, 1 << 25), {"formulation": "split", "code": "constant"}),
    ("palette", ONES, (1 << 25, 1 << 25), {"formulation": "palette", "code": "constant"}),
    ("blocks", ONES, (1 << 50, 96), {"formulation": "blocks", "block": "row"}),
    ("block_sparse", np.zeros((64, 96), np.float32), (64, 1 << 50), {"formulation": "block_sparse", "block": "row"}),
)
"""Forms in which a few bytes may rightly stand for any number of weights."""


@pytest.mark.parametrize(("array", "shape", "options"), [case[1:] for case in CLAIMS], ids=[case[0] for case in CLAIMS])
def test_what_no_memory_holds_ends_in_one_sentence(
    array: np.ndarray, shape: tuple[int, int], options: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "f.safetensors"
    tersely.save_file({"w": forged(array, shape, options)}, path)
    tensor = tersely.load_file(path)["w"]
    wide = min(shape[1], 1 << 25)
    calls = [
        tensor.decode,
        lambda: np.asarray(tensor),
        lambda: tensor[:],
        lambda: tersely.load_file(path, check="full"),
    ]
    calls += [lambda: tersely.verify(path), lambda: tersely.decompress(path, tmp_path / "back")]
    if shape[1] > wide:
        calls += [lambda: tensor.rows(0, 1), lambda: tensor[3]]
    if shape[0] > wide:
        calls.append(lambda: tersely.linear(np.ones((1, shape[1]), np.float32), tensor))
    for call in calls:
        with pytest.raises(TooLargeError, match="takes more memory than there is; take fewer rows") as caught:
            call()
        assert str(caught.value).startswith(f"file {path}, tensor 'w': ")
        assert isinstance(caught.value, MemoryError)
    if native.available():
        assert tensor[0, 0] == array[0, 0]
    with pytest.raises(CorruptError, match="max_bytes"):
        tersely.load_file(path, max_bytes=1 << 40)


@pytest.mark.skipif(not native.available(), reason="the reference allocates otherwise")
def test_memory_that_runs_out_is_the_same_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    tensor = tersely.encode(EYE, "sparse")

    def none(*_: Any, **__: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(Tensor, "_empty", none)
    with pytest.raises(TooLargeError, match="is 24576 bytes, and decoding it takes"):
        tensor.decode()
    with pytest.raises(TooLargeError, match="taking rows 1 to 2 of it takes"):
        tensor.rows(1, 2)


@pytest.mark.parametrize("positions", ["n_of_m", "gaps"])
def test_any_number_of_matrices_without_rows_is_nothing_to_walk_through(positions: str) -> None:
    options = {"formulation": "sparse", "positions": positions, "n": 2, "m": 4}
    options = options if positions == "n_of_m" else {"formulation": "sparse", "positions": positions}
    tensor = forged(np.zeros((2, 16, 16), np.float32), (2, 0, 16), options, view="stack")
    empty = {name: np.zeros(64, np.uint8) for name in tensor.encoded.components}
    empty |= {name: np.zeros(0, np.uint8) for name in ("rows",) if name in empty}
    for count in (2, 1 << 45):
        with_count = dataclasses.replace(tensor.encoded, shape=(count, 0, 16), components=empty)
        assert Tensor(with_count).size == 0
    assert Geometry((1 << 45, 0, 16), "stack").segment_chunks() == []


def test_shapes_that_no_array_has_are_refused(tmp_path: Path, rng: np.random.Generator) -> None:
    weight = normal(rng, (64, 64), np.dtype(np.float32))
    path = tmp_path / "f.safetensors"
    tersely.save_file({"w": forged(weight, (0, 1 << 62, 1 << 62), {"formulation": "split"}, view="folded")}, path)
    with pytest.raises(FormatError, match="the shape is not a short list"):
        tersely.load_file(path)
