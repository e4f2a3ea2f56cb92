"""Files of many small tensors: the work is in proportion to their number, and none is planned that cannot get smaller."""

from __future__ import annotations

import gc
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

import tersely
from tersely.codes import registry
from tersely.codes.protocol import Request
from tersely.core.collector import paused
from tersely.core.dtypes import BY_TAG, raw_bytes
from tersely.files import encode_tensor, plan_file
from tersely.files.container import writer
from tersely.files.container.reader import Reader
from tersely.files.container.writer import cost_bytes, dense_cost_bytes, min_cost_bytes
from tersely.planner import choose


def many(path: Path, count: int, shape: tuple[int, ...], tag: str = "F32") -> Path:
    """As experts with scales of their own have them; every tensor has other weights."""
    header, at = {}, 0
    size = math.prod(shape) * BY_TAG[tag].bits // 8
    for number in range(count):
        header[f"layers.0.experts.{number}.scale"] = {"dtype": tag, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    weights = np.random.default_rng(count).normal(0, 0.02, count * math.prod(shape)).astype(BY_TAG[tag].numpy)
    path.write_bytes(len(text).to_bytes(8, "little") + text + weights.tobytes())
    return path


def steps(work: Callable[[], object]) -> int:
    """Calls of functions, Python's and C's, which load on the machine does not change, and the lengths of what some copy."""
    counted = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal counted
        counted += event in ("call", "c_call")

    names = Reader.names

    def counted_names(self: Reader) -> list[str]:
        nonlocal counted
        counted += len(found := names(self))
        return found

    before = sys.getprofile()
    Reader.names = counted_names  # type: ignore[method-assign]
    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(before)
        Reader.names = names  # type: ignore[method-assign]
    return counted


KINDS = {"scalars": ((), "F32", 100), "vectors": ((112,), "F32", 16), "matrices": ((260, 256), "BF16", 16)}


def operations(folder: Path, count: int, kind: str) -> dict[str, Callable[[], object]]:
    shape, tag, _ = KINDS[kind]
    source = many(folder / f"{count}.safetensors", count, shape, tag)
    packed, copy = folder / f"{count}.packed", folder / f"{count}.copy"
    tersely.compress(source, packed, objective="size", threads=1)
    loaded = tersely.load_file(packed)
    return {
        "load_file": lambda: tersely.load_file(packed),
        "load_file, plain": lambda: tersely.load_file(source),
        "load_file, full": lambda: tersely.load_file(packed, check="full"),
        "open and take each": lambda: [file[name] for file in [tersely.open(packed)] for name in file],
        "save_file": lambda: tersely.save_file(loaded, copy),
        "compress": lambda: tersely.compress(source, copy, objective="size", threads=1, force=True),
        "dry run": lambda: tersely.compress(source, dry_run=True, objective="size", threads=1),
        "plan": lambda: plan_file.make_plan(source, objective="size", threads=1),
        "inspect": lambda: tersely.inspect(packed),
        "verify": lambda: tersely.verify(packed, source),
        "decompress": lambda: tersely.decompress(packed, copy, force=True),
    }


@pytest.mark.parametrize("kind", KINDS)
def test_work_is_in_proportion_to_the_number_of_tensors(kind: str, tmp_path: Path) -> None:
    count = KINDS[kind][2]
    few, more = (operations(tmp_path, times * count, kind) for times in (1, 4))
    for what, call in few.items():
        call()  # what is made once
        one, four = steps(call), steps(more[what])
        assert four < 5 * one, f"{what}: {one} steps for {count} {kind}, {four} for {4 * count}"


@pytest.mark.parametrize(
    ("shape", "tag"), [((), "F32"), ((), "BF16"), ((1, 1), "F32"), ((8,), "F8_E4M3"), ((80,), "F32")]
)
def test_what_no_description_pays_for_is_not_planned(
    shape: tuple[int, ...], tag: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = many(tmp_path / "a.safetensors", 12, shape, tag)
    asked: list[object] = []
    for where, name in ((choose, "candidates"), (encode_tensor, "request_of"), (plan_file, "request_of")):
        monkeypatch.setattr(where, name, lambda *given: asked.append(given))
    report = tersely.compress(source, tmp_path / "b.safetensors", objective="size")
    assert {(one.formulation, one.reason) for one in report.tensors} == {("dense", f"too small: {choose.TOO_SMALL}")}
    planned = plan_file.make_plan(source, objective="size")["tensors"].values()
    assert {one["reason"] for one in planned} == {f"too small: {choose.TOO_SMALL}"}
    name = next(iter(tersely.open(source)))
    (verdict,) = plan_file.explain(source, name)
    assert (verdict.candidate.node.formulation, verdict.note) == ("dense", f"too small: {choose.TOO_SMALL}")
    assert not asked
    tersely.decompress(tmp_path / "b.safetensors", tmp_path / "c.safetensors")
    assert (tmp_path / "c.safetensors").read_bytes() == source.read_bytes()


def test_nothing_coded_takes_less_than_what_counts_as_too_small(rng: np.random.Generator) -> None:
    """The bound holds for the smallest of all forms: of equal weights, of zeros, of few values."""
    forms: dict[str, int] = {}
    for dtype in (np.float32, np.int8, np.uint8, np.float16):
        for array in (np.zeros((16, 16), dtype), np.ones(400, dtype), np.eye(32, dtype=dtype), np.ones((64, 4), dtype)):
            words = raw_bytes(array).view(f"<u{array.itemsize}").reshape(array.shape)
            for objective in choose.OBJECTIVES:
                request = Request(words, array.dtype.name, objective=objective)
                for one in choose.candidates(request):
                    encoded = choose.encoded(one, array.shape, array.dtype.name, "portable", 1)
                    if one.node.formulation != "dense":
                        forms[one.node.formulation] = cost_bytes("w", encoded) - min_cost_bytes("w")
    assert len(forms) >= 5
    assert min(forms.values()) > 0
    assert set(forms) <= set(registry.NAMES)


def test_a_plan_still_codes_what_is_only_small(tmp_path: Path) -> None:
    array = np.full((4, 16), 0.5, np.float32)
    assert dense_cost_bytes("w", "F32", (4, 16)) < min_cost_bytes("w")
    safetensors.numpy.save_file({"w": array}, tmp_path / "a.safetensors")
    made = plan_file.make_plan(tmp_path / "a.safetensors")
    made["tensors"]["w"] |= {"formulation": "palette", "parameters": {}}
    report = tersely.compress(tmp_path / "a.safetensors", tmp_path / "b.safetensors", plan=made)
    assert report.tensors[0].formulation == "palette"
    assert tersely.load_file(tmp_path / "b.safetensors")["w"].decode().tobytes() == array.tobytes()


def test_the_shortest_description_is_as_short_as_its_words() -> None:
    assert writer.MIN_INFO_BYTES % 64 == 0
    assert 0 < writer.MIN_INFO_BYTES < 512


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_is_as_it_was(enabled: bool) -> None:
    def fails() -> None:
        with paused():
            with paused():
                assert not gc.isenabled()
            assert not gc.isenabled()
            raise KeyError

    (gc.enable if enabled else gc.disable)()
    try:
        with pytest.raises(KeyError):
            fails()
        assert gc.isenabled() == enabled
    finally:
        gc.enable()
