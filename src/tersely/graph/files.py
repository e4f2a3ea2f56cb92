"""Pipelines in files: one safetensors file with the graph, its weights as they are coded, all else as it is.

The graph is the dense tensor `GRAPH` (bytes of JSON), so any reader of safetensors passes over it, and our checksums
cover it; the file's own metadata name it. What passes make of a graph is made again when a file is opened: the file has
the network as it was imported, with all its tensors.
"""

from __future__ import annotations

import os
import warnings
from typing import Any

import numpy as np

from tersely.core.errors import ArgumentError, FormatError
from tersely.files.open import File, save_file
from tersely.graph import reading
from tersely.graph.pipeline import Constant, Pipeline
from tersely.graph.slow import slow_weights

GRAPH = "tersely.graph"


def save(pipeline: Pipeline, path: str | os.PathLike[str]) -> None:
    """Write a pipeline to a file. Raises ArgumentError, DestinationError."""
    tensors: dict[str, Any] = dict(pipeline.original)
    if GRAPH in tensors:
        raise ArgumentError(f"a weight has the name {GRAPH!r}, which the graph takes: rename it")
    tensors[GRAPH] = np.frombuffer(reading.to_bytes(pipeline.source), np.uint8)
    save_file(tensors, path)


def load(path: str | os.PathLike[str], winograd: bool = True, bfloat16_products: bool = True) -> Pipeline:
    """Opens a pipeline that was saved to a file, to be run without torch.

    Args:
        path: the file, which is mapped: weights are used in place.
        winograd: whether 3 x 3 convolutions of larger images may take Winograd's method, which rounds otherwise. Files
            do not say so: they hold the network, not how it is run.
        bfloat16_products: whether products by weights of bfloat16 round what they multiply to bfloat16, where the
            processor multiplies its pairs; sums are float32. False: what is multiplied is float32.

    Returns:
        The pipeline.

    Raises:
        CorruptError: for damage, naming what is damaged.
        UnsupportedError: for operators or versions of a newer tersely.
        ArgumentError: where the file holds weights alone.
        TerselyError: where the file does not exist or cannot be read.
    """
    if str(path).endswith(".onnx"):
        raise ArgumentError(
            f"{os.fspath(path)}: tersely.onnx.pipeline makes a pipeline of an ONNX model, to be run or saved"
        )
    file = File(path)
    if GRAPH not in file:
        raise ArgumentError(
            f"{os.fspath(path)}: there is no graph in it, only weights: load_file opens those, and "
            "tersely.torch.pipeline or tersely.onnx.pipeline makes a pipeline of a model"
        )
    try:
        graph = reading.from_bytes(file[GRAPH].decode().tobytes())
        if missing := sorted(name for name in graph.constants if name not in file):
            raise ArgumentError(f"the graph reads {missing[0]!r}, which the file does not have")
        constants: dict[str, Constant] = {}
        for name in graph.constants:
            tensor = file[name]
            constants[name] = tensor if tensor.formulation != "dense" else tensor.decode()
        slow = slow_weights(graph, constants)
    except FormatError as error:
        raise error.located(file=os.fspath(path), tensor=GRAPH) from None
    if slow:
        warnings.warn(
            f"{os.fspath(path)}: {len(slow)} of its weights ({slow[0]}{', ...' * (len(slow) > 1)}) have codes that this "
            "machine multiplies more slowly than dense ones; make the file again on such a machine, or with objective='speed'",
            stacklevel=2,
        )
    try:
        return Pipeline(graph, constants, winograd, bfloat16_products, is_read=True)
    except FormatError as error:
        raise error.located(file=os.fspath(path), tensor=GRAPH) from None
