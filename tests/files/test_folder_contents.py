"""What else lies in a folder: files of other programs, duplicates in another format, links. Needs no torch."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from support.folder_fixtures import content, model, there_and_back, weights

import tersely
from tersely.core.errors import TerselyError
from tersely.files import listing, pytorch_duplicates

# -- every file --------------------------------------------------------------------------------------------------------


OTHERS = (
    "optimizer.pt",
    "rng_state_0.pth",
    "training_args.bin",
    "tf_model.h5",
    "flax_model.msgpack",
    "rust_model.ot",
    "epoch=3.ckpt",
    "pytorch_model.bin",
    "pytorch_model-00001-of-00002.bin",
    "pytorch_model.bin.index.json",
    "original/consolidated.00.pth",
    "onnx/model.onnx",
    "openvino/openvino_model.bin",
    "1_Pooling/config.json",
    "2_Dense/pytorch_model.bin",
    "model-Q4_K_M.gguf",
    ".gitattributes",
    "global_step10/bf16_zero_pp_rank_0_optim_states.pt",
)


def test_files_of_other_formats_come_back(model: Path) -> None:
    """Names alone make nothing a duplicate: these are not what they are called."""
    for name in OTHERS:
        (model / name).parent.mkdir(exist_ok=True)
        (model / name).write_bytes(name.encode() * 3)
    (model / "logs").mkdir()
    report, again = there_and_back(model)
    assert again == content(model)
    assert not report.notes


# -- duplicates --------------------------------------------------------------------------------------------------------


def torch_file(path: Path, tensors: dict[str, np.ndarray], extra: dict[str, Any] | None = None) -> None:
    """What `torch.save` writes for a state dict, by its published layout: protocol 2, one record a storage."""
    kinds = {"float32": "FloatStorage", "float16": "HalfStorage", "int64": "LongStorage"}

    def global_(module: str, name: str) -> bytes:
        return f"c{module}\n{name}\n".encode()

    def text(value: str) -> bytes:
        return b"X" + len(value.encode()).to_bytes(4, "little") + value.encode()

    def number(value: int) -> bytes:
        return b"J" + value.to_bytes(4, "little")

    body = b"\x80\x02}("
    for key, (name, array) in enumerate(tensors.items()):
        strides = [stride // array.itemsize for stride in array.strides]
        body += text(name) + global_("torch._utils", "_rebuild_tensor_v2") + b"(("
        body += text("storage") + global_("torch", kinds[array.dtype.name]) + text(str(key)) + text("cpu")
        body += number(array.size) + b"tQ" + number(0)
        body += b"(" + b"".join(map(number, array.shape)) + b"t(" + b"".join(map(number, strides)) + b"t"
        body += b"\x89" + global_("collections", "OrderedDict") + b")RtR"
    for name, value in (extra or {}).items():
        body += text(name) + pickle.dumps(value, 2)[2:-1]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", body + b"u.")
        for key, array in enumerate(tensors.values()):
            archive.writestr(f"archive/data/{key}", array.tobytes("A"))


def _one(model: Path) -> dict[str, np.ndarray]:
    return safetensors.numpy.load_file(model / "model.safetensors")


TWINS: dict[str, tuple[bool, Callable[[dict[str, np.ndarray]], tuple[dict[str, np.ndarray], dict[str, Any]]]]] = {
    "the same tensors": (True, lambda t: (t, {})),
    "a tie under its second name": (True, lambda t: ({**t, "tied": t["a.weight"].copy()}, {})),
    "fewer tensors": (True, lambda t: ({"a.weight": t["a.weight"]}, {})),
    "other weights": (False, lambda t: ({**t, "a.weight": t["a.weight"] * 2}, {})),
    "names exchanged": (False, lambda t: ({"a.weight": t["b.weight"], "b.weight": t["a.weight"]}, {})),
    "one more tensor": (False, lambda t: ({**t, "c": np.ones(3, np.float32)}, {})),
    "another dtype": (False, lambda t: ({key: one.astype(np.float16) for key, one in t.items()}, {})),
    "another shape": (False, lambda t: ({key: one.reshape(32, 128) for key, one in t.items()}, {})),
    "transposed in memory": (False, lambda t: ({key: one.T.copy().T for key, one in t.items()}, {})),
    "something else beside": (False, lambda t: (t, {"epoch": 3})),
    "a class of somebody": (False, lambda t: (t, {"when": OrderedDict, "path": Path("x")})),
}


@pytest.mark.parametrize("what", TWINS)
def test_only_what_holds_the_same_tensors_is_left_out(model: Path, rng: np.random.Generator, what: str) -> None:
    duplicate, made = TWINS[what]
    torch_file(model / "pytorch_model.bin", *made(_one(model)))
    report, again = there_and_back(model)
    expected = content(model)
    if duplicate:
        del expected["pytorch_model.bin"]
        assert any("left out pytorch_model.bin" in note for note in report.notes)
    assert again == expected
    if duplicate:
        tersely.compress(model, model.with_name("all"), all_files=True)
        assert (model.with_name("all") / "pytorch_model.bin").exists()


def test_shards_are_left_out_together_with_their_index(model: Path, rng: np.random.Generator) -> None:
    tensors = _one(model)
    names = [f"pytorch_model-0000{k}-of-00002.bin" for k in (1, 2)]
    for name, key in zip(names, tensors, strict=True):
        torch_file(model / name, {key: tensors[key]})
    others = list(map(Path, names))
    assert pytorch_duplicates.find(model, others, [Path("model.safetensors")]) == []  # shards that no index names
    (model / "pytorch_model.bin.index.json").write_text("{}")
    others.append(Path("pytorch_model.bin.index.json"))
    assert set(pytorch_duplicates.find(model, others, [Path("model.safetensors")])) == set(others)
    torch_file(model / names[1], {"b.weight": tensors["b.weight"] + 1})
    assert pytorch_duplicates.find(model, others, [Path("model.safetensors")]) == []
    assert pytorch_duplicates.find(model, others, [Path("elsewhere/model.safetensors")]) == []


def test_a_file_of_torch_is_read_as_torch_writes_it(model: Path, rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch", reason="compares with torch's own writer")
    tensors = {name: torch.from_numpy(one) for name, one in _one(model).items()}
    layer = torch.nn.Linear(64, 64)
    for state in (tensors, OrderedDict(tensors)):
        torch.save(state, model / "pytorch_model.bin")
        assert pytorch_duplicates.find(model, [Path("pytorch_model.bin")], [Path("model.safetensors")])
    for state in (layer.state_dict(), layer, {"state": tensors}, {**tensors, "a.weight": tensors["a.weight"][1:]}):
        torch.save(state, model / "pytorch_model.bin")
        assert not pytorch_duplicates.find(model, [Path("pytorch_model.bin")], [Path("model.safetensors")])


def test_what_a_link_leads_to_is_not_left_out(model: Path, rng: np.random.Generator) -> None:
    torch_file(model / "pytorch_model.bin", _one(model))
    (model / "latest.bin").symlink_to("pytorch_model.bin")
    _, again = there_and_back(model)
    assert again == content(model)


# -- links -------------------------------------------------------------------------------------------------------------


def test_links_inside_stay_links(model: Path) -> None:
    (model / "sub/deep").mkdir(parents=True)
    (model / "sub/notes.txt").write_text("words")
    links = {
        "latest": ".",
        "sub/up": "..",
        "sub/deep/model.safetensors": "../../model.safetensors",
        "other.safetensors": "model.safetensors",
        "sub/deep/notes": "../notes.txt",
        "alias": "sub",
    }
    for name, target in links.items():
        (model / name).symlink_to(target)
    report, again = there_and_back(model)
    assert len(report.tensors) == 2
    assert again == content(model)


def test_an_absolute_link_inside_becomes_a_relative_one(model: Path) -> None:
    (model / "sub").mkdir()
    (model / "sub/weights.safetensors").symlink_to(model / "model.safetensors")
    _, again = there_and_back(model)
    assert again["sub/weights.safetensors"] == "../model.safetensors"


def test_links_to_what_is_outside_are_followed(model: Path, tmp_path: Path, rng: np.random.Generator) -> None:
    outside = tmp_path / "blobs"
    outside.mkdir()
    safetensors.numpy.save_file(weights(rng, "c"), outside / "0123abcd")
    (outside / "words").write_text("w")
    (model / "linked").symlink_to(outside)
    (model / "more.safetensors").symlink_to("../blobs/0123abcd")
    report, again = there_and_back(model)
    assert {tensor.name for tensor in report.tensors} == {"a.weight", "b.weight", "c"}
    assert again["more.safetensors"] == again["linked/0123abcd"] == (outside / "0123abcd").read_bytes()
    assert again["linked/words"] == b"w"


def test_a_link_in_the_place_of_a_file_that_we_write_is_not_written_through(model: Path) -> None:
    (model / "config.json").rename(model / "config-v1.json")
    (model / "config.json").symlink_to("config-v1.json")
    before = (model / "config-v1.json").read_bytes()
    packed = model.with_name("packed")
    tersely.compress(model, packed)
    assert (packed / "config-v1.json").read_bytes() == before
    assert b"quant_method" in (packed / "config.json").read_bytes()
    tersely.decompress(packed, model.with_name("again"))
    assert (model.with_name("again") / "config.json").read_bytes() == before


def _to_ancestor(model: Path) -> str:
    (model / "run").symlink_to(model.parent)
    return "run is a link to a folder that holds it"


def _to_nowhere(model: Path) -> str:
    (model / "gone").symlink_to("not/there")
    return "gone is a link that leads nowhere \\(not/there\\)"


def _to_each_other(model: Path) -> str:
    (model / "x").symlink_to("y")
    (model / "y").symlink_to("x")
    return "/x is a link that leads nowhere"


def _back_from_outside(model: Path) -> str:
    outside = model.with_name("outside")
    (outside / "deeper").mkdir(parents=True)
    (outside / "deeper/back").symlink_to(outside)
    (model / "out").symlink_to(outside)
    return "out/deeper/back is a link to a folder that holds it"


def _pipe(model: Path) -> str:
    os.mkfifo(model / "pipe")
    return "pipe is neither a file nor a folder"


@pytest.mark.parametrize("make", [_to_ancestor, _to_nowhere, _to_each_other, _back_from_outside, _pipe])
@pytest.mark.parametrize("dry_run", [False, True])
def test_what_cannot_be_kept_is_refused_by_name(model: Path, make: Callable[[Path], str], dry_run: bool) -> None:
    seen: list[str] = []
    with pytest.raises(TerselyError, match=make(model)):
        tersely.compress(
            model, model.with_name("packed"), dry_run=dry_run, progress=lambda done, total, name: seen.append(name)
        )
    assert not seen
    assert not model.with_name("packed").exists()


def test_a_folder_that_cannot_be_read_is_not_passed_over(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (model / "secret").mkdir()
    scan = os.scandir

    def refuse(path: Any) -> Any:
        if str(path).endswith("secret"):
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(listing.os, "scandir", refuse)
    with pytest.raises(TerselyError, match="secret cannot be read: Permission denied"):
        tersely.compress(model, model.with_name("packed"))
