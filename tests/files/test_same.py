"""Copies in files: what they hold, every way in which they can be wrong, and `save_file`, which makes them."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from golden import builders
from hypothesis import given
from hypothesis import strategies as st
from support.arrays import normal, same_bits

import tersely
from tersely.core.dtypes import raw_bytes
from tersely.core.encoded import Encoded, Node
from tersely.core.errors import ArgumentError, CorruptError, FormatError, UnsupportedError, VerificationError
from tersely.files.checks import check_tensor
from tersely.files.container import alias, limits
from tersely.files.container.reader import Reader
from tersely.files.container.writer import Writer

FLOAT = np.dtype(np.float32)


@pytest.fixture
def array(rng: np.random.Generator) -> np.ndarray:
    return normal(rng, (48, 64), FLOAT)


def split(array: np.ndarray, **options: Any) -> tersely.Tensor:
    return tersely.encode(array, formulation="split", code="packed", profile="portable", **options)


def crc32(array: np.ndarray) -> str:
    return tersely.files.container.description.crc32(raw_bytes(array))


@pytest.fixture
def twice(tmp_path: Path, array: np.ndarray) -> Path:
    path = tmp_path / "twice.safetensors"
    tersely.save_file({"embed": split(array), "head": split(array.copy())}, path)
    return path


def test_equal_tensors_are_stored_once(twice: Path, array: np.ndarray) -> None:
    entries = Reader(twice).header.entries
    assert [name for name in entries if name.startswith("head")] == ["head.tersely.info"]
    for check in ("structure", "checksums", "full"):
        loaded = tersely.load_file(twice, check=check)
        assert list(loaded) == ["embed", "head"]
        assert all(same_bits(tensor.decode(), array) for tensor in loaded.values())
    a, b = (tensor.components["tiles"] for tensor in loaded.values())
    assert a.ctypes.data == b.ctypes.data
    x = np.ones((3, 64), np.float32)
    assert same_bits(tersely.linear(x, loaded["embed"]), tersely.linear(x, loaded["head"]))
    reader = Reader(twice)
    assert (reader.aliases, reader.stored_as("head"), reader.stored_as("embed")) == (
        {"head": "embed"},
        "embed",
        "embed",
    )
    assert [entry.name for entry in reader.entries_of("head")] == ["head.tersely.info"]
    assert reader.facts["format"] == "1.0"
    assert b'{"tersely":"1.0"' in reader.raw(entries["head.tersely.info"]).tobytes()
    assert b'{"tersely":"1.0"' in reader.raw(entries["embed.tersely.info"]).tobytes()
    check_tensor(reader, "head", "full")
    reader.forget("head")
    with pytest.raises(CorruptError, match="max_bytes"):
        tersely.load_file(twice, max_bytes=2 * array.nbytes - 1)
    tersely.load_file(twice, max_bytes=2 * array.nbytes)


def test_what_was_a_copy_is_one_when_it_is_saved_again(twice: Path, tmp_path: Path) -> None:
    tersely.save_file(tersely.load_file(twice), tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == twice.read_bytes()
    tensor = tersely.load_file(twice, mmap=False)["head"]
    tersely.save_file({"a": tensor, "b": tensor, "c": tensor}, tmp_path / "three")
    assert Reader(tmp_path / "three").aliases == {"b": "a", "c": "a"}


def test_only_codes_that_are_equal_in_everything_are_stored_once(tmp_path: Path, rng: np.random.Generator) -> None:
    square = normal(rng, (48, 48), FLOAT)
    other = square.copy()
    other[47, 47] *= -1  # the last bytes of a component
    one = split(square)
    tensors = {
        "square": one,
        "turned": split(square, orientation="in_out"),
        "other": split(other),
        "layered": tersely.encode(square, formulation="split", code="layered", widths=(2,), profile="portable"),
        "flat": tersely.encode(square.reshape(-1), formulation="split", code="packed", profile="portable"),
        "forged": tersely.Tensor(one.encoded, "00000000"),
        "dense": square,
        "dense.too": square,
        "dense.tensor": tersely.encode(square, formulation="dense"),
    }
    tersely.save_file(tensors, tmp_path / "m.safetensors")
    reader = Reader(tmp_path / "m.safetensors")
    assert reader.aliases == {}
    assert set(reader.dense) == {"dense", "dense.too", "dense.tensor"}
    assert reader.facts["format"] == "1.0"
    found = tersely.load_file(tmp_path / "m.safetensors")
    assert all(same_bits(np.asarray(tensors[name]), found[name].decode()) for name in tensors)


def test_a_copy_that_takes_more_than_its_tensor_is_none(tmp_path: Path) -> None:
    tiny = tersely.encode(np.full((16, 16), 0.5, np.float32), formulation="split", code="constant")
    long = "n" * 2000
    tersely.save_file({long: tiny, "a": tiny, "b": tiny}, tmp_path / "m.safetensors")
    assert Reader(tmp_path / "m.safetensors").aliases == {"b": "a"}
    longest = "n" * (limits.NAME_CHARACTERS + 1)
    large = split(np.ones((256, 256), np.float32) * np.arange(1, 257, dtype=np.float32))
    tersely.save_file({longest: large, "a": large}, tmp_path / "m.safetensors")
    assert Reader(tmp_path / "m.safetensors").aliases == {}


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=8))
def test_whatever_is_equal_comes_back(tmp_path_factory: pytest.TempPathFactory, which: list[tuple[int, bool]]) -> None:
    rng = np.random.default_rng(5)
    pool = [normal(rng, (32, 32), FLOAT), normal(rng, (32, 32), FLOAT), np.zeros((32, 32), np.float32)]
    pool.append((rng.integers(-3, 4, (32, 32))).astype(np.int8))
    arrays = {f"t{number}": pool[place] for number, (place, _) in enumerate(which)}
    tensors = {
        name: tersely.encode(arrays[name]) if coded else arrays[name]
        for name, (_, coded) in zip(arrays, which, strict=True)
    }
    path = tmp_path_factory.mktemp("h") / "m.safetensors"
    tersely.save_file(tensors, path)
    found = tersely.load_file(path, check="full")
    assert {name: tensor.decode().tobytes() for name, tensor in found.items()} == {
        name: array.tobytes() for name, array in arrays.items()
    }
    stored = [
        place for number, (place, coded) in enumerate(which) if coded and f"t{number}" not in Reader(path).aliases
    ]
    assert len(stored) == len(set(stored))


def write(path: Path, *tensors: tuple[str, Encoded | np.ndarray, str]) -> Path:
    """A file of what nobody checks: (name, description or dense array, crc32)."""
    with Writer(path) as writer:
        for name, what, crc in tensors:
            if isinstance(what, Encoded):
                writer.add_encoded(name, what, crc)
            else:
                writer.add_dense(name, "F32", what.shape, raw_bytes(what))
        writer.write({}, {})
    return path


def copy_of(array: np.ndarray, other: Any, **changes: Any) -> Encoded:
    described = alias.described(split(array).encoded, "w")
    return replace(described, **{"node": Node("alias", 1, {"tensor": other}), **changes})


HOSTILE: dict[str, tuple[Callable[[np.ndarray], Encoded], str]] = {
    "missing": (
        lambda a: copy_of(a, "gone"),
        "this tensor is a copy of 'gone', which this file lacks: put it back, or get the file again",
    ),
    "component": (lambda a: copy_of(a, "w.tersely.info"), "which this file lacks"),
    "itself": (lambda a: copy_of(a, "c"), "a copy of 'c', which is a copy itself"),
    "chain": (lambda a: copy_of(a, "good"), "a copy of 'good', which is a copy itself"),
    "dtype": (lambda a: copy_of(a, "w", dtype="int32"), "a copy of 'w', whose dtype is F32, not I32"),
    "shape": (lambda a: copy_of(a, "w", shape=(64, 48)), r"whose shape is \[48, 64\], not \[64, 48\]"),
    "dense shape": (lambda a: copy_of(a, "d", shape=(64, 48)), r"a copy of 'd', whose shape is \[48, 64\]"),
    "dense dtype": (lambda a: copy_of(a, "d", dtype="int32"), "a copy of 'd', whose dtype is F32, not I32"),
    "no name": (lambda a: copy_of(a, "w", node=Node("alias", 1)), "by at most 4096 characters, not None"),
    "number": (lambda a: copy_of(a, 7), "by at most 4096 characters, not 7"),
    "list": (lambda a: copy_of(a, ["w"]), r"not \['w'\]"),
    "long": (lambda a: copy_of(a, "w" * 5000), "by at most 4096 characters, not 'www"),
    "children": (
        lambda a: copy_of(a, "w", node=Node("alias", 1, {"tensor": "w"}, {"values": Node("split", 1)})),
        "no components and no children",
    ),
    "components": (lambda a: copy_of(a, "w", components={"tiles": np.zeros(64, np.uint8)}), "no components and no ch"),
    "view": (lambda a: copy_of(a, "w", view="v" * 64), "must be short words"),
}
NEWER = {
    "version": (lambda a: copy_of(a, "w", node=Node("alias", 2, {"tensor": "w"})), "'alias': version 2; use a newer"),
    "parameter": (
        lambda a: copy_of(a, "w", node=Node("alias", 1, {"tensor": "w", "spice": 1})),
        "unknown parameter 'spice'",
    ),
}


@pytest.mark.parametrize("case", [*HOSTILE, *NEWER])
def test_copies_that_cannot_be_are_refused_when_the_file_is_opened(
    case: str, array: np.ndarray, tmp_path: Path
) -> None:
    make, sentence = {**HOSTILE, **NEWER}[case]
    crc = crc32(array)
    path = write(
        tmp_path / "m.safetensors",
        *(("w", split(array).encoded, crc), ("d", array, ""), ("good", copy_of(array, "w"), crc)),
        ("c", make(array), crc),
    )
    with pytest.raises(CorruptError if case in HOSTILE else UnsupportedError, match=sentence) as caught:
        tersely.open(path)
    assert (caught.value.file, caught.value.tensor, caught.value.component) == (str(path), "c", "info")


def test_checksums_of_copies(array: np.ndarray, tmp_path: Path) -> None:
    crc = crc32(array)
    path = tmp_path / "m.safetensors"
    for other in ("w", "d"):
        write(path, ("w", split(array).encoded, crc), ("d", array, ""), ("c", copy_of(array, other), "deadbeef"))
        with pytest.raises(CorruptError, match=f"a copy of '{other}', whose crc32 is {crc}, not deadbeef"):
            Reader(path)
    # Where another writer saved it again nothing is known of dense tensors but their bytes.
    safetensors.numpy.save_file(safetensors.numpy.load_file(path), tmp_path / "again")
    loaded = tersely.load_file(tmp_path / "again", check="checksums")
    assert same_bits(loaded["c"].decode(), array)
    with pytest.raises(VerificationError, match="tensor 'c': decoded weights are not those"):
        tersely.load_file(tmp_path / "again", check="full")


def test_copies_of_dense_tensors_are_read(array: np.ndarray, tmp_path: Path) -> None:
    path = write(tmp_path / "m.safetensors", ("d", array, ""), ("c", copy_of(array, "d"), crc32(array)))
    for check in ("structure", "checksums", "full"):
        loaded = tersely.load_file(path, check=check)
        assert loaded["c"].formulation == "dense"
        assert same_bits(loaded["c"].decode(), array)
    assert tersely.verify(path).tensors == 2
    tersely.save_file(loaded, tmp_path / "again")
    assert set(safetensors.numpy.load_file(tmp_path / "again")) == {"c", "d"}


def test_a_tensor_under_a_copy_is_not_known_as_a_child(array: np.ndarray, tmp_path: Path) -> None:
    encoded = split(array).encoded
    nested = replace(encoded, node=replace(encoded.node, children={"values": alias.node_of("w")}))
    path = write(tmp_path / "m.safetensors", ("w", encoded, crc32(array)), ("c", nested, crc32(array)))
    with pytest.raises(UnsupportedError, match="no children"):
        tersely.load_file(path)


def test_a_file_that_was_split_by_somebody_says_what_it_lacks(twice: Path, tmp_path: Path) -> None:
    tensors = safetensors.numpy.load_file(twice)
    shard = {name: data for name, data in tensors.items() if name.startswith("head.")}
    safetensors.numpy.save_file(shard, tmp_path / "shard.safetensors")
    with pytest.raises(CorruptError) as caught:
        tersely.load_file(tmp_path / "shard.safetensors")
    assert str(caught.value) == (
        f"file {tmp_path / 'shard.safetensors'}, tensor 'head', component 'info': this tensor is a copy of 'embed', "
        "which this file lacks: put it back, or get the file again"
    )
    safetensors.numpy.save_file(tensors, tmp_path / "whole.safetensors")
    assert Reader(tmp_path / "whole.safetensors").aliases == {"head": "embed"}


def test_damage_of_what_a_copy_is_a_copy_of_names_the_place(twice: Path) -> None:
    reader = Reader(twice)
    place = reader.header.data_start + reader.header.entries["embed.tersely.tiles"].begin
    raw = bytearray(twice.read_bytes())
    raw[place] ^= 1
    twice.write_bytes(raw)
    damaged = Reader(twice)
    with pytest.raises(CorruptError, match=f"tensor 'embed', component 'tiles', byte {place} of the file"):
        damaged.check_sums("head")
    with pytest.raises(FormatError):
        check_tensor(damaged, "head", "full")


def test_every_damaged_byte_of_copies_is_found(tmp_path: Path, rng: np.random.Generator) -> None:
    tensor = split(normal(rng, (16, 16), FLOAT))
    path, damaged = tmp_path / "m.safetensors", tmp_path / "damaged.safetensors"
    tersely.save_file({"w": tensor, "c": tensor}, path)
    assert Reader(path).aliases == {"c": "w"}
    whole = path.read_bytes()
    (length,) = struct.unpack("<Q", whole[:8])
    for place in range(8 + length + 1024):
        if place >= len(whole):
            break
        for value in {whole[place] ^ 1, whole[place] ^ 0x80, 0x00, 0xFF} - {whole[place]}:
            damaged.write_bytes(whole[:place] + bytes([value]) + whole[place + 1 :])
            with pytest.raises(FormatError):
                tersely.load_file(damaged, check="checksums", mmap=False)
            try:
                for found in tersely.load_file(damaged, mmap=False).values():
                    found.decode()  # any values, no crash
            except FormatError:
                pass


def test_the_writer_refuses_copies_of_what_it_does_not_have(array: np.ndarray, tmp_path: Path) -> None:
    encoded, crc = split(array).encoded, crc32(array)
    with Writer(tmp_path / "m.safetensors") as writer:
        writer.add_encoded("w", encoded, crc)
        writer.add_alias("c", "w", encoded, raw_bytes(array))
        for name, other, what, sum_ in (
            ("a", "gone", encoded, crc),
            ("a", "c", encoded, crc),
            ("a", "w", encoded, "deadbeef"),
            ("a", "w", replace(encoded, shape=(64, 48)), crc),
            ("w", "w", encoded, crc),
        ):
            with pytest.raises(ArgumentError):
                writer.add_alias(name, other, what, sum_)
        writer.write({}, {})
    assert Reader(tmp_path / "m.safetensors").aliases == {"c": "w"}


def test_the_golden_file_has_the_copies_that_it_should() -> None:
    assert Reader(Path(builders.HERE) / "v1.0/copies.safetensors").aliases == {
        "lm_head.weight": "embed.weight",
        "decoder.weight": "embed.weight",
        "whole.copy": "whole",
        "square.in_out.copy": "square.in_out",
        "stack.copy": "stack",
    }
