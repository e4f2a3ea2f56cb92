"""Equal tensors of a checkpoint: compressed once, planned as they are compressed, shown, and given back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from support import onnx_files as onnx
from support.arrays import normal, random_bits, same_bits
from typer.testing import CliRunner

import tersely
from tersely import report
from tersely.cli.__main__ import app
from tersely.core.errors import ArgumentError, TerselyError
from tersely.files import duplicates, plan_file
from tersely.files.container.reader import Reader

FLOAT = np.dtype(np.float32)


@pytest.fixture
def source(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Tied weights written twice, other weights of their shape, and equal tensors that are better left alone."""
    head, noise = normal(rng, (64, 256), FLOAT), random_bits(rng, (64, 256), FLOAT)
    almost = head.copy()
    almost[40, 7] *= -1
    tensors = {
        "embed.weight": head,
        "lm_head.weight": head.copy(),
        "other": normal(rng, (64, 256), FLOAT),
        "almost": almost,
        "noise.a": noise,
        "noise.b": noise.copy(),
        "flat.a": head.reshape(-1),
        "flat.b": head.reshape(-1).copy(),
        "step.a": np.arange(500),
        "step.b": np.arange(500),
        "norm.a": np.ones(8, np.float32),
        "norm.b": np.ones(8, np.float32),
    }
    path = tmp_path / "model.safetensors"
    safetensors.numpy.save_file(tensors, path, metadata={"format": "pt"})
    return path


def first_of(source: Path, *names: str) -> str:
    """The one that lies first in the file: writers sort as they like."""
    header = Reader(source).header
    return next(entry.name for entry in header.by_offset() if entry.name in names)


def pair(source: Path, *names: str) -> dict[str, str]:
    first = first_of(source, *names)
    return {name: first for name in names if name != first}


HEADS = ("embed.weight", "lm_head.weight")
FLATS = ("flat.a", "flat.b")


@pytest.mark.parametrize("objective", ["size", "balanced", "speed"])
def test_equal_tensors_are_compressed_once_and_come_back(source: Path, objective: str, tmp_path: Path) -> None:
    packed, without = tmp_path / "packed.safetensors", tmp_path / "without.safetensors"
    result = tersely.compress(source, packed, objective=objective)
    assert result.bytes_after == packed.stat().st_size
    assert Reader(packed).aliases == pair(source, *HEADS) | pair(source, *FLATS)
    assert Reader(packed).facts["format"] == "1.0"
    assert {"noise.a", "noise.b", "step.a", "step.b", "norm.a", "norm.b"} <= set(Reader(packed).dense)
    tensors = safetensors.numpy.load_file(source)
    for name, tensor in tersely.load_file(packed, check="full").items():
        assert same_bits(tensor.decode(), tensors[name])
    assert tersely.verify(packed, source).ok
    tersely.decompress(packed, tmp_path / "back.safetensors")
    assert (tmp_path / "back.safetensors").read_bytes() == source.read_bytes()
    promised = tersely.compress(source, objective=objective, dry_run=True)
    assert abs(promised.bytes_after - result.bytes_after) < 2048
    assert {one.name: one.to_json() for one in promised.tensors} == {one.name: one.to_json() for one in result.tensors}
    safetensors.numpy.save_file({name: tensors[name] for name in ("other", "almost")}, tmp_path / "m.safetensors")
    tersely.compress(tmp_path / "m.safetensors", without, objective=objective)
    assert (Reader(without).aliases, Reader(without).facts["format"]) == ({}, "1.0")


def test_a_plan_that_is_made_and_used_gives_the_same_bytes(source: Path, tmp_path: Path) -> None:
    for options in ({}, {"objective": "size", "profile": "avx512", "batch": 4}, {"exclude": "embed*"}):
        document = plan_file.make_plan(source, **options)
        (tmp_path / "plan.json").write_text(json.dumps(document))
        tersely.compress(source, tmp_path / "a", force=True, **options)
        named = {name: options[name] for name in options if name == "exclude"}
        report = tersely.compress(source, tmp_path / "b", force=True, plan=tmp_path / "plan.json", **named)
        assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
        stored = {one.name: one for one in tersely.inspect(tmp_path / "a").tensors}
        for one in report.tensors:
            entry = document["tensors"][one.name]
            assert (one.formulation, stored[one.name].formulation) == (entry["formulation"],) * 2
            if one.formulation == "alias":
                assert one.bytes_after == entry["stored_bytes"] == stored[one.name].bytes_after
                assert one.parameters == entry["parameters"] == stored[one.name].parameters
    flat, first = pair(source, *FLATS).popitem()
    assert document["tensors"][flat]["reason"] == f"bit for bit {first!r}, which the file has"
    assert list(document["tensors"]) == Reader(source).names()


