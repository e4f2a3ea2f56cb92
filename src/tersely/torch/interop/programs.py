"""`dense_program`: an exported program on dense weights and torch's own operators, for converters that know no others.

`torch.export` of a compressed model keeps its codes. Before decompositions they are TerselyTensors in the program's state;
after them, uint8 components that the operators of `compiled` and `int8_operators` take.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, InputSpec, TensorArgument
from torch.fx import GraphModule, Node

from tersely.core.errors import ArgumentError, TerselyError
from tersely.torch.operators.compiled import storage_over
from tersely.torch.weight.tersely_tensor import TerselyTensor

aten, tersely_ = torch.ops.aten, torch.ops.tersely


def dense_program(program: ExportedProgram) -> ExportedProgram:
    """Returns an exported program with the exact dense weights in the place of codes, and torch's operators alone.

    `torch.onnx.export` and OpenVINO are given programs so by themselves; other converters need it called.

    Args:
        program: of `torch.export.export`, before or after its decompositions were run. It stays as it is; one that has
            nothing of tersely is returned itself.

    Raises ArgumentError for anything else, TerselyError for codes inside of control flow after decompositions.
    """
    if not isinstance(program, ExportedProgram):
        raise ArgumentError(f"dense_program takes a torch.export.ExportedProgram, not a {type(program).__name__}")
    if not is_coded(program):
        return program
    return _Rewriting(program).result()


def is_coded(program: ExportedProgram) -> bool:
    """Returns whether a program has compressed weights or operators of tersely."""
    values = [*program.state_dict.values(), *program.constants.values()]
    if any(isinstance(value, TerselyTensor) for value in values):
        return True
    return any(_is_ours(node) for graph in _graphs(program.graph_module) for node in graph.graph.nodes)


def _is_ours(node: Node) -> bool:
    return node.op == "call_function" and getattr(node.target, "namespace", "") == "tersely"


def _graphs(root: nn.Module) -> Iterator[GraphModule]:
    """A program's graph and those of its control flow."""
    yield from (module for module in root.modules() if isinstance(module, GraphModule))


def _copied(root: GraphModule) -> GraphModule:
    """A copy whose nodes keep their names, some of which (`input`) torch.fx would not give again."""
    made = copy.deepcopy(root)
    for before, after in zip(_graphs(root), _graphs(made), strict=True):
        for old, new in zip(before.graph.nodes, after.graph.nodes, strict=True):
            new.name = old.name
    return made


