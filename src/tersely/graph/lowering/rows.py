"""Products of rows: linear layers, embeddings, products of two values."""

from __future__ import annotations

import math
from typing import Any

from tersely.core.errors import ArgumentError
from tersely.graph.graph import Node
from tersely.graph.lowering import pairs
from tersely.graph.lowering.context import Context, Lower, finish_of
from tersely.graph.lowering.pointwise import activate_view
from tersely.graph.lowering.program import Layout

FEW_ROWS = 8
"""MEASURED (Zen 4): up to so many rows products from registers are faster; with more a panel is decoded once for all rows."""


def _linear(context: Context, node: Node) -> None:
    few = math.prod(context.shapes[node.output][:-1]) <= FEW_ROWS
    if few or node.inputs["weight"] in context.products_only:
        _few_rows(context, node)
    else:
        _many_rows(context, node)


def _few_rows(context: Context, node: Node) -> None:
    x, name, shape = context.rows(node.inputs["x"]), node.output, context.shapes[node.output]
    bias = {"bias": node.inputs["bias"]} if "bias" in node.inputs else {}
    activation = node.attributes.get("activation")
    at_once = finish_of(node) if activation == "relu" and "residual" not in node.inputs else {}
    product = context.plain_of(shape)
    y = context.alias(product, Layout(math.prod(shape[:-1]), shape[-1], 1, 1, 0, False))
    context.emit("linear", name, y, x=x, weight=node.inputs["weight"], **bias, **at_once)
    if "residual" in node.inputs:
        other = context.view(node.inputs["residual"]).expanded(shape)
        total = context.plain_of(shape)
        context.elementwise("add", name, total, product, other)
        product = total
    if activation is not None and not at_once:
        activate_view(context, activation, product, product, name)
    context.bind(name, product)


def _many_rows(context: Context, node: Node) -> None:
    """A convolution of one pixel's width, a row being a pixel."""
    shape, source = context.shapes[node.output], node.inputs["x"]
    x, leading = context.tokens(source)
    extra: dict[str, Any] = finish_of(node)
    if "bias" in node.inputs:
        extra["shift"] = node.inputs["bias"]
    residual = node.inputs.get("residual")
    if residual is not None:
        if context.shapes[residual] != shape:
            raise ArgumentError(f"{node}: a residual of another shape")
        extra["residual"] = context.tokens_lying(residual, leading)
    y = context.new_tokens(node.output, leading)
    if node.output in context.pairs:
        extra["method"] = pairs.METHOD
        x = pairs.rounded(context, node, x)
        extra.update(pairs.results(context, node, y))
    context.emit(
        "convolution", node.output, y, x=x, weight=node.inputs["weight"],
        height=1, width=1, stride_y=1, stride_x=1, **extra,
    )  # fmt: skip


def _embedding(context: Context, node: Node) -> None:
    ids = context.plain(node.inputs["x"])
    count = math.prod(ids.shape)
    rows, width = context.shapes[node.inputs["weight"]]
    y = context.alias(context.new_plain(node.output), Layout(count, width, 1, 1, 0, False))
    x = context.alias(ids, Layout(1, count, 1, 1, 0, False))
    context.emit("embedding", node.output, y, x=x, weight=node.inputs["weight"], rows=rows)


def _matrix_product(context: Context, node: Node) -> None:
    shape = context.shapes[node.output]
    numbers = {}
    for role in ("x", "z"):
        name = node.inputs[role]
        own = context.shapes[name][-2:]
        numbers[role] = context.matrices(context.view(name).expanded((*shape[:-2], *own)), name)
    layout = Layout(math.prod(shape[:-2]), shape[-1], 1, shape[-2])
    y = context.new_matrices(node.output, layout)
    context.emit("matrix_product", node.output, y, **numbers)


ROWS: dict[str, Lower] = {"linear": _linear, "embedding": _embedding, "matrix_product": _matrix_product}
