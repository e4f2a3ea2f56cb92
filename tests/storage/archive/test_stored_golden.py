"""Stored files of the repository keep giving their original back: what was once written can be read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from golden import near, stored
from support.arrays import same_bits

import tersely
from tersely.backends.cpu import native
from tersely.storage import codec
from tersely.storage.archive.reader import CODERS, Archive

pytestmark = pytest.mark.kernels


@pytest.mark.parametrize("level", stored.LEVELS)
def test_a_golden_stored_file_gives_its_original_back(level: str, each_isa: str, tmp_path: Path) -> None:
    tersely.decompress(stored.FOLDER / f"{level}.safetensors", tmp_path / "original")
    assert (tmp_path / "original").read_bytes() == (stored.FOLDER / "original.safetensors").read_bytes()


@pytest.mark.parametrize("level", stored.LEVELS)
def test_its_tensors_are_what_they_were_made_from(level: str) -> None:
    built = stored.tensors_1()
    tensors = tersely.load_file(stored.FOLDER / f"{level}.safetensors", check="full")
    assert set(tensors) == set(built)
    for name, array in built.items():
        assert same_bits(tensors[name].decode(), array), name


@pytest.mark.parametrize("level", stored.LEVELS)
def test_the_reference_reads_it(level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference of the mixing coder is slow: blocks of the fast coder, and small ones."""
    monkeypatch.setattr(native, "module", None)
    archive = Archive(stored.FOLDER / f"{level}.safetensors")
    for number, block in enumerate(archive.blocks):
        if CODERS[archive.coded(number)[0]] == "ans" or block.nbytes < 3000:
            archive._decoded(number)


def test_every_coder_is_among_its_blocks() -> None:
    coders = {
        CODERS[archive.coded(number)[0]] for archive in map(Archive, _paths()) for number in range(len(archive.blocks))
    }
    assert coders == {"plain", "ans", "mixing"}
    assert codec.STORED == 0
    assert np.array_equal(stored.tensors_1()["head"], stored.tensors_1()["tied"])


def _paths() -> list[Path]:
    return [stored.FOLDER / f"{level}.safetensors" for level in stored.LEVELS]


@pytest.mark.parametrize("level", near.LEVELS)
def test_golden_near_copies_give_their_original_back(
    level: str, each_isa: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Differences from a reference, and small tensors coded as one; by the reference of both, too."""
    path = near.FOLDER / f"near-{level}.safetensors"
    archive = Archive(path)
    coders = [archive.coded(number)[0] for number in range(len(archive.blocks))]
    assert coders.count(codec.DIFFERENCES) == 3
    assert codec.JOINED in coders
    tersely.decompress(path, tmp_path / "original")
    assert (tmp_path / "original").read_bytes() == near.original_2()
    monkeypatch.setattr(native, "module", None)
    for number, block in enumerate(archive.blocks):
        if coders[number] != codec.MIXING or block.nbytes < 3000:
            archive._decoded(number)
