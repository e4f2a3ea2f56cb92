"""ONNX models: every byte back, tensors by their names, and every refusal."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support import onnx_files as files
from support.arrays import same_bits

import tersely
from tersely.core.errors import CorruptError, DestinationError
from tersely.files import plan_file
from tersely.files.container.pieces import OriginalFiles
from tersely.files.container.reader import Reader
from tersely.files.foreign.onnx import open_model


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write(tmp_path / "model.onnx", files.everything()[0])


@pytest.mark.parametrize("objective", ["size", "balanced"])
def test_a_model_comes_back_byte_for_byte_with_every_tensor_in_reach(
    source: Path, objective: str, tmp_path: Path
) -> None:
    report = tersely.compress(source, objective=objective)
    packed = tmp_path / "model.tersely.safetensors"
    assert report.destination == str(packed)
    assert (report.bytes_before, report.bytes_after) == (source.stat().st_size, packed.stat().st_size)
    tersely.decompress(packed, tmp_path / "back.onnx")
    assert (tmp_path / "back.onnx").read_bytes() == source.read_bytes()
    assert tersely.verify(packed, source).ok
    tensors = tersely.load_file(packed, check="full")
    expected = files.everything()[1]
    assert set(tensors) == set(expected)
    for name, array in expected.items():
        assert same_bits(tensors[name].decode(), array), name
    assert Reader(packed).pool is not None
    tersely.compress(source, packed, objective="speed", force=True)
    assert any(tensor.formulation != "dense" for tensor in tersely.load_file(packed).values())
    assert tersely.inspect(packed).bytes_before == source.stat().st_size


def test_what_cannot_be_taken_out_is_kept_and_said(source: Path, tmp_path: Path) -> None:
    (note,) = tersely.compress(source, dry_run=True).notes
    assert "'words' (strings)" in note
    assert "'unpacked' (elements in several pieces)" in note
    assert "'longhand' (numbers not in their shortest form)" in note
    assert list(tmp_path.iterdir()) == [source]


def test_a_dry_run_promises_the_size(tmp_path: Path) -> None:
    path = write(tmp_path / "m.onnx", files.everything()[0])
    assert abs(tersely.compress(path, dry_run=True).bytes_after - tersely.compress(path).bytes_after) < 4096


def quantised() -> bytes:
    weight = files.array_tensor("w_q", files.weights((128, 96), "int8", 1))
    scale = files.array_tensor("w_scale", np.float32(0.02).reshape(()))
    zero = files.array_tensor("w_zero", np.int8(0).reshape(()))
    kept = files.array_tensor("table", files.weights((128, 96), "uint8", 2))
    turned = files.array_tensor("turned", files.weights((128, 96), "int8", 3))
    gemm = files.array_tensor("gemm", files.weights((96, 128), "float32", 4))
    nodes = [
        files.node("DequantizeLinear", ("w_q", "w_scale", "w_zero"), ("w",)),
        files.node("MatMul", ("x", "w"), ("y",)),
        files.node("DequantizeLinear", ("turned", "w_scale"), ("t",)),
        files.node("Transpose", ("t",), ("tt",), files.attribute("perm", files.blob(8, b"\x01\x00"))),
        files.node("MatMul", ("x", "tt"), ("u",)),
        files.node("QLinearMatMul", ("a", "s", "z", "table", "s", "z", "s", "z"), ("v",)),
        files.node("Gemm", ("x", "gemm", "b"), ("g",), files.attribute("transB", files.number(3, 1))),
    ]
    return files.model(files.graph(nodes, [weight, scale, zero, kept, turned, gemm]))


def test_quantised_models_and_how_their_products_read_a_matrix(tmp_path: Path) -> None:
    source = write(tmp_path / "q.onnx", quantised())
    assert open_model(source).in_out == {"w_q", "table"}
    tersely.compress(source)
    tensors = tersely.load_file(tmp_path / "q.tersely.safetensors")
    assert set(tensors) == {"w_q", "w_scale", "w_zero", "table", "turned", "gemm"}
    assert tensors["w_scale"].decode() == np.float32(0.02)
    tersely.decompress(tmp_path / "q.tersely.safetensors", tmp_path / "back.onnx")
    assert (tmp_path / "back.onnx").read_bytes() == source.read_bytes()


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_pruned_channels_of_quantised_models_are_left_out(dtype: str, tmp_path: Path) -> None:
    """Of a matrix as MatMul has it, and of filters; zero is what quantising makes of a pruned channel in int8."""
    rng = np.random.default_rng(5)
    matrix, filters = (rng.integers(1, 120, shape).astype(dtype) for shape in ((256, 512), (128, 64, 3, 3)))
    matrix[::2] = filters[::2] = 0
    tensors = [files.array_tensor("w_q", matrix), files.array_tensor("f_q", filters)]
    nodes = [files.node("MatMulInteger", ("x", "w_q"), ("y",)), files.node("ConvInteger", ("i", "f_q"), ("z",))]
    source = tmp_path / "p.onnx"
    source.write_bytes(files.model(files.graph(nodes, tensors)))
    tersely.compress(source, objective="size")
    found = tersely.load_file(tmp_path / "p.tersely.safetensors", check="full")
    for name, array in {"w_q": matrix, "f_q": filters}.items():
        assert found[name].formulation == "submatrix"
        assert found[name].nbytes_stored < array.nbytes * 0.51
        assert same_bits(found[name].decode(), array)
    tersely.decompress(tmp_path / "p.tersely.safetensors", tmp_path / "back.onnx")
    assert (tmp_path / "back.onnx").read_bytes() == source.read_bytes()


def test_matrices_of_products_are_coded_for_the_product_that_the_model_makes(tmp_path: Path) -> None:
    weight = files.weights((256, 128), "float32", 1)
    nodes = [files.node("MatMul", ("x", "w"), ("y",))]
    source = write(tmp_path / "m.onnx", files.model(files.graph(nodes, [files.array_tensor("w", weight)])))
    tersely.compress(source)
    coded = tersely.load_file(tmp_path / "m.tersely.safetensors")["w"]
    assert (coded.formulation, coded.encoded.orientation) == ("split", "in_out")
    x = files.weights((2, 256), "float32", 2)
    np.testing.assert_allclose(tersely.linear_transposed(x, coded), x @ weight, rtol=1e-4, atol=1e-5)


def test_plans_know_models(source: Path) -> None:
    plan = plan_file.make_plan(source)
    assert plan["tensors"]["half"]["shape"] == [64, 48]
    assert plan_file.explain(source, "half")[0].reason_rejected == ""
    report = tersely.compress(source, plan=plan, dry_run=True)
    assert {tensor.name for tensor in report.tensors} == set(plan["tensors"])


def outside(folder: Path) -> tuple[Path, dict[str, np.ndarray]]:
    """A model with data in two files: gaps, bytes that nobody names, a range that two tensors share."""
    a, b, c = (files.weights((64, 64), "float32", seed) for seed in (1, 2, 3))
    (folder / "sub").mkdir(parents=True)
    (folder / "weights.bin").write_bytes(b"\1" * 32 + a.tobytes() + b"\2" * 16 + b.tobytes() + b"tail")
    (folder / "sub/more.bin").write_bytes(c.tobytes())
    initializers = [
        files.tensor("a", a.shape, 1, files.external("weights.bin", 32, a.nbytes)),
        files.tensor("b", b.shape, 1, files.external("./weights.bin", 48 + a.nbytes)),
        files.tensor("tied", (a.size,), 1, files.external("weights.bin", 32)),
        files.tensor("c", c.shape, 1, files.external("sub/more.bin")),
    ]
    path = write(folder / "model.onnx", files.model(files.graph([], initializers)))
    return path, {"a": a, "b": b, "c": c}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_external_data_comes_back_in_its_files(tmp_path: Path) -> None:
    source, arrays = outside(tmp_path / "in")
    packed = tmp_path / "packed.safetensors"
    report = tersely.compress(source, packed)
    assert report.bytes_before == sum(map(len, contents(tmp_path / "in").values()))
    assert "'tied' shares bytes with 'a'" in report.notes[0]
    tensors = tersely.load_file(packed)
    assert {name: same_bits(tensors[name].decode(), array) for name, array in arrays.items()} == dict.fromkeys(
        "abc", True
    )
    assert tersely.verify(packed, source).ok
    (tmp_path / "out").mkdir()
    done = tersely.decompress(packed, tmp_path / "out/model.onnx")
    assert contents(tmp_path / "out") == contents(tmp_path / "in")
    assert len(done.notes) == 2
    with pytest.raises(DestinationError, match="exists"):
        tersely.decompress(packed, tmp_path / "out/other.onnx")
    assert not (tmp_path / "out/other.onnx").exists()
    tersely.decompress(packed, tmp_path / "out/model.onnx", force=True)
    with pytest.raises(DestinationError, match="name of another file"):
        tersely.decompress(packed, tmp_path / "out/weights.bin", force=True)
    assert contents(tmp_path / "out") == contents(tmp_path / "in")


def test_a_cache_of_links_is_followed_only_beside_the_model(tmp_path: Path) -> None:
    """Downloads lie under other names in one folder, and a folder of links gives them theirs."""
    source, _ = outside(tmp_path / "blobs")
    (tmp_path / "links").mkdir()
    (tmp_path / "links/model.onnx").symlink_to(source)
    (tmp_path / "links/weights.bin").symlink_to(tmp_path / "blobs/weights.bin")
    (tmp_path / "links/sub").symlink_to(tmp_path / "blobs/sub")
    tersely.compress(tmp_path / "links/model.onnx", tmp_path / "packed.safetensors")
    (tmp_path / "elsewhere").write_bytes((tmp_path / "blobs/weights.bin").read_bytes())
    (tmp_path / "links/weights.bin").unlink()
    (tmp_path / "links/weights.bin").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CorruptError, match="link out of the folder"):
        tersely.compress(tmp_path / "links/model.onnx", tmp_path / "again.safetensors")


def test_a_graph_that_differs_is_a_difference(tmp_path: Path) -> None:
    source = write(tmp_path / "m.onnx", files.small())
    tersely.compress(source)
    other = write(tmp_path / "other.onnx", files.small().replace(b"MatMul", b"MatMud"))
    found = tersely.verify(tmp_path / "m.tersely.safetensors", other)
    assert found.first_difference == "other.onnx"
    assert "every tensor is the same" in found.message
    weight = bytearray(files.small())
    weight[files.small().index(files.weights((4, 5), "float32", 1).tobytes())] ^= 1
    found = tersely.verify(tmp_path / "m.tersely.safetensors", write(other, bytes(weight)))
    assert found.first_difference == "w"


def test_a_re_saved_file_gives_its_tensors_back_and_says_that_the_model_is_gone(source: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    tersely.compress(source, tmp_path / "p.safetensors", include="linear.*")
    foreign = load_file(tmp_path / "p.safetensors")
    save_file({name: array for name, array in foreign.items() if name.startswith("linear")}, tmp_path / "r.safetensors")
    done = tersely.decompress(tmp_path / "r.safetensors", tmp_path / "back.safetensors")
    assert "no original header is kept" in done.notes[0]
    assert set(load_file(tmp_path / "back.safetensors")) == {"linear.weight", "linear.weight#2"}


@pytest.mark.parametrize(
    "name",
    ["mobilenetv2-ptq-int8", "mobilenetv2-qat-uint8", "squeezenet1.0-fp32", "hand-landmark-pruned-fp16"],
)
def test_real_weights_in_a_model_cost_what_they_cost_in_a_tensor_file(models: Path, name: str, tmp_path: Path) -> None:
    plain = models / f"{name}.safetensors"
    if not plain.exists():
        pytest.skip(f"{name} is not at hand")
    initializers = [files.array_tensor(key, tensor.decode()) for key, tensor in tersely.load_file(plain).items()]
    source = write(tmp_path / "m.onnx", files.model(files.graph([], initializers)))
    report = tersely.compress(source, tmp_path / "p.safetensors", objective="size")
    tersely.decompress(tmp_path / "p.safetensors", tmp_path / "back.onnx")
    assert (tmp_path / "back.onnx").read_bytes() == source.read_bytes()
    direct = tersely.compress(plain, tmp_path / "d.safetensors", objective="size")
    found, wanted = (sum(t.bytes_after for t in one.tensors) for one in (report, direct))
    assert abs(found - wanted) < wanted / 5000  # pools have their tensors in another order
    assert report.bytes_after < direct.bytes_after + 8192


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[3] / "shared/models").glob("*.onnx")) or [None])
def test_real_models_come_back(path: Path | None, tmp_path: Path) -> None:
    if path is None:
        pytest.skip("no ONNX model in ../shared/models")
    tersely.compress(path, tmp_path / "p.safetensors")
    tersely.decompress(tmp_path / "p.safetensors", tmp_path / path.name)
    assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def test_models_of_the_package_onnx(tmp_path: Path) -> None:
    """What the format's own package writes: typed and raw, four-bit, with its data outside."""
    onnx = pytest.importorskip("onnx", reason="needs the package onnx: make test installs it")
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    proto = onnx.TensorProto
    weight = files.weights((300, 64), "float32", 1)
    four = np.random.default_rng(2).integers(-8, 8, (64, 32))
    tensors = [
        numpy_helper.from_array(weight, "w"),
        helper.make_tensor("q", proto.INT8, (64, 64), files.weights((64, 64), "int8", 3).reshape(-1).tolist()),
        helper.make_tensor("half", proto.FLOAT16, (8, 8), files.weights((8, 8), "float16", 4).reshape(-1).tolist()),
        helper.make_tensor("four", proto.INT4, four.shape, four.reshape(-1).tolist()),
    ]
    constant = helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(weight[:9], "inside"))
    output = helper.make_tensor_value_info("c", proto.FLOAT, [9, 64])
    built = helper.make_model(helper.make_graph([constant], "g", [], [output], tensors))
    onnx.save_model(built, tmp_path / "plain.onnx")
    outside_options = {"save_as_external_data": True, "location": "data.bin", "size_threshold": 1024}
    onnx.save_model(built, tmp_path / "outside.onnx", convert_attribute=True, **outside_options)
    for name in ("plain", "outside"):
        source = tmp_path / f"{name}.onnx"
        tersely.compress(source)
        packed = tmp_path / f"{name}.tersely.safetensors"
        (tmp_path / name).mkdir()
        tersely.decompress(packed, tmp_path / name / source.name)
        for path in (tmp_path / name).iterdir():
            assert path.read_bytes() == (tmp_path / path.name).read_bytes()
        found = tersely.load_file(packed)
        for stored in onnx.load(source).graph.initializer:
            expected = numpy_helper.to_array(stored)
            if stored.name == "four":
                packed_bytes = (four[:, 1::2] << 4 | four[:, ::2] & 15).astype(np.uint8)
                assert same_bits(found["four"].decode(), packed_bytes)
            else:
                assert same_bits(found[stored.name].decode(), expected), stored.name
        assert same_bits(found["c"].decode(), weight[:9])
    assert len(list((tmp_path / "outside").iterdir())) == 2


