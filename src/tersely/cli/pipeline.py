"""`tersely pipeline`: an ONNX model as a file that holds its network and its compressed weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tersely.cli import output, text
from tersely.core.choices import Objective
from tersely.core.errors import ArgumentError, DestinationError
from tersely.graph.pipeline import Pipeline


def run(
    src: Annotated[Path, typer.Argument(metavar="MODEL", help="An .onnx model, its external data beside it.")],
    dst: Annotated[Path | None, typer.Option("-o", "--output", help="Default: NAME.pipeline.safetensors.")] = None,
    objective: Annotated[Objective, typer.Option(help="What to optimise.")] = "balanced",
    shape: Annotated[
        list[str] | None,
        typer.Option(metavar="INPUT=N,N,...", help="Of an input whose lengths the model leaves open; several times."),
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, metavar="N", help="Workers; default: all processors.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing destination.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Make of an ONNX model what `tersely.load_pipeline` runs, with NumPy alone."""
    from tersely.onnx import pipeline

    destination = src.with_suffix(".pipeline.safetensors") if dst is None else dst
    if destination.exists() and destination.resolve() == src.resolve():
        raise DestinationError(f"{destination} is the model itself; choose another destination")
    if destination.exists() and not force:
        raise DestinationError(f"{destination} exists; choose another destination or pass `force=True`")
    with output.progress_bar("coding", json) as progress:
        made = pipeline(src, objective, dict(map(_shape, shape or [])), threads, progress)
    made.save(destination)
    if json:
        output.print_json(_document(src, destination, made))
        return
    plain, held = made.weight_bytes
    for name in made.source.inputs:
        output.line(f"{name}: {_lengths(made, name)}", "input ")
    output.line(
        f"{text.counted(len(made.graph.nodes), 'node')}; {output.size(plain)} of weights -> {output.size(held)}, "
        f"ratio {output.ratio(plain, held)}"
    )
    output.written(destination)


def _shape(given: str) -> tuple[str, tuple[int, ...]]:
    name, equals, numbers = given.rpartition("=")
    try:
        found = tuple(int(part) for part in numbers.replace("x", ",").split(","))
    except ValueError:
        found = (0,)
    if not equals or min(found) < 1:
        raise ArgumentError(f"a shape is an input and its lengths, such as input=1,3,224,224, not {given!r}")
    return name, found


def _lengths(made: Pipeline, name: str) -> str:
    lengths = made.source.lengths.get(name, ())
    return " x ".join("any" if length is None else str(length) for length in lengths) or "a number"


def _document(source: Path, destination: Path, made: Pipeline) -> dict[str, object]:
    plain, held = made.weight_bytes
    return {
        "source": str(source),
        "destination": str(destination),
        "nodes": len(made.graph.nodes),
        "bytes_before": plain,
        "bytes_after": held,
        "inputs": {name: list(made.source.lengths.get(name, ())) for name in made.source.inputs},
        "outputs": list(made.source.outputs),
    }
