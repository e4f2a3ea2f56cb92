"""Originals of other formats: pieces that hold are a file, forged ones write nothing; varints are protobuf's."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import onnx_files as files

import tersely
from tersely.core.dtypes import BY_NAME
from tersely.core.errors import TerselyError
from tersely.files.container import varints
from tersely.files.container.pieces import Cut, Part, Pieces
from tersely.files.container.writer import Writer


def forged(path: Path, pieces: Pieces | str) -> Path:
    with Writer(path) as writer:
        writer.add_dense("w", "U8", (4,), np.arange(4, dtype=np.uint8))
        text = pieces if isinstance(pieces, str) else pieces.pack()
        writer.write({}, {"pieces": text})
    return path


TRUE = hashlib.sha256(b"a\0\1\2\3b").hexdigest()


def part(name: str = "m.onnx", cuts: tuple[Cut, ...] = (Cut(1, "w", "raw"),), sha256: str = "0" * 64) -> Part:
    return Part(name, 6, sha256, b"ab", cuts)


@pytest.mark.parametrize(
    ("pieces", "sentence"),
    [
        ("AAAA", "pieces are damaged"),
        (Pieces("onnx", ()), "lengths do not add up"),
        (Pieces("onnx", (part(cuts=(Cut(1, "gone", "raw"),)),)), "needs a tensor that is missing"),
        (Pieces("onnx", (part(cuts=(Cut(3, "w", "raw"),)),)), "outside the rest"),
        (Pieces("onnx", (part(cuts=(Cut(2, "w", "raw"), Cut(1, "w", "raw"))),)), "outside the rest"),
        (Pieces("onnx", (part(), part("../../evil"))), "leaves the folder"),
        (Pieces("onnx", (part(), part("/evil"))), "leaves the folder"),
        (Pieces("onnx", (part(), part())), "one name"),
        (Pieces("onnx", (part(sha256="zz" * 32),)), "damaged"),
        (Pieces("onnx", (part(),)), "SHA-256"),
        (Pieces("onnx", (part(sha256=TRUE), part("new/folder/b"))), "SHA-256"),
        (Pieces("onnx", (part(cuts=(Cut(0, "w", "raw"),) * 100_000),)), "SHA-256"),
    ],
    ids=range(12),
)
def test_forged_pieces_write_nothing(pieces: Pieces | str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    packed = forged(tmp_path / "a/b/p.safetensors", pieces)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(TerselyError, match=sentence):
        tersely.decompress(packed, tmp_path / "a/b/out.onnx")
    assert sorted(tmp_path.rglob("*")) == before


def test_pieces_that_hold_are_a_file(tmp_path: Path) -> None:
    """The forger of the tests above can also tell the truth."""
    pieces = Pieces("onnx", (part(sha256=TRUE), part("new/folder/b", sha256=TRUE)))
    tersely.decompress(forged(tmp_path / "p.safetensors", pieces), tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == (tmp_path / "new/folder/b").read_bytes() == b"a\0\1\2\3b"


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=40))
def test_varints_are_protobufs(values: list[int]) -> None:
    dtype = BY_NAME["int64"]
    raw = np.array(values, np.int64).view(np.uint8)
    coded = b"".join(block.tobytes() for block in varints.encode(raw, dtype))
    assert coded == b"".join(map(files.varint, values))
    back = varints.decode(np.frombuffer(coded, np.uint8), dtype, len(values))
    assert back is not None
    assert back.tobytes() == raw.tobytes()


@given(st.binary(max_size=30), st.sampled_from(["int8", "uint8", "int32", "uint64"]))
def test_what_decodes_as_varints_encodes_to_the_same_bytes(data: bytes, name: str) -> None:
    raw = np.frombuffer(data, np.uint8)
    count = int(np.count_nonzero(raw < 128))
    found = varints.decode(raw, BY_NAME[name], count)
    if found is not None:
        assert b"".join(block.tobytes() for block in varints.encode(found, BY_NAME[name])) == data


def test_long_runs_of_varints_are_cut_into_blocks() -> None:
    values = np.random.default_rng(1).integers(-(2**31), 2**31, 600_001).astype(np.int32)
    blocks = list(varints.encode(values.view(np.uint8), BY_NAME["int32"]))
    assert len(blocks) == 3
    back = varints.decode(np.concatenate(blocks), BY_NAME["int32"], values.size)
    assert back is not None
    assert np.array_equal(back.view(np.int32), values)
