"""Stored files opened to be used: transcoded tensor by tensor when they are asked for."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest
from support import stored_files
from support.arrays import same_bits

import tersely
from tersely.core.errors import CorruptError, UnsupportedError
from tersely.files.open import File
from tersely.files.transcoded import TranscodedReader


@pytest.fixture
def source(tmp_path: Path, rng: np.random.Generator) -> Path:
    return stored_files.write(tmp_path / "m.safetensors", rng)


@pytest.fixture
def small(source: Path) -> Path:
    tersely.compress(source, source.with_name("s.safetensors"), store="smallest")
    return source.with_name("s.safetensors")


@pytest.mark.parametrize("check", ["structure", "checksums", "full"])
@pytest.mark.parametrize("mmap", [True, False])
def test_tensors_are_those_of_the_original(source: Path, small: Path, check: str, mmap: bool) -> None:
    found, plain = tersely.load_file(small, check=check, mmap=mmap), tersely.load_file(source)
    assert set(found) == set(plain)
    for name, tensor in plain.items():
        assert same_bits(found[name].decode(), tensor.decode()), name
    assert any(tensor.formulation != "dense" for tensor in found.values())


def test_products_are_those_of_the_runnable_file(small: Path, tmp_path: Path, rng: np.random.Generator) -> None:
    tersely.transcode(small, tmp_path / "fast.safetensors")
    x = rng.normal(size=(3, 512)).astype(np.float32)
    ours, theirs = (tersely.load_file(path)["block.weight"] for path in (small, tmp_path / "fast.safetensors"))
    assert ours.formulation == theirs.formulation
    assert same_bits(tersely.linear(x, ours), tersely.linear(x, theirs))


def test_equal_tensors_share_their_codes(small: Path) -> None:
    found = tersely.load_file(small)
    ours, theirs = found["block.weight"].encoded.components, found["block.copy"].encoded.components
    assert {name: part.ctypes.data for name, part in ours.items()} == {
        name: part.ctypes.data for name, part in theirs.items()
    }


def test_what_nobody_uses_is_let_go(small: Path) -> None:
    file = File(small)
    assert isinstance(file.reader, TranscodedReader)
    for name in file:
        assert file[name].shape is not None
    gc.collect()
    assert not list(file._checked)
    assert not file.reader.source._kept
    assert file.metadata == {"format": "pt", "licence": "none"}
    assert len(file) == 10


def test_limits_and_damage_are_said(small: Path) -> None:
    with pytest.raises(CorruptError, match="max_bytes"):
        tersely.load_file(small, max_bytes=1000)
    whole = bytearray(small.read_bytes())
    whole[-1] ^= 1
    small.write_bytes(whole)
    with pytest.raises((CorruptError, UnsupportedError), match=r"s\.safetensors"):
        tersely.load_file(small)
    file = tersely.open(small)
    with pytest.raises((CorruptError, UnsupportedError), match="tensor"):
        [file[name].decode() for name in file]


def test_a_stored_file_is_no_pipeline(small: Path) -> None:
    with pytest.raises(tersely.ArgumentError, match="no graph"):
        tersely.load_pipeline(small)
