"""The demo's network, on real weights without the word embeddings: as a graph against NumPy, compressed and dense."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from support.arrays import needs_native

import tersely

sys.path.insert(0, str(Path(__file__).parents[2] / "examples" / "minilm"))
import bert
import network


@needs_native
def test_the_network_gives_the_same_sentences_from_compressed_weights(
    models: Path, tmp_path: Path, rng: np.random.Generator
) -> None:
    source = models / "minilm-l6-v2-body-fp32.safetensors"
    tersely.compress(source, tmp_path / "packed.safetensors", profile="native")
    tensors = tersely.load_file(tmp_path / "packed.safetensors")
    assert sum(tensor.formulation == "split" for tensor in tensors.values()) >= 36
    dense = {name: tensor.decode() for name, tensor in tersely.load_file(source).items()}
    table = rng.standard_normal((100, 384)).astype(np.float32) * np.float32(0.05)
    words = "embeddings.word_embeddings.weight"
    dense[words], tensors[words] = table, tersely.encode(table, formulation="split")
    ids = rng.integers(0, 100, (3, 9))
    mask = np.ones((3, 9), np.float32)
    mask[1, 5:] = mask[2, 1:] = 0
    expected = bert.embed(ids, mask, dense)
    found = network.embed(network.pipeline(tensors), ids, mask)
    assert np.abs(expected - found).max() < 1e-5
    alone = network.embed(network.pipeline(tensors), ids[1:2, :5], mask[1:2, :5])
    assert np.abs(alone[0] - found[1]).max() < 1e-5  # padding changes nothing


def test_erf_is_the_error_function() -> None:
    import math

    x = np.linspace(-4, 4, 201, dtype=np.float32)
    exact = np.array([math.erf(value) for value in x])
    assert np.abs(bert.erf(x) - exact).max() < 1e-6


def test_the_demo_imports_only_what_there_is() -> None:
    import ast
    import importlib

    folder = Path(bert.__file__).parent
    nodes = [node for name in ("run.py", "network.py") for node in ast.walk(ast.parse((folder / name).read_text()))]
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("tersely"):
            module = importlib.import_module(node.module)
            for one in node.names:
                assert hasattr(module, one.name) or importlib.import_module(f"{node.module}.{one.name}"), one.name
