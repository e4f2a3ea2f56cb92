"""ONNX models: every byte back, tensors by their names, and every refusal."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx_files as files
import pytest
from conftest import same_bits
from hypothesis import given
from hypothesis import strategies as st

import laconic
from laconic import planning
from laconic.container import varints
from laconic.container.pieces import Cut, Part, Pieces
from laconic.container.reader import Reader
from laconic.container.writer import Writer
from laconic.dtypes import BY_NAME
from laconic.errors import CorruptError, DestinationError, LaconicError
from laconic.onnx import open_model


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
    report = laconic.compress(source, objective=objective)
    packed = tmp_path / "model.laconic.safetensors"
    assert report.destination == str(packed)
    assert (report.bytes_before, report.bytes_after) == (source.stat().st_size, packed.stat().st_size)
    laconic.decompress(packed, tmp_path / "back.onnx")
    assert (tmp_path / "back.onnx").read_bytes() == source.read_bytes()
    assert laconic.verify(packed, source).ok
    tensors = laconic.load_file(packed, check="full")
    expected = files.everything()[1]
    assert set(tensors) == set(expected)
    for name, array in expected.items():
        assert same_bits(tensors[name].decode(), array), name
    assert any(tensor.formulation != "dense" for tensor in tensors.values())
    assert laconic.inspect(packed).bytes_before == source.stat().st_size


def test_what_cannot_be_taken_out_is_kept_and_said(source: Path, tmp_path: Path) -> None:
    (note,) = laconic.compress(source, dry_run=True).notes
    assert "'words' (strings)" in note
    assert "'unpacked' (elements in several pieces)" in note
    assert "'longhand' (numbers not in their shortest form)" in note
    assert list(tmp_path.iterdir()) == [source]


def test_a_dry_run_promises_the_size(tmp_path: Path) -> None:
    path = write(tmp_path / "m.onnx", files.everything()[0])
    assert abs(laconic.compress(path, dry_run=True).bytes_after - laconic.compress(path).bytes_after) < 4096


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
    laconic.compress(source)
    tensors = laconic.load_file(tmp_path / "q.laconic.safetensors")
    assert set(tensors) == {"w_q", "w_scale", "w_zero", "table", "turned", "gemm"}
    assert tensors["w_scale"].decode() == np.float32(0.02)
    laconic.decompress(tmp_path / "q.laconic.safetensors", tmp_path / "back.onnx")
    assert (tmp_path / "back.onnx").read_bytes() == source.read_bytes()


def test_matrices_of_products_are_coded_for_the_product_that_the_model_makes(tmp_path: Path) -> None:
    weight = files.weights((256, 128), "float32", 1)
    nodes = [files.node("MatMul", ("x", "w"), ("y",))]
    source = write(tmp_path / "m.onnx", files.model(files.graph(nodes, [files.array_tensor("w", weight)])))
    laconic.compress(source)
    coded = laconic.load_file(tmp_path / "m.laconic.safetensors")["w"]
    assert (coded.formulation, coded.encoded.orientation) == ("split", "in_out")
    x = files.weights((2, 256), "float32", 2)
    np.testing.assert_allclose(laconic.linear_transposed(x, coded), x @ weight, rtol=1e-4, atol=1e-5)


def test_plans_know_models(source: Path) -> None:
    plan = planning.make_plan(source)
    assert plan["tensors"]["half"]["shape"] == [64, 48]
    assert planning.explain(source, "half")[0].lost == ""
    report = laconic.compress(source, plan=plan, dry_run=True)
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
    report = laconic.compress(source, packed)
    assert report.bytes_before == sum(map(len, contents(tmp_path / "in").values()))
    assert "'tied' shares bytes with 'a'" in report.notes[0]
    tensors = laconic.load_file(packed)
    assert {name: same_bits(tensors[name].decode(), array) for name, array in arrays.items()} == dict.fromkeys(
        "abc", True
    )
    assert laconic.verify(packed, source).ok
    (tmp_path / "out").mkdir()
    done = laconic.decompress(packed, tmp_path / "out/model.onnx")
    assert contents(tmp_path / "out") == contents(tmp_path / "in")
    assert len(done.notes) == 2
    with pytest.raises(DestinationError, match="exists"):
        laconic.decompress(packed, tmp_path / "out/other.onnx")
    assert not (tmp_path / "out/other.onnx").exists()
    laconic.decompress(packed, tmp_path / "out/model.onnx", force=True)
    with pytest.raises(DestinationError, match="name of another file"):
        laconic.decompress(packed, tmp_path / "out/weights.bin", force=True)
    assert contents(tmp_path / "out") == contents(tmp_path / "in")


def test_a_cache_of_links_is_followed_only_beside_the_model(tmp_path: Path) -> None:
    """Downloads lie under other names in one folder, and a folder of links gives them theirs."""
    source, _ = outside(tmp_path / "blobs")
    (tmp_path / "links").mkdir()
    (tmp_path / "links/model.onnx").symlink_to(source)
    (tmp_path / "links/weights.bin").symlink_to(tmp_path / "blobs/weights.bin")
    (tmp_path / "links/sub").symlink_to(tmp_path / "blobs/sub")
    laconic.compress(tmp_path / "links/model.onnx", tmp_path / "packed.safetensors")
    (tmp_path / "elsewhere").write_bytes((tmp_path / "blobs/weights.bin").read_bytes())
    (tmp_path / "links/weights.bin").unlink()
    (tmp_path / "links/weights.bin").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CorruptError, match="link out of the folder"):
        laconic.compress(tmp_path / "links/model.onnx", tmp_path / "again.safetensors")


def one(elements: bytes, dims: tuple[int, ...] = (2, 2), data_type: int = 1) -> bytes:
    return files.model(files.graph([], [files.tensor("w", dims, data_type, elements)]))


def nested(depth: int) -> bytes:
    inner = files.graph([], [files.array_tensor("w", files.weights((8, 8), "float32", 1))])
    for _ in range(depth):
        inner = files.graph([files.node("If", (), ("y",), files.attribute("then_branch", files.blob(6, inner)))])
    return files.model(inner)


BAD = {
    "empty": (b"", "no graph"),
    "text": (b"hello, this is no model at all\n", "not an ONNX model|not a protobuf"),
    "another message": (files.blob(3, "x"), "no graph"),
    "no weights": (files.model(files.graph([files.node("Relu", ("x",), ("y",))])), "holds no weights"),
    "only strings": (one(files.blob(6, "a"), (1,), 8), r"holds no weights that can be taken out: 'w' \(strings\)"),
    "unknown type": (one(files.blob(9, bytes(8)), (1,), 77), r"'w' \(data type 77\)"),
    "complex128": (one(files.blob(9, bytes(16)), (1,), 15), r"'w' \(complex128\)"),
    "too few bytes": (one(files.blob(9, bytes(15))), "15 bytes of elements where shape .* needs 16"),
    "too many bytes": (one(files.blob(9, bytes(17))), "17 bytes of elements"),
    "no elements": (one(b""), "0 bytes of elements"),
    "too few numbers": (one(files.blob(5, b"\1\2\3"), data_type=3), "3 elements where shape .* needs 4"),
    "a number cut short": (one(files.blob(5, b"\1\2\3\x80"), data_type=3), "3 elements where shape"),
    "negative dimension": (one(files.blob(9, bytes(16)), (-2, 2)), "a dimension of -2"),
    "absurd shape": (one(files.blob(9, bytes(16)), (1 << 62, 1 << 62)), "16 bytes of elements where shape"),
    "too many dimensions": (one(files.blob(9, bytes(4)), (1,) * 65), "more than 64 dimensions"),
    "a length beyond the file": (files.model(b"")[:-4] + files.varint(7 << 3 | 2) + files.varint(1 << 62), "claims"),
    "a number without end": (b"\xff" * 30, "more than ten bytes"),
    "a group": (files.varint(7 << 3 | 3), "wire type 3"),
    "a name that is no text": (one(files.blob(9, bytes(16))).replace(b"\x01w", b"\x01\xff"), "not UTF-8"),
    "a name of components": (
        files.model(files.graph([], [files.array_tensor("a.laconic.b", np.ones(4, np.float32))])), "marks components"),
    "nested without end": (nested(300), "nested more than 64 deep"),
    "data out of the folder": (one(files.external("../secret")), "leaves the folder of the model"),
    "data at an absolute path": (one(files.external("/etc/passwd")), "leaves the folder of the model"),
    "data without a place": (one(files.number(14, 1)), "leaves the folder of the model"),
    "data that is missing": (one(files.external("none.bin")), "none.bin does not exist"),
    "data in the model itself": (one(files.external("m.onnx")), "in the model's own file"),
    "data in a folder": (one(files.external("folder")), "not a plain file"),
    "data behind its file's end": (one(files.external("short.bin", 5)), "ends at byte 21, the file at 16"),
    "data far behind its file's end": (one(files.external("short.bin", 10**18)), "truncated"),
    "a negative place": (one(files.external("short.bin", -1)), "the offset '-1', not a number"),
    "a place of many digits": (one(files.external("short.bin", "9" * 5000)), "not a number"),
    "a length that does not fit": (one(files.external("short.bin", 0, 12)), "12 bytes of external data"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_models_are_refused_with_a_sentence(case: str, tmp_path: Path) -> None:
    data, sentence = BAD[case]
    source = write(tmp_path / "m.onnx", data)
    (tmp_path / "short.bin").write_bytes(bytes(16))
    (tmp_path / "folder").mkdir()
    before = sorted(tmp_path.iterdir())
    with pytest.raises(LaconicError, match=sentence):
        laconic.compress(source)
    assert sorted(tmp_path.iterdir()) == before


def small() -> bytes:
    tensors = [
        files.array_tensor("w", files.weights((4, 5), "float32", 1)),
        files.array_tensor("q", files.weights((6,), "int8", 2), "typed"),
    ]
    return files.model(files.graph([files.node("MatMul", ("x", "w"), ("y",))], tensors))


def there_and_back(source: Path, tmp_path: Path) -> bool:
    """Whether a model was taken; then it must come back. Anything but a LaconicError passes through."""
    try:
        laconic.compress(source, tmp_path / "p.safetensors", force=True)
    except LaconicError:
        return False
    laconic.decompress(tmp_path / "p.safetensors", tmp_path / "b.onnx", force=True)
    assert (tmp_path / "b.onnx").read_bytes() == source.read_bytes()
    return True


def test_every_cut_is_an_error_or_a_model_that_comes_back(tmp_path: Path) -> None:
    whole, taken = small(), 0
    for length in range(len(whole)):
        taken += there_and_back(write(tmp_path / "m.onnx", whole[:length]), tmp_path)
    assert taken == 1  # only where what is cut off is the last field of the model


def test_every_damaged_byte_is_an_error_or_a_model_that_comes_back(tmp_path: Path) -> None:
    whole, taken = small(), 0
    for place in range(len(whole)):
        for flip in (1, 0x80, 0xFF):
            data = bytearray(whole)
            data[place] ^= flip
            taken += there_and_back(write(tmp_path / "m.onnx", bytes(data)), tmp_path)
    assert len(whole) < taken < 3 * len(whole)


def test_a_graph_that_differs_is_a_difference(tmp_path: Path) -> None:
    source = write(tmp_path / "m.onnx", small())
    laconic.compress(source)
    other = write(tmp_path / "other.onnx", small().replace(b"MatMul", b"MatMud"))
    found = laconic.verify(tmp_path / "m.laconic.safetensors", other)
    assert found.first_difference == "other.onnx"
    assert "every tensor is the same" in found.message
    weight = bytearray(small())
    weight[small().index(files.weights((4, 5), "float32", 1).tobytes())] ^= 1
    found = laconic.verify(tmp_path / "m.laconic.safetensors", write(other, bytes(weight)))
    assert found.first_difference == "w"


def forged(path: Path, pieces: Pieces | str) -> Path:
    with Writer(path) as writer:
        writer.add_dense("w", "U8", (4,), np.arange(4, dtype=np.uint8))
        text = pieces if isinstance(pieces, str) else pieces.pack()
        writer.write({}, {"pieces": text}, since="1.2")
    return path


def part(name: str = "m.onnx", cuts: tuple[Cut, ...] = (Cut(1, "w", "raw"),), sha256: str = "0" * 64) -> Part:
    return Part(name, 6, sha256, b"ab", cuts)


@pytest.mark.parametrize(
    ("pieces", "sentence"),
    [
        ("AAAA", "pieces are damaged"),
        (Pieces("onnx", ()), "lengths do not add up"),
        (Pieces("onnx", (part(cuts=(Cut(1, "gone", "raw"),)),)), "needs a tensor that is missing"),
        (Pieces("onnx", (part(cuts=(Cut(3, "w", "raw"),)),)), "outside the rest"),
        (Pieces("onnx", (part(cuts=(Cut(2, "w", "raw"), Cut(1, "w", "raw"))),)), "outside the rest"),
        (Pieces("onnx", (part(), part("../../evil"))), "leaves the folder"),
        (Pieces("onnx", (part(), part("/evil"))), "leaves the folder"),
        (Pieces("onnx", (part(), part())), "one name"),
        (Pieces("onnx", (part(sha256="zz" * 32),)), "damaged"),
        (Pieces("onnx", (part(),)), "SHA-256"),
        (Pieces("onnx", (part(cuts=(Cut(0, "w", "raw"),) * 100_000),)), "SHA-256"),
    ],
    ids=range(11),
)
def test_forged_pieces_write_nothing(pieces: Pieces | str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    packed = forged(tmp_path / "a/b/p.safetensors", pieces)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(LaconicError, match=sentence):
        laconic.decompress(packed, tmp_path / "a/b/out.onnx")
    assert sorted(tmp_path.rglob("*")) == before


def test_pieces_that_hold_are_a_file(tmp_path: Path) -> None:
    """The forger of the tests above can also tell the truth."""
    import hashlib

    data = b"a\0\1\2\3b"
    packed = forged(tmp_path / "p.safetensors", Pieces("onnx", (part(sha256=hashlib.sha256(data).hexdigest()),)))
    laconic.decompress(packed, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == data


def test_a_re_saved_file_gives_its_tensors_back_and_says_that_the_model_is_gone(source: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    laconic.compress(source, tmp_path / "p.safetensors", include="linear.*")
    foreign = load_file(tmp_path / "p.safetensors")
    save_file({name: array for name, array in foreign.items() if name.startswith("linear")}, tmp_path / "r.safetensors")
    done = laconic.decompress(tmp_path / "r.safetensors", tmp_path / "back.safetensors")
    assert "original header is gone" in done.notes[0]
    assert set(load_file(tmp_path / "back.safetensors")) == {"linear.weight", "linear.weight#2"}


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=40))
def test_varints_are_protobufs(values: list[int]) -> None:
    dtype = BY_NAME["int64"]
    raw = np.array(values, np.int64).view(np.uint8)
    coded = b"".join(block.tobytes() for block in varints.encode(raw, dtype))
    assert coded == b"".join(map(files.varint, values))
    back = varints.decode(np.frombuffer(coded, np.uint8), dtype, len(values))
    assert back is not None
    assert back.tobytes() == raw.tobytes()


@given(st.binary(max_size=30), st.sampled_from(["int8", "uint8", "int32", "uint64"]))
def test_what_decodes_as_varints_encodes_to_the_same_bytes(data: bytes, name: str) -> None:
    raw = np.frombuffer(data, np.uint8)
    count = int(np.count_nonzero(raw < 128))
    found = varints.decode(raw, BY_NAME[name], count)
    if found is not None:
        assert b"".join(block.tobytes() for block in varints.encode(found, BY_NAME[name])) == data


def test_long_runs_of_varints_are_cut_into_blocks() -> None:
    values = np.random.default_rng(1).integers(-(2**31), 2**31, 600_001).astype(np.int32)
    blocks = list(varints.encode(values.view(np.uint8), BY_NAME["int32"]))
    assert len(blocks) == 3
    back = varints.decode(np.concatenate(blocks), BY_NAME["int32"], values.size)
    assert back is not None
    assert np.array_equal(back.view(np.int32), values)


@pytest.mark.parametrize(
    "name",
    ["mobilenetv2-ptq-int8", "mobilenetv2-qat-uint8", "squeezenet1.0-fp32", "hand-landmark-pruned-fp16"],
)
def test_real_weights_in_a_model_cost_what_they_cost_in_a_tensor_file(models: Path, name: str, tmp_path: Path) -> None:
    plain = models / f"{name}.safetensors"
    if not plain.exists():
        pytest.skip(f"{name} is not at hand")
    initializers = [files.array_tensor(key, tensor.decode()) for key, tensor in laconic.load_file(plain).items()]
    source = write(tmp_path / "m.onnx", files.model(files.graph([], initializers)))
    report = laconic.compress(source, tmp_path / "p.safetensors", objective="size")
    laconic.decompress(tmp_path / "p.safetensors", tmp_path / "back.onnx")
    assert (tmp_path / "back.onnx").read_bytes() == source.read_bytes()
    direct = laconic.compress(plain, dry_run=True, objective="size")
    assert sum(t.bytes_after for t in report.tensors) == sum(t.bytes_after for t in direct.tensors)
    assert report.bytes_after < direct.bytes_after + 8192


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parent.parent.parent / "shared/models").glob("*.onnx")) or [None]
)
def test_real_models_come_back(path: Path | None, tmp_path: Path) -> None:
    if path is None:
        pytest.skip("no ONNX model in ../shared/models")
    laconic.compress(path, tmp_path / "p.safetensors")
    laconic.decompress(tmp_path / "p.safetensors", tmp_path / path.name)
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
        laconic.compress(source)
        packed = tmp_path / f"{name}.laconic.safetensors"
        (tmp_path / name).mkdir()
        laconic.decompress(packed, tmp_path / name / source.name)
        for path in (tmp_path / name).iterdir():
            assert path.read_bytes() == (tmp_path / path.name).read_bytes()
        found = laconic.load_file(packed)
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
        command = [sys.executable, "-m", "laconic.cli", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True)

    assert "verified" in run("compress", source).stdout
    packed = tmp_path / "model.laconic.safetensors"
    assert json.loads(run("inspect", packed, "--json").stdout)["bytes_before"] == source.stat().st_size
    assert run("verify", packed, "--against", source).returncode == 0
    assert run("decompress", packed, "-o", tmp_path / "back.onnx").returncode == 0
    assert (tmp_path / "back.onnx").read_bytes() == source.read_bytes()
    refused = run("inspect", source)
    assert refused.returncode == 1
    assert "laconic plan" in refused.stderr


def test_a_file_of_pieces_is_a_file_of_format_1_2(source: Path, tmp_path: Path) -> None:
    laconic.compress(source)
    reader = Reader(tmp_path / "model.laconic.safetensors")
    assert reader.facts["format"] == "1.2"
    assert isinstance(reader.original, Pieces)
    assert reader.original.kind == "onnx"
