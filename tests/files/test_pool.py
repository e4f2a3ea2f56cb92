"""Small tensors and descriptions coded together: what is in a pool, who opens it, and what is refused."""

from __future__ import annotations

import json
import zlib
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from support import pooled_files
from support.arrays import same_bits
from support.folder_fixtures import content

import tersely
from tersely.core.errors import ArgumentError, CorruptError, FormatError, TerselyError, UnsupportedError
from tersely.files import commands, pooled
from tersely.files.container import description, limits, pool
from tersely.files.container.reader import Reader
from tersely.files.encode_tensor import Options
from tersely.storage.numbers import varints


@pytest.fixture
def source(tmp_path: Path, rng: np.random.Generator) -> Path:
    return pooled_files.write(tmp_path / "m.safetensors", rng)


@pytest.fixture
def packed(source: Path) -> Path:
    tersely.compress(source, source.with_name("packed.safetensors"))
    return source.with_name("packed.safetensors")


def test_small_tensors_and_descriptions_are_in_the_pool(packed: Path, source: Path) -> None:
    reader = Reader(packed)
    assert reader.facts["format"] == "2.0"
    assert set(reader.header.entries) == {pool.TENSOR, pool.PARTS, "noise", "empty"}
    assert reader.is_pooled("layers.0.weight.tersely.info")
    assert reader.is_pooled("layers.0.bias")
    assert not reader.is_pooled("layers.0.weight.tersely.tiles")
    tersely.compress(source, packed, objective="speed", force=True)
    assert Reader(packed).pool is None


