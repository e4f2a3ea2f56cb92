"""A model as pieces that our executor runs, and what is between them left to torch.

torch.export gives one graph of aten's operators; every run of nodes that the executor can compute becomes a pipeline of
its own, and the rest stays as it is. So nothing fails for lack of an operator.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch.fx import GraphModule
from torch.fx import Node as FxNode
from torch.fx.passes.infra.partitioner import CapabilityBasedPartitioner
from torch.fx.passes.operator_support import OperatorSupportBase
from torch.utils import _pytree as pytree

from tersely.graph.lowering import Choices
from tersely.graph.operators import Shape
from tersely.graph.pipeline import Constant, Pipeline
from tersely.graph.weights import in_out_of, rows_of
from tersely.torch.networks.folding import attribute, fold
from tersely.torch.networks.fx import import_nodes, is_constant, why_not
from tersely.torch.networks.mutation import functional, written
from tersely.torch.weight.dtypes import NAMES

Encode = Callable[[str, torch.Tensor, int, bool], Constant]
"""A constant by name: (name, tensor, how many rows or pixels it is multiplied by at once, whether it is [inputs, outputs]).

There are 0 rows where it is no weight.
"""


class Piece(torch.nn.Module):
    """A pipeline where an fx graph calls a module."""

    def __init__(self, pipeline: Pipeline, dtypes: list[torch.dtype]) -> None:
        """dtypes: of the outputs, to which they are rounded; the executor computes all of them as float32."""
        super().__init__()
        self.pipeline, self.dtypes = pipeline, dtypes

    def forward(self, *inputs: torch.Tensor) -> Any:
        arrays = [lent(one) for one in inputs]
        found = self.pipeline.run(*arrays)
        outputs = [torch.from_numpy(one) for one in found]
        if any(one.dtype != dtype for one, dtype in zip(outputs, self.dtypes, strict=True)):
            outputs = [one.to(dtype) for one, dtype in zip(outputs, self.dtypes, strict=True)]
        return outputs[0] if len(outputs) == 1 else tuple(outputs)


def lent(tensor: torch.Tensor) -> Any:
    """An input as a pipeline takes it: an array of the same memory, or float32 where NumPy has no such dtype."""
    tensor = tensor.detach().contiguous()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


class _Support(OperatorSupportBase):
    def __init__(self, reasons: Mapping[str, str | None]) -> None:
        self.reasons = reasons

    def is_node_supported(self, submodules: Mapping[str, torch.nn.Module], node: FxNode) -> bool:
        return node.op == "call_function" and self.reasons[node.name] is None


class Partitioned:
    """module: runs the model. pieces: its pipelines. left: why each node that torch still runs is not in one."""

    def __init__(self, program: torch.export.ExportedProgram, encode: Encode, choices: Choices) -> None:
        self._choices = choices
        module = functional(program)
        changing = written(module)
        fold(module, changing)
        calls = [node for node in module.graph.nodes if node.op == "call_function"]
        self.left = {node.name: reason for node in calls if (reason := why_not(node, changing)) is not None}
        reasons = {node.name: self.left.get(node.name) for node in calls}
        partitioner = CapabilityBasedPartitioner(module, _Support(reasons), allows_single_node_partition=True)
        fused = partitioner.fuse_partitions(partitioner.propose_partitions())
        self.pieces: list[Pipeline] = []
        for node in list(fused.graph.nodes):
            if node.op == "call_module" and str(node.target).startswith("fused_"):
                self._replace(fused, node, encode)
        fused.graph.eliminate_dead_code()
        fused.recompile()
        self.module = fused
        self._direct = self._found_direct()

    def __call__(self, form: pytree.TreeSpec, leaves: Sequence[Any]) -> Any:
        """What the model returns for inputs of the shapes that it was exported for.

        form, leaves: of (inputs, inputs by name), as pytree flattens them.
        """
        if self.takes(form):
            return self.direct(*leaves)
        inputs, named = pytree.tree_unflatten(leaves, form)
        return self.module(*inputs, **named)

    def takes(self, form: pytree.TreeSpec) -> bool:
        """Whether inputs of that form can be given to `direct`."""
        return self._direct is not None and form == self.module._in_spec

    def direct(self, *leaves: Any) -> Any:
        """The same where the model is one piece, past torch's interpreter of graphs.

        That checks again what the program was found by. MEASURED (Zen 5): 0.4 ms of MobileNet-V2's 3.4, for all that it
        reads was pushed out of the caches by the network.
        """
        assert self._direct is not None
        piece, places, order, out = self._direct
        found = piece.forward(*(leaves[place] for place in places))
        if out.is_leaf():
            return found
        results = found if isinstance(found, tuple) else (found,)
        return pytree.tree_unflatten([results[place] for place in order], out)

    def _found_direct(self) -> tuple[Piece, list[int], list[int], pytree.TreeSpec] | None:
        """Where the model is one piece: it, which inputs it takes, which of its outputs the model's are, their form."""
        nodes = list(self.module.graph.nodes)
        calls = [node for node in nodes if node.op == "call_module"]
        placeholders = [node for node in nodes if node.op == "placeholder"]
        taken = [one for one in nodes if one.target is operator.getitem and calls and one.args[0] is calls[0]]
        order = self._order(calls[0]) if len(calls) == 1 else None
        spec = self.module._in_spec
        known = len(placeholders) + len(calls) + len(taken) + 1 == len(nodes) and spec.num_leaves == len(placeholders)
        if order is None or not known or any(one not in placeholders for one in calls[0].args):
            return None
        piece = self.module.get_submodule(str(calls[0].target))
        out = self.module._out_spec
        if not isinstance(piece, Piece) or out.num_leaves != len(order):
            return None
        return piece, [placeholders.index(one) for one in calls[0].args], order, out

    @cached_property
    def whole(self) -> Pipeline | None:
        """The one pipeline that the model is, if it is one: with its inputs and outputs, in their order."""
        if len(self.pieces) != 1 or self.left:
            return None
        nodes = [node for node in self.module.graph.nodes if node.op == "call_module"]
        placeholders = [node.name for node in self.module.graph.nodes if node.op == "placeholder"]
        plain = len(nodes) == 1 and [node.name for node in nodes[0].args if not is_constant(node)] == placeholders
        order = self._order(nodes[0]) if plain else None
        return None if order is None else self._ordered(self.pieces[0], order)

    def _order(self, piece: FxNode) -> list[int] | None:
        """Which output of the piece each of the model's is; None where one is none of them."""
        results = next(node for node in self.module.graph.nodes if node.op == "output").args[0]
        found = []
        for one in results if isinstance(results, (list, tuple)) else [results]:
            if one is piece:
                found.append(0)
            elif isinstance(one, FxNode) and one.target is operator.getitem and one.args[0] is piece:
                found.append(int(one.args[1]))  # type: ignore[arg-type]
            else:
                return None
        return found

    def _ordered(self, piece: Pipeline, order: list[int]) -> Pipeline | None:
        """The piece with these outputs; one that is given back twice is torch's to give back."""
        source = piece.source
        if order == list(range(len(source.outputs))):
            return piece
        if len(set(order)) < len(order):
            return None
        dtypes = tuple(source.output_dtypes[place] for place in order) if source.output_dtypes else ()
        graph = replace(source, outputs=tuple(source.outputs[place] for place in order), output_dtypes=dtypes)
        return Pipeline(graph, piece.original, self._choices.winograd, self._choices.bfloat16_products)

    def _replace(self, parent: GraphModule, node: FxNode, encode: Encode) -> None:
        inner = parent.get_submodule(str(node.target))
        assert isinstance(inner, GraphModule)
        placeholders = [one for one in inner.graph.nodes if one.op == "placeholder"]
        names, tensors, places = {}, {}, []
        examples: dict[str, Shape] = {}
        dtypes_in: dict[str, torch.dtype] = {}
        for place, (placeholder, argument) in enumerate(zip(placeholders, node.args, strict=True)):
            assert isinstance(argument, FxNode)
            if is_constant(argument):
                name = str(argument.target)
                tensors[name] = attribute(parent, name)
            else:
                name = argument.name
                places.append(place)
                examples[name] = tuple(int(length) for length in argument.meta["val"].shape)
                dtypes_in[name] = argument.meta["val"].dtype
            names[placeholder.name] = name
        calls = [one for one in inner.graph.nodes if one.op == "call_function"]
        results = next(one for one in inner.graph.nodes if one.op == "output").args[0]
        outputs = list(results) if isinstance(results, (list, tuple)) else [results]
        graph, tensors = import_nodes(calls, names, tensors, outputs)
        graph = replace(graph, examples=examples, input_dtypes=tuple(NAMES[dtypes_in[name]] for name in graph.inputs))
        rows = rows_of(graph, {name: tuple(one.shape) for name, one in tensors.items()})
        in_out = in_out_of(graph)
        constants = {name: encode(name, tensors[name], rows.get(name, 0), name in in_out) for name in graph.constants}
        pipeline = Pipeline(graph, constants, self._choices.winograd, self._choices.bfloat16_products)
        self.pieces.append(pipeline)
        dtypes = [one.meta["val"].dtype for one in outputs]
        parent.set_submodule(str(node.target), Piece(pipeline, dtypes))
        node.args = tuple(node.args[place] for place in places)  # constants are in the pipeline
