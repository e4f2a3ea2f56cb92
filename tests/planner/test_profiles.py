"""Measured profiles, plans at a batch, plans within a number of bits per weight."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from support.arrays import needs_native, normal
from typer.testing import CliRunner

import tersely
from tersely.backends.cpu import isa
from tersely.cli.__main__ import app
from tersely.codes.protocol import Request
from tersely.core.dtypes import raw_bytes
from tersely.core.errors import ArgumentError, TerselyError
from tersely.files import plan_file
from tersely.planner import choose, cost_model, knapsack, profiles
from tersely.report import calibrate

SHAPE = (256, 512)


def words(array: np.ndarray) -> np.ndarray:
    return raw_bytes(array).view(f"<u{array.itemsize}").reshape(array.shape)


def pruned(rng: np.random.Generator, zeros: float) -> np.ndarray:
    array = normal(rng, SHAPE, np.dtype(np.float32))
    array[rng.random(SHAPE) < zeros] = 0
    array[0, :8] = 1  # no pattern n:m
    return array


def profile_with(path: Path, **per_weight: float) -> Path:
    """A profile under which a kernel takes so many nanoseconds a weight that it visits."""
    every = choose.candidates(Request(words(pruned(np.random.default_rng(0), 0.97)), "float32"))
    times = {str(one.kernel): 1000.0 for one in every}
    for levels in (1, 2, 3, 4):
        times |= {f"split layered {levels}": 1000.0, f"sparse bitmap + split layered {levels}": 1000.0}
    for columns in ("rows", *(f"groups {1 << bits}" for bits in range(4, 11))):
        times |= {f"row_palette {bits} {columns}": 1000.0 for bits in (1, 2, 4, 8, "coded")}
    times |= {name.replace("_", " "): ns for name, ns in per_weight.items()}
    table = {
        name: {"float32": {"1": [0, 0, ns / 4, 0] if name == "dense" else [0, ns, 0, 0]}} for name, ns in times.items()
    }
    path.write_text(json.dumps({"tersely_profile": 1, "machine": "portable", "costs": table}))
    return path


@pytest.fixture
def source(tmp_path: Path, rng: np.random.Generator) -> Path:
    path = tmp_path / "model.safetensors"
    tensors = {"full": pruned(rng, 0.0), "half": pruned(rng, 0.5), "few": pruned(rng, 0.95), "step": np.arange(3)}
    safetensors.numpy.save_file(tensors, path)
    return path


def test_measured_times_decide(tmp_path: Path, rng: np.random.Generator) -> None:
    """The same matrix under three made-up machines: the kernel that is fast there is taken."""
    array = pruned(rng, 0.9)
    for fast, expected in (("sparse_bitmap", "bitmap"), ("sparse_gaps", "gaps")):
        slow = {"dense": 1.0, "sparse_bitmap": 0.5, "sparse_gaps": 9.0}
        path = profile_with(tmp_path / f"{fast}.json", **{**slow, fast: 0.01})
        encoded = choose.encode(array, objective="speed", profile=path)
        assert encoded.node.parameters == {"positions": expected}
        assert encoded.profile == "calibrated"
    measured = profiles.resolve(profile_with(tmp_path / "slow", dense=0.001)).costs
    found = choose.decide(Request(words(array), "float32", costs=measured))
    assert str(found[0].candidate.kernel) == "dense"
    assert {one.reason_rejected for one in found[1:]} <= {"slower than dense", "not smaller than dense"}


def test_balanced_takes_what_is_smaller_by_more_than_the_square_of_its_time_and_nothing_slower_than_dense(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    """Of bitmap (larger here) and gaps (smaller): gaps while they take at most 1.1 x the bitmap's time, or the root of what
    they are smaller by."""
    array = pruned(rng, 0.97)
    request = Request(words(array), "float32")
    offered = {str(one.kernel): one for one in reversed(choose.candidates(request))}
    entries = offered["sparse gaps"].entries
    root = (offered["sparse bitmap"].nbytes / offered["sparse gaps"].nbytes) ** 0.5
    assert root > 1.1
    for times, expected in ((1.09, "sparse gaps"), (0.98 * root, "sparse gaps"), (1.02 * root, "sparse bitmap")):
        path = profile_with(tmp_path / "p", dense=9, sparse_bitmap=1, sparse_gaps=times * array.size / entries)
        best, *others = choose.decide(Request(words(array), "float32", costs=profiles.resolve(path).costs))
        assert str(best.candidate.kernel) == expected
        sizes = {str(one.candidate.kernel): one.candidate.nbytes for one in (best, *others)}
        assert sizes["sparse gaps"] < sizes["sparse bitmap"]
    # Dense is only just the fastest but one: the smaller form within a tenth of the bitmap is slower than it.
    path = profile_with(tmp_path / "p", dense=1.05, sparse_bitmap=1, sparse_gaps=1.08 * array.size / entries)
    best, *others = choose.decide(Request(words(array), "float32", costs=profiles.resolve(path).costs))
    assert str(best.candidate.kernel) == "sparse bitmap"
    assert (
        next(one.reason_rejected for one in others if str(one.candidate.kernel) == "sparse gaps") == "slower than dense"
    )


def test_times_between_and_beyond_measured_batches(rng: np.random.Generator) -> None:
    dense = choose.candidates(Request(words(pruned(rng, 0.0)), "float32"))[0]
    table = {"dense": {"float32": {1: (100.0, 0.0, 0.0, 0.0), 4: (400.0, 0.0, 0.0, 0.0), 16: (1000.0, 0.0, 0.0, 0.0)}}}
    for batch, ns in ((1, 100), (2, 200), (10, 700), (16, 1000), (28, 1600)):
        assert cost_model.predict_ns(dense, "float32", "portable", batch, table) == pytest.approx(ns)
    shipped = [cost_model.predict_ns(dense, "float32", "portable", batch) for batch in (1, 16, 256)]
    assert shipped == sorted(shipped)
    assert cost_model.predict_ns(dense, "bfloat16", "portable", 1, table) == cost_model.predict_ns(
        dense, "bfloat16", "portable"
    )


def test_the_batch_is_what_is_planned_for(rng: np.random.Generator) -> None:
    """Gaps win for one row of x; for many, where every entry is visited for each, they do not."""
    array = pruned(rng, 0.85)
    kernels = [
        str(choose.decide(Request(words(array), "float32", objective="speed", batch=batch))[0].candidate.kernel)
        for batch in (1, 4)
    ]
    times = [
        {str(one.candidate.kernel): one.ns for one in choose.decide(Request(words(array), "float32", batch=batch))}
        for batch in (1, 64)
    ]
    assert times[0]["sparse bitmap"] < times[1]["sparse bitmap"]
    assert kernels[0] in ("sparse gaps", "sparse bitmap")
    for wrong in (0, -1, 1.5, True, "4"):
        with pytest.raises(ArgumentError, match="batch must be an integer"):
            choose.encode(array, batch=wrong)  # type: ignore[arg-type]


@needs_native
def test_calibrating_measures_every_kernel_that_the_planner_asks_about(tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    document = calibrate.calibrate(
        threads=1,
        batches=(1, 4),
        dtypes=(np.dtype(np.float32),),
        shapes=((64, 64), (128, 64), (64, 128)),
        seconds=0.0,
        working_set_bytes=100_000,
        progress=lambda done, total, name: steps.append((done, total)),
    )
    assert document["isa"] == isa.active()
    assert document["threads"] == 1
    assert steps[-1][0] == steps[-1][1] == len(steps) - 1
    (tmp_path / "p.json").write_text(json.dumps(document))
    found = profiles.resolve(tmp_path / "p.json")
    assert {"dense", "split packed", "sparse bitmap", "sparse gaps"} <= set(found.costs)
    for dtypes in found.costs.values():
        assert all(set(rows) == {1, 4} for rows in dtypes.values())
        assert all(any(times) for rows in dtypes.values() for times in rows.values())


def test_the_fit_finds_the_sum_that_times_were_made_from(rng: np.random.Generator) -> None:
    true = np.array([1500.0, 0.05, 0.02, 3.0])
    points = []
    for rows, columns, zeros in itertools.product((64, 256, 1024), (64, 512), (0.5, 0.9)):
        array = normal(rng, (rows, columns), np.dtype(np.float32))
        array[rng.random(array.shape) < zeros] = 0
        candidate = next(
            c for c in choose.candidates(Request(words(array), "float32")) if str(c.kernel) == "sparse bitmap"
        )
        points.append((candidate, float(np.dot(true, cost_model.features(candidate)))))
    assert calibrate.fit_costs(points) == pytest.approx(true, rel=1e-3)
    # Times that shrink with size fit no sum of times of at least 0 exactly: none of them is below 0 all the same.
    assert (calibrate.fit_costs([(c, 1e6 / ns) for c, ns in points]) >= 0).all()


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ("{", "cannot be read"),
        ([], "is not a profile"),
        ({"tersely_profile": 2}, "is not a profile"),
        ({"machine": "vax"}, "'machine' must be one of"),
        ({"costs": {}}, "has no 'costs'"),
        ({"costs": {"dense": []}}, "the costs of 'dense'"),
        ({"costs": {"dense": {"float32": {}}}}, "the costs of 'dense'"),
        ({"costs": {"dense": {"float32": {"1": [1, 2, 3]}}}}, "the costs of 'dense'"),
        ({"costs": {"dense": {"float32": {"0": [1, 2, 3, 4]}}}}, "the costs of 'dense'"),
        ({"costs": {"dense": {"float32": {"x": [1, 2, 3, 4]}}}}, "the costs of 'dense'"),
        ({"costs": {"dense": {"float32": {"1": [1, 2, 3, -4]}}}}, "the costs of 'dense'"),
        ({"costs": {"dense": {"float32": {"1": [1, 2, 3, float("nan")]}}}}, "the costs of 'dense'"),
        ({"costs": {"dense": {"float32": {"1": [1, 2, 3, "4"]}}}}, "the costs of 'dense'"),
    ],
    ids=str,
)
def test_files_that_are_no_profile_are_refused(tmp_path: Path, document: Any, sentence: str) -> None:
    path = tmp_path / "p.json"
    base = {"tersely_profile": 1, "machine": "portable", "costs": {"dense": {"float32": {"1": [1, 2, 3, 4]}}}}
    whole = {**base, **document} if isinstance(document, dict) else document
    path.write_text(document if isinstance(document, str) else json.dumps(whole))
    with pytest.raises(ArgumentError, match=sentence.replace("'", ".")):
        profiles.resolve(path)
    with pytest.raises(ArgumentError, match="unknown profile"):
        profiles.resolve(tmp_path / "nothing")


def test_a_profile_in_files_and_commands(source: Path, tmp_path: Path) -> None:
    path = profile_with(tmp_path / "p.json", dense=1, split_packed=1, sparse_bitmap=0.1, sparse_gaps=9)
    report = tersely.compress(source, tmp_path / "out", profile=path)
    assert report.profile == "calibrated"
    found = tersely.load_file(tmp_path / "out", check="full")
    assert found["few"].parameters == {"positions": "bitmap"}
    assert found["few"].encoded.profile == "calibrated"
    run = CliRunner().invoke
    shown = run(app, ["plan", str(source), "--profile", str(path), "--batch", "4", "--json"])
    assert shown.exit_code == 0, shown.output
    document = json.loads(shown.output)
    assert (document["profile"], document["batch"]) == ("calibrated", 4)
    result = run(app, ["plan", str(source), "--profile", "nothing.json"])
    assert "unknown profile" in str(result.exception)


@needs_native
def test_the_command_calibrate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibrate, "SHAPES", ((64, 64),))
    whole = calibrate.calibrate

    def small(**options: Any) -> dict[str, Any]:
        return whole(shapes=((64, 64),), working_set_bytes=100_000, dtypes=(np.dtype(np.float32),), **options)

    monkeypatch.setattr(calibrate, "calibrate", small)
    path = tmp_path / "mine.json"
    arguments = ["calibrate", "-o", str(path), "--threads", "1", "--batch", "1", "--seconds", "0"]
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.output) == json.loads(path.read_text())
    assert "exists; choose another" in str(CliRunner().invoke(app, arguments).exception)
    result = CliRunner().invoke(app, [*arguments, "--force"])
    assert "sparse bitmap" in result.output


def best_by_trial(tensors: list[list[knapsack.Choice]], limit: float) -> float | None:
    sums = [
        (sum(choice[0] for choice in picked), sum(choice[1] for choice in picked))
        for picked in itertools.product(*tensors)
    ]
    return min((value for weight, value in sums if weight <= limit), default=None)


def test_budgets_against_every_combination(rng: np.random.Generator) -> None:
    for _ in range(200):
        tensors = [
            [(int(rng.integers(100)), int(rng.integers(100))) for _ in range(rng.integers(1, 5))] for _ in range(5)
        ]
        least = knapsack.lightest(tensors)
        assert knapsack.choose(tensors, least - 1) is None
        for limit in (least, least + 30, least + 100, 1000):
            picked = knapsack.choose(tensors, limit)
            assert picked is not None
            assert sum(options[k][0] for options, k in zip(tensors, picked, strict=True)) <= limit
            value = sum(options[k][1] for options, k in zip(tensors, picked, strict=True))
            best = best_by_trial(tensors, limit)
            assert best is not None
            # Off the optimum by less than the largest step of one tensor.
            assert best <= value <= best + max(max(v for _, v in t) - min(v for _, v in t) for t in tensors)
            if limit == 1000:
                assert value == best


def fewest_bits(source: Path) -> float:
    """As the refusal of an impossible target names it."""
    with pytest.raises(TerselyError, match="cannot be reached: the smallest plan takes") as caught:
        plan_file.make_plan(source, target_bits=0.5)
    return float(str(caught.value).rpartition(" ")[2])


def test_a_target_is_reached_by_the_whole_file(source: Path, tmp_path: Path) -> None:
    weights = 3 * SHAPE[0] * SHAPE[1] + 3
    times = []
    fewest = fewest_bits(source)
    for target in (fewest, fewest + 0.2, fewest + 0.6, 33.0):
        out = tmp_path / "out"
        tersely.compress(source, out, target_bits=target, force=True)
        assert out.stat().st_size * 8 / weights <= target
        document = plan_file.make_plan(source, target_bits=target)
        assert out.stat().st_size * 8 / weights <= document["bits_per_weight"] <= target
        times.append(sum(entry.get("predicted_us", 0) for entry in document["tensors"].values()))
        tersely.decompress(out, tmp_path / "back", force=True)
        assert (tmp_path / "back").read_bytes() == source.read_bytes()
    assert times == sorted(times, reverse=True)
    assert times[0] > times[-1]


def test_targets_out_of_reach_name_the_fewest_bits(source: Path, tmp_path: Path) -> None:
    fewest = fewest_bits(source)
    with pytest.raises(TerselyError, match="3 bits per weight cannot be reached"):
        tersely.compress(source, tmp_path / "out", target_bits=3)
    assert not (tmp_path / "out").exists()
    tersely.compress(source, tmp_path / "out", target_bits=fewest)
    with pytest.raises(TerselyError, match="cannot be reached"):
        tersely.compress(source, tmp_path / "out", target_bits=fewest - 0.01, force=True)
    for wrong in (0, -1, float("nan"), float("inf"), "12"):
        with pytest.raises(ArgumentError, match="`target_bits` must be a number above 0"):
            plan_file.make_plan(source, target_bits=wrong)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="not both"):
        tersely.compress(source, tmp_path / "out", target_bits=20, plan={}, force=True)
    result = CliRunner().invoke(app, ["plan", str(source), "--target-bits", "20"])
    assert "bits per weight" in result.output
