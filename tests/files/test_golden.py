"""Files of every released format keep loading, and today's encoder still writes today's format byte for byte."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from golden import builders
from support import onnx_files
from support.arrays import same_bits

import tersely
from tersely.backends.cpu import native
from tersely.codes import registry
from tersely.core.dtypes import raw_bytes
from tersely.files.container.reader import Reader

pytestmark = [pytest.mark.kernels, pytest.mark.bfloat16_kernels]

HERE = Path(builders.HERE)
FOLDER = HERE / "v1.0"


@pytest.mark.parametrize("name", sorted(builders.FILES))
def test_golden_files_decode_to_what_they_were_made_from(name: str, each_isa: str) -> None:
    tensors = tersely.load_file(HERE / f"{name}.safetensors", check="full")
    built = builders.FILES[name]()
    assert set(tensors) == set(built)
    for key, tensor in tensors.items():
        assert same_bits(tensor.decode(), built[key].decode()), key


@pytest.mark.parametrize("name", sorted(builders.FILES))
def test_the_reference_reads_golden_files(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = {key: tensor.decode() for key, tensor in builders.FILES[name]().items()}
    tensors = tersely.load_file(HERE / f"{name}.safetensors")
    monkeypatch.setattr(native, "module", None)
    for key, tensor in tensors.items():
        assert same_bits(registry.decode(tensor.encoded), expected[key]), key


@pytest.mark.parametrize("name", sorted(builders.FILES))
def test_the_encoder_writes_the_same_bytes(name: str, each_isa: str, tmp_path: Path) -> None:
    tersely.save_file(builders.FILES[name](), tmp_path / "again", metadata={"made by": "tests/golden/builders.py"})
    assert (tmp_path / "again").read_bytes() == (HERE / f"{name}.safetensors").read_bytes()


def test_a_golden_compressed_file_gives_its_original_back(tmp_path: Path) -> None:
    tersely.decompress(FOLDER / "compressed.safetensors", tmp_path / "original")
    digests = [
        hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (tmp_path / "original", FOLDER / "original.safetensors")
    ]
    assert digests[0] == digests[1]
    for name, array in builders.original_1_0().items():
        found = tersely.load_file(FOLDER / "compressed.safetensors")[name].decode()
        assert np.array_equal(raw_bytes(found), raw_bytes(array)), name


def test_a_golden_model_comes_back_with_its_tensors(tmp_path: Path) -> None:
    """An ONNX model of every way to hold elements: `pieces`, format 1.2."""
    golden, original = HERE / "v1.0/onnx.safetensors", HERE / "v1.0/original.onnx"
    tersely.decompress(golden, tmp_path / "original.onnx")
    assert (tmp_path / "original.onnx").read_bytes() == original.read_bytes()
    tensors = tersely.load_file(golden, check="full")
    arrays = onnx_files.everything()[1]
    assert set(tensors) == set(arrays)
    for name, array in arrays.items():
        assert same_bits(tensors[name].decode(), array), name


def test_a_golden_file_with_a_pool_is_read_and_written_as_ever(tmp_path: Path, each_isa: str) -> None:
    golden, original = HERE / "v2.0/pool.safetensors", HERE / "v2.0/original.safetensors"
    assert Reader(golden).pool is not None
    tensors = tersely.load_file(golden, check="full")
    built = builders.pooled_2_0()
    assert set(tensors) == set(built)
    for name, array in built.items():
        assert same_bits(tensors[name].decode(), array), name
    tersely.decompress(golden, tmp_path / "original")
    assert (tmp_path / "original").read_bytes() == original.read_bytes()
    tersely.compress(original, tmp_path / "again", profile="portable")
    assert (tmp_path / "again").read_bytes() == golden.read_bytes()
