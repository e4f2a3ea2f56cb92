"""Files, sharded checkpoints and folders: there and back, and every refusal."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from support.arrays import normal, random_bits, same_bits
from support.peaks import peak_bytes

import tersely
from tersely.core.errors import ArgumentError, CorruptError, DestinationError, TerselyError


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def source(tmp_path: Path, rng: np.random.Generator) -> Path:
    path = tmp_path / "model.safetensors"
    tensors = {
        "a.weight": normal(rng, (64, 128), np.dtype(ml_dtypes.bfloat16)),
        "b.weight": normal(rng, (64, 100), np.dtype(np.float32)),
        "c.weight": normal(rng, (32, 16, 3, 3), np.dtype(np.float16)),
        "noise": random_bits(rng, (100, 100), np.dtype(np.float32)),
        "steps": np.arange(5, dtype=np.int64),
    }
    safetensors.numpy.save_file(tensors, path, metadata={"format": "pt"})
    return path


@pytest.mark.parametrize("objective", ["size", "speed", "balanced"])
@pytest.mark.parametrize("profile", ["portable", "avx512", "native"])
def test_a_file_comes_back_byte_for_byte(source: Path, objective: str, profile: str, tmp_path: Path) -> None:
    report = tersely.compress(source, objective=objective, profile=profile)
    packed = tmp_path / "model.tersely.safetensors"
    assert report.destination == str(packed)
    assert report.bytes_after == packed.stat().st_size < report.bytes_before == source.stat().st_size
    restored = tmp_path / "restored.safetensors"
    tersely.decompress(packed, restored)
    assert sha256(restored) == sha256(source)
    assert tersely.verify(packed, source).ok
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([source.name, packed.name, restored.name])


def test_the_same_input_gives_the_same_file_for_any_threads(source: Path, tmp_path: Path) -> None:
    sums = set()
    for threads in (1, 3):
        tersely.compress(source, tmp_path / "out.safetensors", threads=threads, force=True)
        sums.add(sha256(tmp_path / "out.safetensors"))
    assert len(sums) == 1


def test_reasons_say_why_tensors_stay_dense(source: Path, tmp_path: Path) -> None:
    report = tersely.compress(source, tmp_path / "o.safetensors", exclude="a.*")
    reasons = {tensor.name: tensor.reason for tensor in report.tensors}
    assert reasons["a.weight"] == "excluded"
    assert reasons["noise"] == "no code makes it smaller"
    assert "int64" in reasons["steps"]
    assert reasons["b.weight"] == ""
    only = tersely.compress(source, include=["c.*"], dry_run=True, objective="size")
    assert [t.name for t in only.tensors if t.formulation != "dense"] == ["c.weight"]


def test_a_dry_run_writes_nothing_and_promises_the_size(source: Path, tmp_path: Path) -> None:
    plan = tersely.compress(source, dry_run=True)
    assert list(tmp_path.iterdir()) == [source]
    real = tersely.compress(source)
    assert abs(plan.bytes_after - real.bytes_after) < 4096
    assert [t.bytes_after for t in sorted(plan.tensors, key=lambda t: t.name)] == [
        t.bytes_after for t in sorted(real.tensors, key=lambda t: t.name)
    ]


def test_incompressible_files_grow_by_less_than_one_percent(tmp_path: Path, rng: np.random.Generator) -> None:
    tensors = {f"layer.{i}.weight": random_bits(rng, (100, 100), np.dtype(np.float32)) for i in range(40)}
    tensors |= {f"layer.{i}.bias": random_bits(rng, (10,), np.dtype(np.int8)) for i in range(40)}
    path = tmp_path / "noise.safetensors"
    safetensors.numpy.save_file(tensors, path)
    report = tersely.compress(path)
    assert report.bytes_after - report.bytes_before < max(8192, report.bytes_before // 100)
    tersely.decompress(tmp_path / "noise.tersely.safetensors", tmp_path / "back.safetensors")
    assert sha256(tmp_path / "back.safetensors") == sha256(path)


def test_odd_but_valid_sources_come_back(tmp_path: Path) -> None:
    """No tensors; a header that safetensors would not have written; four-bit elements."""
    for number, (header, data) in enumerate(
        (
            (b"{}", b""),
            (b'{ "w" :{"shape":[2],"dtype":"F32","data_offsets":[0,8]},"__metadata__":{"a":"b"} }   ', bytes(8)),
            (b'{"q":{"dtype":"F4","shape":[3,2],"data_offsets":[0,3]}}', b"\1\2\3"),
        )
    ):
        path = tmp_path / f"odd{number}.safetensors"
        path.write_bytes(len(header).to_bytes(8, "little") + header + data)
        tersely.compress(path, tmp_path / "o.safetensors", force=True)
        tersely.decompress(tmp_path / "o.safetensors", tmp_path / "back.safetensors", force=True)
        assert sha256(tmp_path / "back.safetensors") == sha256(path)
    assert tersely.load_file(tmp_path / "o.safetensors")["q"].decode().tolist() == [[1], [2], [3]]  # two to a byte


@pytest.fixture
def model_folder(tmp_path: Path, rng: np.random.Generator) -> Path:
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    weight_map = {}
    for shard in (1, 2):
        name = f"model-0000{shard}-of-00002.safetensors"
        tensors = {f"layer{shard}.{k}": normal(rng, (64, 64), np.dtype(np.float32)) for k in "ab"}
        safetensors.numpy.save_file(tensors, folder / name, metadata={"format": "pt"})
        weight_map.update(dict.fromkeys(tensors, name))
    index = {"metadata": {"total_size": 65536}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=3) + "\n\n")
    (folder / "config.json").write_text('{"model_type": "test"}')
    (folder / "sub" / "tokenizer.txt").write_text("a b")
    (folder / "optimizer.pt").write_bytes(b"state")
    return folder


def test_a_folder_comes_back_byte_for_byte(model_folder: Path, tmp_path: Path) -> None:
    report = tersely.compress(model_folder)
    out = tmp_path / "model-tersely"
    assert report.destination == str(out)
    assert not report.notes
    index = json.loads((out / "model.safetensors.index.json").read_text())
    for name, shard in index["weight_map"].items():
        with safetensors.safe_open(out / shard, "np") as file:
            assert name in file.keys()  # noqa: SIM118
    back = tmp_path / "back"
    tersely.decompress(out, back)
    for path in model_folder.rglob("*"):
        if path.is_file():
            assert sha256(back / path.relative_to(model_folder)) == sha256(path)
    assert sorted(p.name for p in back.iterdir()) == sorted(p.name for p in model_folder.iterdir())
    assert tersely.verify(out, model_folder).ok
    assert len(tersely.inspect(out).tensors) == 4
    with pytest.raises(TerselyError, match="already compressed"):
        tersely.compress(out, tmp_path / "twice")


def test_a_shard_index_is_a_source_too(model_folder: Path, tmp_path: Path) -> None:
    tersely.compress(model_folder / "model.safetensors.index.json", tmp_path / "shards")
    tersely.decompress(tmp_path / "shards", tmp_path / "back")
    for name in ("model-00001-of-00002.safetensors", "model.safetensors.index.json"):
        assert sha256(tmp_path / "back" / name) == sha256(model_folder / name)
    (model_folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(TerselyError, match="does not exist, but"):
        tersely.compress(model_folder / "model.safetensors.index.json", tmp_path / "again")


def test_symbolic_links_are_followed(model_folder: Path, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    linked.mkdir()
    for path in model_folder.glob("*.*"):
        (linked / path.name).symlink_to(path)
    tersely.compress(linked, tmp_path / "out")
    assert not any(path.is_symlink() for path in (tmp_path / "out").iterdir())
    assert tersely.verify(tmp_path / "out", model_folder).ok


def test_conv1d_weights_of_gpt2_are_coded_by_outputs(tmp_path: Path, rng: np.random.Generator) -> None:
    folder = tmp_path / "gpt2"
    folder.mkdir()
    tensors = {"h.0.attn.c_attn.weight": normal(rng, (64, 192), np.dtype(np.float32))}
    safetensors.numpy.save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text('{"model_type": "gpt2"}')
    tersely.compress(folder, tmp_path / "out")
    tensor = tersely.load_file(tmp_path / "out" / "model.safetensors")["h.0.attn.c_attn.weight"]
    assert tensor.geometry.orientation == "in_out"
    assert same_bits(tensor.decode(), tensors["h.0.attn.c_attn.weight"])


def test_verify_names_the_first_tensor_that_differs(source: Path, tmp_path: Path) -> None:
    tersely.compress(source, tmp_path / "o.safetensors")
    tensors = safetensors.numpy.load_file(source)
    tensors["b.weight"][3, 5] = -0.0 if tensors["b.weight"][3, 5] != 0 else 1.0
    other = tmp_path / "other.safetensors"
    safetensors.numpy.save_file(tensors, other, metadata={"format": "pt"})
    report = tersely.verify(tmp_path / "o.safetensors", other)
    assert not report.ok
    assert report.first_difference == "b.weight"
    assert f"byte {(3 * 100 + 5) * 4}" in report.message
    del tensors["c.weight"]
    safetensors.numpy.save_file(tensors, other)
    assert tersely.verify(tmp_path / "o.safetensors", other).first_difference in ("b.weight", "c.weight")


def test_damage_that_checksums_would_miss_is_found_by_full(source: Path, tmp_path: Path) -> None:
    """A component replaced together with its checksum: only decoding tells."""
    tensor = tersely.encode(safetensors.numpy.load_file(source)["b.weight"], formulation="split")
    path = tmp_path / "forged.safetensors"
    from tersely.files.container.writer import Writer

    with Writer(path) as writer:
        writer.add_encoded("b", tensor.encoded, "deadbeef")
        writer.write({}, {})
    tersely.load_file(path, check="checksums")
    with pytest.raises(tersely.VerificationError, match="not those that were stored"):
        tersely.load_file(path, check="full")


REFUSALS = {
    "missing source": (lambda t, s: (t / "none.safetensors", t / "o"), "does not exist"),
    "empty folder": (lambda t, s: (_mkdir(t / "e"), t / "o"), "holds no .safetensors"),
    "not safetensors": (lambda t, s: (_write(t / "x.bin"), t / "o"), "neither a .safetensors file"),
    "not really safetensors": (lambda t, s: (_write(t / "x.safetensors"), t / "o"), "not a safetensors file"),
    "destination exists": (lambda t, s: (s, _write(t / "there")), "exists; choose another"),
    "destination is the source": (lambda t, s: (s, s), "is the source itself"),
    "destination folder missing": (lambda t, s: (s, t / "no" / "where"), "does not exist"),
}


def _mkdir(path: Path) -> Path:
    path.mkdir()
    return path


def _write(path: Path) -> Path:
    path.write_bytes(b"something else, and long enough")
    return path


@pytest.mark.parametrize("case", REFUSALS)
def test_refusals_say_why_and_leave_everything_alone(case: str, source: Path, tmp_path: Path) -> None:
    arguments, sentence = REFUSALS[case]
    src, dst = arguments(tmp_path, source)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(TerselyError, match=sentence):
        tersely.compress(src, dst)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_compressed_files_are_not_compressed_again(source: Path, tmp_path: Path) -> None:
    tersely.compress(source, tmp_path / "o.safetensors")
    with pytest.raises(TerselyError, match="already compressed"):
        tersely.compress(tmp_path / "o.safetensors", tmp_path / "p.safetensors")
    with pytest.raises(TerselyError, match="not compressed"):
        tersely.decompress(source, tmp_path / "p.safetensors")
    with pytest.raises(DestinationError, match="exists"):
        tersely.decompress(tmp_path / "o.safetensors", source)


def test_wrong_options_are_refused_before_work(source: Path) -> None:
    for options in ({"objective": "tiny"}, {"profile": "gpu"}, {"threads": 0}):
        with pytest.raises(ArgumentError):
            tersely.compress(source, **options)  # type: ignore[arg-type]


def test_a_truncated_source_is_refused(source: Path, tmp_path: Path) -> None:
    whole = source.read_bytes()
    source.write_bytes(whole[:-1])
    with pytest.raises(CorruptError, match="truncated"):
        tersely.compress(source, tmp_path / "o.safetensors")
    assert not (tmp_path / "o.safetensors").exists()


def test_a_full_disk_ends_in_a_sentence(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tersely.files.container.temporary as temporary

    real = temporary.os.fsync

    def full(descriptor: int) -> None:
        real(descriptor)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(temporary.os, "fsync", full)
    with pytest.raises(DestinationError, match="No space left on device"):
        tersely.compress(source, tmp_path / "o.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == [source.name]


@pytest.mark.parametrize("kill", [signal.SIGINT, signal.SIGKILL])
def test_interrupting_leaves_no_file_under_the_final_name(tmp_path: Path, kill: int, rng: np.random.Generator) -> None:
    source = tmp_path / "big.safetensors"
    tensors = {f"w{i}": normal(rng, (1024, 1024), np.dtype(np.float32)) for i in range(24)}
    safetensors.numpy.save_file(tensors, source)
    before = sha256(source)
    code = (
        "import tersely, signal, time\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a background shell starts us with it ignored
        "def progress(*_):\n"
        "    print('step', flush=True)\n"
        "    time.sleep(0.2)\n"
        f"tersely.compress({str(source)!r}, {str(tmp_path / 'o.safetensors')!r}, threads=1, progress=progress)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    for _ in range(3):  # it has begun, and is far from done
        assert process.stdout.readline() == b"step\n"
    process.send_signal(kill)
    process.wait()
    process.stdout.close()
    assert process.returncode != 0
    assert not (tmp_path / "o.safetensors").exists()
    assert sha256(source) == before
    if kill == signal.SIGINT:
        assert [path.name for path in tmp_path.iterdir()] == [source.name]


@pytest.mark.peaks
def test_compress_needs_little_memory(tmp_path: Path, rng: np.random.Generator) -> None:
    """Peak of resident memory beyond the interpreter's: at most 3 x the largest tensor + 200 MB."""
    source = tmp_path / "big.safetensors"
    one = normal(rng, (2048, 1024), np.dtype(np.float32))
    safetensors.numpy.save_file({f"w{i}": one for i in range(40)}, source)  # 335 MB of 8 MB tensors
    code = f"import tersely\ntersely.compress({str(source)!r}, {str(tmp_path / 'o.safetensors')!r})"
    assert peak_bytes(code) < 3 * one.nbytes + 200_000_000
