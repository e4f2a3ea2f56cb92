"""The benchmark of the storage tier: lossy steps are what they say, every peer gives bits back, lost rows are marked."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from tersely.backends.cpu import native

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(not native.available(), reason="needs the native module")


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Imports a module of `benchmarks`, which is no part of the package."""
    monkeypatch.syspath_prepend(str(ROOT))
    return lambda name: importlib.import_module(f"benchmarks.{name}")


@pytest.fixture
def tensors(rng: np.random.Generator) -> dict[str, np.ndarray]:
    weights = (rng.standard_normal((16, 8, 3, 3)) * 0.02).astype(np.float32)
    weights[3] = 0
    return {
        "conv.weight": weights,
        "conv.bias": rng.standard_normal(16).astype(np.float32),
        "half": rng.standard_normal((4, 300)).astype(np.float16),
        "brain": rng.standard_normal((4, 300)).astype(ml_dtypes.bfloat16),
        "codes": rng.integers(-9, 9, (40, 40), np.int8),
        "unsigned": rng.integers(100, 140, (40, 40), np.uint8),
        "count": np.array(7, np.int64),
        "none": np.zeros((0, 4), np.float32),
    }


def test_files_are_read_as_they_were_written(programs: Any, tensors: dict[str, np.ndarray]) -> None:
    variants = programs("variants")
    data = variants.write(tensors)
    header, found = variants.read(data)
    assert data.startswith(header)
    assert len(header) % 8 == 0
    assert list(found) == list(tensors)
    for name, array in tensors.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert found[name].tobytes() == array.tobytes()
    safetensors = pytest.importorskip("safetensors.numpy")
    plain = {name: array for name, array in tensors.items() if array.dtype != ml_dtypes.bfloat16}
    assert {name: array.tobytes() for name, array in safetensors.load(variants.write(plain)).items()} == {
        name: array.tobytes() for name, array in plain.items()
    }


def test_lossy_steps_are_what_they_say(programs: Any, tensors: dict[str, np.ndarray]) -> None:
    variants = programs("variants")
    name, weights = "conv.weight", tensors["conv.weight"]
    pruned = variants.pruned(tensors, 0.8)[name]
    assert np.mean(pruned == 0) == pytest.approx(0.8, abs=0.01)
    kept = pruned != 0
    assert np.array_equal(pruned[kept], weights[kept])
    assert np.abs(weights[~kept]).max() <= np.abs(weights[kept]).min()
    centres = variants.k_means(tensors, 4)[name]
    assert 2 < len(np.unique(centres)) <= 16
    assert np.abs(centres - weights).mean() < 0.2 * weights.std()
    rounded = variants.int8(tensors)
    scale = rounded[f"{name}.scale"]
    assert (rounded[name].dtype, scale.shape) == (np.int8, (16, 1, 1, 1))
    assert np.abs(rounded[name] * scale - weights).max() <= scale.max() * 0.501
    assert np.mean(variants.int8(tensors, 0.8)[name] == 0) >= 0.79
    assert variants.cast(tensors, "bfloat16")[name].dtype == ml_dtypes.bfloat16
    for made in (pruned, centres):
        assert (made.dtype, made.shape) == (weights.dtype, weights.shape)
    for step in (variants.pruned(tensors, 0.5), variants.k_means(tensors, 4), rounded):
        assert step["conv.bias"] is tensors["conv.bias"], "tensors of one dimension stay"


def test_order_0_counts_values_exponents_and_zeros(programs: Any, rng: np.random.Generator) -> None:
    bound = programs("variants").order_0_bytes
    assert bound({"a": np.zeros(4096, np.float32)}) == 0, "zeros take no bits, as symbols of exponents"
    codes = rng.integers(0, 16, 1 << 16).astype(np.uint8)
    assert bound({"a": codes}) == pytest.approx(codes.size / 2, rel=0.01)
    normal = (rng.standard_normal(1 << 16) * 0.02).astype(np.float32)
    assert bound({"a": normal}) == pytest.approx((24 + 2.55) / 8 * normal.size, rel=0.01)
    assert bound({"a": normal, "b": codes}) == bound({"a": normal}) + bound({"a": codes})


def test_every_case_is_there_once_and_can_be_made(
    programs: Any, tmp_path: Path, tensors: dict[str, np.ndarray]
) -> None:
    storage, variants = programs("storage"), programs("variants")
    every = list(storage.cases(tmp_path))
    assert len({(model, name) for model, name, *_ in every}) == len(every)
    path = tmp_path / "a.safetensors"
    path.write_bytes(variants.write(tensors))
    for made in {name: variant for _, name, _, variant in every}.values():
        data = variants.made(path, made)
        assert (data == path.read_bytes()) == (made["kind"] == "none")
        assert variants.read(data)[1]


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
def test_peers_give_every_bit_back_in_every_arrangement(programs: Any, tensors: dict[str, np.ndarray]) -> None:
    peers, arrangements, variants = programs("peers"), programs("arrangements"), programs("variants")
    data, missing = variants.write(tensors), dict[str, str]()
    names = tuple(name for name in peers.STORAGE if name != "zpaq")  # takes seconds
    installed = peers.installed(names, missing)
    assert set(installed) | set(missing) == set(names)
    for name, peer in installed.items():
        for way, arranged in arrangements.of(data, name, peer).items():
            assert sum(array.nbytes for array in arranged.arrays) + len(arranged.rest) == len(data), (name, way)
            assert 0 < arrangements.stored_bytes(peer, arranged) <= len(data), (name, way)


