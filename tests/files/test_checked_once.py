"""From a file to a product: a tensor is checked once, its parameters parsed once, the geometry of a shape made once."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tersely
from tersely.codes import node, registry
from tersely.core.geometry import Geometry


@pytest.fixture
def source(tmp_path: Path, rng: np.random.Generator) -> Path:
    path = tmp_path / "m.safetensors"
    array = rng.standard_normal((96, 128)).astype(np.float32)
    pruned = np.where(rng.random(array.shape) < 0.8, 0, array).astype(np.float32)
    few = rng.choice(array.reshape(-1)[:16], array.shape)
    tensors = {
        "split": tersely.encode(array, "split", code="layered", widths=(2, 2)),
        "sparse": tersely.encode(pruned, "sparse", values="split"),
        "palette": tersely.encode(few, "palette", code="packed"),
    }
    tersely.save_file(tensors, path)
    return path


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each thing is done."""
    counts: Counter[str] = Counter()
    node.shared_geometry.cache_clear()

    def count(owner: Any, name: str, what: Callable[..., str]) -> None:
        real = getattr(owner, name)

        def call(*arguments: Any, **named: Any) -> Any:
            counts[what(*arguments)] += 1
            return real(*arguments, **named)

        monkeypatch.setattr(owner, name, call)

    count(node, "check", lambda encoded, row: f"check {row.NAME}")
    count(Geometry, "__post_init__", lambda geometry: "geometry")
    rows = {row.NAME: row for row in registry.ROWS}
    for row in (rows["split"], rows["sparse"], rows["palette"]):
        count(row, "parse", lambda found, *_: f"parse {found.formulation}")
    return counts


def test_from_load_file_to_product(source: Path, counted: Counter[str]) -> None:
    loaded = tersely.load_file(source)
    x = np.ones((2, 128), np.float32)
    for tensor in loaded.values():
        assert tersely.linear(x, tensor).shape == (2, 96)
        tensor.decode()
        assert tensor.rows(3, 7).shape == (4, 128)
    # Values of `sparse` and indices of `palette` are under `split`, too.
    expected = {f"check {name}": 1 for name in loaded} | {"geometry": 1}  # of one shape
    assert counted == expected | {"parse split": 3, "parse sparse": 1, "parse palette": 1}


def test_verify_against_decodes_every_tensor_once(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    back, packed = tmp_path / "back.safetensors", tmp_path / "packed.safetensors"
    tersely.decompress(source, back)
    tersely.compress(back, packed, objective="size")
    real, decoded = registry.decode, []

    def decode(tensor: Any, threads: int | None = None) -> np.ndarray:
        if tensor.encoded.node.formulation != "dense":  # whose bytes are taken as they are
            decoded.append(tensor.encoded.shape)
        return real(tensor, threads)

    monkeypatch.setattr(registry, "decode", decode)
    assert tersely.verify(packed, against=back).ok
    assert len(decoded) == 3


def test_reading_a_file_imports_no_planner(source: Path) -> None:
    code = (
        "import sys, tersely\n"
        f"tensor = tersely.load_file({str(source)!r})['split']\n"
        "tensor.decode()\n"
        "assert not [name for name in sys.modules if name.startswith('tersely.planner')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