@pytest.mark.parametrize("excluded", HEADS)
def test_excluded_tensors_stay_as_they_are_and_are_no_copies(source: Path, excluded: str, tmp_path: Path) -> None:
    for options in ({"exclude": excluded}, {"include": [name for name in Reader(source).names() if name != excluded]}):
        tersely.compress(source, tmp_path / "o", force=True, **options)
        reader = Reader(tmp_path / "o")
        assert excluded in reader.dense
        assert reader.aliases == pair(source, *FLATS)
        assert tersely.verify(tmp_path / "o", source).ok


def test_a_plan_is_obeyed_about_copies_too(source: Path, tmp_path: Path) -> None:
    document = plan_file.make_plan(source)
    ((copy, first),) = pair(source, *HEADS).items()
    packed = {"formulation": "split", "parameters": {"code": "packed"}}
    document["tensors"][copy] = packed
    tersely.compress(source, tmp_path / "a", plan=document)
    assert Reader(tmp_path / "a").aliases == pair(source, *FLATS)
    # The first is dense by plan: the second is coded, and is a copy of nothing.
    document["tensors"][first] = {"formulation": "dense"}
    del document["tensors"][copy]
    tersely.compress(source, tmp_path / "b", plan=document)
    assert Reader(tmp_path / "b").aliases == pair(source, *FLATS)
    assert copy in Reader(tmp_path / "b").descriptions
    # A plan that names the first alone leaves the other to the planner, which finds it.
    only = {"tersely_plan": 1, "tensors": {first: packed}}
    tersely.compress(source, tmp_path / "c", plan=only)
    assert Reader(tmp_path / "c").aliases == pair(source, *HEADS) | pair(source, *FLATS)
    assert tersely.verify(tmp_path / "c", source).ok


