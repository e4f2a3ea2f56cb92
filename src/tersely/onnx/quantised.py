"""Operators on integers that stand for other numbers: none yet. Each refusal names the operator."""

from __future__ import annotations

from tersely.onnx.call import Translate

TRANSLATIONS: dict[str, Translate] = {}
REFUSED = frozenset(
    {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger",
     "MatMulInteger"}
)  # fmt: skip
"""Operators that a quantised model has."""
