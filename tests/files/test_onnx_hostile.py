"""ONNX models made to deceive, cut short or damaged: one sentence, or a model that comes back."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from support import onnx_files as files

import tersely
from tersely.core.errors import TerselyError
from tersely.files.foreign.onnx import open_model


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def one(elements: bytes, dims: tuple[int, ...] = (2, 2), data_type: int = 1) -> bytes:
    return files.model(files.graph([], [files.tensor("w", dims, data_type, elements)]))


def nested(depth: int) -> bytes:
    inner = files.graph([], [files.array_tensor("w", files.weights((8, 8), "float32", 1))])
    for _ in range(depth):
        inner = files.graph([files.node("If", (), ("y",), files.attribute("then_branch", files.blob(6, inner)))])
    return files.model(inner)


BAD = {
    "empty": (b"", "no graph"),
    "text": (b"hello, this is no model at all\n", "not an ONNX model|not a protobuf"),
    "another message": (files.blob(3, "x"), "no graph"),
    "no weights": (files.model(files.graph([files.node("Relu", ("x",), ("y",))])), "holds no weights"),
    "only strings": (one(files.blob(6, "a"), (1,), 8), r"holds no weights that can be taken out: 'w' \(strings\)"),
    "unknown type": (one(files.blob(9, bytes(8)), (1,), 77), r"'w' \(data type 77\)"),
    "complex128": (one(files.blob(9, bytes(16)), (1,), 15), r"'w' \(complex128\)"),
    "too few bytes": (one(files.blob(9, bytes(15))), "15 bytes of elements where shape .* needs 16"),
    "too many bytes": (one(files.blob(9, bytes(17))), "17 bytes of elements"),
    "no elements": (one(b""), "0 bytes of elements"),
    "too few numbers": (one(files.blob(5, b"\1\2\3"), data_type=3), "3 elements where shape .* needs 4"),
    "a number cut short": (one(files.blob(5, b"\1\2\3\x80"), data_type=3), "3 elements where shape"),
    "negative dimension": (one(files.blob(9, bytes(16)), (-2, 2)), "a dimension of -2"),
    "absurd shape": (one(files.blob(9, bytes(16)), (1 << 62, 1 << 62)), "16 bytes of elements where shape"),
    "too many dimensions": (one(files.blob(9, bytes(4)), (1,) * 65), "more than 64 dimensions"),
    "a length beyond the file": (files.model(b"")[:-4] + files.varint(7 << 3 | 2) + files.varint(1 << 62), "claims"),
    "a number without end": (b"\xff" * 30, "more than ten bytes"),
    "a group": (files.varint(7 << 3 | 3), "wire type 3"),
    "a name that is no text": (one(files.blob(9, bytes(16))).replace(b"\x01w", b"\x01\xff"), "not UTF-8"),
    "a name of components": (
        files.model(files.graph([], [files.array_tensor("a.tersely.b", np.ones(4, np.float32))])), "marks components"),
    "nested without end": (nested(300), "nested more than 64 deep"),
    "data out of the folder": (one(files.external("../secret")), "leaves the folder of the model"),
    "data at an absolute path": (one(files.external("/etc/passwd")), "leaves the folder of the model"),
    "data without a place": (one(files.number(14, 1)), "leaves the folder of the model"),
    "data that is missing": (one(files.external("none.bin")), "none.bin does not exist"),
    "data in the model itself": (one(files.external("m.onnx")), "in the model's own file"),
    "data in a folder": (one(files.external("folder")), "not a plain file"),
    "data behind its file's end": (one(files.external("short.bin", 5)), "ends at byte 21 of the file, which has 16"),
    "data far behind its file's end": (one(files.external("short.bin", 10**18)), "truncated"),
    "a negative place": (one(files.external("short.bin", -1)), "the offset '-1', not a number"),
    "a place of many digits": (one(files.external("short.bin", "9" * 5000)), "not a number"),
    "a length that does not fit": (one(files.external("short.bin", 0, 12)), "12 bytes of external data"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_models_are_refused_with_a_sentence(case: str, tmp_path: Path) -> None:
    data, sentence = BAD[case]
    source = write(tmp_path / "m.onnx", data)
    (tmp_path / "short.bin").write_bytes(bytes(16))
    (tmp_path / "folder").mkdir()
    before = sorted(tmp_path.iterdir())
    with pytest.raises(TerselyError, match=sentence):
        tersely.compress(source)
    assert sorted(tmp_path.iterdir()) == before


def there_and_back(source: Path, tmp_path: Path) -> bool:
    """Whether a model was taken; then it must come back. Anything but a TerselyError passes through."""
    try:
        tersely.compress(source, tmp_path / "p.safetensors", force=True)
    except TerselyError:
        return False
    tersely.decompress(tmp_path / "p.safetensors", tmp_path / "b.onnx", force=True)
    assert (tmp_path / "b.onnx").read_bytes() == source.read_bytes()
    return True


def test_every_cut_is_an_error_or_a_model_that_comes_back(tmp_path: Path) -> None:
    whole, taken = files.small(), 0
    for length in range(len(whole)):
        taken += there_and_back(write(tmp_path / "m.onnx", whole[:length]), tmp_path)
    assert taken == 1  # only where what is cut off is the last field of the model


def test_every_damaged_byte_is_an_error_or_a_model_that_comes_back(tmp_path: Path) -> None:
    whole, taken = files.small(), 0
    for place in range(len(whole)):
        for flip in (1, 0x80, 0xFF):
            data = bytearray(whole)
            data[place] ^= flip
            taken += there_and_back(write(tmp_path / "m.onnx", bytes(data)), tmp_path)
    assert len(whole) < taken < 3 * len(whole)


def test_lengths_that_a_file_claims_allocate_nothing(tmp_path: Path) -> None:
    claims = [
        one(files.blob(9, bytes(16)), (1 << 40,)),
        one(files.external("short.bin", 0, 1 << 50), (1 << 48,)),
        files.varint(7 << 3 | 2) + files.varint(1 << 40),
    ]
    (tmp_path / "short.bin").write_bytes(bytes(16))
    for data in claims:
        source = write(tmp_path / "m.onnx", data)
        tracemalloc.start()
        with pytest.raises(TerselyError):
            open_model(source)
        allocated = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert allocated < 1_000_000


def test_a_thousand_tensors_of_one_name_are_told_apart(tmp_path: Path) -> None:
    tensors = [files.array_tensor("w", np.full(12, k, np.float32)) for k in range(1000)]
    tensors += [files.array_tensor("w#7", np.full(12, -1, np.float32))]
    source = write(tmp_path / "m.onnx", files.model(files.graph([], tensors)))
    found = open_model(source)
    assert len(found.names()) == 1001
    assert found.names()[:2] == ["w", "w#2"]
    assert found.names()[-1] == "w#7#2"
