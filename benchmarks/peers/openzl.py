"""OpenZL at level 9 on numbers, by the graph that makes them smallest of several: its own choice for numbers, byte planes,
values as indices into a sorted alphabet, and floats taken apart into exponents and the rest. One thread.

A frame says by which graph it was made; the decoder needs nothing else.
"""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.peers import Stored

LEVEL, ZSTD_LEVEL = 9, 12
FLOATS = {"float32": "Float32Deconstruct", "float16": "Float16Deconstruct", "bfloat16": "BFloat16Deconstruct"}
GRAPHS = ("numbers", "planes", "indices", "floats")


def version() -> str:
    import openzl.ext  # noqa: F401

    return importlib.metadata.version("openzl")


@functools.cache
def _compressor(graph: str, dtype: str) -> Any:
    from openzl import ext

    made = ext.Compressor()
    made.set_parameter(ext.CParam.FormatVersion, ext.MAX_FORMAT_VERSION)
    made.set_parameter(ext.CParam.CompressionLevel, LEVEL)
    made.select_starting_graph(_graph(ext, made, graph, dtype))
    return made


def _graph(ext: Any, made: Any, graph: str, dtype: str) -> Any:
    graphs, nodes = ext.graphs, ext.nodes
    if graph == "numbers":
        return graphs.Compress()(made)
    ways = [graphs.Entropy()(made), graphs.Fse()(made), graphs.Store()(made)]
    of_bytes = graphs.BruteForce([*ways, graphs.Zstd(compression_level=ZSTD_LEVEL)(made)])(made)
    planes = nodes.TransposeSplit()(made, of_bytes)
    if graph == "planes":
        return nodes.ConvertNumToStructLE()(made, planes)
    if graph == "floats":
        return getattr(nodes, FLOATS[dtype])()(made, sign_frac=planes, exponent=of_bytes)
    ways = [graphs.Entropy()(made), graphs.FieldLz(compression_level=LEVEL)(made), graphs.Compress()(made)]
    return nodes.TokenizeNumeric(sort=True)(
        made, alphabet=graphs.Compress()(made), indices=graphs.BruteForce(ways)(made)
    )


def encode(array: np.ndarray) -> Stored:
    words = np.ascontiguousarray(array).reshape(-1).view(f"u{array.dtype.itemsize}")
    allowed = (graph for graph in GRAPHS if graph != "floats" or array.dtype.name in FLOATS)
    frames = [frame for graph in allowed if (frame := _frame(words, graph, array.dtype.name)) is not None]
    found = min(frames, key=len)
    return Stored(found, len(found), array.shape, array.dtype)


def _frame(words: np.ndarray, graph: str, dtype: str) -> bytes | None:
    """None where the graph does not take these numbers, as too many different ones are none to be indexed."""
    from openzl import ext

    context = ext.CCtx()
    context.ref_compressor(_compressor(graph, dtype))
    try:
        return bytes(context.compress([ext.Input(ext.Type.Numeric, words)]))
    except RuntimeError:
        if graph == "numbers":
            raise
        return None


def decode(stored: Stored) -> Any:
    from openzl import ext

    (found,) = ext.DCtx().decompress(stored.data)
    return found.content.as_nparray()


def product(stored: Stored, x: np.ndarray) -> Callable[[], Any] | None:
    return None
