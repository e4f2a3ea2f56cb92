"""`tersely profile`: where the time of a network goes, node by node."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from tersely.cli import output, text
from tersely.cli.tables import Column
from tersely.core.errors import ArgumentError
from tersely.graph import files
from tersely.graph.pipeline import Pipeline
from tersely.graph.profile import median_of


def run(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="A file that a pipeline was saved to.")],
    shape: Annotated[
        list[str] | None,
        typer.Option(metavar="N,N,...", help="Of each input, in order; those it was made with if left out."),
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads; as many as are useful if left out.")] = None,
    runs: Annotated[int, typer.Option(min=1, help="How often it is run; medians are shown.")] = 10,
    winograd: Annotated[bool, typer.Option(help="Whether 3 x 3 convolutions may take Winograd's method.")] = True,
    bfloat16_products: Annotated[
        bool, typer.Option(help="Whether products by weights of bfloat16 round what they multiply to it.")
    ] = True,
    graph: Annotated[
        Path | None, typer.Option(metavar="FILE.svg", help="Draw the network there, its nodes by their times.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Run a network on random inputs and show what each of its nodes takes."""
    pipeline = files.load(path, winograd=winograd, bfloat16_products=bfloat16_products)
    rng = np.random.default_rng(0)
    inputs = [
        _numbers(pipeline, name, one, rng)
        for name, one in zip(pipeline.graph.inputs, _shapes(pipeline, shape), strict=True)
    ]
    pipeline.run(*inputs, threads=threads)
    found = median_of([pipeline.profile(*inputs, threads=threads) for _ in range(runs)])
    if graph is not None:
        found.save_graph(graph)
    if json:
        output.print_json(found.to_json())
        return
    columns = [
        Column("node", lambda row: row[0], least=12),
        Column("operator", lambda row: row[1]),
        Column("result", lambda row: row[2], keep=5),
        Column("weight", lambda row: row[3], keep=4, least=10),
        Column("ms", lambda row: row[4], right=True),
        Column("share", lambda row: row[5], right=True),
    ]
    output.print_table(columns, found.rows())
    output.line(found.summary())


def _numbers(pipeline: Pipeline, name: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Random numbers for an input; rows of its table for one that an embedding reads."""
    tables = [
        pipeline.constants[node.inputs["weight"]].shape[0]
        for node in pipeline.graph.nodes
        if node.operator == "embedding" and node.inputs["x"] == name
    ]
    return rng.integers(0, min(tables), shape) if tables else rng.standard_normal(shape).astype(np.float32)


def _shapes(pipeline: Pipeline, given: list[str] | None) -> list[tuple[int, ...]]:
    names = pipeline.graph.inputs
    if given:
        if len(given) != len(names):
            raise ArgumentError(
                f"the network takes {text.counted(len(names), 'input')} ({', '.join(names)}): give --shape for each"
            )
        return [_shape(one) for one in given]
    if missing := [name for name in names if name not in pipeline.graph.examples]:
        raise ArgumentError(f"the file does not say what shape {missing[0]!r} has: give --shape")
    return [pipeline.graph.examples[name] for name in names]


def _shape(given: str) -> tuple[int, ...]:
    try:
        found = tuple(int(part) for part in given.replace("x", ",").split(","))
    except ValueError:
        found = (-1,)
    if min(found) < 0:
        raise ArgumentError(f"a shape is integers with commas between them, such as 1,3,224,224, not {given!r}")
    return found
