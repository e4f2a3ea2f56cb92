"""Stored files from inside: the index, what is in which block, the text, tensors one by one."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from support import stored_files

import tersely
from tersely.core.dtypes import BY_TAG
from tersely.core.errors import CorruptError, TerselyError, UnsupportedError
from tersely.files.container import stored
from tersely.files.container.header import Entry, tensor_bytes
from tersely.files.container.reader import Reader
from tersely.storage.archive import index, layout, limits, texts
from tersely.storage.archive.reader import Archive
from tersely.storage.numbers import Cursor, varints


@pytest.fixture
def source(tmp_path: Path, rng: np.random.Generator) -> Path:
    return stored_files.write(tmp_path / "m.safetensors", rng)


@pytest.fixture
def small(source: Path, tmp_path: Path) -> Path:
    tersely.compress(source, tmp_path / "s.safetensors", store="smallest")
    return tmp_path / "s.safetensors"


def test_a_stored_file_is_one_tensor_of_bytes_to_others(small: Path) -> None:
    with safetensors.safe_open(small, "np") as file:
        assert list(file.keys()) == ["tersely.storage"]
        facts = json.loads(file.metadata()["tersely"])
        assert facts == {"format": "1.0", "storage": 1}
        assert file.get_tensor("tersely.storage").dtype == np.uint8
    with pytest.raises(TerselyError, match="stored file"):
        Reader(small)


def test_tensors_are_decoded_one_by_one_in_any_order(small: Path, source: Path, rng: np.random.Generator) -> None:
    plain = Reader(source)
    for threads in (1, 3):
        archive = Archive(small, threads=threads)
        for number in rng.permutation(len(archive.entries)).tolist():
            entry = archive.entries[number]
            assert np.array_equal(archive.tensor(number), plain.raw(plain.dense[entry.name])), entry.name
        archive.check_original()
        assert archive.original_bytes == source.stat().st_size


def test_equal_tensors_are_stored_once(small: Path) -> None:
    archive = Archive(small)
    names = {archive.entries[a].name: archive.entries[b].name for a, b in archive.index.copies.items()}
    assert {frozenset(pair) for pair in names.items()} == {frozenset(("block.weight", "block.copy"))}
    assert sum(archive.stored_bytes()) < archive.file_bytes


def test_a_file_of_many_small_tensors_shrinks(tmp_path: Path, rng: np.random.Generator) -> None:
    """The header alone is a third of it: names are said once, and offsets follow from shapes."""
    found = {f"model.layers.{k}.norm.weight": rng.integers(0, 3, 64, np.int8) for k in range(200)}
    safetensors.numpy.save_file(found, tmp_path / "m.safetensors")
    report = tersely.compress(tmp_path / "m.safetensors", store="smallest")
    assert report.bytes_after < 0.25 * report.bytes_before


@given(
    st.lists(
        st.tuples(st.sampled_from(sorted(BY_TAG)), st.lists(st.integers(0, 5000), max_size=3)), max_size=20, min_size=1
    )
)
def test_blocks_have_every_byte_once(kinds: list[tuple[str, list[int]]]) -> None:
    entries = []
    for number, (tag, shape) in enumerate(kinds):
        if BY_TAG[tag].bits * math.prod(shape) % 8 == 0:
            entries.append(Entry(str(number), tag, tuple(shape), 0, tensor_bytes(tag, tuple(shape))))
    blocks = layout.tensor_blocks(entries, {}, 1 << 62)
    seen: dict[int, int] = {}
    for block in blocks:
        for part in block.parts:
            assert part.begin == seen.get(part.tensor, 0)
            assert part.end - part.begin == -(-part.spec.dtype.bits * math.prod(part.spec.shape) // 8)
            seen[part.tensor] = part.end
        assert math.prod(block.parts[0].spec.shape) <= limits.BLOCK_ELEMENTS
        assert len(block.parts) == 1 or block.nbytes <= limits.POOL_BYTES
    assert {k: entry.nbytes for k, entry in enumerate(entries) if entry.nbytes} == seen
    if blocks:
        with pytest.raises(CorruptError, match="more blocks"):
            layout.tensor_blocks(entries, {}, len(blocks) - 1)


def test_a_claim_of_a_huge_tensor_makes_no_long_list() -> None:
    entry = Entry("w", "F32", (1 << 29, 1 << 29), 0, 1 << 60)
    with pytest.raises(CorruptError, match="more blocks"):
        layout.tensor_blocks([entry], {}, 1000)


SIZES = st.lists(st.integers(1, limits.CODED_BYTES), max_size=40)


@given(SIZES, st.lists(st.integers(0, limits.TEXT_BYTES // 3), min_size=1, max_size=3), st.sampled_from([0, 1, 2]))
def test_the_index_comes_back(sizes: list[int], sections: list[int], kind: int) -> None:
    made = index.Index(
        kind,
        tuple(sections),
        {5: 2, 9: 0},
        sizes,
        tuple(size * 7919 % (1 << 32) for size in sizes),
        b"" if kind == index.OTHER_FILES else bytes(32),
    )
    packed = made.pack()
    body, at = _without_frame(packed)
    found = index._parse_body(Cursor(memoryview(body)))
    assert (found, at) == (made, len(packed) - len(body) - 4)


def _without_frame(packed: bytes) -> tuple[bytes, int]:
    at = next(k for k, byte in enumerate(packed) if byte < 128) + 1
    return packed[at:-4], at


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ([3], "the kind"),
        ([0, 4], "sections"),
        ([0, 0, 0, 0], "too long, or there is none"),
        ([0, 1, 1 << 40], "bytes of the text"),
        ([0, 1, 9, 1 << 50], "number of copies"),
        ([0, 1, 9, 1, 0, 0, 0, 0], "copy"),
        ([0, 1, 9, 0, 1 << 40], "number of blocks"),
    ],
)
def test_an_index_that_claims_too_much_is_refused(numbers: list[int], message: str) -> None:
    body = varints(numbers) + bytes(64)
    with pytest.raises(CorruptError, match=message):
        index._parse_body(Cursor(memoryview(body)))


def test_numbers_have_one_form() -> None:
    with pytest.raises(CorruptError):
        Cursor(memoryview(b"\x80\x00")).number(9, "a number")
    with pytest.raises(CorruptError):
        Cursor(memoryview(b"\xff" * 20)).number(1 << 62, "a number")


HEADERS = (
    b'{"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"b":{"dtype":"I8","shape":[],"data_offsets":[24,25]}}',
    b'{"b":{"dtype":"I8","shape":[1],"data_offsets":[24,25]},"a":{"dtype":"F32","shape":[6],"data_offsets":[0,24]}}',
    b'{ "a" : {"dtype":"F32","shape":[6], "data_offsets":[0,24]}}   ',
    b'{"a":{"dtype":"F32","shape":[6],"data_offsets":[0,24]},"__metadata__":{"x":"\\"data_offsets\\":[0,24]"}}',
    b'{"a":{"dtype":"F99","shape":[6],"data_offsets":[0,24]},"b":{"dtype":"F32","shape":[,6],"data_offsets":[0,24]}}',
)


@pytest.mark.parametrize("raw", HEADERS)
def test_headers_come_back_without_their_offsets(raw: bytes) -> None:
    short = texts.shortened(raw)
    assert short is not None
    assert texts.lengthened(short) == raw
    assert len(short) <= len(raw)


def test_a_header_whose_numbers_have_another_form_is_kept_whole() -> None:
    assert texts.shortened(b'{"b":{"dtype":"F32","shape":[6],"data_offsets":[00,24]}}') is None


@given(st.binary(max_size=200))
def test_any_text_comes_back_or_is_kept(raw: bytes) -> None:
    short = texts.shortened(raw)
    assert short is None or texts.lengthened(short) == raw


@pytest.mark.parametrize("facts", ['{"format":"2.0","storage":1}', '{"format":"1.0","storage":2}'])
def test_other_versions_are_refused(small: Path, facts: str) -> None:
    payload = small.read_bytes()
    payload = payload[8 + int.from_bytes(payload[:8], "little") :]
    safetensors.numpy.save_file({stored.TENSOR: np.frombuffer(payload, np.uint8)}, small, {"tersely": facts})
    with pytest.raises(UnsupportedError, match="newer release"):
        Archive(small)


def test_a_file_that_others_saved_again_opens(small: Path, source: Path, tmp_path: Path) -> None:
    safetensors.numpy.save_file(safetensors.numpy.load_file(small), small)
    tersely.decompress(small, tmp_path / "back.safetensors")
    assert (tmp_path / "back.safetensors").read_bytes() == source.read_bytes()
