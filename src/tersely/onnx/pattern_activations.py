"""GELU, SiLU and the hard swish out of products, sums and error functions."""

from __future__ import annotations

import math
from collections.abc import Callable

from tersely.graph.graph import Node
from tersely.onnx.rewriting import Product, Rewriting, is_close, other_of

CUBIC = 0.044715


def run(graph: Rewriting) -> None:
    for node in list(graph.nodes.values()):
        if node.operator in ("multiply", "divide"):
            found = _known(graph, graph.product(node.output))
            if found is not None:
                operator, x = found
                graph.replace(node.output, operator, {"x": x})


def _known(graph: Rewriting, product: Product) -> tuple[str, str] | None:
    """The activation that a product is, and of what."""
    if len(product.factors) == 1 and is_close(product.number, 1 / 6):
        x = _shifted(graph, product.factors[0])
        return None if x is None else ("hard_sigmoid", x)
    for gate in product.factors:
        x = other_of(product.factors, gate)
        if x is None:
            continue
        for operator, number, test in ROWS:
            if is_close(product.number, number) and test(graph, gate, x):
                return operator, x
    return None


def _shifted(graph: Rewriting, name: str) -> str | None:
    """x of min(max(x + 3, 0), 6)."""
    bound = graph.node(name, "relu6")
    total = None if bound is None else graph.node(bound.inputs["x"], "add")
    split = None if total is None else graph.split(total)
    return split[0] if split is not None and split[1] == 3 else None


def _one_plus(graph: Rewriting, name: str, operator: str) -> Node | None:
    """The activation that 1 is added to."""
    total = graph.node(name, "add")
    split = None if total is None else graph.split(total)
    return graph.node(split[0], operator) if split is not None and split[1] == 1 else None


def _is_gelu(graph: Rewriting, gate: str, x: str) -> bool:
    """1 + erf(x / sqrt(2))."""
    inner = _one_plus(graph, gate, "erf")
    if inner is None:
        return False
    product = graph.product(inner.inputs["x"])
    return product.factors == (x,) and is_close(product.number, math.sqrt(0.5))


def _is_gelu_tanh(graph: Rewriting, gate: str, x: str) -> bool:
    """1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))."""
    inner = _one_plus(graph, gate, "tanh")
    if inner is None:
        return False
    product = graph.product(inner.inputs["x"])
    total = graph.node(product.factors[0], "add") if len(product.factors) == 1 else None
    if total is None or not is_close(product.number, math.sqrt(2 / math.pi)):
        return False
    other = other_of(total.inputs.values(), x)
    return other is not None and _is_cubic(graph, graph.product(other), x)


def _is_cubic(graph: Rewriting, product: Product, x: str) -> bool:
    if not is_close(product.number, CUBIC):
        return False
    if product.factors == (x, x, x):
        return True
    power = graph.node(product.factors[0], "power") if len(product.factors) == 1 else None
    return power is not None and power.inputs["x"] == x and graph.number(power.inputs["z"]) == 3


def _is_of(operator: str) -> Callable[[Rewriting, str, str], bool]:
    def test(graph: Rewriting, gate: str, x: str) -> bool:
        node = graph.node(gate, operator)
        return node is not None and node.inputs["x"] == x

    return test


ROWS = (
    ("gelu", 0.5, _is_gelu),
    ("gelu_tanh", 0.5, _is_gelu_tanh),
    ("silu", 1.0, _is_of("sigmoid")),
    ("hard_swish", 1.0, _is_of("hard_sigmoid")),
    ("hard_swish", 1 / 6, lambda graph, gate, x: _shifted(graph, gate) == x),
)
"""An activation, the number among its factors, and whether the other factor of x is its gate."""
