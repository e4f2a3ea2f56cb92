"""An ONNX model as a graph of ours.

Lengths that the model leaves open are names (`lengths`); the graph serves all of them where nothing that it does
depends on what they are. Where something does (`Unknown`), those lengths are fixed at the shapes that were given, and
the graph says so (`Graph.lengths`), or the model is refused with the node that computes with them. Nothing is guessed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from tersely.core.errors import ArgumentError, TerselyError, UnsupportedError
from tersely.files.foreign.onnx.tensors import TensorProto
from tersely.graph.graph import Graph
from tersely.graph.reading import DTYPES
from tersely.onnx import folding, images, norms, parts, patterns, pointwise, products, quantised, ramps, shapes
from tersely.onnx.arrays import KINDS
from tersely.onnx.call import IMAGES, Builder, Call, Translate
from tersely.onnx.lengths import Length, Number, Unknown, equal, name_of, roots_of
from tersely.onnx.model import DOMAINS, GRAPH, Declared, Model, NodeProto
from tersely.onnx.values import HALVES, Shape, Value, constant, widened

OPSETS = range(11, 24)
TRANSLATIONS: dict[str, Translate] = {
    **shapes.TRANSLATIONS,
    **parts.TRANSLATIONS,
    **pointwise.TRANSLATIONS,
    **images.TRANSLATIONS,
    **products.TRANSLATIONS,
    **norms.TRANSLATIONS,
    **quantised.TRANSLATIONS,
}
"""How each operator of ONNX's own domain is translated: one file for each family."""
COMPUTED_BYTES, TIMES = 1 << 30, 4
"""Most bytes of constants that are computed, and as many times those of the model's files."""
CONTROL = ("If", "Loop", "Scan")
INPUTS = "iub"
"""Kinds of NumPy's dtypes that inputs may have besides floats."""


@dataclass(frozen=True)
class Imported:
    """arrays: constants by name. fixed: lengths by name that the graph is made for."""

    graph: Graph
    arrays: dict[str, np.ndarray]
    fixed: dict[str, int] = field(default_factory=dict)


def import_model(model: Model, given: Mapping[str, Sequence[int]] | None = None) -> Imported:
    """The graph of a model.

    given: shapes of inputs by name, for lengths that the model leaves open and computes with.

    Raises UnsupportedError for what the graph has no operators for, ArgumentError for what makes no sense, each with the
    node; and for shapes that have to be given.
    """
    _check(model)
    lengths = _given(model, given or {})
    if images := _images(model):
        try:
            return _imported(model, {}, lengths, images)
        except (Unknown, TerselyError):
            pass  # its first length does not stand for images: then it is what the model says
    return _imported(model, {}, lengths, None)


def _imported(model: Model, fixed: dict[str, int], given: dict[str, int], images: int | None) -> Imported:
    """Says that open lengths are the same before any is fixed, and fixes first ones of inputs last."""
    same: dict[str, str] = {}
    while True:
        try:
            return _Importer(model, fixed, images, same).run(given)
        except Unknown as unknown:
            if IMAGES in unknown.names and images is not None:
                raise
            if more := _alike(model, given, unknown.names, {*same, *fixed}):
                same.update(more)
                continue
            names = {name for name in unknown.names if name not in fixed}
            firsts = {same.get(str(one.dims[0]), one.dims[0]) for one in model.inputs if one.dims}
            chosen = {name for name in names if name not in firsts} or names
            if missing := sorted(chosen - set(given)):
                inputs = [one.name for one in model.inputs if one.dims and missing[0] in one.dims]
                raise ArgumentError(
                    f"{unknown.why}, which depends on length {missing[0]!r}: give the shape of input "
                    f"{inputs[0] if inputs else missing[0]!r} with `shapes`"
                ) from None
            if not chosen:
                raise ArgumentError(unknown.why) from None
            fixed.update({name: given[name] for name in chosen})


