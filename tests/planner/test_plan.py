"""The planner: one hand-made matrix per rule, the JSON plan, what happens to plans that cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from support.arrays import normal, same_bits
from typer.testing import CliRunner

import tersely
from tersely.cli.__main__ import app
from tersely.codes import registry
from tersely.codes.protocol import Request
from tersely.core.dtypes import raw_bytes
from tersely.core.encoded import Node
from tersely.core.errors import ArgumentError, TerselyError
from tersely.files import plan_file
from tersely.planner import choose

SHAPE = (512, 1024)


def pruned(rng: np.random.Generator, zeros: float, dtype: type = np.float32) -> np.ndarray:
    array = normal(rng, SHAPE, np.dtype(dtype))
    array[rng.random(SHAPE) < zeros] = 0
    return array


def chosen(array: np.ndarray, objective: str, profile: str = "portable") -> str:
    encoded = choose.encode(array, objective=objective, profile=profile)
    child = encoded.node.children.get("values", Node("dense", 1)).formulation
    inside = "" if child == "dense" else f" {child}"
    return f"{encoded.node.formulation} {encoded.node.parameters.get('positions', '')}{inside}".strip()


@pytest.mark.parametrize(
    ("dtype", "zeros", "objective", "profile", "expected"),
    [
        (np.float32, 0.0, "balanced", "portable", "split"),
        (np.float32, 0.5, "balanced", "portable", "sparse bitmap"),
        (np.float32, 0.95, "balanced", "portable", "sparse gaps"),
        (np.float32, 0.95, "speed", "avx512", "sparse gaps"),
        (np.float32, 0.5, "size", "portable", "sparse bitmap split"),
        (np.float32, 0.8, "size", "portable", "sparse elias_fano split"),
        (np.float32, 0.95, "size", "portable", "sparse elias_fano split"),
        (ml_dtypes.bfloat16, 0.8, "balanced", "avx512", "sparse bitmap"),
        (ml_dtypes.bfloat16, 0.95, "speed", "portable", "sparse gaps"),
        (np.float16, 0.9, "speed", "portable", "sparse gaps"),
        (np.float16, 0.0, "balanced", "portable", "dense"),
        (np.float64, 0.9, "size", "portable", "dense"),
    ],
    ids=str,
)
def test_rules(
    dtype: type, zeros: float, objective: str, profile: str, expected: str, rng: np.random.Generator
) -> None:
    assert chosen(pruned(rng, zeros, dtype), objective, profile) == expected


@pytest.mark.parametrize(
    ("zeros", "words", "objective", "profile", "expected"),
    [
        (0.7, 200, "size", "portable", "sparse bitmap palette"),
        (0.9, 16, "size", "portable", "sparse elias_fano palette"),
        (0.9, 16, "balanced", "avx512", "sparse gaps palette"),
        (0.9, 16, "speed", "portable", "sparse gaps"),
        (0.3, 3, "balanced", "portable", "palette"),
    ],
)
def test_rules_of_shared_values(
    zeros: float, words: int, objective: str, profile: str, expected: str, rng: np.random.Generator
) -> None:
    table = normal(rng, (words,), np.dtype(np.float32))
    array = table[np.minimum(np.abs(rng.standard_normal(SHAPE)) * words / 4, words - 1).astype(int)]
    array[rng.random(SHAPE) < zeros] = 0
    assert chosen(array, objective, profile) == expected


@pytest.mark.parametrize(
    ("n", "m", "dtype", "objective", "expected"),
    [
        (2, 4, ml_dtypes.bfloat16, "speed", "sparse n_of_m"),
        (2, 4, ml_dtypes.bfloat16, "size", "sparse n_of_m split"),
        (1, 4, np.float32, "speed", "sparse n_of_m"),
        (4, 8, np.float16, "size", "sparse n_of_m split"),  # a bit for every weight, as a bitmap, but no directory
    ],
    ids=str,
)
def test_patterns(n: int, m: int, dtype: type, objective: str, expected: str, rng: np.random.Generator) -> None:
    array = normal(rng, SHAPE, np.dtype(dtype)).reshape(-1, m)
    order = np.argsort(rng.random(array.shape), axis=1)
    array[order >= n] = 0
    found = chosen(array.reshape(SHAPE), objective)
    assert found.split(" split")[0] == expected.split(" split")[0]
    assert (" split" in expected) <= (" split" in found)


def test_codes_without_a_kernel_have_a_cost_of_their_own(rng: np.random.Generator) -> None:
    """Positive powers of two: every byte of sign and mantissa is the same, and is taken weight by weight."""
    powers = np.ldexp(np.float32(1), rng.integers(-9, -1, SHAPE)).astype(np.float32)
    encoded = choose.encode(powers, formulation="split")
    work = registry.work(encoded)
    assert work is not None
    assert str(work.kernel) == "split constant"
    assert {chosen(powers, "speed", "avx512"), chosen(powers, "balanced")} <= {"palette", "row_palette"}


def test_a_view_without_kernels_is_not_worth_a_directory(rng: np.random.Generator) -> None:
    """A folded matrix is smaller by some entries of a directory, and is decoded anew for each product."""
    array = normal(rng, (192, 4608), np.dtype(np.float32))
    array[rng.random(array.shape) < 0.8] = 0
    best, *others = choose.decide(Request(array.view("<u4"), "float32", objective="size"))
    folded = [one.candidate.nbytes for one in others if one.candidate.geometry.view == "folded"]
    assert best.candidate.geometry.view == "matrix"
    assert min(folded) < best.candidate.nbytes


def test_sizes_are_exact_and_nothing_beats_the_choice_under_size(rng: np.random.Generator) -> None:
    for zeros in (0.0, 0.3, 0.6, 0.9, 1.0):
        array = pruned(rng, zeros)
        words = raw_bytes(array).view("<u4").reshape(SHAPE)
        for objective in choose.OBJECTIVES:
            best, *others = choose.decide(Request(words, "float32", objective=objective))
            assert best.reason_rejected == ""
            assert all(one.reason_rejected for one in others)
            for one in (best, *others):
                components = one.candidate.components(1)
                assert sum(data.nbytes for data in components.values()) == one.candidate.nbytes
                if objective == "size":
                    assert choose.SIZE_SLACK * one.candidate.nbytes >= best.candidate.nbytes
                if objective == "balanced":
                    dense = next(k for k in (best, *others) if k.candidate.node.formulation == "dense")
                    assert best.ns <= dense.ns


def test_planned_tensors_come_back(rng: np.random.Generator) -> None:
    for zeros in (0.0, 0.5, 0.95, 1.0):
        for dtype in (np.float32, ml_dtypes.bfloat16, np.float16):
            array = pruned(rng, zeros, dtype)
            for objective in choose.OBJECTIVES:
                assert same_bits(tersely.encode(array, objective=objective).decode(), array)


@pytest.fixture
def source(tmp_path: Path, rng: np.random.Generator) -> Path:
    path = tmp_path / "model.safetensors"
    tensors = {"full": pruned(rng, 0.0), "pruned": pruned(rng, 0.9), "half": pruned(rng, 0.5), "step": np.arange(3)}
    safetensors.numpy.save_file(tensors, path)
    return path


def test_a_plan_compresses_to_what_the_planner_would(source: Path, tmp_path: Path) -> None:
    for objective in ("size", "balanced"):
        document = plan_file.make_plan(source, objective=objective)
        (tmp_path / "plan.json").write_text(json.dumps(document))
        options = {"objective": objective, "force": True}
        tersely.compress(source, tmp_path / "a", **options)
        tersely.compress(source, tmp_path / "b", plan=tmp_path / "plan.json", **options)
        assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_an_edited_plan_is_obeyed(source: Path, tmp_path: Path) -> None:
    document = plan_file.make_plan(source)
    document["tensors"]["pruned"] = {"formulation": "sparse", "parameters": {"positions": "bitmap"}}
    document["tensors"]["half"] = {"formulation": "dense"}
    del document["tensors"]["full"]
    tersely.compress(source, tmp_path / "out", plan=document)
    found = tersely.load_file(tmp_path / "out")
    assert found["pruned"].parameters == {"positions": "bitmap"}
    assert found["half"].formulation == "dense"
    assert found["full"].formulation == "split"
    tersely.decompress(tmp_path / "out", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == source.read_bytes()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"tersely_plan": 2}, "not a plan"),
        ({"tensors": []}, "no 'tensors'"),
        ({"tensors": {"nobody": {"formulation": "dense"}}}, "names 'nobody', which the source does not have"),
        ({"tensors": {"full": {"formulation": "zip"}}}, "the plan for 'full': unknown formulation 'zip'"),
        ({"tensors": {"full": {}}}, "the plan for 'full' names no formulation"),
        ({"tensors": {"full": {"formulation": "dense", "colour": 1}}}, "unknown field 'colour'"),
        ({"tensors": {"full": {"formulation": "dense", "view": "stack"}}}, "view is 'folded' or left out"),
        ({"tensors": {"full": {"formulation": "sparse", "parameters": {"positions": "x"}}}}, "unknown positions 'x'"),
        ({"tensors": {"full": {"formulation": "sparse", "parameters": {"a": 1}}}}, "no parameter 'a'"),
        ({"tensors": {"full": {"formulation": "split", "parameters": {"objective": 1}}}}, "the plan for 'full'"),
        ({"tensors": {"step": {"formulation": "split"}}}, "the plan for 'step'"),
    ],
    ids=str,
)
def test_impossible_plans_are_refused(source: Path, tmp_path: Path, change: dict, sentence: str) -> None:
    with pytest.raises(ArgumentError, match=sentence.replace("'", ".")):
        tersely.compress(source, tmp_path / "out", plan={**plan_file.make_plan(source), **change})
    assert not (tmp_path / "out").exists()


def test_the_command(source: Path, tmp_path: Path) -> None:
    run = CliRunner().invoke
    result = run(app, ["plan", str(source), "-o", str(tmp_path / "p.json")])
    assert result.exit_code == 0, result.output
    assert "sparse gaps" in result.output
    assert (
        run(app, ["compress", str(source), "-o", str(tmp_path / "o"), "--plan", str(tmp_path / "p.json")]).exit_code
        == 0
    )
    document = json.loads(run(app, ["plan", str(source), "--json"]).output)
    assert document == json.loads((tmp_path / "p.json").read_text())
    result = run(app, ["plan", str(source), "--explain", "pruned"])
    assert "chosen" in result.output
    assert "dense" in result.output
    rows = json.loads(run(app, ["plan", str(source), "--explain", "pruned", "--json"]).output)
    assert [row["reason_rejected"] for row in rows].count("") == 1
    with pytest.raises(TerselyError, match="no tensor 'nobody'"):
        plan_file.explain(source, "nobody")


@pytest.mark.parametrize("profile", ["avx2", "avx512"])
@pytest.mark.parametrize("objective", ["balanced", "speed"])
def test_networks_code_float16(profile: str, objective: str) -> None:
    """A network would hold a dense weight as float32: products of their own read it as it is, which is faster."""
    weight = (np.random.default_rng(3).standard_normal((96, 256)) * 0.03).astype(np.float16)
    for pixels, coded in ((0, False), (1, True), (196, True)):
        found = choose.encode(weight, objective=objective, profile=profile, pixels=pixels)
        assert (found.node.formulation != "dense") == coded
    assert found.nbytes_stored < 0.97 * weight.nbytes


@pytest.mark.parametrize("profile", ["portable", "avx2", "avx512"])
@pytest.mark.parametrize(
    "layers",
    [
        [((64, 3, 3, 3), 50176), ((64, 64, 3, 3), 50176), ((256, 256, 3, 3), 3136), ((1000, 1024), 1)],
        [((32, 3, 3, 3), 12544), ((32, 1, 3, 3), 12544), ((96, 16, 1, 1), 12544), ((320, 960, 1, 1), 49)],
        [((384, 384), 32), ((1536, 384), 32), ((384, 1536), 32)],
    ],
    ids=["few channels, many pixels, one row", "inverted bottlenecks", "tokens"],
)
def test_no_network_is_slower_than_its_dense_plan(
    layers: list[tuple[tuple[int, ...], int]], profile: str, rng: np.random.Generator
) -> None:
    """By the planner's own account: layer by layer and so in their sum, while all of them together are smaller."""
    plain = held = 0
    for shape, pixels in layers:
        words = raw_bytes(normal(rng, shape, np.dtype(np.float32))).view(np.uint32).reshape(shape)
        best, *others = choose.decide(Request(words, "float32", "out_in", "balanced", profile, 1, pixels=pixels))
        dense = next(one for one in (best, *others) if one.candidate.node.formulation == "dense")
        assert best.ns <= dense.ns
        plain, held = plain + dense.candidate.nbytes, held + best.candidate.nbytes
    assert plain > 1.13 * held


