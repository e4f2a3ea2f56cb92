"""An encoder as a graph of ours: what passes make of it, and its numbers beside the reference's, saved and loaded too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tersely
from tersely.graph import files, passes, reference
from tersely.graph.graph import Graph, Node
from tersely.graph.pipeline import Pipeline

pytestmark = pytest.mark.kernels


def encoder(rng: np.random.Generator, width: int, heads: int) -> tuple[Graph, dict[str, np.ndarray]]:
    """Numbers of tokens and a mask [images, tokens] to tokens: one layer, as transformers' BERT exports it."""
    constants = {"table": rng.standard_normal((50, width)).astype(np.float32), "one": np.zeros((), np.float32)}
    nodes = [
        Node("embedding", {"x": "numbers", "weight": "table"}, "a"),
        Node("not_equal", {"x": "mask", "z": "one"}, "m"),
        Node("reshape", {"x": "m"}, "mask4", {"shape": [0, 1, 1, -1]}),
    ]

    def linear(x: str, name: str, outputs: int, inputs: int) -> Node:
        constants[f"{name}.w"] = (rng.standard_normal((outputs, inputs)) / np.sqrt(inputs)).astype(np.float32)
        constants[f"{name}.b"] = rng.standard_normal(outputs).astype(np.float32)
        return Node("linear", {"x": x, "weight": f"{name}.w", "bias": f"{name}.b"}, name)

    for name in "qkv":
        nodes += [
            linear("a", name, width, width),
            Node("reshape", {"x": name}, f"{name}4", {"shape": [0, 0, heads, width // heads]}),
            Node("transpose", {"x": f"{name}4"}, f"{name}t", {"axes": [1, 2]}),
        ]
    roles = {"x": "qt", "k": "kt", "v": "vt", "mask": "mask4"}
    nodes += [
        Node("attention", roles, "b", {"boolean": True}),
        Node("transpose", {"x": "b"}, "bt", {"axes": [1, 2]}),
        Node("reshape", {"x": "bt"}, "c", {"shape": [0, 0, -1]}),
        linear("c", "d", width, width),
        Node("add", {"x": "d", "z": "a"}, "e"),
        Node("layer_norm", {"x": "e"}, "f", {"eps": 1e-5}),
        linear("f", "g", 2 * width, width),
        Node("gelu", {"x": "g"}, "h"),
        linear("h", "i", width, 2 * width),
        Node("add", {"x": "f", "z": "i"}, "j"),
        Node("select", {"x": "j"}, "first", {"axis": 1, "index": 0}),
        Node("mean", {"x": "j"}, "mean", {"axes": [1], "keep": False}),
    ]
    return Graph(("numbers", "mask"), ("j", "first", "mean"), tuple(nodes), frozenset(constants)), constants


def test_layers_take_sums_and_activations_with_them(rng: np.random.Generator) -> None:
    graph, constants = encoder(rng, 48, 3)
    found = {node.output: node for node in passes.run(graph, dict(constants)).nodes}
    assert found["d"].inputs["residual"] == "a"
    assert found["g"].attributes["activation"] == "gelu"
    assert found["i"].inputs["residual"] == "f"
    assert not {"e", "h", "j"} & set(found)


@pytest.mark.parametrize(("width", "heads"), [(48, 3), (40, 2)])
@pytest.mark.parametrize("images", [1, 3])
def test_numbers_of_the_reference(
    each_isa: str, rng: np.random.Generator, tmp_path: Path, width: int, heads: int, images: int
) -> None:
    graph, constants = encoder(rng, width, heads)
    inputs = {"numbers": rng.integers(0, 50, (images, 13)), "mask": rng.integers(0, 2, (images, 13))}
    inputs["mask"][:, 0] = 1
    expected = reference.run(graph, inputs, constants)
    weights = {node.inputs["weight"] for node in graph.nodes if "weight" in node.inputs}
    coded = {name: tersely.encode(one) if name in weights else one for name, one in constants.items()}
    made = Pipeline(graph, coded)
    files.save(made, tmp_path / "encoder.safetensors")
    for pipeline in (made, files.load(tmp_path / "encoder.safetensors")):
        for threads in (1, 2, 3):
            for one, other in zip(pipeline.run(*inputs.values(), threads=threads), expected, strict=True):
                np.testing.assert_allclose(one, other, rtol=0, atol=3e-6 * abs(other).max())