def test_the_command_line(source: Path, tmp_path: Path) -> None:
    import subprocess
    import sys

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tersely.cli", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True)

    assert "verified" in run("compress", source).stdout
    packed = tmp_path / "model.tersely.safetensors"
    assert json.loads(run("inspect", packed, "--json").stdout)["bytes_before"] == source.stat().st_size
    assert run("verify", packed, "--against", source).returncode == 0
    assert run("decompress", packed, "-o", tmp_path / "back.onnx").returncode == 0
    assert (tmp_path / "back.onnx").read_bytes() == source.read_bytes()
    refused = run("inspect", source)
    assert refused.returncode == 1
    assert "tersely plan" in refused.stderr


def test_a_file_of_pieces_is_a_file_of_the_format(source: Path, tmp_path: Path) -> None:
    for objective, version in (("balanced", "2.0"), ("speed", "1.0")):
        tersely.compress(source, objective=objective, force=True)
        reader = Reader(tmp_path / "model.tersely.safetensors")
        assert reader.facts["format"] == version
        assert isinstance(reader.original, OriginalFiles)
        assert reader.original.kind == "onnx"


LISTS = {
    "floats, packed": (lambda array: files.blob(7, array.tobytes()), np.float32, ""),
    "floats, one by one": (
        lambda array: b"".join(b"\x3d" + one.tobytes() for one in array),
        np.float32,
        "a list of floats, one by one",
    ),
    "integers, packed": (lambda array: files.blob(8, b"".join(files.varint(int(one)) for one in array)), np.int64, ""),
    "integers, one by one": (
        lambda array: b"".join(files.number(8, int(one)) for one in array),
        np.int64,
        "a list of integers, one by one",
    ),
    "strings": (lambda array: b"".join(files.blob(9, str(one)) for one in array), np.int64, "a list of strings"),
    "text": (lambda array: files.blob(4, "text" * array.size), np.int64, "a string"),
}


