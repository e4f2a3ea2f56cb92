"""Saving parts and joins: nothing is coded anew, bits come back, modules are what they were."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from networks import Experts
from torch import nn
from torch_fixtures import mode, two_threads

import tersely
import tersely.torch
from tersely.core.errors import ArgumentError, CorruptError
from tersely.files.container.reader import Reader
from tersely.torch import TerselyTensor
from tersely.torch.checkpoint import recipes
from tersely.torch.weight.coded import Coded

SPLIT = {"formulation": "split", "code": "packed"}
WIDTH = 1024
"""Of experts: their 96 rows end with a segment."""


def weight(*shape: int, scale: float = 0.05) -> torch.Tensor:
    return (torch.randn(*shape) * scale).bfloat16()


def alike(tensor: torch.Tensor) -> torch.Tensor:
    """Other weights with the same exponents, so under the same table."""
    return tensor.flip(0).contiguous()


@pytest.fixture
def frozen(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A context in which nothing may be coded; `decoding=True`: nor decoded."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("coded or decoded")

    @contextmanager
    def context(decoding: bool = False) -> Iterator[None]:
        with monkeypatch.context() as patch:
            patch.setattr(tersely.torch.operators.views, "encode", refuse)
            if decoding:
                patch.setattr(Coded, "decode_into", refuse)
                patch.setattr(tersely.Tensor, "decode", refuse)
            yield

    return context


def bits(tensor: torch.Tensor) -> torch.Tensor:
    return (tensor.decode() if isinstance(tensor, TerselyTensor) else tensor).contiguous().view(torch.int16)


ONE: dict[str, Callable[[Any, Any], Any]] = {
    "a matrix of a stack": lambda s, w: s[2],
    "matrices of a stack": lambda s, w: s[1:3],
    "transposed": lambda s, w: s[1:3].mT,
    "rows from segment to segment": lambda s, w: w[96:],
    "stacked": lambda s, w: torch.stack([s[1], s[0]]),
    "stacked and transposed": lambda s, w: torch.stack([s[1], s[0]]).mT,
    "stacks on stacks": lambda s, w: torch.cat([s[2:], s[:1]]),
    "rows under rows": lambda s, w: torch.cat([w[:96], w]),
}


@pytest.mark.parametrize("case", ONE)
def test_one_tensor_where_bytes_allow(case: str, mode: str, tmp_path: Path, frozen: Any) -> None:
    s = tersely.torch.encode(weight(3, 96, 64), mode=mode, **SPLIT)
    w = tersely.torch.encode(weight(200, 300), mode=mode, **SPLIT)
    tensor = ONE[case](s, w)
    assert isinstance(tensor, TerselyTensor)
    assert tensor.formulation != "dense"
    with frozen():
        tersely.torch.save_file({"t": tensor}, tmp_path / "a.safetensors")
    assert set(tersely.load_file(tmp_path / "a.safetensors", check="full")) == {"t"}
    assert tersely.open(tmp_path / "a.safetensors").metadata == {}
    back = tersely.torch.load_file(tmp_path / "a.safetensors", mode=mode)["t"]
    assert isinstance(back.storage_, Coded)
    assert back.shape == tensor.shape
    assert torch.equal(bits(back), bits(tensor))


OTHERS: dict[str, tuple[dict[str, Any], torch.dtype]] = {
    "bitmaps": ({"formulation": "sparse"}, torch.bfloat16),
    "gaps": ({"formulation": "sparse", "positions": "gaps"}, torch.float32),
    "coded values": ({"formulation": "sparse", "values": "split", "code": "packed"}, torch.bfloat16),
    "fields": ({"formulation": "integer"}, torch.int8),
    "dictionary": ({"formulation": "blocks", "block": "row"}, torch.bfloat16),
    "empty blocks": ({"formulation": "block_sparse", "block": "chunk"}, torch.bfloat16),
    "palette": ({"formulation": "palette"}, torch.float32),
}


@pytest.mark.parametrize("case", OTHERS)
def test_lone_parts_of_every_formulation(case: str, mode: str, tmp_path: Path, frozen: Any) -> None:
    options, dtype = OTHERS[case]
    dense = (torch.randint(-6, 7, (8, 96, 64)) * (torch.rand(8, 96, 1) < 0.3)).to(dtype)
    s, w = (tersely.torch.encode(t, mode=mode, **options) for t in (dense, dense.reshape(96 * 8, 64)))
    tensors = {"expert": s[1], "experts": s[1:], "rows": w[512:]}
    with frozen():
        tersely.torch.save_file(tensors, tmp_path / "a.safetensors")
    back = tersely.torch.load_file(tmp_path / "a.safetensors", mode=mode, check="full")
    assert set(tersely.load_file(tmp_path / "a.safetensors")) == set(tensors)
    for name, tensor in tensors.items():
        assert isinstance(back[name].storage_, Coded)
        assert torch.equal(back[name].decode(), tensor.decode())


PIECES: dict[str, Callable[[Any, Any, Any], dict[str, Any]]] = {
    "tables differ": lambda a, b, w: {"t": torch.stack([a, b])},
    "rows of different tables": lambda a, b, w: {"t": torch.cat([a, b])},
    "transposed": lambda a, b, w: {"t": torch.stack([a, b]).mT},
    "pieces that are tensors": lambda a, b, w: {"a": a, "t": torch.stack([a, b]), "u": torch.stack([b, a])},
    "all parts of a whole": lambda a, b, w: dict(zip("tuv", w.split([100, 50, 50]), strict=True)),
    "a part beside the whole": lambda a, b, w: {"t": w[3:70], "w": w},
    "parts inside of joins": lambda a, b, w: {"w": w, "t": torch.cat([w[5:7], w[:1]])},
}


@pytest.mark.parametrize("case", PIECES)
def test_pieces_where_they_do_not(case: str, mode: str, tmp_path: Path, frozen: Any) -> None:
    a, b, w = (
        tersely.torch.encode(t, mode=mode, **SPLIT) for t in (weight(96, 64), weight(96, 64, scale=9), weight(200, 300))
    )
    tensors = PIECES[case](a, b, w)
    path, again = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    with frozen():
        tersely.torch.save_file(tensors, path, {"note": "kept"})
    stored = tersely.load_file(path, check="full")
    assert all(tensor.formulation == "split" for tensor in stored.values())
    sources = {id(part): part.nbytes for t in tensors.values() for part in t.storage_.tensors()}
    assert sum(tensor.nbytes_stored for tensor in stored.values()) == sum(sources.values())  # each once
    with frozen(decoding=True):
        back = tersely.torch.load_file(path, mode=mode)
        tersely.torch.save_file(back, again, tersely.open(path).metadata)
    assert again.read_bytes() == path.read_bytes()
    assert set(back) == set(tensors)
    for name, tensor in tensors.items():
        assert (type(back[name]), back[name].layout_) == (type(tensor), tensor.layout_)
        assert back[name].storage_.structure() == tensor.storage_.structure()
        assert torch.equal(bits(back[name]), bits(tensor))
    tersely.decompress(path, tmp_path / "dense.safetensors")  # the pieces; tersely.torch still follows the recipes
    dense = tersely.torch.load_file(tmp_path / "dense.safetensors")
    assert set(dense) == set(tensors)
    assert all(torch.equal(bits(dense[name]), bits(tensor)) for name, tensor in tensors.items())


def test_what_must_be_coded_anew_is(tmp_path: Path) -> None:
    w = tersely.torch.encode(weight(200, 300), **SPLIT)
    turned = tersely.torch.encode(weight(96, 300), orientation="in_out", **SPLIT)
    dense = tersely.torch.encode(weight(96, 64), **SPLIT)
    small = torch.cat([dense, dense[90:]])
    tensors = {"inside": w[3:150], "columns": turned[:32], "join": small}
    tersely.torch.save_file(tensors, tmp_path / "a.safetensors")
    back = tersely.torch.load_file(tmp_path / "a.safetensors", check="full")
    for name, tensor in tensors.items():
        assert torch.equal(bits(back[name]), bits(tensor)), name


@pytest.mark.parametrize("same_table", [True, False])
def test_modules_of_joins(same_table: bool, mode: str, tmp_path: Path, frozen: Any) -> None:
    """Experts as transformers merges them while loading, with one weight in two places."""
    gates, ups = ([weight(96, WIDTH) for _ in range(4)] for _ in range(2))
    if same_table:
        gates, ups = ([each, alike(each)] * 2 for each in (gates[0], gates[0]))
    down = weight(4, WIDTH, 96)

    def coded(tensor: torch.Tensor) -> Any:
        return tersely.torch.encode(tensor, mode=mode, **SPLIT)

    model = nn.ModuleDict({name: Experts(width=WIDTH) for name in "ab"})
    with torch.device("meta"):
        empty = nn.ModuleDict({name: Experts(width=WIDTH) for name in "ab"}).bfloat16()
    joined = torch.cat([torch.stack([coded(t) for t in part]) for part in (gates, ups)], 1)
    shared = nn.Parameter(coded(down), requires_grad=False)
    for experts in model.values():
        experts.gate_up = nn.Parameter(joined, requires_grad=False)
        experts.down = shared
    empty["b"].down = empty["a"].down
    path = tmp_path / "model.safetensors"
    with frozen():
        tersely.torch.save_model(model, path)
    names = set(tersely.load_file(path))
    assert ("b.down" in names, "a.gate_up" in names, "b.gate_up" in names) == (False, same_table, False)
    assert len(names) == (2 if same_table else 1 + 8)
    with frozen(decoding=True):
        tersely.torch.load_model(empty, path, mode=mode)
    assert empty["a"].down is empty["b"].down
    x, offsets = weight(8, WIDTH, scale=1), torch.tensor([2, 4, 4, 8], dtype=torch.int32)
    for name in ("a", "b"):
        assert torch.equal(bits(empty[name].gate_up), bits(joined))
        assert torch.equal(empty[name](x, offsets), model[name](x, offsets))


def test_golden_recipes(mode: str, tmp_path: Path) -> None:
    golden = Path(__file__).parent.parent / "golden/v1.0/recipes.safetensors"
    stored = {name: torch.from_numpy(t.decode().view("i2")) for name, t in tersely.load_file(golden).items()}
    a, b = stored["a"], stored["both#0"]
    expected = {"a": a, "both": torch.stack([a, b]), "rows": torch.cat([b, a[3:7]]), "turned": torch.cat([a[3:7], b]).T}
    found = tersely.torch.load_file(golden, mode=mode, check="full")
    assert set(found) == set(expected)
    assert all(isinstance(tensor, TerselyTensor) for tensor in found.values())
    assert all(torch.equal(bits(found[name]), tensor) for name, tensor in expected.items())
    tersely.torch.save_file(found, tmp_path / "again", tersely.open(golden).metadata)
    old, new = Reader(golden), Reader(tmp_path / "again")  # which has entries that close it, too
    assert new.metadata == old.metadata
    assert {name: new.raw(new.header.entries[name]).tobytes() for name in old.header.entries} == {
        name: old.raw(entry).tobytes() for name, entry in old.header.entries.items()
    }


BAD = {
    "no json": "{",
    "no object": "[]",
    "no pieces": {"recipes": {}},
    "pairs": '{"recipes":[["t","a"]],"pieces":[]}',
    "unknown name": {"t": ["stack", 0, ["a", "c"]]},
    "stored twice": {"a": "b"},
    "shapes": {"t": ["stack", 0, ["a", "v"]]},
    "nothing": {"t": ["cat", 0, []]},
    "dimension": {"t": ["cat", 1, ["a", "b"]]},
    "no number": {"t": ["cat", True, ["a", "b"]]},
    "rows": {"t": ["rows", 5, 97, "a"]},
    "row": {"t": ["row", -1, "a"]},
    "row of no number": {"t": ["row", "1", "a"]},
    "word": {"t": ["sum", 0, ["a", "b"]]},
    "short": {"t": ["stack"]},
    "inner turn": {"t": ["stack", 0, [["transposed", "a"]]]},
    "turned vector": {"t": ["transposed", ["row", 0, "a"]]},
    "deep": {
        "t": [
            "rows",
            0,
            96,
            [
                "rows",
                0,
                96,
                [
                    "rows",
                    0,
                    96,
                    [
                        "rows",
                        0,
                        96,
                        ["rows", 0, 96, ["rows", 0, 96, ["rows", 0, 96, ["rows", 0, 96, ["rows", 0, 96, "a"]]]]],
                    ],
                ],
            ],
        ]
    },
}


BOTH: dict[str, Callable[[Any, Any, Any], dict[str, Any]]] = PIECES | {
    "tied": lambda a, b, w: {"a": a, "b": b, "head": a},
    "the transposed of another": lambda a, b, w: {"t": a.T, "a": a, "u": a.T},
    "tied joins": lambda a, b, w: dict.fromkeys("tu", torch.stack([a, b])),
    "tied transposed ones": lambda a, b, w: {"t": a.T, "u": a.T},
    "a part that could stand alone": lambda a, b, w: {"t": w[96:], "w": w},
    "a join that could be one tensor": lambda a, b, w: {"t": torch.stack([a, a]), "a": a},
    "beside dense ones": lambda a, b, w: {"v": torch.ones(5), "t": w[3:70], "w": w},
}


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")
@pytest.mark.parametrize("case", BOTH)
def test_other_writers_store_pieces_once(case: str, mode: str, tmp_path: Path, frozen: Any) -> None:
    a, b, w = (
        tersely.torch.encode(t, mode=mode, **SPLIT) for t in (weight(96, 64), weight(96, 64, scale=9), weight(200, 300))
    )
    tensors, path = BOTH[case](a, b, w), tmp_path / "flat.safetensors"
    with frozen():
        flat = tersely.torch.flatten_state_dict(tensors)
    safetensors.torch.save_file(flat, path, {"format": "pt"})
    coded = [t for t in tensors.values() if isinstance(t, TerselyTensor)]
    sources = {id(part): part.nbytes for t in coded for part in t.storage_.tensors()}
    kept = [name for name in flat if ".tersely." in name and not name.endswith(".tersely.info")]
    assert sum(flat[name].nbytes for name in kept) == sum(sources.values())  # each once
    for state in (
        tersely.torch.load_file(path, mode=mode, check="full"),
        tersely.torch.unflatten_state_dict(flat, mode=mode),
        tersely.torch.unflatten_state_dict(safetensors.torch.load_file(path), mode=mode),
    ):
        assert set(state) == set(tensors)
        for name, tensor in tensors.items():
            assert type(state[name]) is type(tensor)
            assert state[name].shape == tensor.shape
            assert torch.equal(bits(state[name]), bits(tensor))
    tersely.decompress(path, tmp_path / "dense.safetensors")
    tersely.compress(tmp_path / "dense.safetensors", tmp_path / "again.safetensors")
    for file in ("dense", "again"):
        found = tersely.torch.load_file(tmp_path / f"{file}.safetensors")
        assert set(found) == set(tensors)
        assert all(torch.equal(bits(found[name]), bits(tensor)) for name, tensor in tensors.items())


def test_the_name_of_recipes_is_taken(tmp_path: Path) -> None:
    tensors = {recipes.NOTE: torch.ones(3)}
    for save in (tersely.torch.flatten_state_dict, lambda t: tersely.torch.save_file(t, tmp_path / "a.safetensors")):
        with pytest.raises(ArgumentError, match="another one"):
            save(tensors)


@pytest.mark.parametrize("case", BAD)
def test_hostile_recipes(case: str, tmp_path: Path) -> None:
    tensors = {"a": weight(96, 64), "b": weight(96, 64), "v": weight(64)}
    coded = {
        name: tersely.torch.encode(t, **SPLIT).storage_.coded_tensor if t.ndim == 2 else t.view(torch.int16).numpy()
        for name, t in tensors.items()
    }
    note = BAD[case]
    if isinstance(note, dict) and "recipes" not in note:
        note = {"recipes": note, "pieces": []}
    text = note if isinstance(note, str) else json.dumps(note)
    tersely.save_file(coded, tmp_path / "a.safetensors", {recipes.NOTE: text})
    with pytest.raises(CorruptError, match="a.safetensors"):
        tersely.torch.load_file(tmp_path / "a.safetensors")
    coded[recipes.NOTE] = np.frombuffer(text.encode(), np.uint8)
    tersely.save_file(coded, tmp_path / "b.safetensors")
    with pytest.raises(CorruptError, match="b.safetensors"):
        tersely.torch.load_file(tmp_path / "b.safetensors")


@pytest.mark.parametrize(
    "note", [np.ones(3, np.float32), np.frombuffer(b'{"recipes":{"t":"\xff"}}', np.uint8)], ids=str
)
def test_hostile_tensors_of_recipes(note: np.ndarray, tmp_path: Path) -> None:
    tersely.save_file({recipes.NOTE: note}, tmp_path / "a.safetensors")
    with pytest.raises(CorruptError, match="a.safetensors"):
        tersely.torch.load_file(tmp_path / "a.safetensors")
    both = np.frombuffer(b'{"recipes":{},"pieces":[]}', np.uint8)
    tersely.save_file({recipes.NOTE: both}, tmp_path / "b.safetensors", {recipes.NOTE: both.tobytes().decode()})
    with pytest.raises(CorruptError, match="twice"):
        tersely.torch.load_file(tmp_path / "b.safetensors")
