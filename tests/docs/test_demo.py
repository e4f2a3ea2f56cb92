"""The demo's transformer, on real weights without the word embeddings: dense against compressed."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import tersely

sys.path.insert(0, str(Path(__file__).parents[2] / "examples" / "minilm"))
import bert


def test_the_encoder_gives_the_same_states_from_compressed_weights(
    models: Path, tmp_path: Path, rng: np.random.Generator
) -> None:
    source = models / "minilm-l6-v2-body-fp32.safetensors"
    tersely.compress(source, tmp_path / "packed.safetensors", profile="native")
    tensors = tersely.load_file(tmp_path / "packed.safetensors")
    assert sum(tensor.formulation == "split" for tensor in tensors.values()) >= 36
    dense = bert.DenseWeights({name: tensor.decode() for name, tensor in tersely.load_file(source).items()})
    compressed = bert.CompressedWeights(tensors)
    x = rng.standard_normal((2, 9, 384)).astype(np.float32)
    mask = np.ones((2, 9), np.float32)
    mask[1, 5:] = 0
    expected, found = (bert.encoder(x, mask, weights) for weights in (dense, compressed))
    assert np.abs(expected - found).max() < 2e-4 * np.abs(expected).max()
    positions = np.array([0, 3, 511, 3])
    name = "embeddings.position_embeddings.weight"
    assert dense.rows(name, positions).tobytes() == compressed.rows(name, positions).tobytes()


def test_erf_is_the_error_function() -> None:
    import math

    x = np.linspace(-4, 4, 201, dtype=np.float32)
    exact = np.array([math.erf(value) for value in x])
    assert np.abs(bert.erf(x) - exact).max() < 1e-6


def test_the_demo_imports_only_what_there_is() -> None:
    import ast
    import importlib

    program = Path(bert.__file__).with_name("run.py")
    for node in ast.walk(ast.parse(program.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("tersely"):
            module = importlib.import_module(node.module)
            for one in node.names:
                assert hasattr(module, one.name) or importlib.import_module(f"{node.module}.{one.name}"), one.name
