"""`tersely.onnx.pipeline`: an ONNX model compiled to run on compressed weights."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from tersely.core.choices import Objective
from tersely.core.errors import ArgumentError
from tersely.graph.graph import Graph
from tersely.graph.operators import Shape
from tersely.graph.pipeline import Constant, Pipeline
from tersely.graph.weights import in_out_of, rows_of
from tersely.onnx.importer import Imported, import_model
from tersely.onnx.model import read
from tersely.planner import choose
from tersely.tensors.tensor import Tensor

HALVINGS = 8
"""How often what is usual is halved where a network takes no more."""
Progress = Callable[[int, int, str], None]


def pipeline(
    path: str | os.PathLike[str],
    objective: Objective = "balanced",
    shapes: Mapping[str, Sequence[int]] | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Pipeline:
    """Compiles an ONNX model, to be run on compressed weights by tersely's own executor. Needs no package `onnx`.

    Args:
        path: the model; its external data lies beside it.
        objective: 'size', 'balanced' or 'speed'.
        shapes: of inputs by name, where the model leaves lengths open: what weights are planned for, and needed where
            the model computes with them.
        threads: workers while weights are coded; None for `get_num_threads()`.
        progress: called with bytes done, bytes in all, and a name.

    Returns:
        The pipeline: `run` takes arrays in the order of the model's inputs, `save` is `tersely.graph.files.save`.

    Raises:
        CorruptError: for a damaged model, with the byte.
        UnsupportedError: for operators that the executor does not have, naming the node.
        ArgumentError: for shapes that have to be given, and models that make no sense.
    """
    return coded(import_model(read(path), shapes), objective, threads, progress)


def coded(
    imported: Imported, objective: Objective = "balanced", threads: int | None = None, progress: Progress | None = None
) -> Pipeline:
    """The pipeline of a graph: weights of products coded, everything else as float32 numbers."""
    graph, arrays = imported.graph, imported.arrays
    graph, rows = _planned(graph, {name: one.shape for name, one in arrays.items()})
    in_out = in_out_of(graph)
    done, total = 0, sum(one.nbytes for one in arrays.values())
    constants: dict[str, Constant] = {}
    for name in sorted(graph.constants):
        array = np.asarray(arrays[name], order="C")  # numbers stay numbers
        constants[name] = array
        if rows.get(name):
            orientation = "in_out" if name in in_out else "out_in"
            constants[name] = Tensor(
                choose.encode(
                    array, objective=objective, profile="native", pixels=rows[name], threads=threads,
                    orientation=orientation,
                )
            )  # fmt: skip
        done += array.nbytes
        if progress is not None:
            progress(done, total, name)
    return Pipeline(graph, constants)


def _planned(graph: Graph, constants: Mapping[str, Shape]) -> tuple[Graph, dict[str, int]]:
    """The graph, and rows of x by weight; examples whose open lengths are too long for it are halved until they fit."""
    first: ArgumentError | None = None
    for times in range(HALVINGS):
        examples = {
            name: tuple(
                length if isinstance(said, int) else max(1, length >> times)
                for length, said in zip(shape, graph.lengths[name], strict=True)
            )
            for name, shape in graph.examples.items()
        }
        smaller = replace(graph, examples=examples)
        try:
            return smaller, rows_of(smaller, constants)
        except ArgumentError as error:
            first = first or error
    raise ArgumentError(f"{first}; give shapes of inputs that the network takes with `shapes`")