def integers(shape: tuple[int, ...], zeros: float) -> np.ndarray:
    """Numbers of int8 with a standard deviation of 12 steps, some of them pruned."""
    rng = np.random.default_rng(5)
    found = np.clip(np.rint(rng.normal(0, 12, shape)), -127, 127).astype(np.int8)
    found[rng.random(shape) < zeros] = 0
    return found


@pytest.mark.parametrize("profile", ["portable", "avx2", "avx512"])
@pytest.mark.parametrize(
    ("shape", "zeros", "most"), [((64, 64, 3, 3), 0.0, 6.1), ((64, 64, 3, 3), 0.8, 2.7), ((256, 1, 1, 256), 0.0, 6.1)]
)
def test_convolutions_of_integers_are_coded(profile: str, shape: tuple[int, ...], zeros: float, most: float) -> None:
    """Networks decode them once for all pixels: bits of a weight. [outputs, 1, 1, inputs] has no panels to walk."""
    weight = integers(shape, zeros)
    assert choose.encode(weight, profile=profile).nbytes_stored * 8 <= most * weight.size
    assert choose.encode(weight, profile=profile, objective="speed").nbytes_stored <= weight.nbytes


@pytest.mark.parametrize(
    ("profile", "pixels", "coded"),
    [("avx2", 49, False), ("avx2", 196, True), ("avx512", 49, False), ("avx512", 784, True)],
)
def test_few_pixels_do_not_pay_for_decoding_integers(profile: str, pixels: int, coded: bool) -> None:
    found = choose.encode(integers((64, 64, 3, 3), 0.0), profile=profile, pixels=pixels)
    assert (found.node.formulation != "dense") == coded


@pytest.mark.parametrize(("profile", "most"), [("avx512", 2.7), ("portable", 8.0)])
def test_a_pruned_matrix_of_integers_is_coded_where_its_product_is_as_fast(profile: str, most: float) -> None:
    """80 % zeros: with AVX-512 a bitmap's product takes 0.75 to 0.9 of the dense one's time, with AVX2 2 to 3 times as long."""
    weight = integers((512, 1024), 0.8)
    found = choose.encode(weight, profile=profile)
    assert found.nbytes_stored * 8 <= most * weight.size
    assert (found.node.formulation == "sparse") == (profile == "avx512")


def test_kernels_of_integers_are_not_said_to_be_slow() -> None:
    kernel, matrix = integers((64, 64, 3, 3), 0.0), integers((64, 576), 0.0)
    forms = {"formulation": "integer", "code": "distances"}
    slow = [choose.slow_here(registry.check(choose.encode(one, **forms))) for one in (kernel, matrix)]
    assert slow == [False, True]
    positions = choose.encode(kernel, formulation="sparse", positions="elias_fano")
    assert choose.slow_here(registry.check(positions))
