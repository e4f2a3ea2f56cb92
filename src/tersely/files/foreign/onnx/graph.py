"""All tensors of a model: initialisers and attributes of nodes, in subgraphs, functions and training graphs too.

An initialiser has its own name, the value of a Constant node that of the node's output, any other attribute
`OUTPUT.ATTRIBUTE`. A name that is taken already gets `#2`, `#3` ... in the order of the file. Lists of numbers
(`value_floats` of a Constant node, the trees of ai.onnx.ml) are tensors of one dimension where they are packed, as
proto3 writes them; proto2 puts a key before each number.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from tersely.core.errors import CorruptError
from tersely.files.foreign.onnx import tensors
from tersely.files.foreign.onnx.wire import BYTES, VARINT, Field, Message

DEPTH = 64
"""Deepest nesting of graphs in attributes; protobuf's own readers stop at 100 messages."""

MODEL = {7: "graph", 20: "training", 25: "function"}
_INNER = {"training": {1: "graph", 2: "graph"}, "function": {7: "node", 11: "attribute"}}
_GRAPH = {1: "node", 5: "tensor", 15: "sparse"}

# Where an operator's weight is, and how it reads it: products take [inputs, outputs] unless an attribute transposes.
_PRODUCTS = {
    "MatMul": 1,
    "MatMulInteger": 1,
    "Gemm": 1,
    "QLinearMatMul": 3,
    "QGemm": 3,
    "DynamicQuantizeMatMul": 1,
    "MatMulIntegerToFloat": 1,
    "FusedMatMul": 1,
}
_PASSED_ON = ("DequantizeLinear", "QuantizeLinear", "Cast", "Identity")


_LISTS = {
    7: ("a list of floats", 1, tensors.FLOATS),
    8: ("a list of integers", 7, tensors.INT64S),
    9: ("a list of strings", 8, 0),
}
"""Fields of an attribute that hold lists: what they are, and the data type and field of a tensor that would hold as
much."""
_TEXT, _LONG_TEXT = 4, 1024


@dataclass
class Found:
    """One tensor. constant: it is an attribute of a node, not an initialiser."""

    name: str
    proto: tensors.TensorProto
    constant: bool


@dataclass
class _Node:
    operator: str = ""
    name: str = ""
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    numbers: dict[str, list[int]] = field(default_factory=dict)

    def label(self) -> str:
        return next(filter(None, [*self.outputs, self.name, self.operator]), "node")


