"""Graphs from files: whatever bytes say, what comes out is a graph of known operators, or an error.

Shapes and attributes that make no sense are refused later, by `operators.infer` and by the executor, each with the
node's name.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any, Never

from tersely.core.errors import ArgumentError, CorruptError, UnsupportedError
from tersely.graph.graph import VERSION, Graph, Node
from tersely.graph.operators import OPERATORS

BYTES = 1 << 26
"""The longest graph."""
NODES = 1 << 16
LENGTH = 256
"""Of a list among attributes."""
LARGEST = 1 << 31
DTYPES = ("float32", "bfloat16", "float16", "int64", "int32", "int16", "int8", "uint8", "bool")
"""Of inputs and outputs, as the network that was imported had them."""


def to_bytes(graph: Graph) -> bytes:
    return json.dumps(graph.to_json(), separators=(",", ":"), ensure_ascii=False).encode()


def from_bytes(data: bytes) -> Graph:
    """Raises CorruptError for what is no graph, UnsupportedError for operators of a newer release."""
    if len(data) > BYTES:
        raise CorruptError(f"a graph of {len(data)} bytes (limit {BYTES})")
    try:
        document = json.loads(data.decode(), object_pairs_hook=_unique, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise CorruptError(f"not a graph: {str(error)[:100]}; get the file again") from None
    if not isinstance(document, dict) or type(document.get("version")) is not int:
        raise CorruptError("not a graph: it has no version; get the file again")
    if document["version"] != VERSION:
        raise UnsupportedError(
            f"graph version {document['version']}: this tersely reads {VERSION}; use a newer release"
        )
    if set(document) - {"lengths", "input_dtypes", "output_dtypes"} != {
        "version",
        "inputs",
        "outputs",
        "constants",
        "examples",
        "nodes",
    }:
        raise CorruptError("a graph has version, inputs, outputs, constants, examples and nodes; get the file again")
    nodes = document["nodes"]
    if not isinstance(nodes, list) or len(nodes) > NODES:
        raise CorruptError(f"the nodes are no list of at most {NODES}; get the file again")
    graph = Graph(
        _names(document["inputs"], "inputs"),
        _names(document["outputs"], "outputs"),
        tuple(_node(one, number) for number, one in enumerate(nodes)),
        frozenset(_names(document["constants"], "constants")),
        _examples(document["examples"]),
        _lengths(document.get("lengths", {})),
        _dtypes(document.get("input_dtypes", []), "inputs"),
        _dtypes(document.get("output_dtypes", []), "outputs"),
    )
    try:
        graph.check()
    except ArgumentError as error:
        raise CorruptError(f"{error}; get the file again") from None
    return graph


@contextlib.contextmanager
def meant(graph_is_read: bool = True) -> Iterator[None]:
    """What a graph from a file makes the code that runs it stumble over is said to be the file's fault: attributes that
    are missing, or are nothing that their operator can have. Raises CorruptError."""
    try:
        yield
    except (KeyError, TypeError, IndexError, AttributeError, ZeroDivisionError, OverflowError, AssertionError) as error:
        if not graph_is_read:
            raise
        reason = f"{type(error).__name__}: {str(error)[:100]}"
        raise CorruptError(
            f"attributes of a node are not those of its operator ({reason}); get the file again"
        ) from error


def _node(json_node: Any, number: int) -> Node:
    if not isinstance(json_node, dict) or set(json_node) != {"operator", "inputs", "output", "attributes"}:
        raise CorruptError(f"node {number}: a node has operator, inputs, output and attributes")
    operator, inputs, attributes = json_node["operator"], json_node["inputs"], json_node["attributes"]
    if not isinstance(operator, str) or operator not in OPERATORS:
        raise UnsupportedError(f"node {number}: operator {str(operator)[:40]!r}: use a newer release")
    row = OPERATORS[operator]
    if not isinstance(inputs, dict) or not all(_is_name(name) for name in inputs.values()):
        raise CorruptError(f"node {number}: inputs are no names by role")
    if not set(row.roles) <= set(inputs) <= {*row.roles, *row.optional}:
        raise CorruptError(f"node {number}: {operator} does not take {', '.join(inputs)[:100]}")
    if not _is_name(json_node["output"]):
        raise CorruptError(f"node {number}: its output has no name")
    if not isinstance(attributes, dict) or not all(_is_attribute(value) for value in attributes.values()):
        raise CorruptError(f"node {number}: an attribute is no number, word, null or short list of numbers")
    return Node(operator, inputs, json_node["output"], attributes)


def _examples(value: Any) -> dict[str, tuple[int, ...]]:
    if not isinstance(value, dict) or not all(
        isinstance(shape, list) and len(shape) <= 8 and all(type(one) is int and 0 <= one < LARGEST for one in shape)
        for shape in value.values()
    ):
        raise CorruptError("examples are no shapes by name; get the file again")
    return {name: tuple(shape) for name, shape in value.items()}


def _lengths(value: Any) -> dict[str, tuple[int | str | None, ...]]:
    if not isinstance(value, dict) or not all(
        isinstance(one, list)
        and len(one) <= 8
        and all(n is None or _is_name(n) or (type(n) is int and 0 < n < LARGEST) for n in one)
        for one in value.values()
    ):
        raise CorruptError("lengths are no numbers or words by name; get the file again")
    return {name: tuple(one) for name, one in value.items()}


def _dtypes(value: Any, what: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) and one in DTYPES for one in value):
        raise CorruptError(f"the dtypes of {what} are none of {', '.join(DTYPES)}; get the file again")
    return tuple(value)


def _names(value: Any, what: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(map(_is_name, value)):
        raise CorruptError(f"the {what} are no names; get the file again")
    return tuple(value)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 4096


def _is_attribute(value: Any) -> bool:
    if isinstance(value, bool):
        return True
    if value is None:
        return True
    if isinstance(value, int):
        return -LARGEST <= value < LARGEST
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, str):
        return len(value) <= 64
    return (
        isinstance(value, list)
        and len(value) <= LENGTH
        and all(not isinstance(one, list) and _is_attribute(one) for one in value)
    )


def _unique(pairs: list[tuple[str, Any]]) -> Mapping[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice")
    return found


def _refuse(text: str) -> Never:
    raise ValueError(f"{text} is no number")