class _Rewriting:
    """One program on its way to dense weights."""

    def __init__(self, program: ExportedProgram) -> None:
        self.program = program
        self.module = _copied(program.graph_module)
        self.signature = copy.deepcopy(program.graph_signature)
        self.state = dict(program.state_dict)
        self.constants = dict(program.constants)
        self.weights: dict[tuple[tuple[Node, ...], str], Node] = {}

    def result(self) -> ExportedProgram:
        decoded: dict[int, Tensor] = {}
        for values in (self.state, self.constants):
            for name, value in values.items():
                if isinstance(value, TerselyTensor):
                    values[name] = decoded.setdefault(id(value), _dense(value))
        for inner in _graphs(self.module):
            for node in list(inner.graph.nodes):
                if _is_ours(node):
                    self._replace(node, inner)
            for node in inner.graph.nodes:
                node.meta = {key: torch.utils._pytree.tree_map(_as_dense, value) for key, value in node.meta.items()}
        self._drop_components()
        for inner in _graphs(self.module):
            inner.graph.lint()
            inner.recompile()
        return self.program._update(  # type: ignore[no-any-return, attr-defined]
            self.module, self.signature, state_dict=self.state, constants=self.constants
        )

    # -- operators of tersely ---------------------------------------------------------------------------------------

    def _replace(self, node: Node, inner: GraphModule) -> None:
        rule = _RULES.get(str(node.target._schema.name).split("::")[-1])  # type: ignore[union-attr]
        if rule is None:
            raise TerselyError(f"dense_program does not know the operator {node.target}: {_REMEDY}")
        with inner.graph.inserting_before(node):
            new = rule(self, node, inner)
        new.meta = {**node.meta, "val": node.meta.get("val")}
        node.replace_all_uses_with(new)
        self.signature.replace_all_uses(node.name, new.name)
        inner.graph.erase_node(node)

    def weight(self, components: Any, spec: str, inner: GraphModule) -> Node:
        """Returns the node of a whole dense weight, of which the program gets one for each set of components."""
        key = (tuple(components), spec)
        if key not in self.weights:
            self.weights[key] = self._new_weight(key[0], spec, inner)
        return self.weights[key]

    def _new_weight(self, components: tuple[Node, ...], spec: str, inner: GraphModule) -> Node:
        if inner is not self.module:
            raise TerselyError(f"dense_program cannot follow codes into the control flow of a program: {_REMEDY}")
        entries = {
            entry.arg.name: entry for entry in self.signature.input_specs if isinstance(entry.arg, TensorArgument)
        }
        given: list[Tensor] = []
        for component in components:
            entry = entries.get(component.name)
            held = None if entry is None or entry.target is None else self._held(entry.target)
            if held is None:
                raise TerselyError(
                    f"the components of a weight are computed in the program ({component.name}): {_REMEDY}"
                )
            given.append(held)
        dense = nn.Parameter(storage_over(given, spec).decode(), requires_grad=False)
        target = self._free_name(str(entries[components[0].name].target))
        self.state[target] = dense
        first = next(node for node in self.module.graph.nodes if node.op == "placeholder")
        with self.module.graph.inserting_before(first):
            node = self.module.graph.placeholder(f"p_{re.sub(r'[^0-9a-zA-Z]', '_', target)}")
        node.meta["val"] = _fake_like(dense, components[0].meta["val"])
        self.signature.input_specs.insert(
            0, InputSpec(InputKind.PARAMETER, TensorArgument(name=node.name), target, None)
        )
        return node

    def _held(self, target: str) -> Tensor | None:
        held = self.state.get(target, self.constants.get(target))
        return held if isinstance(held, Tensor) else None

    def _free_name(self, target: str) -> str:
        """The name by which the module called the weight that torch took apart."""
        name = re.sub(r"parametrizations\.([^.]+)\.original\d*$", r"\1", target)
        while name in self.state:
            name += "_dense"
        return name

    def _drop_components(self) -> None:
        """Removes inputs that only operators of tersely took, under all their names where weights are tied."""
        names = {entry.arg.name: entry for entry in self.signature.input_specs if isinstance(entry.arg, TensorArgument)}
        components = {component for components, _ in self.weights for component in components}
        gone = {self._address(names[component.name]) for component in components} - {0}
        for node in [node for node in self.module.graph.nodes if node.op == "placeholder" and not node.users]:
            entry = names.get(node.name)
            if entry is not None and self._address(entry) in gone:
                self.signature.input_specs.remove(entry)
                self.module.graph.erase_node(node)
        used = {entry.target for entry in self.signature.input_specs}
        for values in (self.state, self.constants):
            for name, value in list(values.items()):
                if name not in used and isinstance(value, Tensor) and value.data_ptr() in gone:
                    del values[name]

    def _address(self, entry: InputSpec) -> int:
        held = None if entry.target is None else self._held(entry.target)
        return 0 if held is None else held.data_ptr()


_REMEDY = (
    "export the model inside `with tersely.torch.dense_weights(model):`, or after tersely.torch.decompress_(model)"
)


def _call(graph: torch.fx.Graph, target: Any, *args: Any) -> Node:
    """A call with the shape and dtype of its result noted, as those who read programs expect."""
    node = graph.call_function(target, args)
    known = torch.fx.node.map_arg(args, lambda value: value.meta["val"])
    node.meta["val"] = target(*known)
    return node