class Walk:
    """A model, walked once. found: its tensors in the order of the file. in_out: see `SlicedSource`. kept:
    attributes that stay in the graph, as name, reason and bytes.
    """

    def __init__(self, model: Message) -> None:
        """Raises CorruptError with the byte."""
        self.found: list[Found] = []
        self.graphs = 0
        self.kept: list[tuple[str, str, int]] = []
        self._taken: dict[str, int] = {}
        self._uses: dict[str, set[bool]] = {}
        self._made_by: dict[str, _Node] = {}
        for one in model.fields():
            if one.number in MODEL and one.wire == BYTES:
                self._walk(MODEL[one.number], model.inside(one), 1)
        self.in_out = self._stored_in_out()

    def _walk(self, kind: str, message: Message, depth: int) -> None:
        if depth > DEPTH:
            raise CorruptError(f"graphs nested more than {DEPTH} deep", file=message.file, file_byte=message.begin)
        if kind == "graph":
            self.graphs += 1
            for one in message.fields():
                inner = _GRAPH.get(one.number)
                if inner is None or one.wire != BYTES:
                    continue
                if inner == "node":
                    self._node(message.inside(one), depth)
                elif inner == "tensor":
                    self._tensor(message.inside(one), "initializer", False)
                else:
                    self._sparse(message.inside(one), "sparse_initializer", False)
            return
        for one in message.fields():
            inner = _INNER[kind].get(one.number)
            if inner is None or one.wire != BYTES:
                continue
            if inner == "node":
                self._node(message.inside(one), depth)
            elif inner == "attribute":
                self._attribute(message.inside(one), _Node(name="function"), depth)
            else:
                self._walk(inner, message.inside(one), depth + 1)

    def _node(self, message: Message, depth: int) -> None:
        node, attributes = _Node(), []
        for one in message.fields():
            if one.number == 1:
                node.inputs.append(message.text(one))
            elif one.number == 2:
                node.outputs.append(message.text(one))
            elif one.number == 3:
                node.name = message.text(one)
            elif one.number == 4:
                node.operator = message.text(one)
            elif one.number == 5 and one.wire == BYTES:
                attributes.append(message.inside(one))
        for attribute in attributes:
            self._attribute(attribute, node, depth)
        self._made_by.update(dict.fromkeys(node.outputs, node))
        operand = _PRODUCTS.get(node.operator)
        if operand is not None and operand < len(node.inputs):
            transposed = bool(node.numbers.get("transB", [0])[-1])
            self._uses.setdefault(node.inputs[operand], set()).add(not transposed)

    def _attribute(self, message: Message, node: _Node, depth: int) -> None:
        name = ""
        for one in message.fields():
            if one.number == 1:
                name = message.text(one)
            elif one.number in (3, 8) and one.wire in (VARINT, BYTES):
                node.numbers.setdefault(name, []).extend(message.integers(one))
        label = node.label() if node.operator == "Constant" else f"{node.label()}.{name}"
        lists: dict[int, list[Field]] = {}
        for one in message.fields():
            if one.number in _LISTS:
                lists.setdefault(one.number, []).append(one)
            if one.wire != BYTES:
                continue
            if one.number == _TEXT and one.end - one.begin > _LONG_TEXT:
                self.kept.append((label, "a string", one.end - one.begin))
            elif one.number in (5, 10):
                self._tensor(message.inside(one), label, True)
            elif one.number in (6, 11):
                self._walk("graph", message.inside(one), depth + 1)
            elif one.number in (22, 23):
                self._sparse(message.inside(one), label, True)

        for number, fields in lists.items():
            self._list(message, label, number, fields)

    def _list(self, message: Message, label: str, number: int, fields: list[Field]) -> None:
        """A list of numbers or strings: a tensor where its elements lie side by side."""
        what, data_type, field = _LISTS[number]
        first = fields[0]
        if number == 9 or len(fields) > 1 or first.wire != BYTES:
            one_by_one = "" if number == 9 else ", one by one"
            self.kept.append((label, what + one_by_one, sum(one.end - one.begin for one in fields)))
            return
        floats = field == tensors.FLOATS
        count = (first.end - first.begin) // 4 if floats else len(message.integers(first))
        proto = tensors.TensorProto(message.begin, message.end, label, data_type, [count])
        proto.spans[field] = [(first.begin, first.end)]
        self.found.append(Found(self._claim(label), proto, True))

    def _sparse(self, message: Message, label: str, constant: bool) -> None:
        parts = {one.number: message.inside(one) for one in message.fields() if one.number in (1, 2)}
        if 1 in parts:
            label = self._tensor(parts[1], label, constant)
        if 2 in parts:
            self._tensor(parts[2], f"{label}.indices", True)

    def _tensor(self, message: Message, label: str, constant: bool) -> str:
        proto = tensors.read(message)
        name = self._claim(label if constant else proto.name or label)
        self.found.append(Found(name, proto, constant))
        return name

    def _claim(self, wanted: str) -> str:
        times = self._taken[wanted] = self._taken.get(wanted, 0) + 1
        name = wanted
        while times > 1 and (name := f"{wanted}#{times}") in self._taken:
            times += 1
        self._taken[wanted] = times
        self._taken.setdefault(name, 1)
        return name

    def _stored_in_out(self) -> frozenset[str]:
        """Names that every product reads as [inputs, outputs], through operators that only pass a weight on."""
        found: dict[str, set[bool]] = {}
        for name, uses in self._uses.items():
            for source, transposed in self._sources(name):
                found.setdefault(source, set()).update(use != transposed for use in uses)
        return frozenset(one.name for one in self.found if found.get(one.name) == {True})

    def _sources(self, name: str) -> Iterator[tuple[str, bool]]:
        """The tensor and those it is made of by passing on, each with whether it lies there transposed."""
        transposed = False
        for _ in range(DEPTH):
            yield name, transposed
            node = self._made_by.get(name)
            if node is None or not node.inputs:
                return
            if node.operator == "Transpose":
                order = node.numbers.get("perm", [])
                if order not in ([], [1, 0]):
                    return
                transposed = not transposed
            elif node.operator not in _PASSED_ON:
                return
            name = node.inputs[0]