@pytest.mark.parametrize(
    ("other", "changes", "sentence"),
    [
        ("gone", {}, "which the source does not have"),
        (7, {}, "a copy of 7, which the source does not have"),
        (["other"], {}, "which the source does not have"),
        ("SELF", {}, "which is one itself: name the tensor that is stored"),
        ("COPY", {}, "which is one itself: name the tensor that is stored"),
        ("noise.a", {}, "which stays dense, and dense tensors have no copies"),
        ("step.a", {}, "which stays dense, and dense tensors have no copies"),
        ("LAST", {}, "which is written after it"),
        ("almost", {}, "which has other weights"),
        ("flat.a", {}, "which has other weights"),
        ("FIRST", {"parameters": {}}, "has one parameter, 'tensor'"),
        ("FIRST", {"parameters": {"tensor": "other", "spice": 1}}, "check 'spice'"),
        ("FIRST", {"view": "folded"}, "a copy takes the view of its tensor"),
    ],
)
def test_copies_that_a_plan_cannot_have_are_refused(
    other: Any, changes: dict[str, Any], sentence: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    head, almost = normal(rng, (64, 256), FLOAT), normal(rng, (64, 256), FLOAT)
    tensors = {"a": head, "almost": almost, "b": head, "c": head, "flat.a": head.reshape(-1), "z": head}
    tensors |= {"noise.a": random_bits(rng, (64, 256), FLOAT), "step.a": np.arange(64 * 128).reshape(64, 128)}
    header, data = {}, b""
    for name in ("a", "almost", "flat.a", "noise.a", "step.a", "b", "c", "z"):  # by hand: others would sort them
        tag = "I64" if name == "step.a" else "F32"
        raw = tensors[name].tobytes()
        header[name] = {
            "dtype": tag,
            "shape": list(tensors[name].shape),
            "data_offsets": [len(data), len(data) + len(raw)],
        }
        data += raw
    text = json.dumps(header).encode()
    path = tmp_path / "m.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    named = {"SELF": "c", "COPY": "b", "LAST": "z", "FIRST": "a"}.get(other, other) if isinstance(other, str) else other
    entry = {"formulation": "alias", "parameters": {"tensor": named}} | changes
    plan = {"tersely_plan": 1, "tensors": {"c": entry}}
    with pytest.raises(ArgumentError, match=f"^the plan for 'c': .*{sentence}"):
        tersely.compress(path, tmp_path / "o", plan=plan)
    assert not (tmp_path / "o").exists()
    good = {"tersely_plan": 1, "tensors": {"c": {"formulation": "alias", "parameters": {"tensor": "a"}}}}
    tersely.compress(path, tmp_path / "o", plan=good)
    assert Reader(tmp_path / "o").aliases == {"b": "a", "c": "a", "z": "a"}
    with pytest.raises(ArgumentError, match="'c': the tensor stays dense: excluded"):
        tersely.compress(path, plan=good, exclude="c", dry_run=True)


@pytest.mark.parametrize("bits", [19.0, 28.0, 33.0])
def test_plans_within_a_number_of_bits_count_equal_tensors_once(source: Path, bits: float, tmp_path: Path) -> None:
    document = plan_file.make_plan(source, target_bits=bits)
    tersely.compress(source, tmp_path / "a", target_bits=bits)
    tersely.compress(source, tmp_path / "b", plan=document)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    tensors = tersely.inspect(tmp_path / "a").tensors
    weights = sum(one.weights for one in tensors)
    assert (tmp_path / "a").stat().st_size * 8 / weights <= document["bits_per_weight"] <= bits
    assert tersely.verify(tmp_path / "a", source).ok
    for one in tensors:
        assert one.formulation == document["tensors"][one.name]["formulation"]
    allowed = pair(source, *HEADS) | pair(source, *FLATS) | pair(source, "noise.a", "noise.b")
    assert Reader(tmp_path / "a").aliases.items() <= allowed.items()
    if bits < 20:  # cannot be had where equal tensors are stored twice
        assert Reader(tmp_path / "a").aliases


def test_too_few_bits_name_what_can_be_had_with_copies(source: Path) -> None:
    with pytest.raises(TerselyError, match="the smallest plan takes") as caught:
        plan_file.make_plan(source, target_bits=1)
    fewest = float(str(caught.value).rsplit(" ", 1)[1])
    document = plan_file.make_plan(source, target_bits=fewest)
    assert {entry["formulation"] for entry in document["tensors"].values()} >= {"alias", "dense"}


def test_what_is_shown_says_same_and_counts_nothing_twice(source: Path, tmp_path: Path) -> None:
    packed = tmp_path / "packed.safetensors"
    tersely.compress(source, packed)
    ((copy, first),) = pair(source, *HEADS).items()
    found = tersely.inspect(packed)
    one = next(tensor for tensor in found.tensors if tensor.name == copy)
    info = Reader(packed).header.entries[f"{copy}.tersely.info"].nbytes
    assert (one.formulation, one.parameters, one.code) == ("alias", {"tensor": first}, f"same as {first}")
    assert (one.components, one.bytes_after, one.bytes_before) == ({"info": info}, info, 64 * 256 * 4)
    assert one.tree == {"formulation": "alias", "version": 1, "parameters": {"tensor": first}}
    assert one.predicted_us == next(tensor for tensor in found.tensors if tensor.name == first).predicted_us
    assert one.anatomy.nbytes == info
    data = packed.stat().st_size - Reader(packed).header.data_start
    assert sum(tensor.bytes_after for tensor in found.tensors) == data
    summary = report.gather(packed)
    assert summary.header_bytes == packed.stat().st_size - data
    assert summary.components["alias", "alias", "info"] == sum(
        tensor.bytes_after for tensor in found.tensors if tensor.formulation == "alias"
    )

    def run(*arguments: object) -> str:
        result = CliRunner().invoke(app, [*map(str, arguments)])
        assert result.exit_code == 0, result.output
        return " ".join(result.output.split())

    assert f"same as {first}" in run("inspect", packed)
    assert f"same as {first}" in run("inspect", packed, "--tree")
    listed = {tensor["name"]: tensor for tensor in json.loads(run("inspect", packed, "--json"))["tensors"]}
    assert listed[copy]["formulation"] == "alias"
    assert "every tensor decodes" in run("verify", packed)
    assert f"same as {first}" in run("plan", source)
    assert f"chosen: bit for bit '{first}', which the file has" in run("plan", source, "--explain", copy)
    assert "the file has these weights once already" in run("plan", source, "--explain", copy)
    assert "bit for bit" not in run("plan", source, "--explain", first)
    run("report", packed, "-o", tmp_path / "r.html")
    assert f"same as {first}" in (tmp_path / "r.html").read_text()
    run("decompress", packed, "-o", tmp_path / "back.safetensors")


def test_names_that_look_like_markup_are_shown_as_they_are(tmp_path: Path, rng: np.random.Generator) -> None:
    head = normal(rng, (64, 256), FLOAT)
    safetensors.numpy.save_file({"[red]a<b>": head, "z": head}, tmp_path / "m.safetensors")
    packed = tmp_path / "o.safetensors"
    tersely.compress(tmp_path / "m.safetensors", packed)
    assert Reader(packed).aliases == {"z": "[red]a<b>"}
    for command in (("plan", tmp_path / "m.safetensors"), ("inspect", packed), ("inspect", packed, "--tree")):
        assert "same as [red]a<b>" in CliRunner().invoke(app, [*map(str, command)]).output
    tersely.compress(tmp_path / "m.safetensors", packed, force=True)
    CliRunner().invoke(app, ["report", str(packed), "-o", str(tmp_path / "r.html")])
    assert "same as [red]a&lt;b&gt;" in (tmp_path / "r.html").read_text()


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["a", "b"])), max_size=10))
def test_any_mixture_comes_back_planned_or_not(
    tmp_path_factory: pytest.TempPathFactory, which: list[tuple[int, str]]
) -> None:
    rng = np.random.default_rng(6)
    pool = [normal(rng, (32, 64), FLOAT), np.zeros((32, 64), np.float32), rng.integers(-3, 4, (32, 64)).astype(np.int8)]
    pool += [pool[0].reshape(64, 32), np.negative(pool[0]), random_bits(rng, (32, 64), FLOAT)]
    tensors = {f"{group}.{number}": pool[place] for number, (place, group) in enumerate(which)}
    folder = tmp_path_factory.mktemp("h")
    source = folder / "m.safetensors"
    safetensors.numpy.save_file(tensors, source)
    options = {"exclude": "b.*"} if any(name.startswith("b.") for name in tensors) else {}
    document = plan_file.make_plan(source, **options)
    tersely.compress(source, folder / "a", **options)
    tersely.compress(source, folder / "b", plan=document, **options)
    assert (folder / "a").read_bytes() == (folder / "b").read_bytes()
    tersely.decompress(folder / "a", folder / "back")
    assert (folder / "back").read_bytes() == source.read_bytes()
    reader = Reader(folder / "a")
    assert not any(name.startswith("b.") for name in reader.descriptions)
    coded = [tensors[name] for name in reader.descriptions if name not in reader.aliases]
    kinds = {(array.tobytes(), array.shape, array.dtype.name) for array in coded}
    assert len(kinds) == len(coded)  # none is coded twice
    for name, first in reader.aliases.items():
        assert same_bits(tensors[name], tensors[first])


