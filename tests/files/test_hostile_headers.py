"""Headers made to deceive: each must end in one sentence, none in a crash, a hang or an allocation."""

from __future__ import annotations

import json
import struct
import tracemalloc
from pathlib import Path

import pytest

import tersely
from tersely.core.errors import FormatError

pytestmark = pytest.mark.headers


def write(path: Path, header: object, data: bytes = b"", length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def entry(dtype: object = "F32", shape: object = (2,), offsets: object = (0, 8)) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


CASES = {
    "header longer than the file": (b"{}", b"", 1 << 20, "truncated"),
    "header length absurd": (b"{}", b"", 1 << 62, "limit"),
    "not JSON": (b"{,}", b"", None, "not JSON"),
    "not an object": (b"[]", b"", None, "does not begin"),
    "not UTF-8": (b'{"\xff":1}', b"", None, "UTF-8"),
    "garbage after the object": (b"{}x", b"", None, "not JSON"),
    "a number for a tensor": ({"w": 3}, b"", None, "dtype, shape and data_offsets"),
    "no offsets": ({"w": {"dtype": "F32", "shape": [2]}}, b"", None, "dtype, shape and data_offsets"),
    "unknown dtype": ({"w": entry("F33")}, bytes(8), None, "unknown dtype 'F33'"),
    "dtype of the wrong type": ({"w": entry(["F32"])}, bytes(8), None, "unknown dtype"),
    "negative length": ({"w": entry(shape=[-2])}, bytes(8), None, "whole numbers"),
    "length a truth value": ({"w": entry(shape=[True])}, bytes(8), None, "whole numbers"),
    "fractional length": (b'{"w":{"dtype":"F32","shape":[2.0],"data_offsets":[0,8]}}', bytes(8), None, "no number"),
    "infinite length": (b'{"w":{"dtype":"F32","shape":[Infinity],"data_offsets":[0,8]}}', b"", None, "no number"),
    "digits without end": (b'{"w":{"dtype":"F32","shape":[' + b"9" * 9999 + b'],"data_offsets":[0,8]}}', b"", None, "no number"),
    "absurd shape": ({"w": entry(shape=[1 << 40, 1 << 40])}, bytes(8), None, "need"),
    "shape that overflows": ({"w": entry(shape=[1 << 62, 4])}, bytes(8), None, "need"),
    "too many dimensions": ({"w": entry(shape=[1] * 65)}, bytes(8), None, "at most 64"),
    "offsets out of range": ({"w": entry(offsets=(0, 8))}, bytes(4), None, "end at byte"),
    "offsets backwards": ({"w": entry(offsets=(8, 0))}, bytes(8), None, "offsets"),
    "offsets of three": ({"w": entry(offsets=(0, 8, 9))}, bytes(8), None, "two whole numbers"),
    "overlap": ({"a": entry(), "b": entry(offsets=(4, 12))}, bytes(12), None, "overlaps"),
    "hole": ({"a": entry(), "b": entry(offsets=(12, 20))}, bytes(20), None, "hole"),
    "duplicate name": (b'{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', bytes(8), None, "occurs twice"),
    "metadata of numbers": ({"__metadata__": {"a": 1}}, b"", None, "__metadata__"),
    "nested without end": (b'{"a":' * 50000 + b"1" + b"}" * 50000, b"", None, "deep|dtype"),
    "components without description": ({"w.tersely.tiles": entry("U8", [8])}, bytes(8), None, "description"),
    "component of floats": ({"w.tersely.info": entry("F32", [2])}, bytes(8), None, "must be U8"),
    "description of zeros": ({"w.tersely.info": entry("U8", [8])}, bytes(8), None, "not a description"),
    "description nested without end": ({"w.tersely.info": entry("U8", [100000], (0, 100000))}, b"[" * 100000, None, "not a description"),
    "coded and dense": ({"w.tersely.info": entry("U8", [8]), "w": entry("U8", [8], (8, 16))}, bytes(16), None, "twice"),
    "damaged metadata of ours": ({"__metadata__": {"tersely": "{"}}, b"", None, "'tersely' is damaged"),
    "future version": ({"__metadata__": {"tersely": '{"format":"7.0"}'}}, b"", None, "newer release"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_hostile_header_is_refused_with_a_sentence(case: str, tmp_path: Path) -> None:
    header, data, length, sentence = CASES[case]
    path = write(tmp_path / "hostile.safetensors", header, data, length)
    tracemalloc.start()
    with pytest.raises(FormatError, match=sentence) as caught:
        tersely.load_file(path)
    allocated = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert str(path) in str(caught.value)
    assert allocated < 4_000_000 + 32 * path.stat().st_size


def test_empty_and_tiny_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "tiny.safetensors"
    for size in range(8):
        path.write_bytes(bytes(size))
        with pytest.raises(FormatError, match="too few"):
            tersely.load_file(path)