@pytest.mark.parametrize("objective", ["size", "balanced"])
@pytest.mark.parametrize("options", [{}, {"mmap": False}, {"check": "checksums"}, {"check": "full"}], ids=str)
def test_every_tensor_comes_back(source: Path, tmp_path: Path, objective: str, options: dict[str, Any]) -> None:
    arrays = safetensors.numpy.load_file(source)
    tersely.compress(source, tmp_path / "p", objective=objective)
    loaded = tersely.load_file(tmp_path / "p", **options)
    assert set(loaded) == set(arrays)
    for name, array in arrays.items():
        assert same_bits(loaded[name].decode(), array), name
        assert same_bits(np.asarray(loaded[name]), array), name
    assert tersely.verify(tmp_path / "p", against=source).ok
    tersely.decompress(tmp_path / "p", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == source.read_bytes()


def test_components_of_the_pool_multiply_as_mapped_ones_do(
    packed: Path, source: Path, rng: np.random.Generator
) -> None:
    tersely.compress(source, source.with_name("plain"), objective="speed")
    x = rng.standard_normal((2, 128)).astype(np.float32)
    loaded = tersely.load_file(packed)
    for layer in range(3):
        name = f"layers.{layer}.weight"
        assert loaded[name].formulation == "split"
        found = tersely.linear(x, loaded[name])
        expected = x.astype(np.float64) @ loaded[name].decode().astype(np.float64).T
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    for part in loaded["layers.0.weight"].encoded.components.values():
        assert part.ctypes.data % 64 == 0
        assert not part.flags.writeable


def test_it_is_smaller_and_says_so(packed: Path, source: Path, tmp_path: Path) -> None:
    alone = tersely.compress(source, tmp_path / "speed", objective="speed")
    report = tersely.inspect(packed)
    assert report.bytes_after == packed.stat().st_size < alone.bytes_after
    tensors = {one.name: one for one in report.tensors}
    assert tensors["layers.0.zero_point"].reason == pooled.REASON
    assert tensors["layers.0.zero_point"].bytes_after < tensors["layers.0.zero_point"].bytes_before
    assert sum(one.bytes_after for one in report.tensors) < report.bytes_after
    dry = tersely.compress(source, dry_run=True)
    assert abs(dry.bytes_after - report.bytes_after) < 0.1 * report.bytes_after


def test_plans_say_it_and_can_say_otherwise(source: Path, tmp_path: Path) -> None:
    plan = tersely.make_plan(source)
    assert plan["tensors"]["kernel"]["reason"] == pooled.REASON
    tersely.compress(source, tmp_path / "a")
    tersely.compress(source, tmp_path / "b", plan=plan)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    plan["tensors"]["kernel"] |= {"formulation": "integer", "parameters": {}}
    tersely.compress(source, tmp_path / "c", plan=plan)
    assert tersely.load_file(tmp_path / "c")["kernel"].formulation == "integer"
    tersely.compress(source, tmp_path / "d", exclude="layers.*.bias")
    tersely.compress(source, tmp_path / "e", include="layers.*.weight")
    for name in "de":
        assert same_bits(
            safetensors.numpy.load_file(tmp_path / name)["layers.0.bias"],
            safetensors.numpy.load_file(source)["layers.0.bias"],
        )


def test_few_tensors_and_folders_are_left_to_every_reader(source: Path, tmp_path: Path) -> None:
    arrays = safetensors.numpy.load_file(source)
    few = {name: arrays[name] for name in list(arrays)[:15]}
    safetensors.numpy.save_file(few, tmp_path / "few.safetensors")
    tersely.compress(tmp_path / "few.safetensors", tmp_path / "few.packed")
    assert Reader(tmp_path / "few.packed").pool is None
    (tmp_path / "folder").mkdir()
    safetensors.numpy.save_file(arrays, tmp_path / "folder" / "model.safetensors")
    tersely.compress(tmp_path / "folder", tmp_path / "out")
    assert Reader(tmp_path / "out" / "model.safetensors").pool is None


def test_the_smallest_go_first_where_not_all_fit(tmp_path: Path, rng: np.random.Generator) -> None:
    arrays = {f"t{k}": rng.standard_normal(16000).astype(np.float32) for k in range(30)}
    arrays |= {f"s{k}": rng.standard_normal(10).astype(np.float32) for k in range(30)}
    safetensors.numpy.save_file(arrays, tmp_path / "m")
    found = pooled.names(Reader(tmp_path / "m"), "balanced")
    assert {f"s{k}" for k in range(30)} < found
    assert 0 < sum(arrays[name].nbytes for name in found) <= limits.POOL_BYTES
    assert len(found) < len(arrays)


def test_reserved_names_are_refused_and_make_no_pool(source: Path, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="cannot be used"):
        tersely.save_file({pool.TENSOR: np.zeros(3, np.uint8)}, tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_what_is_saved_again_by_others_opens(packed: Path, source: Path, tmp_path: Path) -> None:
    safetensors.numpy.save_file(safetensors.numpy.load_file(packed), tmp_path / "again")
    arrays = safetensors.numpy.load_file(source)
    loaded = tersely.load_file(tmp_path / "again", check="full")
    for name, array in arrays.items():
        assert same_bits(loaded[name].decode(), array), name
    tersely.decompress(tmp_path / "again", tmp_path / "back")
    back = safetensors.numpy.load_file(tmp_path / "back")
    assert all(same_bits(back[name], array) for name, array in arrays.items())


def test_loaders_of_pytorch_stop_at_every_tensor(tmp_path: Path, rng: np.random.Generator) -> None:
    source = pooled_files.write(tmp_path / "pt.safetensors", rng, {"format": "pt"})
    tersely.compress(source, tmp_path / "packed")
    with safetensors.safe_open(tmp_path / "packed", "np") as file:
        shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    for name, array in safetensors.numpy.load_file(source).items():
        assert shapes[name] == (list(array.shape) if name in ("noise", "empty") else [0]), name
    tersely.decompress(tmp_path / "packed", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == source.read_bytes()


def test_transcoding_and_storing_lead_back(packed: Path, source: Path, tmp_path: Path) -> None:
    tersely.transcode(packed, tmp_path / "small", store="smallest")
    tersely.transcode(tmp_path / "small", tmp_path / "fast", objective="balanced")
    assert Reader(tmp_path / "fast").pool is not None
    tersely.transcode(tmp_path / "fast", tmp_path / "speed", objective="speed")
    assert Reader(tmp_path / "speed").pool is None
    for name in ("small", "fast", "speed"):
        tersely.decompress(tmp_path / name, tmp_path / "back", force=True)
        assert (tmp_path / "back").read_bytes() == source.read_bytes()


def test_other_versions_are_refused(packed: Path) -> None:
    arrays, reader = safetensors.numpy.load_file(packed), Reader(packed)
    facts = json.dumps({**reader.facts, "format": "3.0"})
    safetensors.numpy.save_file(arrays, packed, {"tersely": facts})
    with pytest.raises(UnsupportedError, match=r"'3.0'.*newer release"):
        tersely.load_file(packed)


class Escaped(pool.Contents):
    """Its text has escapes for all that is not ASCII."""

    def text(self) -> tuple[bytes, bytes, bytes]:
        text = json.dumps({"infos": [], "parts": [], "small": self.small})
        return text.encode(), b"", b""


def contents(**changes: Any) -> pool.Contents:
    whole: dict[str, Any] = {"parts": [], "infos": {}, "small": [], "original": b""}
    return pool.Contents(**whole | changes)


HOSTILE = {
    "a shape without bytes for it": (contents(small=[("w", "F32", (1 << 40,))]), "no block holds"),
    "a shape that is none": (contents(small=[("w", "F32", (-1,))]), "no shape"),
    "half a byte": (contents(small=[("w", "F4", (1,))]), "no block holds"),
    "no dtype": (contents(small=[("w", "F33", (1,))]), "no dtype"),
    "no bytes": (contents(small=[("w", "F32", (0,))]), "no block holds"),
    "a block too many": (contents(small=[("a", "F32", (1,)), ("b", "F64", (1,))]), "blocks"),
    "a name twice": (contents(small=[("a", "U8", (1,))] * 2), "name of its own"),
    "a name of its own": (contents(small=[(pool.PARTS, "U8", (1,))]), "name of its own"),
    "half a character": (Escaped([], {}, [("\ud800", "U8", (1,))], b""), "name of its own"),
    "parts that are not there": (contents(parts=[("w.tersely.tiles", 64)], small=[("a", "U8", (1,))]), "too short"),
    "no description": (contents(infos={"w.tersely.info": b"{}"}, small=[("a", "U8", (1,))]), "format version"),
    "components alone": (contents(small=[("w.tersely.tiles", "U8", (1,))]), "without their description"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_pools_made_to_deceive_are_refused(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    claimed, message = HOSTILE[case]
    monkeypatch.setattr(pool, "blocks_of", lambda small: [[0]])
    monkeypatch.setattr(pool, "spec_of", lambda tag, shape: pool.codec.Spec(pool._U8, (1,)))
    raw = pool.pack(claimed, [np.ones(1, np.uint8)] * len(claimed.small) or [np.ones(1, np.uint8)])
    monkeypatch.undo()
    assert raw is not None
    safetensors.numpy.save_file({pool.TENSOR: np.frombuffer(raw, np.uint8)}, tmp_path / "m")
    with pytest.raises(FormatError, match=message):
        tersely.load_file(tmp_path / "m")


def test_a_text_that_is_longer_than_allowed_makes_no_pool(source: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(limits, "POOL_TEXT_BYTES", 100)
    tersely.compress(source, tmp_path / "p")
    monkeypatch.undo()
    assert Reader(tmp_path / "p").pool is None
    tersely.decompress(tmp_path / "p", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == source.read_bytes()


def small_file(tmp_path: Path, rng: np.random.Generator) -> Path:
    arrays = {f"t{k}": rng.integers(0, 4, 3 + k % 3).astype(np.int16) for k in range(16)}
    arrays["w"] = (rng.standard_normal((144, 128)) * 0.05).astype(np.float32)
    safetensors.numpy.save_file(arrays, tmp_path / "m.safetensors")
    tersely.compress(tmp_path / "m.safetensors", tmp_path / "p")
    assert Reader(tmp_path / "p").pool is not None
    return tmp_path / "p"


def outcome(path: Path, expected: dict[str, np.ndarray]) -> None:
    """Refused, or as it was: a byte that nothing depends on may differ."""
    try:
        loaded = tersely.load_file(path, check="full")
    except FormatError:
        return
    assert set(loaded) == set(expected)
    for name, array in expected.items():
        assert same_bits(loaded[name].decode(), array), name


def test_every_byte_counts(tmp_path: Path, rng: np.random.Generator) -> None:
    path = small_file(tmp_path, rng)
    whole, expected = path.read_bytes(), {k: v.decode() for k, v in tersely.load_file(path).items()}
    entries, start = Reader(path).header.entries, Reader(path).header.data_start
    span = entries[pool.TENSOR]
    rest = range(0, start + span.begin, 61)
    for at in [*rest, *range(start + span.begin, start + span.end)]:
        damaged = bytearray(whole)
        damaged[at] ^= 1 << at % 8
        path.write_bytes(damaged)
        if at >= start + span.begin:
            with pytest.raises(FormatError):
                tersely.load_file(path, check="checksums")
        outcome(path, expected)


def test_every_prefix_is_refused(tmp_path: Path, rng: np.random.Generator) -> None:
    path = small_file(tmp_path, rng)
    raw = np.array(Reader(path).raw(Reader(path).header.entries[pool.TENSOR]))
    parts = Reader(path).header.entries[pool.PARTS]
    for end in range(raw.size):
        with pytest.raises(CorruptError):
            pool.Pool(raw[:end], parts, "x")
    with pytest.raises(CorruptError, match="appended"):
        pool.Pool(np.append(raw, np.uint8(0)), parts, "x")


def resealed(raw: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A pool with a changed byte in one of its blocks, and checksums that hold."""
    sections, blocks = pool._index(memoryview(raw))
    changed = [np.frombuffer(block, np.uint8).copy() for block, _ in blocks]
    block = changed[rng.integers(len(changed))]
    block[rng.integers(block.size)] ^= 1 << rng.integers(8)
    body = varints([*sections, len(changed), *(one.size for one in changed)])
    body += b"".join(zlib.crc32(one).to_bytes(4, "little") for one in changed)
    whole = varints([len(body)]) + body + zlib.crc32(body).to_bytes(4, "little")
    return np.frombuffer(whole + b"".join(one.tobytes() for one in changed), np.uint8)


def test_damage_behind_checksums_is_refused_or_decoded(tmp_path: Path, rng: np.random.Generator) -> None:
    path = small_file(tmp_path, rng)
    arrays, refused = safetensors.numpy.load_file(path), 0
    for _ in range(300):
        safetensors.numpy.save_file(arrays | {pool.TENSOR: resealed(arrays[pool.TENSOR], rng)}, tmp_path / "d")
        try:
            for tensor in tersely.load_file(tmp_path / "d").values():
                tensor.decode()
        except FormatError:
            refused += 1
    assert refused > 100


def test_parts_alone_and_tensors_in_both_are_refused(packed: Path, tmp_path: Path) -> None:
    arrays = safetensors.numpy.load_file(packed)
    safetensors.numpy.save_file({pool.PARTS: arrays[pool.PARTS]}, tmp_path / "a")
    with pytest.raises(CorruptError, match="without"):
        tersely.load_file(tmp_path / "a")
    safetensors.numpy.save_file({**arrays, "step": np.zeros(3)}, tmp_path / "b")
    with pytest.raises(CorruptError, match="in the pool and outside"):
        tersely.load_file(tmp_path / "b")
    assert description.MARK not in pool.TENSOR


def test_a_folder_says_the_format_that_its_files_have(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folders are written without pools today; one that has a pool says so, and comes back."""
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / f"{name}.safetensors").write_bytes(source.read_bytes())
    (folder / "config.json").write_text('{"model_type": "llama"}')
    for pools, version in ((False, "1.0"), (True, "2.0")):
        monkeypatch.setattr(commands, "Options", partial(_options, pools))
        out, back = tmp_path / f"out-{version}", tmp_path / f"back-{version}"
        tersely.compress(folder, out)
        assert (Reader(out / "a.safetensors").pool is not None) == pools
        assert json.loads((out / "tersely.json").read_text())["format"] == version
        assert json.loads((out / "config.json").read_text())["quantization_config"]["format"] == version
        tersely.decompress(out, back)
        assert content(back) == content(folder)
        ledger = json.loads((out / "tersely.json").read_text())
        (out / "tersely.json").write_text(json.dumps(ledger | {"format": "3.0"}))
        with pytest.raises(TerselyError, match="newer"):
            tersely.decompress(out, tmp_path / "refused")


def _options(pools: bool, *given: Any, pool: bool, **named: Any) -> Options:
    return Options(*given, **named, pool=pools)
