"""`laconic bench`: dense against compressed, for a shape, the layers of a file, or a whole model, on this machine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from laconic.cli import adapters, output


def run(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE|MODEL_DIR]", help="Measure its matrices, or the model.")
    ] = None,
    shape: Annotated[str, typer.Option(metavar="ROWSxCOLUMNS", help="Without FILE: the shape.")] = "4096x4096",
    dtype: Annotated[str, typer.Option(help="float32, bfloat16, float16, float8_e4m3fn, float8_e5m2.")] = "bfloat16",
    batch: Annotated[list[int] | None, typer.Option(min=1, help="Rows of x; may be given again.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Workers.")] = None,
    working_set: Annotated[int, typer.Option(min=1, metavar="MB", help="Rotating copies of at least this.")] = 512,
    seconds: Annotated[float, typer.Option(min=0.0, help="Time for each thing that is compared.")] = 2.0,
    tokens: Annotated[int, typer.Option(min=1, help="MODEL_DIR: tokens decoded one by one.")] = 32,
    prefill: Annotated[list[int] | None, typer.Option(min=1, help="MODEL_DIR: length of a prompt; repeatable.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Interleaved medians; answers are checked first; dense is our own kernel on the same layout, and F.linear."""
    if file is not None and file.is_dir():
        _model(file, tokens, prefill or [128], threads, json)
        return
    from laconic import benchmark  # imports torch where it is installed, so that both share one thread pool

    settings = benchmark.Settings(threads=threads, working_set_bytes=working_set * 1_000_000, seconds=seconds)
    if file is not None:
        rows = benchmark.bench_file(file, batch or [1], settings)
    else:
        match = re.fullmatch(r"(\d+)x(\d+)", shape)
        if match is None or 0 in (int(match[1]), int(match[2])):
            raise typer.BadParameter(f"{shape!r} is not like 4096x4096", param_hint="--shape")
        rows = benchmark.bench_shape(int(match[1]), int(match[2]), dtype, batch or [1], settings)
    if json:
        output.print_json([row.to_json() for row in rows])
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("what", "batch", "objective", "stored as"):
        table.add_column(title, overflow="fold")
    for title in ("bits/weight", "ms", "dense ms", "x dense", "F.linear ms", "x F.linear"):
        table.add_column(title, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*row.cells())
    output.console.print(table)
    for note in benchmark.notes(rows):
        output.console.print(f"note: {note}", highlight=False, soft_wrap=True)


def _model(folder: Path, tokens: int, prefill: list[int], threads: int | None, json: bool) -> None:
    found = adapters.of_transformers("measure").bench_folder(folder, tokens, prefill, threads=threads)
    if json:
        output.print_json(found.to_json())
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("what")
    for title in ("dense ms", "compressed ms", "x dense"):
        table.add_column(title, justify="right", no_wrap=True)
    for row in found.rows:
        table.add_row(row.what, f"{row.dense_ms:.2f}", f"{row.coded_ms:.2f}", f"{row.x_dense:.2f}")
    output.console.print(table)
    for note in (
        f"weights: dense {output.size(found.dense_bytes)}, compressed {output.size(found.coded_bytes)}, "
        f"{found.coded_bytes / found.dense_bytes:.3f} of dense",
        f"{found.threads} threads, medians of interleaved runs; answers differ by at most {found.error:.1e} of the largest"
        + (f", {found.same_tokens} of {found.tokens} greedy tokens are the same" if found.tokens else ""),
        *([f"the machine was busy, times are void: {found.busy}"] if found.busy else []),
    ):
        output.console.print(f"note: {note}", highlight=False, soft_wrap=True)
