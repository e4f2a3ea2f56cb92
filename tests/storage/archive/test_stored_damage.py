"""Damaged stored files: every byte, every prefix; never another original, never anything but our own errors."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from support import stored_files

import tersely
from tersely.core.dtypes import BY_TAG
from tersely.core.errors import ArgumentError, CorruptError, FormatError, TerselyError
from tersely.files.container import stored
from tersely.files.container.header import fresh_header
from tersely.files.stored_file import StoredFile
from tersely.storage import codec
from tersely.storage.archive import index
from tersely.storage.archive.reader import Archive, block_sum


@pytest.fixture
def small(tmp_path: Path, rng: np.random.Generator) -> Path:
    stored_files.small(tmp_path / "m.safetensors", rng)
    tersely.compress(tmp_path / "m.safetensors", tmp_path / "s.safetensors", store="smallest")
    return tmp_path / "s.safetensors"


def opened(path: Path) -> bytes:
    """The original that a file gives."""
    source = StoredFile(path, mapped=False, threads=1)
    source.check()
    return b"".join(bytes(piece) for _, piece in source.archive.original())


def test_every_byte_counts(small: Path, tmp_path: Path) -> None:
    """A changed byte is refused, or gives the original all the same: white space of a header is nothing."""
    whole, damaged = small.read_bytes(), tmp_path / "damaged.safetensors"
    original = (tmp_path / "m.safetensors").read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    for at in range(len(whole)):
        for bit in (1, 0x20, 0x80):
            damaged.write_bytes(whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1 :])
            try:
                found = opened(damaged)
            except TerselyError:
                continue
            assert found == original
            assert at < header, (at, bit)


def test_every_prefix_is_refused(small: Path, tmp_path: Path) -> None:
    whole, cut = small.read_bytes(), tmp_path / "cut.safetensors"
    for length in range(len(whole)):
        cut.write_bytes(whole[:length])
        with pytest.raises(TerselyError):
            opened(cut)
    cut.write_bytes(whole + b"\0")
    with pytest.raises(CorruptError):
        opened(cut)


def forged(path: Path, header: bytes, blocks: list[bytes], **changes: object) -> Path:
    """A stored file whose checksums hold. header: of the original. blocks: beside the text's."""
    text = codec.encode([codec.Item(np.frombuffer(header, np.uint8), BY_TAG["U8"], (len(header),))], "fast", 1)
    every = [text, *blocks]
    sums = [block_sum([np.frombuffer(header, np.uint8)], text), *(0 for _ in blocks)]
    fields = {
        "kind": index.HEADER,
        "sections": (len(header),),
        "copies": {},
        "sizes": [len(block) for block in every],
        "sums": sums,
        "sha256": bytes(32),
    }
    packed = index.Index(**(fields | changes)).pack()  # type: ignore[arg-type]
    path.write_bytes(stored.header(len(packed) + sum(map(len, every))) + packed + b"".join(every))
    return path


def test_claims_of_huge_shapes_are_refused_before_memory_is_taken(tmp_path: Path) -> None:
    header, _ = fresh_header({"w": ("F32", (1 << 20, 1 << 30))}, {})
    with pytest.raises(CorruptError, match="blocks"):
        Archive(forged(tmp_path / "s.safetensors", header, [b"\0"]))


@pytest.mark.parametrize(
    ("copies", "message"),
    [({1: 0}, "another size"), ({7: 0}, "another size")],
)
def test_copies_that_cannot_be_are_refused(copies: dict[int, int], message: str, tmp_path: Path) -> None:
    header, _ = fresh_header({"a": ("F32", (3,)), "b": ("I8", (3,))}, {})
    with pytest.raises(CorruptError, match=message):
        Archive(forged(tmp_path / "s.safetensors", header, [b"\0"], copies=copies))


