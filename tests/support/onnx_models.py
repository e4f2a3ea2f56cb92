"""ONNX models of a few nodes, built with the package `onnx`, and what its reference evaluator computes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import tersely.onnx
from tersely.graph.pipeline import Pipeline

KINDS = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64, "int32": TensorProto.INT32, "bool": TensorProto.BOOL}
Inputs = Mapping[str, np.ndarray]


def node(operator: str, inputs: str, outputs: str, **attributes: Any) -> onnx.NodeProto:
    """inputs, outputs: names with spaces between them; `-` is one that is left out."""
    names = [["" if name == "-" else name for name in some.split()] for some in (inputs, outputs)]
    return helper.make_node(operator, *names, name=f"the {operator}", **attributes)


def model_of(
    nodes: Sequence[onnx.NodeProto],
    inputs: Inputs,
    constants: Inputs,
    outputs: Sequence[str] = ("y",),
    opset: int = 21,
    dims: Mapping[str, Sequence[int | str]] | None = None,
    kind: int = TensorProto.FLOAT,
) -> onnx.ModelProto:
    """dims: of inputs, where they are not those of the arrays."""
    declared = [
        helper.make_tensor_value_info(name, KINDS[one.dtype.name], (dims or {}).get(name, one.shape))
        for name, one in inputs.items()
    ]
    results = [helper.make_tensor_value_info(name, kind, None) for name in outputs]
    weights = [numpy_helper.from_array(np.asarray(one), name) for name, one in constants.items()]
    graph = helper.make_graph(list(nodes), "g", declared, results, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def pipeline_of(model: onnx.ModelProto, folder: Path, **choices: Any) -> Pipeline:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return tersely.onnx.pipeline(path, **choices)


def compare(model: onnx.ModelProto, inputs: Inputs, folder: Path, tolerance: float = 2e-6, **choices: Any) -> Pipeline:
    """Raises AssertionError where the pipeline and the reference evaluator differ."""
    made = pipeline_of(model, folder, **choices)
    expected = ReferenceEvaluator(model).run(None, dict(inputs))
    check_close(made.run(*inputs.values()), expected, tolerance)
    return made


def check_close(found: Sequence[np.ndarray], expected: Sequence[np.ndarray], tolerance: float = 2e-6) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        other = np.asarray(other, np.float64)
        finite = np.isfinite(other)
        np.testing.assert_array_equal(one[~finite], other[~finite])
        scale = float(np.abs(other[finite]).max(initial=1e-30))
        np.testing.assert_allclose(one[finite], other[finite], rtol=0, atol=tolerance * scale)