def _alike(model: Model, given: Mapping[str, int], asked: frozenset[str], but: set[str]) -> dict[str, str]:
    """Open lengths of the same axis of several inputs, which exporters may name apart: each by the first one's name.

    Only those that are asked about, and not where the shapes that were given differ.
    """
    found: dict[str, str] = {}
    inputs = [one for one in _real(model) if one.dims]
    for axis in range(max((len(one.dims or ()) for one in inputs), default=0)):
        keys = [_key(one.name, axis, one.dims[axis]) for one in inputs if one.dims and len(one.dims) > axis]
        names = [key for key in dict.fromkeys(keys) if isinstance(key, str) and key not in but]
        for name in names[1:]:
            if {name, names[0]} & asked and given.get(name) == given.get(names[0]):
                found[name] = names[0]
    return found


def _check(model: Model) -> None:
    if model.opset not in OPSETS:
        raise UnsupportedError(
            f"opset {model.opset}: {OPSETS[0]} to {OPSETS[-1]} are read; convert the model (onnx.version_converter)",
            file=model.path,
        )
    for node in model.nodes:
        if node.domain not in DOMAINS and not (
            node.domain == quantised.MICROSOFT and node.operator in quantised.FOR_MICROSOFT
        ):
            raise UnsupportedError(
                f"{node}: operators of {node.domain!r} are not known; export without them", file=model.path
            )
        if node.operator in quantised.REFUSED:
            raise UnsupportedError(f"{node}: {quantised.REFUSED[node.operator]}", file=model.path)
        if node.operator in CONTROL:
            raise UnsupportedError(f"{node}: control flow is not run; export one branch of it", file=model.path)
        if node.operator not in TRANSLATIONS and node.operator not in folding.FOLDS and node.operator not in MAKES:
            known = ", ".join(sorted(TRANSLATIONS))
            raise UnsupportedError(f"{node}: there is no such operator here; there are {known}", file=model.path)


def _real(model: Model) -> list[Declared]:
    """Inputs that are no initialisers: until IR version 3 those were inputs as well."""
    return [one for one in model.inputs if one.name not in model.weights]


def _given(model: Model, given: Mapping[str, Sequence[int]]) -> dict[str, int]:
    """Open lengths by the shapes that were given."""
    found: dict[str, int] = {}
    inputs = {one.name: one for one in _real(model)}
    for name, shape in given.items():
        if name not in inputs:
            raise ArgumentError(f"the model has no input {name!r}; it has {', '.join(inputs)}")
        dims = inputs[name].dims or ()
        if len(dims) != len(shape) or min(shape, default=1) < 1:
            raise ArgumentError(f"input {name!r} is of shape {list(dims)}, not {list(shape)}")
        for axis, (dim, length) in enumerate(zip(dims, shape, strict=True)):
            key = _key(name, axis, dim)
            if (isinstance(dim, int) and dim != length) or (isinstance(key, str) and found.get(key, length) != length):
                raise ArgumentError(f"input {name!r} is of shape {list(dims)}, not {list(shape)}")
            if isinstance(key, str):
                found[key] = int(length)
    return found


def _key(name: str, axis: int, dim: int | str) -> int | str:
    """The name of an open length; those that the model does not name are the input's own."""
    return f"{name}[{axis}]" if isinstance(dim, str) and dim.startswith("?") else dim


def _images(model: Model) -> int | None:
    """The first length of all inputs where it is one number for all."""
    firsts = {one.dims[0] if one.dims else None for one in _real(model)}
    (first,) = firsts if len(firsts) == 1 else (None,)
    return first if isinstance(first, int) else None


