"""Plans as files: the same bytes as without one, edits that cannot be, options that a plan leaves no room for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from support.arrays import normal
from typer.testing import CliRunner

import tersely
from tersely.cli.__main__ import app
from tersely.core.errors import ArgumentError
from tersely.files import plan_file, pooled


@pytest.fixture
def source(tmp_path: Path, rng: np.random.Generator) -> Path:
    path = tmp_path / "model.safetensors"
    pruned = normal(rng, (64, 256), np.dtype(np.float32))
    pruned[rng.random(pruned.shape) < 0.8] = 0
    tensors = {"w": normal(rng, (64, 256), np.dtype(np.float32)), "pruned": pruned, "step": np.arange(3)}
    safetensors.numpy.save_file(tensors, path)
    return path


def same_with_and_without_a_plan(source: Path, folder: Path, **options: Any) -> dict[str, Any]:
    document = plan_file.make_plan(source, **options)
    (folder / "plan.json").write_text(json.dumps(document))
    tersely.compress(source, folder / "a", force=True, **options)
    tersely.compress(source, folder / "b", force=True, plan=folder / "plan.json")
    assert (folder / "a").read_bytes() == (folder / "b").read_bytes()
    return document


def test_small_tensors_are_planned_as_they_are_compressed(tmp_path: Path, rng: np.random.Generator) -> None:
    dtypes = [np.dtype(np.float32), np.dtype(np.float16), np.dtype(np.int8)]
    shapes = [(3, 32, 32), (16, 16), (24, 24), (32, 32), (40, 48), (64, 64), (7,), (16, 3, 3, 3), (600,), (0, 5), ()]
    tensors = {
        f"{dtype} {shape}": np.asarray(rng.standard_normal(shape) * 9).astype(dtype)
        for dtype in dtypes
        for shape in shapes
    }
    tensors |= {f"zero {shape}": np.zeros(shape, np.float32) for shape in shapes}
    safetensors.numpy.save_file(tensors, tmp_path / "model.safetensors")
    for objective in ("size", "balanced", "speed"):
        document = same_with_and_without_a_plan(tmp_path / "model.safetensors", tmp_path, objective=objective)
        reports = {one.name: one for one in tersely.inspect(tmp_path / "a").tensors}
        for name, entry in document["tensors"].items():
            assert reports[name].code.split()[0] == entry["formulation"], name
            chosen = plan_file.explain(tmp_path / "model.safetensors", name, objective=objective)[0]
            assert chosen.candidate.node.formulation == entry["formulation"], name
        small = pooled.REASON if objective != "speed" else "too small: its description"
        assert any(small in entry["reason"] for entry in document["tensors"].values())


@pytest.mark.parametrize(
    "name",
    ["mobilenetv2-ptq-int8", "cifar10-resnet20-fp32", "cifar10-resnet8-mlperftiny-fp32", "face-detection-fp16"],
)
@pytest.mark.parametrize(
    "options", [{"objective": "size"}, {}, {"objective": "speed", "profile": "avx512", "batch": 4}]
)
def test_real_models_are_planned_as_they_are_compressed(
    models: Path, name: str, options: dict[str, Any], tmp_path: Path
) -> None:
    same_with_and_without_a_plan(models / f"{name}.safetensors", tmp_path, **options)


def test_what_a_plan_leaves_out_is_planned_by_what_it_was_made_for(source: Path, tmp_path: Path) -> None:
    options = {"objective": "size", "profile": "avx512", "batch": 4}
    document = plan_file.make_plan(source, **options)
    del document["tensors"]["pruned"]
    tersely.compress(source, tmp_path / "a", **options)
    report = tersely.compress(source, tmp_path / "b", plan=document)
    assert (report.objective, report.profile) == ("size", "avx512")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert tersely.compress(source, tmp_path / "c", plan=document, **options).objective == "size"
    for wrong in ({"objective": "speed"}, {"batch": 1}, {"profile": "avx2"}):
        with pytest.raises(ArgumentError, match=f"the plan was made for {next(iter(wrong))} "):
            tersely.compress(source, tmp_path / "d", plan=document, **wrong)
    bare = {"tersely_plan": 1, "tensors": {"w": {"formulation": "dense"}}}
    assert tersely.compress(source, plan=bare, objective="size", dry_run=True).objective == "size"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"objective": "foo"}, "unknown objective 'foo'"),
        ({"objective": ["size"]}, "unknown objective"),
        ({"profile": 7}, "unknown profile 7"),
        ({"profile": "/dev/null"}, "unknown profile '/dev/null'"),
        ({"batch": "x"}, "batch must be an integer"),
        ({"batch": True}, "batch must be an integer"),
        ({"tersely_plan": True}, "not a plan"),
        ({"tersely_plan": 1.0}, "not a plan"),
        ({"colour": 1}, "unknown field 'colour'"),
        (
            {"tensors": {"w": {"formulation": "dense", "shape": [256, 64]}}},
            r"'w' is for shape \[256, 64\], and the source",
        ),
        (
            {"tensors": {"w": {"formulation": "dense", "dtype": "float16"}}},
            "'w' is for dtype float16, and the source has",
        ),
    ],
    ids=str,
)
def test_plans_for_something_else_are_refused(source: Path, change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ArgumentError, match=sentence):
        tersely.compress(source, plan={**plan_file.make_plan(source), **change}, dry_run=True)


SPARSE = {"values": "palette", "code": "layered"}


@pytest.mark.parametrize(
    ("formulation", "parameters", "sentence"),
    [
        *(
            (formulation, {**base, "widths": widths}, "widths must be a few integers")
            for formulation, base in (
                ("split", {"code": "layered"}),
                ("palette", {"code": "layered"}),
                ("affine", {"code": "layered"}),
                ("row_palette", {"code": "layered"}),
                ("sparse", SPARSE),
                ("sparse", {"values": "split", "code": "layered"}),
            )
            for widths in ([4] * 9, [99999999999999999999], [-1], "22", [2.7], [2.0], [True], [], 3, {"2": 2}, [[2]])
        ),
        *(
            ("split", {word: 1}, f"no parameter '{word}'")
            for word in ("threads", "objective", "profile", "view", "batch", "orientation", "formulation", "array")
        ),
        ("split", {"code": "packed", "bits": 4.0}, "packed codes take bits=4"),
        ("split", {"int4_columns": 8}, "int4_columns belongs to formulation 'integer'"),
        *(
            ("sparse", {"positions": "n_of_m", **n}, "is no pattern")
            for n in ({"n": 2.0, "m": 4}, {"n": [2]}, {"n": True})
        ),
        ("sparse", {"values": ["x"]}, r"unknown values \['x'\]"),
        ("sparse", {"values": "palette", "code": "packed", "packed_bits": 1.0}, "packed_bits must be an integer"),
        ("palette", {"code": "grid", "smallest": "no"}, "smallest is True or False"),
        ("affine", {"columns": 16.0}, "columns of a group are"),
        ("blocks", {"block": ["row"]}, "unknown block"),
    ],
    ids=str,
)
def test_parameters_that_merely_look_right_are_refused(
    source: Path, formulation: str, parameters: dict[str, Any], sentence: str
) -> None:
    entry = {"formulation": formulation, "parameters": parameters}
    with pytest.raises(ArgumentError, match=f"^the plan for 'w': .*{sentence}"):
        tersely.compress(source, plan={"tersely_plan": 1, "tensors": {"w": entry}}, dry_run=True)
    if not {"objective", "profile", "view", "threads", "array", "formulation", "batch", "orientation"} & set(
        parameters
    ):
        with pytest.raises(ArgumentError):
            tersely.encode(np.ones((64, 256), np.float32), formulation, **parameters)


def test_a_plan_that_is_nested_without_end_is_refused(source: Path, tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text("[" * 100_000)
    with pytest.raises(ArgumentError, match="cannot be read"):
        tersely.compress(source, plan=tmp_path / "p.json", dry_run=True)


def test_options_that_would_be_ignored_are_refused_or_noted(source: Path, tmp_path: Path) -> None:
    def run(*arguments: object) -> Any:
        return CliRunner().invoke(app, [*map(str, arguments)])

    plan = tmp_path / "p.json"
    assert run("plan", source, "-o", plan, "--objective", "size").exit_code == 0
    for extra in (("--objective", "speed"), ("--batch", "4"), ("--profile", "avx512")):
        result = run("compress", source, "--plan", plan, "--dry-run", *extra)
        assert "leave it out, or make another plan" in str(result.exception), extra
    assert json.loads(run("compress", source, "--plan", plan, "--dry-run", "--json").output)["objective"] == "size"
    for command in ("plan", "compress"):
        result = run(command, source, "--target-bits", "20", "--objective", "size")
        assert "`target_bits` takes the place of `objective`" in str(result.exception), command
    for extra in (("--target-bits", "3"), ("-o", tmp_path / "q.json"), ("--include", "w"), ("--exclude", "w")):
        result = run("plan", source, "--explain", "w", *extra)
        assert (result.exit_code, "does not go with" in result.output) == (2, True), extra
    assert not (tmp_path / "q.json").exists()
    report = tersely.compress(source, include=["nothing*", "w"], exclude="neither", dry_run=True)
    assert report.notes == ("`include` 'nothing*' matches no tensor", "`exclude` 'neither' matches no tensor")
    assert "note: --include 'nothing*' matches no tensor" in run("plan", source, "--include", "nothing*").output


def test_tensors_that_stay_dense_are_explained_too(source: Path) -> None:
    (only,) = plan_file.explain(source, "step")
    assert (only.candidate.node.formulation, only.reason_rejected) == ("dense", "")
    result = CliRunner().invoke(app, ["plan", str(source), "--explain", "step"])
    assert "chosen: dtype int64 is stored as it is" in result.output


def test_labels_say_words_for_what_is_true(tmp_path: Path) -> None:
    tensors = {"w": (np.arange(4096) % 11).reshape(64, 64).astype(np.int8)}
    safetensors.numpy.save_file(tensors, tmp_path / "m.safetensors")
    labels = [
        plan_file.label(one.candidate) for one in plan_file.explain(tmp_path / "m.safetensors", "w", objective="size")
    ]
    assert "integer fields, smallest" in labels
    assert not any("True" in label for label in labels)


def test_a_tensor_is_called_the_same_wherever_it_is_shown(tmp_path: Path, rng: np.random.Generator) -> None:
    weights = normal(rng, (256, 512), np.dtype(np.float32)) * (rng.random((256, 512)) < 0.1)
    source, packed, page = (tmp_path / name for name in ("m.safetensors", "t.safetensors", "r.html"))
    safetensors.numpy.save_file({"w": weights}, source)
    tersely.compress(source, packed, objective="size")
    called = "signed_zeros (sparse elias_fano (split layered(2,2,2)))"
    assert [tensor.code for tensor in tersely.inspect(packed).tensors] == [called]
    assert called in repr(tersely.load_file(packed)["w"])
    assert plan_file.make_plan(source, objective="size")["tensors"]["w"]["label"] == called
    for command in (
        ["inspect", packed],
        ["plan", source, "--objective", "size"],
        ["plan", source, "--objective", "size", "--explain", "w"],
    ):
        assert called in CliRunner().invoke(app, [*map(str, command)], env={"COLUMNS": "200"}).output, command
    assert CliRunner().invoke(app, ["report", str(packed), "-o", str(page)]).exit_code == 0
    assert called in page.read_text()