def _rows(self: _Rewriting, node: Node, inner: GraphModule, components: Any, spec: str, first: Any, last: Any) -> Node:
    whole = self.weight(components, spec, inner)
    if (first, last) == (0, whole.meta["val"].shape[0]):
        return whole
    return _call(inner.graph, aten.slice.Tensor, whole, 0, first, last)


def _decode(self: _Rewriting, node: Node, inner: GraphModule) -> Node:
    components, spec, first, last = node.args
    rows = _rows(self, node, inner, components, str(spec), first, last)
    return rows if rows.op != "placeholder" else _call(inner.graph, aten.alias.default, rows)


def _product(self: _Rewriting, node: Node, inner: GraphModule) -> Node:
    x, components, spec, first, last, squeezed, bias, transposed = node.args
    weight = _rows(self, node, inner, components, str(spec), first, last)
    if squeezed:
        weight = _call(inner.graph, aten.squeeze.dim, weight, 0)
    if transposed:
        weight = _call(inner.graph, aten.t.default, weight)
    return _call(inner.graph, aten.linear.default, x, weight, bias)


def _pick(self: _Rewriting, node: Node, inner: GraphModule) -> Node:
    indices, components, spec = node.args
    return _call(inner.graph, aten.embedding.default, self.weight(components, str(spec), inner), indices)


def _integer_product(inner: GraphModule, x: Any, weight: Node, scale: Any, bias: Any, transposed: bool) -> Node:
    graph = inner.graph
    dtype = x.meta["val"].dtype
    x = _call(graph, aten.to.dtype, x, torch.float32)
    weight = _call(graph, aten.to.dtype, weight, torch.float32)
    if transposed:
        y = _call(graph, aten.matmul.default, _call(graph, aten.mul.Tensor, x, scale), weight)
    else:
        y = _call(graph, aten.mul.Tensor, _call(graph, aten.linear.default, x, weight), scale)
    if bias is not None:
        y = _call(graph, aten.add.Tensor, y, _call(graph, aten.to.dtype, bias, torch.float32))
    return _call(graph, aten.to.dtype, y, dtype)


def _int8_linear(self: _Rewriting, node: Node, inner: GraphModule) -> Node:
    x, weight, scale, bias = node.args
    _as_dense_node(weight)
    return _integer_product(inner, x, weight, scale, bias, False)  # type: ignore[arg-type]


def _int8_transposed(self: _Rewriting, node: Node, inner: GraphModule) -> Node:
    x, weight, scale = node.args
    _as_dense_node(weight)
    return _integer_product(inner, x, weight, scale, None, True)  # type: ignore[arg-type]


def _int8_coded(self: _Rewriting, node: Node, inner: GraphModule) -> Node:
    x, components, spec, scale, bias, transposed = node.args
    return _integer_product(inner, x, self.weight(components, str(spec), inner), scale, bias, bool(transposed))


_RULES: dict[str, Callable[[_Rewriting, Node, GraphModule], Node]] = {
    "decode": _decode,
    "product": _product,
    "pick": _pick,
    "int8_linear": _int8_linear,
    "int8_transposed": _int8_transposed,
    "int8_coded": _int8_coded,
}


def _dense(weight: TerselyTensor) -> Tensor:
    with torch.inference_mode(False), torch.no_grad():
        dense = weight.decode().detach()
        return nn.Parameter(dense, requires_grad=False) if getattr(weight, "_is_param", False) else dense


def _as_dense_node(node: Any) -> None:
    node.meta["val"] = _as_dense(node.meta["val"])


def _as_dense(value: Any) -> Any:
    """What a note of shape and dtype says of a compressed weight, said of the dense one."""
    if not isinstance(value, TerselyTensor):
        return value
    return _fake_like(value, value.storage_.tensors()[0])


def _fake_like(tensor: Tensor, fake: Any) -> Tensor:
    """A tensor without bytes, of the mode that `fake` belongs to."""
    with fake.fake_mode:
        return torch.empty_strided(tuple(tensor.shape), tensor.stride(), dtype=tensor.dtype, device="cpu")