class _Importer:
    def __init__(self, model: Model, fixed: Mapping[str, int], images: int | None, same: Mapping[str, str]) -> None:
        """fixed: lengths by name. images: how many the model says there are, where it serves any number. same: names of
        open lengths by those that are others for them."""
        self.model, self.fixed, self.images, self.same = model, dict(fixed), images, dict(same)
        self.builder = Builder()
        self.computed = 0
        self.values: dict[str, Value] = {}
        self.inputs: list[str] = []
        self.declared: dict[str, tuple[int | str, ...]] = {}

    def run(self, given: Mapping[str, int]) -> Imported:
        for one in _real(self.model):
            self._input(one)
        for node in self.model.nodes:
            self._node(node)
        outputs = [self._output(one) for one in self.model.outputs]
        if not outputs:
            raise ArgumentError(f"{self.model.path}: the model has no outputs")
        nodes, results = patterns.run(self.builder, outputs)
        read = {name for node in nodes for name in node.inputs.values()} | set(results)
        arrays = {name: array for name, array in self.builder.arrays.items() if name in read}
        times = Counter(one for dims in self.declared.values() for one in dims)

        def length(one: int | str) -> int | str | None:
            found = one if isinstance(one, int) else self.fixed.get(one, one)
            return found if isinstance(found, int) or times[one] > 1 else None

        lengths = {name: tuple(map(length, dims)) for name, dims in self.declared.items()}
        graph = Graph(
            tuple(self.inputs), tuple(results), tuple(nodes), frozenset(arrays), self._examples(given), lengths,
            _dtypes(_real(self.model)), _dtypes(self.model.outputs),
        )  # fmt: skip
        graph.check()
        return Imported(graph, arrays, self.fixed)

    def _examples(self, given: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
        """Shapes to plan for: those given, one image, and as many pixels or tokens as are usual."""

        def length(dims: tuple[int | str, ...], axis: int) -> int:
            one = dims[axis]
            usual = 1 if axis == 0 else 224 if len(dims) == 4 else 128
            return one if isinstance(one, int) else given.get(one, usual)

        return {name: tuple(length(dims, axis) for axis in range(len(dims))) for name, dims in self.declared.items()}

    def _input(self, one: Declared) -> None:
        dtype = KINDS.get(one.kind)
        if dtype is None or not (dtype.kind in INPUTS or dtype == np.float32 or dtype in HALVES):
            what = dtype or f"data type {one.kind}" if one.kind else "no tensor"
            raise UnsupportedError(
                f"input {one.name!r} is of {what}: the executor takes floats of 16 and 32 bits and integers",
                file=self.model.path,
            )
        if one.dims is None:
            raise ArgumentError(
                f"{self.model.path}: input {one.name!r} has no shape; run onnx.shape_inference, or export again"
            )
        keys = (_key(one.name, axis, dim) for axis, dim in enumerate(one.dims))
        dims = tuple(self.same.get(key, key) if isinstance(key, str) else key for key in keys)
        if self.images is not None:
            dims = (IMAGES, *dims[1:])
        shape: Shape = tuple(self._length(dim) for dim in dims)
        if one.name in self.builder.shapes or not one.name:
            raise ArgumentError(f"{self.model.path}: two inputs of the name {one.name!r}")
        self.builder.shapes[one.name] = shape
        self.values[one.name] = widened(Value(shape, dtype, one.name))
        self.inputs.append(one.name)
        self.declared[one.name] = dims

    def _length(self, dim: int | str) -> Number:
        return dim if isinstance(dim, int) else self.fixed[dim] if dim in self.fixed else name_of(dim)

    def _value(self, name: str, node: NodeProto) -> Value | None:
        if not name:
            return None
        if name not in self.values:
            if name not in self.model.weights:
                raise ArgumentError(f"{node}: {name!r} is not computed before it")
            self.values[name] = constant(self.model.weights.array(name), name)
        return self.values[name]

    def _node(self, node: NodeProto) -> None:
        try:
            inputs = [self._value(name, node) for name in node.inputs]
            found = self._results(self._read(node), inputs)
        except Unknown as unknown:
            raise Unknown(unknown.names, unknown.why if "node" in unknown.why else f"{node}: {unknown.why}") from None
        except UnsupportedError as error:
            raise UnsupportedError(f"{node}: {error}", file=self.model.path) from None
        except ArgumentError as error:
            raise ArgumentError(f"{node}: {error}") from None
        except (LookupError, TypeError, ValueError, ArithmeticError) as error:
            raise ArgumentError(f"{node}: inputs or attributes that make no sense ({str(error)[:100]})") from None
        for name, value in zip(node.outputs, found, strict=False):
            if name:
                if name in self.values or name in self.model.weights:
                    raise ArgumentError(f"{node}: {name!r} is computed twice")
                self.values[name] = value

    def _read(self, node: NodeProto) -> NodeProto:
        """The node with its tensors as arrays."""
        name = next(filter(None, node.outputs), node.name)
        arrays = {
            key: self.model.weights.array_of(value, name)
            for key, value in node.attributes.items()
            if isinstance(value, TensorProto)
        }
        return replace(node, attributes={**node.attributes, **arrays})

    def _results(self, node: NodeProto, inputs: list[Value | None]) -> list[Value]:
        call = Call(node, self.model.opset, inputs, self.builder, self.images, self.inputs)
        if node.operator in MAKES:
            return MAKES[node.operator](call)
        ramp = ramps.fold(call)
        if ramp is not None:
            return [ramp]
        folded = folding.fold(call)
        if folded is not None:
            self.computed += sum(
                one.numbers.nbytes for one in folded if one.numbers is not None and one.numbers.base is None
            )
            if self.computed > self.model.bytes * TIMES + COMPUTED_BYTES:
                raise ArgumentError(f"constants that are computed take more than {COMPUTED_BYTES} bytes")
            return folded
        if node.operator not in TRANSLATIONS:
            raise UnsupportedError("only constants are computed by this operator here")
        found = TRANSLATIONS[node.operator](
            replace(call, inputs=[None if one is None else widened(one) for one in inputs])
        )
        return found if isinstance(found, list) else [found]

    def _output(self, one: Declared) -> str:
        if one.name not in self.values:
            raise ArgumentError(f"{self.model.path}: the output {one.name!r} is never computed")
        value = self.values[one.name]
        if value.repeated:
            raise Unknown(roots_of(value.shape), f"output {one.name!r}: an axis that is repeated")
        if self.images is not None and not (value.shape and value.shape[0] == name_of(IMAGES)):
            raise Unknown([IMAGES], f"output {one.name!r} is not one for each image")
        if not value.name or value.name in self.inputs:
            raise UnsupportedError(f"output {one.name!r} is a constant or an input", file=self.model.path)
        return value.name


def _dtypes(declared: Iterable[Declared]) -> tuple[str, ...]:
    """Of inputs or outputs; () where the model does not say them all, or files have no name for one."""
    found = [KINDS[one.kind].name if one.kind in KINDS else "" for one in declared]
    return tuple(found) if all(name in DTYPES for name in found) else ()


def _constant(call: Call) -> list[Value]:
    """One of the attributes that a Constant node may have."""
    found = dict(call.node.attributes)
    if len(found) != 1:
        raise ArgumentError(f"a constant of {len(found)} attributes")
    ((name, value),) = found.items()
    if isinstance(value, np.ndarray):
        return [constant(value, call.node.outputs[0])]
    dtypes = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}
    if name not in dtypes or value == GRAPH:
        raise UnsupportedError(f"a constant of {name}")
    return [constant(np.array(value, dtypes[name]), call.node.outputs[0])]


def _dropout(call: Call) -> list[Value]:
    if any(call.node.outputs[1:]):
        raise UnsupportedError("dropout whose mask is read")
    if call.has(2) and call.known(2, "a mode").any():
        raise UnsupportedError("dropout in training: export the model in eval mode")
    return [call[0]]


MAKES = {"Constant": _constant, "Dropout": _dropout}
"""Operators that are done before anything is folded."""

__all__ = ["Imported", "Length", "equal", "import_model"]