@pytest.mark.parametrize("operator", ["Constant", "TreeEnsembleRegressor"])
@pytest.mark.parametrize("what", LISTS)
def test_lists_of_attributes_are_tensors_or_said_to_stay(what: str, operator: str, tmp_path: Path) -> None:
    """proto3 packs lists of numbers, proto2 does not; either way nothing large is left in the graph in silence."""
    fields, dtype, why = LISTS[what]
    array = files.weights((600,), "float32", 3) if dtype is np.float32 else np.arange(600) * 977
    named = files.attribute("value_list", fields(array.astype(dtype)))
    short = files.attribute("value_list", fields(array[:4].astype(dtype)))
    nodes = [files.node(operator, ("x",), ("flat",), named), files.node(operator, ("x",), ("short",), short)]
    path = write(
        tmp_path / "m.onnx",
        files.model(files.graph(nodes, [files.array_tensor("w", files.weights((64, 64), "float32", 1))])),
    )
    report = tersely.compress(path, objective="size")
    tersely.decompress(report.destination, tmp_path / "back.onnx")
    assert (tmp_path / "back.onnx").read_bytes() == path.read_bytes()
    name = "flat" if operator == "Constant" else "flat.value_list"
    tensors = tersely.load_file(report.destination)
    if why:
        assert sorted(tensors) == ["w"]
        assert list(report.notes) == [f"kept inside the model's graph as they are: {name!r} ({why})"]
    else:
        assert sorted(tensors) == sorted(["w", name])
        assert same_bits(tensors[name].decode(), array.astype(dtype))
        assert all(note.startswith("nothing is gained") for note in report.notes)