@pytest.mark.parametrize(
    "document",
    [
        b"[]",
        b"{",
        b"\xff",
        json.dumps({"kind": "onnx", "files": [], "tensors": []}).encode(),
        json.dumps({"kind": "onnx", "files": [["a", 1, "0" * 64, 0, 2]], "tensors": []}).encode(),
        json.dumps({"kind": "onnx", "files": [["../a", 1, "0" * 64, 0, 0]], "tensors": []}).encode(),
        json.dumps({"kind": "onnx", "files": [["a", 1, "0" * 64, 0, 1]], "tensors": [["w", "F32", [-1], 0]]}).encode(),
        json.dumps({"kind": "onnx", "files": [["a", 1, "0" * 64, 0, 1]], "tensors": [["w", "F1", [1], 0]]}).encode(),
        json.dumps({"kind": "onnx", "files": [["a", 1, "0" * 64, 0, 1]], "tensors": [["w", "I8", [1], 9]]}).encode(),
        b"[" * 5000,
    ],
)
def test_documents_of_other_files_are_checked(document: bytes, tmp_path: Path) -> None:
    path = forged(
        tmp_path / "s.safetensors", document, [], kind=index.OTHER_FILES, sections=(len(document), 0), sha256=b""
    )
    with pytest.raises(CorruptError):
        Archive(path)


def test_what_a_file_says_beside_its_tensors_is_checked(tmp_path: Path) -> None:
    header, _ = fresh_header({}, {})
    for extras in (b"[]", b'{"plan":[]}', b'{"in_out":[3]}', b'{"other":1}', b'{"in_out":[-1]}'):
        path = forged(tmp_path / "s.safetensors", header + extras, [], sections=(len(header), len(extras)))
        with pytest.raises(CorruptError):
            Archive(path)
    plan = json.dumps({"plan": {"tersely_plan": 1, "objective": "smallest of all", "tensors": {}}}).encode()
    with pytest.raises(TerselyError, match="objective"):
        tersely.load_file(forged(tmp_path / "s.safetensors", header + plan, [], sections=(len(header), len(plan))))


def test_another_original_of_the_same_shape_is_refused(small: Path) -> None:
    whole = small.read_bytes()
    archive = Archive(small)
    old, new = archive.index.sha256, bytes(32)
    begin = whole.index(old)
    body = whole.replace(old, new)
    start = 8 + struct.unpack("<Q", whole[:8])[0]
    length = next(k for k in range(9) if whole[start + k] < 128) + 1
    end = archive._start - 4
    small.write_bytes(body[:end] + struct.pack("<I", zlib.crc32(body[start + length : end])) + body[end + 4 :])
    assert begin < end
    with pytest.raises(FormatError, match="SHA-256"):
        tersely.verify(small)
    with pytest.raises(FormatError, match="SHA-256"):
        tersely.decompress(small, small.with_name("back.safetensors"))
    with pytest.raises(FormatError, match="SHA-256"):
        tersely.transcode(small, small.with_name("fast.safetensors"))
    assert not small.with_name("back.safetensors").exists()
    assert not small.with_name("fast.safetensors").exists()


@pytest.mark.parametrize("odd", ["before", "after"])
def test_a_stored_file_with_other_tensors_is_refused(small: Path, tmp_path: Path, odd: str) -> None:
    """Another program may have merged it with others, and dropped its metadata: its tensors are not to go unseen."""
    storage = safetensors.numpy.load_file(small)
    other = {odd: np.ones(3, np.float64 if odd == "before" else np.uint8)}
    safetensors.numpy.save_file({**storage, **other}, tmp_path / "merged.safetensors")
    for work in (tersely.load_file, tersely.open, tersely.verify, tersely.inspect):
        with pytest.raises(CorruptError, match="has one tensor 'tersely.storage'"):
            work(tmp_path / "merged.safetensors")
    with pytest.raises(TerselyError):
        tersely.compress(tmp_path / "merged.safetensors", tmp_path / "again.safetensors")


def test_no_tensor_has_the_name_of_a_stored_file(tmp_path: Path) -> None:
    for others in ({}, {"w": np.ones(3, np.float32)}):
        with pytest.raises(ArgumentError, match=r"'tersely.storage' cannot be used"):
            tersely.save_file({stored.TENSOR: np.zeros(3, np.uint8), **others}, tmp_path / "m.safetensors")