def test_many_tensors_that_begin_and_end_alike(tmp_path: Path, rng: np.random.Generator) -> None:
    """What the samples do not tell apart."""
    tensors = {}
    for number in range(6):
        array = np.zeros((128, 256), np.float32)
        array[30:40] = normal(np.random.default_rng(number // 2), (10, 256), FLOAT)
        tensors[f"t{number}"] = array
    safetensors.numpy.save_file(tensors, tmp_path / "m.safetensors")
    reader = Reader(tmp_path / "m.safetensors")
    found = duplicates.Duplicates(reader, dict.fromkeys(tensors, ""), "portable")
    assert [found.equal_to(f"t{k}") for k in (0, 2, 4)] == [["t0", "t1"], ["t2", "t3"], ["t4", "t5"]]
    assert (found.first("t3"), found.first("t2"), found.first("none"), found.before("t3")) == (
        "t2",
        "t2",
        "none",
        ["t2"],
    )
    other = duplicates.Duplicates(reader, {name: name in ("t1", "t3") for name in tensors}, "portable")
    assert [other.first(f"t{k}") for k in (1, 3, 5)] == ["t1", "t3", "t4"]


def test_equal_initialisers_of_an_onnx_model(tmp_path: Path, rng: np.random.Generator) -> None:
    head = normal(rng, (64, 256), FLOAT)
    initializers = [onnx.array_tensor(name, head, form) for name, form in (("a", "raw"), ("b", "raw"), ("c", "typed"))]
    source = tmp_path / "m.onnx"
    source.write_bytes(onnx.model(onnx.graph([], initializers)))
    packed = tmp_path / "m.tersely.safetensors"
    tersely.compress(source)
    assert Reader(packed).aliases == {"b": "a", "c": "a"}
    document = plan_file.make_plan(source)
    tersely.compress(source, tmp_path / "p", plan=document)
    assert (tmp_path / "p").read_bytes() == packed.read_bytes()
    tersely.decompress(packed, tmp_path / "back.onnx")
    assert (tmp_path / "back.onnx").read_bytes() == source.read_bytes()
    assert tersely.verify(packed, source).ok


def test_equal_tensors_of_two_files_are_in_both(tmp_path: Path, rng: np.random.Generator) -> None:
    head = normal(rng, (64, 256), FLOAT)
    folder = tmp_path / "model"
    folder.mkdir()
    for number in (1, 2):
        safetensors.numpy.save_file({f"w{number}": head, f"v{number}": head}, folder / f"m{number}.safetensors")
    tersely.compress(folder, tmp_path / "packed")
    assert [len(Reader(tmp_path / "packed" / f"m{number}.safetensors").aliases) for number in (1, 2)] == [1, 1]
    assert tersely.verify(tmp_path / "packed", folder).ok
    tersely.decompress(tmp_path / "packed", tmp_path / "back")
    for number in (1, 2):
        name = f"m{number}.safetensors"
        assert (tmp_path / "back" / name).read_bytes() == (folder / name).read_bytes()
