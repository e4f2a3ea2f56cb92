"""Every dtype that safetensors can name: kept byte for byte, and shown with one shape and dtype wherever it is shown."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import safetensors

import tersely
from tersely.core.dtypes import BY_NAME, BY_TAG
from tersely.core.errors import ArgumentError, CorruptError, TerselyError
from tersely.files import plan_file

TAGS = (
    *("BOOL", "U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64", "F16", "BF16", "F32", "F64", "C64"),
    *("F8_E5M2", "F8_E4M3", "F8_E5M2FNUZ", "F8_E4M3FNUZ", "F8_E8M0", "F4", "F6_E2M3", "F6_E3M2"),
)
PACKED = {  # what headers say, and the array of bytes that holds it
    ("F4", (4, 8)): (4, 4),
    ("F4", (3, 2)): (3, 1),
    ("F4", (2, 3, 4)): (2, 3, 2),
    ("F4", (2, 3)): (3,),
    ("F4", (0, 6)): (0, 3),
    ("F4", (4, 0)): (4, 0),
    ("F6_E2M3", (5, 4)): (5, 3),
    ("F6_E2M3", (2, 2)): (3,),
    ("F6_E3M2", (16,)): (12,),
    ("F6_E3M2", (3, 8)): (3, 6),
}


def written(path: Path, tensors: dict[str, tuple[str, tuple[int, ...], bytes]]) -> Path:
    """A safetensors file of raw bytes: of whatever dtype, without a library that would have to know it."""
    header, at = {}, 0
    for name, (tag, shape, data) in tensors.items():
        header[name] = {"dtype": tag, "shape": list(shape), "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(data for _, _, data in tensors.values()))
    return path


def header_of(path: Path) -> dict[str, tuple[str, list[int]]]:
    """dtype and shape of every tensor, as the safetensors library reads them."""
    return {name: (info["dtype"], info["shape"]) for name, info in safetensors.deserialize(path.read_bytes())}


@pytest.fixture
def noise(rng: np.random.Generator) -> bytes:
    return rng.integers(0, 2, 4096, dtype=np.uint8).tobytes()  # valid as truth values, too


def beside(rng: np.random.Generator) -> tuple[str, tuple[int, ...], bytes]:
    return "F32", (64, 64), rng.normal(0, 0.02, (64, 64)).astype("<f4").tobytes()


CASES = [*((tag, (8, 16)) for tag in TAGS if not BY_TAG[tag].packed), *PACKED]


@pytest.mark.parametrize(("tag", "shape"), CASES)
def test_every_dtype_is_kept_and_has_one_shape(
    tag: str, shape: tuple[int, ...], noise: bytes, rng: np.random.Generator, tmp_path: Path
) -> None:
    data = noise[: math.prod(shape) * BY_TAG[tag].bits // 8]
    source = written(tmp_path / "a.safetensors", {"odd": (tag, shape, data), "beside": beside(rng)})
    report = tersely.compress(source, tmp_path / "b.safetensors", objective="size")
    tersely.decompress(tmp_path / "b.safetensors", tmp_path / "c.safetensors")
    assert (tmp_path / "c.safetensors").read_bytes() == source.read_bytes()
    assert tersely.verify(tmp_path / "b.safetensors", source).ok

    inspected = tersely.inspect(tmp_path / "b.safetensors")
    planned = plan_file.make_plan(source)["tensors"]["odd"]
    for path in (source, tmp_path / "b.safetensors"):
        tensor = tersely.load_file(path, check="full")["odd"]
        array = tensor.decode()
        assert array.tobytes() == data
        shown = {tensor.shape, array.shape, tuple(planned["shape"])}
        shown |= {one.shape for told in (report, inspected) for one in told.tensors if one.name == "odd"}
        assert shown == {PACKED.get((tag, shape), shape)}
        names = {one.dtype for told in (report, inspected) for one in told.tensors if one.name == "odd"}
        assert {*names, planned["dtype"]} == {BY_TAG[tag].name}
        assert f"dtype={BY_TAG[tag].name}" in repr(tensor)
        assert tensor.dtype == array.dtype
        assert (tensor.nbytes, tensor.size) == (array.nbytes, array.size)
        if tensor.size:
            assert tensor.rows(0, 1).tobytes() == array[:1].tobytes()
            assert tensor[(0,) * tensor.ndim] == array[(0,) * tensor.ndim]

    tersely.save_file(tersely.load_file(tmp_path / "b.safetensors"), tmp_path / "d.safetensors")
    assert header_of(tmp_path / "d.safetensors")["odd"] == (tag, list(shape))
    assert tersely.load_file(tmp_path / "d.safetensors")["odd"].decode().tobytes() == data


def test_the_table_has_what_the_library_has() -> None:
    assert set(BY_TAG) == set(TAGS)
    with pytest.raises(safetensors.SafetensorError, match="F33") as caught:
        safetensors.deserialize(
            b"\x46" + bytes(7) + b'{"w":{"dtype":"F33","shape":[1],"data_offsets":[0,4]}}'.ljust(70)
        )
    for tag in TAGS:
        assert f"`{tag}`" in str(caught.value)


@pytest.mark.parametrize(("tag", "shape"), [("F4", (3,)), ("F4", ()), ("F6_E2M3", (3, 3)), ("F6_E3M2", (2,))])
def test_elements_that_fill_no_whole_bytes_are_refused(tag: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    path = written(
        tmp_path / "a.safetensors", {"odd": (tag, shape, bytes(-(-math.prod(shape) * BY_TAG[tag].bits // 8)))}
    )
    with pytest.raises(safetensors.SafetensorError):
        safetensors.deserialize(path.read_bytes())
    with pytest.raises(CorruptError, match="'odd'.*no whole bytes"):
        tersely.load_file(path)


@pytest.mark.parametrize("tag", ["F4", "F6_E2M3", "F6_E3M2"])
def test_packed_elements_are_never_multiplied_coded_or_taken_for_others(tag: str, noise: bytes, tmp_path: Path) -> None:
    shape = (32, 32)
    path = written(tmp_path / "a.safetensors", {"odd": (tag, shape, noise[: 1024 * BY_TAG[tag].bits // 8])})
    weight = tersely.load_file(path)["odd"]
    x = np.ones((1, weight.shape[1]), np.float32)
    for call in (
        lambda: tersely.linear(x, weight),
        lambda: tersely.linear(np.ones((1, 2 * weight.shape[1]), np.float32), weight, packed="uint4"),
        lambda: tersely.linear_transposed(np.ones((1, 32), np.float32), weight),
        lambda: tersely.encode(weight),
    ):
        with pytest.raises(ArgumentError, match=BY_TAG[tag].name):
            call()
    with pytest.raises(IndexError, match="given by bytes") as caught:
        weight[31, 31]
    assert isinstance(caught.value, TerselyError)


def test_arrays_never_have_a_packed_dtype() -> None:
    with pytest.raises(ArgumentError, match="cannot be stored") as caught:
        tersely.encode(np.zeros(4, np.complex128))
    assert all(name not in str(caught.value) for name, row in BY_NAME.items() if row.packed)
