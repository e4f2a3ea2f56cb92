"""The file: readable by anyone, whole after foreign hands, and damaged nowhere without being noticed."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import safetensors
import safetensors.numpy
from support.arrays import normal, same_bits

import tersely
from tersely.core.errors import CorruptError, FormatError, TerselyError, UnsupportedError
from tersely.files.container.reader import Reader
from tersely.files.container.writer import TRAILING_SPACES


@pytest.fixture
def arrays(rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {
        "a.weight": normal(rng, (64, 128), np.dtype(ml_dtypes.bfloat16)),
        "b.weight": normal(rng, (48, 100), np.dtype(np.float32)),
        "steps": np.arange(5, dtype=np.int64),
        "scale": np.array(2.5, np.float32),
        "empty": np.zeros((0, 3), np.float16),
        "flags": np.array([True, False, True]),
    }


@pytest.fixture
def source(tmp_path: Path, arrays: dict[str, np.ndarray]) -> Path:
    path = tmp_path / "model.safetensors"
    safetensors.numpy.save_file(arrays, path, metadata={"format": "pt", "who": 'ä"\\'})
    return path


@pytest.fixture
def packed(source: Path) -> Path:
    path = source.with_name("packed.safetensors")
    tersely.compress(source, path)
    return path


def test_official_library_reads_and_lists_our_file(packed: Path, arrays: dict[str, np.ndarray]) -> None:
    with safetensors.safe_open(packed, "np") as file:
        names = set(file.keys())
        assert {"a.weight.tersely.info", "a.weight.tersely.tiles", "b.weight.tersely.tiles"} <= names
        assert file.metadata()["format"] == "pt"
        for name in ("steps", "scale", "empty", "flags"):
            assert same_bits(file.get_tensor(name), arrays[name])


def test_layout_is_aligned_and_ordered(packed: Path) -> None:
    reader = Reader(packed)
    assert reader.header.data_start % 64 == 0
    entries = reader.header.by_offset()
    coded = [entry for entry in entries if ".tersely." in entry.name]
    closing = [entry for entry in entries if entry.name in reader.descriptions]
    assert {(entry.name, entry.tag, entry.shape) for entry in closing} == {
        (name, found.dtype.tag, (0,)) for name, found in reader.descriptions.items()
    }
    entries = [entry for entry in entries if entry not in closing]
    assert entries[: len(coded)] == coded
    assert all(entry.begin % 64 == 0 and entry.nbytes % 64 == 0 for entry in coded)
    for name, entry in reader.dense.items():
        itemsize = tersely.load_file(packed)[name].dtype.itemsize
        assert entry.begin % itemsize == 0


def test_load_file_gives_every_tensor(packed: Path, arrays: dict[str, np.ndarray]) -> None:
    for options in ({}, {"mmap": False}, {"check": "checksums"}, {"check": "full"}):
        loaded = tersely.load_file(packed, **options)
        assert set(loaded) == set(arrays)
        for name, array in arrays.items():
            assert same_bits(loaded[name].decode(), array)
            assert same_bits(np.asarray(loaded[name]), array)
    assert loaded["a.weight"].formulation == "split"
    assert loaded["steps"].formulation == "dense"


def test_open_is_lazy_and_knows_metadata(packed: Path) -> None:
    with tersely.open(packed) as file:
        assert file.metadata == {"format": "pt", "who": 'ä"\\'}
        assert file["b.weight"].shape == (48, 100)
        with pytest.raises(KeyError):
            file["c"]


def test_saved_tensors_load_again(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    path = tmp_path / "saved.safetensors"
    tensors = {name: tersely.encode(array) for name, array in arrays.items()}
    tersely.save_file({**tensors, "plain": arrays["a.weight"]}, path, metadata={"k": "v"})
    loaded = tersely.load_file(path, check="full")
    for name, array in {**arrays, "plain": arrays["a.weight"]}.items():
        assert same_bits(loaded[name].decode(), array)
    with tersely.open(path) as file:
        assert file.metadata == {"k": "v"}
    with pytest.raises(TerselyError, match="'x.tersely.y' cannot be used"):
        tersely.save_file({"x.tersely.y": arrays["scale"]}, path)
    with pytest.raises(TerselyError, match="strings"):
        tersely.save_file({}, path, metadata={"n": 1})  # type: ignore[dict-item]


def test_max_bytes_caps_the_sum(packed: Path, arrays: dict[str, np.ndarray]) -> None:
    total = sum(array.nbytes for array in arrays.values())
    tersely.load_file(packed, max_bytes=total)
    with pytest.raises(CorruptError, match="max_bytes"):
        tersely.load_file(packed, max_bytes=total - 1)


@pytest.mark.parametrize("keep_metadata", [True, False])
def test_a_file_saved_again_by_safetensors_still_loads(
    packed: Path, arrays: dict[str, np.ndarray], keep_metadata: bool, tmp_path: Path
) -> None:
    with safetensors.safe_open(packed, "np") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = file.metadata() if keep_metadata else None
    again = tmp_path / "again.safetensors"
    safetensors.numpy.save_file({**tensors, "added": np.ones(3, np.float32)}, again, metadata=metadata)
    loaded = tersely.load_file(again, check="full")
    for name, array in arrays.items():
        assert same_bits(loaded[name].decode(), array)
    report = tersely.decompress(again, tmp_path / "restored.safetensors")
    assert "no original header is kept" in report.notes[0]
    restored = safetensors.numpy.load_file(tmp_path / "restored.safetensors")
    for name, array in arrays.items():
        assert same_bits(restored[name], array)


def test_two_files_merged_by_safetensors_load(packed: Path, tmp_path: Path, rng: np.random.Generator) -> None:
    other = normal(rng, (64, 64), np.dtype(np.float32))
    tersely.save_file({"other": tersely.encode(other)}, tmp_path / "other.safetensors")
    merged = {**safetensors.numpy.load_file(packed), **safetensors.numpy.load_file(tmp_path / "other.safetensors")}
    safetensors.numpy.save_file(merged, tmp_path / "merged.safetensors")
    loaded = tersely.load_file(tmp_path / "merged.safetensors", check="full")
    assert same_bits(loaded["other"].decode(), other)
    assert loaded["a.weight"].formulation == "split"


@pytest.fixture
def small(tmp_path: Path, rng: np.random.Generator) -> tuple[Path, dict[str, np.ndarray]]:
    """A file of a few kilobytes with a coded tensor of every kind of component, and a dense one."""
    mixed = normal(rng, (48, 32), np.dtype(np.float16)).astype(np.float32)
    mixed[:16] = normal(rng, (16, 32), np.dtype(np.float32))
    arrays = {"w": mixed, "v": np.arange(7, dtype=np.int16)}
    path = tmp_path / "small.safetensors"
    tensor = tersely.encode(mixed, formulation="split", code="layered", widths=(1, 2))
    assert set(tensor.components) == {"tiles", "directory", "level2", "escapes", "short_panels"}
    tersely.save_file({"w": tensor, "v": arrays["v"]}, path)
    return path, arrays


def test_every_damaged_byte_is_found_by_checksums_and_harmless_before(
    small: tuple[Path, dict[str, np.ndarray]], tmp_path: Path
) -> None:
    path, arrays = small
    whole = path.read_bytes()
    damaged = tmp_path / "damaged.safetensors"
    for place in range(len(whole)):
        # All eight flips where structure lives, two of them in payload: the checks are the same code for all.
        values = {whole[place] ^ 1 << bit for bit in (range(8) if place < 2048 else (0, 7))} | {0x00, 0xFF}
        for value in values - {whole[place]}:
            damaged.write_bytes(whole[:place] + bytes([value]) + whole[place + 1 :])
            with pytest.raises(FormatError):
                tersely.load_file(damaged, check="checksums", mmap=False)
            if value in (0x00, 0xFF, whole[place] ^ 1):
                try:
                    loaded = tersely.load_file(damaged, mmap=False)
                except FormatError:
                    continue
                for tensor in loaded.values():
                    tensor.decode()  # any values, no crash
    assert same_bits(tersely.load_file(path, check="full")["w"].decode(), arrays["w"])


def test_every_prefix_is_refused(small: tuple[Path, dict[str, np.ndarray]], tmp_path: Path) -> None:
    whole = small[0].read_bytes()
    cut = tmp_path / "cut.safetensors"
    for length in range(len(whole)):
        cut.write_bytes(whole[:length])
        with pytest.raises(FormatError):
            tersely.load_file(cut, mmap=False)
    cut.write_bytes(whole + b"\0")
    with pytest.raises(CorruptError, match="appended"):
        tersely.load_file(cut)


def rewrite(path: Path, old: bytes, new: bytes) -> None:
    """Replace bytes of the header and its length, and drop our trailing spaces, as a foreign writer would."""
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = raw[8 : 8 + length].rstrip(b" ").replace(old, new)
    assert old in raw
    path.write_bytes(len(header).to_bytes(8, "little") + header + raw[8 + length :])


def test_messages_name_file_tensor_component_and_byte(small: tuple[Path, dict[str, np.ndarray]]) -> None:
    path = small[0]
    entry = next(e for e in Reader(path).header.by_offset() if e.name == "w.tersely.escapes")
    place = Reader(path).header.data_start + entry.begin
    raw = bytearray(path.read_bytes())
    raw[place] ^= 1
    path.write_bytes(raw)
    with pytest.raises(CorruptError) as caught:
        tersely.load_file(path, check="checksums")
    assert str(caught.value) == (
        f"file {path}, tensor 'w', component 'escapes', byte {place} of the file: the checksum does not hold; get the file again"
    )


def test_unknown_versions_formulations_and_parameters_are_refused(tmp_path: Path, rng: np.random.Generator) -> None:
    from tersely.core.encoded import Node
    from tersely.files.container import description

    tensor = tersely.encode(normal(rng, (16, 32), np.dtype(np.float32)), formulation="split")
    parameters = dict(tensor.encoded.node.parameters)
    for node, sentence in (
        (Node("rans", 1, parameters), "unknown formulation 'rans'"),
        (Node("split", 2, parameters), "version 2"),
        (Node("split", 1, {**parameters, "bits": 5}), "bits = 4"),
        (Node("split", 1, {**parameters, "code": "huffman"}), "bits|unknown code"),
        (Node("split", 1, {**parameters, "spice": 1}), "unknown parameter 'spice'"),
        (Node("split", 1, {**parameters, "table": "zz"}), "not hexadecimal"),
        (Node("split", 1, parameters, {"values": Node("dense", 1)}), "no children"),
    ):
        encoded = tensor.encoded.__class__(**{**tensor.encoded.__dict__, "node": node})
        with tersely.files.container.writer.Writer(tmp_path / "odd.safetensors") as writer:
            writer.add_encoded("w", encoded, "0" * 8)
            writer.write({}, {})
        with pytest.raises(UnsupportedError, match=sentence):
            tersely.load_file(tmp_path / "odd.safetensors")
    raw = description.to_bytes(tensor.encoded, dict.fromkeys(tensor.components, "0" * 8), "0" * 8)
    with pytest.raises(UnsupportedError, match="newer release"):
        description.Description(raw.replace(b'"tersely":"1.0"', b'"tersely":"2.0"'), "f", "w")


def test_header_ends_with_enough_spaces_to_tell_it_from_foreign_ones(packed: Path) -> None:
    raw = Reader(packed).header.raw
    assert len(raw) - len(raw.rstrip(b" ")) >= TRAILING_SPACES
