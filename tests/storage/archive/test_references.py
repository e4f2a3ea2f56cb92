"""Tensors that are nearly earlier ones: which are found, that each is still decoded alone, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from support.arrays import same_bits
from typer.testing import CliRunner

import tersely
from tersely.cli.__main__ import app
from tersely.core.errors import CorruptError
from tersely.files import store_file
from tersely.files.container import stored
from tersely.files.stored_file import StoredFile
from tersely.storage import codec
from tersely.storage.archive import index, layout, limits, references
from tersely.storage.archive.reader import Archive, block_sum
from tersely.storage.numbers import Cursor, varints

SHAPE = (140, 130)


def checkpoint(rng: np.random.Generator, dtype: Any = np.float32) -> dict[str, np.ndarray]:
    """Weights, averages of them, a copy, moments that are like nothing, and small tensors."""
    found: dict[str, np.ndarray] = {}
    for layer in range(3):
        weight = rng.standard_normal(SHAPE).astype(np.float32) * 0.05
        found[f"a{layer}.weight"] = weight.astype(dtype)
        found[f"b{layer}.average"] = (weight + rng.standard_normal(SHAPE) * 1e-4).astype(dtype)
        found[f"c{layer}.tuned"] = (weight + rng.standard_normal(SHAPE) * 1e-5).astype(dtype)
        found[f"d{layer}.moment"] = (rng.standard_normal(SHAPE) ** 2 * 1e-6).astype(dtype)
        found[f"a{layer}.bias"] = rng.standard_normal(140).astype(dtype)
    found["a9.tied"] = found["a0.weight"].copy()
    found["f.tied"] = found["b1.average"].copy()
    found["g.transposed"] = np.ascontiguousarray(found["a0.weight"].T)
    return found


@pytest.fixture
def source(tmp_path: Path, rng: np.random.Generator) -> Path:
    safetensors.numpy.save_file(checkpoint(rng), tmp_path / "m.safetensors")
    return tmp_path / "m.safetensors"


def small(source: Path, **options: Any) -> Path:
    path = source.with_name("s.safetensors")
    tersely.compress(source, path, store="smallest", force=True, **options)
    return path


def codes(path: Path) -> dict[str, str]:
    return {one.name: one.code for one in tersely.inspect(path).tensors}


@pytest.mark.parametrize(
    ("dtype", "level"),
    [(np.float32, "fast"), (np.float16, "fast"), (np.float64, "fast"), (ml_dtypes.bfloat16, "max")],
    ids=str,
)
def test_near_copies_are_found_and_come_back(tmp_path: Path, rng: np.random.Generator, level: str, dtype: Any) -> None:
    arrays = {name: one for name, one in checkpoint(rng, dtype).items() if level == "fast" or name[1] == "0"}
    safetensors.numpy.save_file(arrays, tmp_path / "m.safetensors")
    path = small(tmp_path / "m.safetensors", level=level)
    found = codes(path)
    for layer in range(3 if level == "fast" else 1):
        for name in (f"b{layer}.average", f"c{layer}.tuned"):
            assert found[name] == f"stored differences, near a{layer}.weight"
        assert "differences" not in found[f"a{layer}.weight"] + found[f"d{layer}.moment"]
    assert "differences" not in found.get("g.transposed", "")
    tersely.decompress(path, tmp_path / "back", force=True)
    assert (tmp_path / "back").read_bytes() == (tmp_path / "m.safetensors").read_bytes()
    tensors = tersely.load_file(path)
    assert all(same_bits(tensors[name].decode(), one) for name, one in arrays.items())


def test_the_bytes_do_not_depend_on_threads_and_every_chain_leads_back(source: Path, tmp_path: Path) -> None:
    one = small(source, threads=1).read_bytes()
    assert small(source, threads=3).read_bytes() == one
    tersely.transcode(source.with_name("s.safetensors"), tmp_path / "fast.safetensors")
    tersely.transcode(tmp_path / "fast.safetensors", tmp_path / "again.safetensors", store="smallest")
    assert (tmp_path / "again.safetensors").read_bytes() == one


def test_a_tensor_is_decoded_with_its_reference_and_nothing_else(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = Archive(small(source))
    decoded: list[int] = []
    real = Archive._decoded

    def counted(self: Archive, number: int, threads: int = 1) -> list[np.ndarray]:
        decoded.append(self.blocks[number].parts[0].tensor)
        return real(self, number, threads)

    monkeypatch.setattr(Archive, "_decoded", counted)
    archive._ahead._decode = archive._decoded
    arrays = safetensors.numpy.load_file(source)
    for name, other in (("c2.tuned", "a2.weight"), ("b0.average", "a0.weight"), ("f.tied", "a1.weight")):
        decoded.clear()
        assert archive.tensor(archive.number(name)).tobytes() == arrays[name].tobytes()
        own = archive.stored_as(archive.number(name))
        assert decoded == [own, archive.number(other)]


def test_tensors_of_many_blocks_refer_block_by_block(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "BLOCK_ELEMENTS", 1 << 13)
    weight = rng.standard_normal((300, 100)).astype(np.float32)
    average = weight + rng.standard_normal(weight.shape).astype(np.float32) * np.float32(1e-4)
    average[:80] = rng.standard_normal((80, 100))  # blocks that have nothing of it
    safetensors.numpy.save_file({"a": weight, "b": average}, tmp_path / "m.safetensors")
    archive = Archive(small(tmp_path / "m.safetensors"))
    coders = [archive.coded(block)[0] for block in archive._of[1]]
    assert len(set(coders)) == 2
    assert codec.DIFFERENCES in coders
    assert archive.reference(1) == 0
    assert archive.tensor(1).tobytes() == average.tobytes()


def test_what_explains_a_tensor_names_its_reference(source: Path) -> None:
    ways = store_file.explain(source, "b1.average")
    assert ways[0].label == "differences from a1.weight"
    assert ways[0].nbytes < min(way.nbytes for way in ways[1:])
    reports = {one.name: one for one in tersely.inspect(small(source)).tensors}
    assert reports["b1.average"].bytes_after == ways[0].nbytes
    shown = CliRunner().invoke(app, ["plan", str(source), "--store", "smallest", "--explain", "b1.average", "--json"])
    assert json.loads(shown.output)[0]["candidate"] == "differences from a1.weight"
    assert "differences" not in str(store_file.explain(source, "a1.weight"))


def test_of_near_copies_of_a_copy_all_refer_to_the_first(tmp_path: Path, rng: np.random.Generator) -> None:
    """A hundred snapshots: no chain, and each is compared with the first alone."""
    weight = rng.standard_normal((128, 128)).astype(np.float32)
    arrays = {f"s{k:03}": weight + np.float32(k * 1e-5) for k in range(100)}
    safetensors.numpy.save_file(arrays, tmp_path / "m.safetensors")
    archive = Archive(small(tmp_path / "m.safetensors"))
    assert {archive.reference(number) for number in range(1, 100)} == {0}
    assert archive.reference(0) is None


def test_looking_for_references_takes_a_sample_of_each(rng: np.random.Generator) -> None:
    class Counted:
        def __init__(self, arrays: list[np.ndarray]) -> None:
            self.arrays, self.asked, self.text = arrays, 0, self
            self.entries = [store_file.Entry(str(k), "F32", one.shape, 0, one.nbytes) for k, one in enumerate(arrays)]

        def raw(self, number: int) -> np.ndarray:
            self.asked += 1
            return self.arrays[number].reshape(-1).view(np.uint8)

        def forget(self, number: int) -> None: ...

    arrays = [rng.standard_normal((128, 128)).astype(np.float32) for _ in range(30)]
    source = Counted([*arrays, arrays[7] * np.float32(1.001), np.zeros((128, 128), np.float32)])
    found = references.find(source, layout.tensor_blocks(source.entries, {}, 1 << 62))
    assert found == {30: 7}
    assert source.asked == 32


# -- hostile files ------------------------------------------------------------------------------------------------------


def forged(path: Path, number: int, change: Any, out: Path) -> Path:
    """The same file with another block, its checksums those of what the block would be."""
    archive = Archive(path)
    found, body = archive.index, bytearray()
    sums, sizes = list(found.sums), list(found.sizes)
    for block in range(len(archive.blocks)):
        coded = bytes(archive.coded(block))
        if block == number:
            coded = change(coded)
            sums[block], sizes[block] = block_sum([], coded), len(coded)
        body += coded
    head = index.Index(found.kind, found.sections, found.copies, sizes, sums, found.sha256).pack()
    out.write_bytes(stored.header(len(head) + len(body)) + head + body)
    return out


def with_back(back: int) -> Any:
    def change(coded: bytes) -> bytes:
        cursor = Cursor(memoryview(coded)[1:])
        cursor.number(1 << 31, "")
        return bytes([codec.DIFFERENCES]) + varints([back]) + bytes(cursor.bytes(cursor.left))

    return change


def test_references_that_cannot_be_are_refused(source: Path, tmp_path: Path) -> None:
    path = small(source)
    archive = Archive(path)
    own = archive.number("c1.tuned")
    (block,) = archive._of[own]
    wrong = {
        "itself": 0,
        "beyond the first": own + 1,
        "far beyond": 1 << 30,
        "one that has a reference": own - archive.number("b1.average"),
        "a small one": own - archive.number("a0.bias"),
    }
    wrong["a copy"] = own - archive.number("a9.tied")
    assert archive.number("a9.tied") in archive.index.copies
    for what, back in wrong.items():
        damaged = StoredFile(forged(path, block, with_back(back), tmp_path / "f.safetensors"), threads=1)
        with pytest.raises(CorruptError, match=r"reference|refers to itself") as error:
            damaged.decode("c1.tuned")
        assert error.value.tensor == "c1.tuned", what
        assert damaged.decode("a1.weight").size, "others are there"
        with pytest.raises(CorruptError):
            damaged.check()
    other = own - archive.number("a0.weight")
    with pytest.raises(CorruptError):  # a tensor of the same shape, but another one
        StoredFile(forged(path, block, with_back(other), tmp_path / "f.safetensors"), threads=1).decode("c1.tuned")


def test_blocks_that_have_no_place_refer_to_nothing(source: Path, tmp_path: Path) -> None:
    """The text, a pool, and a tensor whose dtype has no differences."""
    path = small(source)
    archive = Archive(path)
    pool = archive._of[archive.number("a0.bias")][0]
    for number in (0, pool):
        with pytest.raises(CorruptError):
            StoredFile(
                forged(path, number, lambda coded: bytes([codec.DIFFERENCES, 1]) + coded, tmp_path / "f.safetensors")
            ).decode("a0.bias")


def test_bytes_of_a_file_with_references(source: Path, tmp_path: Path) -> None:
    """Some bytes of every block, and prefixes: never another original."""
    path = small(source)
    whole, out = path.read_bytes(), tmp_path / "d.safetensors"
    archive = Archive(path)
    for number in range(len(archive.blocks)):
        begin = archive._start + archive._begins[number]
        for at in (begin, begin + 1, begin + 2, begin + 5, begin + archive.index.sizes[number] - 1):
            out.write_bytes(whole[:at] + bytes([whole[at] ^ 0x11]) + whole[at + 1 :])
            with pytest.raises(tersely.TerselyError):
                StoredFile(out, mapped=False, threads=1).check()
    for length in (len(whole) - 1, len(whole) // 2):
        out.write_bytes(whole[:length])
        with pytest.raises(tersely.TerselyError):
            StoredFile(out, threads=1)
