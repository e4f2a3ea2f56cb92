"""An ONNX model as what a graph is made of: nodes with their attributes, values with their types, initialisers.

Read from protobuf by `files.foreign.onnx.wire`, no package `onnx` needed; every range of bytes is checked there. What
an importer has no use for (documentation, metadata, quantisation annotations) is passed over.

    ModelProto { ir_version = 1, graph = 7, opset_import = 8, functions = 25 }
    GraphProto { node = 1, initializer = 5, input = 11, output = 12, sparse_initializer = 15 }
    NodeProto { input = 1, output = 2, name = 3, op_type = 4, attribute = 5, domain = 7 }
    AttributeProto { name = 1, f = 2, i = 3, s = 4, t = 5, g = 6, floats = 7, ints = 8, strings = 9, type = 20 }

See: onnx.proto.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tersely.core.errors import ArgumentError, CorruptError, TerselyError, UnsupportedError
from tersely.files.foreign.onnx import external, tensors
from tersely.files.foreign.onnx.wire import BYTES, FIXED32, VARINT, Field, Message
from tersely.files.foreign.source import SlicedFile
from tersely.onnx.arrays import Weights

NODES = 1 << 16
_VALUES = 1 << 12
"""Of a list of floats, strings or integers of an attribute."""
DOMAINS = ("", "ai.onnx")


@dataclass(frozen=True)
class NodeProto:
    """One node. attributes: integers, floats, text, lists of them, `TensorProto`s; a subgraph is the word `GRAPH`."""

    operator: str
    domain: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]

    def __str__(self) -> str:
        return f"node {self.name or next(filter(None, self.outputs), '')!r} ({self.full_name})"

    @property
    def full_name(self) -> str:
        return self.operator if self.domain in DOMAINS else f"{self.domain}.{self.operator}"


GRAPH = "a subgraph"


@dataclass(frozen=True)
class Declared:
    """An input or output of the graph. kind: of ONNX's data types; 0 where it is no tensor. dims: a length or a name of one
    each; None where none is said."""

    name: str
    kind: int
    dims: tuple[int | str, ...] | None


@dataclass
class Model:
    """opset: of the default domain. weights: initialisers by name, whose numbers are read when they are asked for."""

    path: str
    opset: int = 0
    opsets: dict[str, int] = field(default_factory=dict)
    inputs: list[Declared] = field(default_factory=list)
    outputs: list[Declared] = field(default_factory=list)
    nodes: list[NodeProto] = field(default_factory=list)
    weights: Weights = field(default_factory=Weights)

    @property
    def bytes(self) -> int:
        """Of the model and the files beside it that have been opened."""
        return 0 if self.weights.folder is None else sum(file.bytes.size for file in self.weights.folder.files)


def read(path: str | os.PathLike[str]) -> Model:
    """Read a model. Raises TerselyError: CorruptError with the byte where it is damaged, UnsupportedError for sparse
    initialisers and functions of its own."""
    file = SlicedFile(Path(path), Path(path).name)
    message = Message(memoryview(file.bytes), 0, file.bytes.size, os.fspath(path))  # type: ignore[arg-type]
    model = Model(os.fspath(path), weights=Weights(external.Folder(file), os.fspath(path)))
    graphs: list[Message] = []
    for one in message.fields():
        if one.number == 7 and one.wire == BYTES:
            graphs.append(message.inside(one))
        elif one.number == 8 and one.wire == BYTES:
            _opset(model, message.inside(one))
        elif one.number == 25:
            raise UnsupportedError("functions of the model's own: inline them first (onnx.inliner)", file=model.path)
    if not graphs:
        raise TerselyError(f"{model.path} has no graph: not an ONNX model")
    if len(graphs) > 1:
        raise CorruptError("two graphs", file=model.path, file_byte=graphs[1].begin)
    model.opset = model.opsets.get("", model.opsets.get("ai.onnx", 0))
    _graph(model, graphs[0])
    return model


def _opset(model: Model, message: Message) -> None:
    domain, version = "", 0
    for one in message.fields():
        if one.number == 1:
            domain = message.text(one)
        elif one.number == 2 and one.wire == VARINT:
            version = one.value
    model.opsets[domain] = version


def _graph(model: Model, message: Message) -> None:
    for one in message.fields():
        if one.wire != BYTES:
            continue
        inner = message.inside(one)
        if one.number == 1:
            model.nodes.append(_node(inner))
            if len(model.nodes) > NODES:
                raise CorruptError(f"more than {NODES} nodes", file=model.path, file_byte=one.begin)
        elif one.number == 5:
            model.weights.add(tensors.read(inner))
        elif one.number == 11:
            model.inputs.append(_declared(inner))
        elif one.number == 12:
            model.outputs.append(_declared(inner))
        elif one.number == 15:
            raise UnsupportedError("sparse initialisers: store them as dense tensors", file=model.path)


def _node(message: Message) -> NodeProto:
    inputs: list[str] = []
    outputs: list[str] = []
    words = {3: "", 4: "", 7: ""}
    attributes: dict[str, Any] = {}
    for one in message.fields():
        if one.number == 1:
            inputs.append(message.text(one))
        elif one.number == 2:
            outputs.append(message.text(one))
        elif one.number in words:
            words[one.number] = message.text(one)
        elif one.number == 5 and one.wire == BYTES:
            name, value = _attribute(message.inside(one))
            if name in attributes:
                raise CorruptError(f"attribute {name[:40]!r} twice", file=message.file, file_byte=one.begin)
            attributes[name] = value
    return NodeProto(words[4], words[7], words[3], tuple(inputs), tuple(outputs), attributes)


def _attribute(message: Message) -> tuple[str, Any]:
    """Lists come as several fields or as one, packed; which member counts says the type, where there is one."""
    found: dict[int, Any] = {}
    name, kind = "", 0
    for one in message.fields():
        if one.number == 1:
            name = message.text(one)
        elif one.number == 20 and one.wire == VARINT:
            kind = one.value
        elif one.number == 2 and one.wire == FIXED32:
            found[2] = _floats(message, one)[0]
        elif one.number == 3:
            found[3] = message.integers(one)[-1:]
            found[3] = found[3][0] if found[3] else 0
        elif one.number == 4:
            found[4] = message.text(one)
        elif one.number == 5 and one.wire == BYTES:
            found[5] = tensors.read(message.inside(one))
        elif one.number == 7:
            found[7] = found.get(7, []) + _floats(message, one)
        elif one.number == 8:
            found[8] = found.get(8, []) + message.integers(one)
        elif one.number == 9:
            found[9] = [*found.get(9, []), message.text(one)]
        elif one.number in (6, 10, 11, 14, 15, 22, 23):
            found[one.number] = GRAPH
        if any(isinstance(value, list) and len(value) > _VALUES for value in found.values()):
            raise CorruptError(f"more than {_VALUES} values in an attribute", file=message.file, file_byte=one.begin)
    wanted = {1: 2, 2: 3, 3: 4, 4: 5, 6: 7, 7: 8, 8: 9}.get(kind, 0)
    defaults: dict[int, Any] = {2: 0.0, 3: 0, 4: "", 7: [], 8: [], 9: []}
    if kind == 0 and found:
        return name, next(iter(found.values()))
    return name, found.get(wanted, defaults.get(wanted, GRAPH))


def _floats(message: Message, one: Field) -> list[float]:
    if one.wire not in (FIXED32, BYTES) or (one.end - one.begin) % 4:
        raise CorruptError("a list of floats has the wrong type", file=message.file, file_byte=one.begin)
    data = bytes(message.data[one.begin : one.end])
    return list(struct.unpack(f"<{len(data) // 4}f", data))


def _declared(message: Message) -> Declared:
    name, kind, dims = "", 0, None
    for one in message.fields():
        if one.number == 1:
            name = message.text(one)
        elif one.number == 2 and one.wire == BYTES:
            kind, dims = _type(message.inside(one))
    return Declared(name, kind, dims)


def _type(message: Message) -> tuple[int, tuple[int | str, ...] | None]:
    """TypeProto { tensor_type = 1 { elem_type = 1, shape = 2 } }."""
    kind: int = 0
    dims: tuple[int | str, ...] | None = None
    for one in message.fields():
        if one.number != 1 or one.wire != BYTES:
            continue
        inner = message.inside(one)
        for two in inner.fields():
            if two.number == 1 and two.wire == VARINT:
                kind = two.value
            elif two.number == 2 and two.wire == BYTES:
                shape = inner.inside(two)
                dims = tuple(
                    _dim(shape.inside(dim), axis) for axis, dim in enumerate(shape.fields()) if dim.number == 1
                )
    return kind, dims


def _dim(message: Message, axis: int) -> int | str:
    """Dimension { dim_value = 1, dim_param = 2 }."""
    found: int | str = f"?{axis}"
    for one in message.fields():
        if one.number == 1 and one.wire == VARINT:
            found = message.integers(one)[0]
            if found <= 0:
                raise ArgumentError(f"{message.file}: an input has a length of {found}")
        elif one.number == 2:
            found = message.text(one) or found
    return found