def test_a_peer_that_changes_bits_is_refused(programs: Any, tensors: dict[str, np.ndarray]) -> None:
    arrangements, xz = programs("arrangements"), programs("peers.xz")

    class Wrong:
        encode = staticmethod(xz.encode)

        @staticmethod
        def decode(stored: Any) -> bytes:
            return bytes(xz.decode(stored))[:-1] + b"?"

    arranged = arrangements.of_bytes(programs("variants").write(tensors))["file"]
    with pytest.raises(SystemExit, match="does not give a tensor of shape"):
        arrangements.stored_bytes(Wrong, arranged)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 8, 9, 63, 1000, 4099])
def test_huffman_codes_are_exact_and_short(programs: Any, rng: np.random.Generator, size: int) -> None:
    peers, huffman = programs("peers"), programs("peers.huffman")
    try:
        huffman.version()
    except ImportError as reason:
        pytest.skip(str(reason))
    skewed = np.minimum(rng.geometric(0.5, size), 40).astype(np.uint8)
    for array in (skewed, np.zeros(size, np.uint8), skewed.astype(np.float32), rng.integers(0, 256, size, np.uint8)):
        assert peers.same_bits(huffman, huffman.encode(array), array)


def test_lengths_of_huffman_codes_are_the_best_within_their_limit(programs: Any) -> None:
    lengths = programs("peers.huffman").code_lengths
    assert lengths(np.array([0, 8, 4, 2, 1, 1])).tolist() == [0, 1, 2, 3, 4, 4]
    assert lengths(np.array([0, 5, 0])).tolist() == [0, 1, 0]
    steep = lengths(np.array([1 << k for k in range(40)]))
    assert steep.max() == 12
    assert sum(2.0 ** -int(length) for length in steep) <= 1


def test_lost_rows_are_marked(programs: Any) -> None:
    row = {"model": "a", "variant": "as it is", "bytes": 1000, "order_0_bytes": 500.0}
    tables = programs("tables")

    def cells(**sizes: int) -> tuple[str, ...]:
        return tuple(tables.storage_row(row | {"stored": {name: {"bytes": size} for name, size in sizes.items()}}))

    won = cells(fast=490, max=480, xz=500, brotli=495, zpaq=485)
    assert won[3:] == ("Brotli -11 2.020 x, of 2 peers", "2.062 x", "2.041 x", "2.083 x", "2.000 x")
    assert cells(fast=500, max=486, xz=500, zpaq=485)[5:7] == ("2.000 x (lost)", "2.058 x (lost)")
    assert cells(fast=500, max=480)[3:7] == ("", "", "2.000 x", "2.083 x")


def test_a_record_is_resumed(
    programs: Any, tmp_path: Path, tensors: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it has of the same bytes stays; what is asked for again, or of other bytes, is measured."""
    storage, variants = programs("storage"), programs("variants")
    monkeypatch.setattr("tersely.backends.cpu.threads._chosen", None)  # what the program chooses ends with the test
    path, model = tmp_path / "record.json", "cifar10-resnet8-mlperftiny-int8"
    source = tmp_path / f"{model}.safetensors"
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else 0

    def run(*words: str) -> dict[str, Any]:
        given = ["storage", "--models", str(tmp_path), "--peers", "xz", "huffman", "--threads", "1", "-o", str(path)]
        monkeypatch.setattr(sys, "argv", [*given, *words])
        try:
            storage.main()
        finally:
            if torch:
                torch.set_num_threads(before)
        (row,) = json.loads(path.read_text())["rows"]
        return dict(row)

    source.write_bytes(variants.write(tensors))
    first = run()
    assert {"fast", "max", "xz"} <= set(first["stored"])
    assert run("--resume", "--speed")["speeds"]["fast"]["decode_mb_per_s"] > 0
    assert first["stored"]["max"]["bytes"] <= first["bytes"]
    known = json.loads(path.read_text())
    known["rows"][0]["stored"]["xz"]["bytes"] = known["rows"][0]["stored"]["fast"]["bytes"] = 1
    path.write_text(json.dumps(known))
    other = run("--resume", "--again", "fast", "--only", "another model")
    assert other["stored"]["fast"]["bytes"] == 1, "what is asked for again of another row stays here"
    second = run("--resume", "--again", "fast")
    assert (second["stored"]["xz"]["bytes"], second["stored"]["fast"]) == (1, first["stored"]["fast"])
    source.write_bytes(variants.write(dict(list(tensors.items())[:2])))
    assert run("--resume")["stored"]["xz"]["bytes"] > 1


def test_steps_from_a_stored_file_on_are_measured(
    programs: Any, tmp_path: Path, tensors: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    opening, variants = programs("opening"), programs("variants")
    like = tmp_path / "like.safetensors"
    like.write_bytes(variants.write(tensors))
    drawn = variants.read(opening.drawn(like, 50_000, np.dtype(np.float32)))[1]
    assert 50_000 <= sum(array.nbytes for array in drawn.values()) < 100_000
    assert not drawn["0.weight"][3].any(), "a row of zeros is one of the real network"
    monkeypatch.setattr("tersely.backends.cpu.threads._chosen", None)
    stored = str(tmp_path / "stored.safetensors")
    for step in ("store", "transcode", "load"):
        assert opening.STEPS[step](str(like), stored, 1) > 0
    assert list(tmp_path.glob("*.runnable")) == []
