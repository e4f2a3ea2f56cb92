"""What reading a stored file of many small tensors takes, in steps and not in seconds: a few for each tensor."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

import tersely
from tersely.storage import codec
from tersely.storage.archive.reader import Archive

TENSORS = 600
STEPS = 4
"""More looks at parts of blocks than one read of a tensor takes."""


class Counted(list):  # type: ignore[type-arg]
    """A list that counts the items that somebody looks at."""

    looks = 0

    def __iter__(self) -> Iterator[Any]:
        for item in super().__iter__():
            Counted.looks += 1
            yield item

    def __getitem__(self, place: Any) -> Any:
        Counted.looks += 1 if isinstance(place, int) else len(range(*place.indices(len(self))))
        return super().__getitem__(place)

    def index(self, *arguments: Any) -> int:
        found = super().index(*arguments)
        Counted.looks += found + 1
        return found

    def __contains__(self, item: object) -> bool:
        return any(one == item for one in self)


@pytest.fixture
def archive(tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> Archive:
    """Pools of two dtypes, their tensors by turns; what is counted begins after it is open."""
    dtypes = (np.float32, np.float16)
    tensors = {f"t{k:04}": rng.standard_normal(6).astype(dtypes[k % 2]) for k in range(TENSORS)}
    safetensors.numpy.save_file(tensors, tmp_path / "m.safetensors")
    tersely.compress(tmp_path / "m.safetensors", tmp_path / "s.safetensors", store="smallest")
    found = Archive(tmp_path / "s.safetensors")
    for block in found.blocks:
        block.parts = Counted(block.parts)
    monkeypatch.setattr(Counted, "looks", 0)
    return found


@pytest.mark.parametrize("order", ["of the file", "backwards", "any"])
def test_a_tensor_of_a_pool_is_found_without_looking_through_it(
    archive: Archive, order: str, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = 0

    def decode(*arguments: Any) -> list[np.ndarray]:
        nonlocal decoded
        decoded += 1
        return codec_decode(*arguments)

    codec_decode = codec.decode
    monkeypatch.setattr(codec, "decode", decode)
    numbers = list(range(TENSORS))
    numbers = numbers[::-1] if order == "backwards" else numbers
    if order == "any":
        rng.shuffle(numbers)
    for number in numbers:
        assert archive.tensor(number).size == archive.entries[number].nbytes
    assert decoded == 2
    assert Counted.looks <= STEPS * TENSORS


def test_what_is_said_of_tensors_takes_a_look_at_each(archive: Archive) -> None:
    for number in range(TENSORS):
        assert archive.pooled(archive.number(archive.entries[number].name))
        assert archive.coder(number)
    assert sum(archive.stored_bytes()) > 0
    assert Counted.looks <= STEPS * TENSORS
