"""`tersely bench`: dense against compressed, for a shape, the layers of a file, or a whole model, on this machine."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from tersely.cli import adapters, output
from tersely.cli.tables import Column


def run(
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE|MODEL_DIR", help="Measure its matrices, or the model.")
    ] = None,
    shape: Annotated[str, typer.Option(metavar="ROWSxCOLUMNS", help="Without FILE: the shape.")] = "4096x4096",
    dtype: Annotated[
        str, typer.Option(metavar="DTYPE", help="float32, bfloat16, float16, float8_e4m3fn, float8_e5m2.")
    ] = "bfloat16",
    batch: Annotated[
        list[int] | None, typer.Option(min=1, metavar="ROWS", help="Rows of x; may be given again.")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, metavar="N", help="Workers.")] = None,
    working_set: Annotated[int, typer.Option(min=1, metavar="MB", help="Rotating copies of at least this.")] = 512,
    seconds: Annotated[float, typer.Option(min=0.0, metavar="S", help="Time for each thing that is compared.")] = 2.0,
    tokens: Annotated[int, typer.Option(min=1, metavar="N", help="MODEL_DIR: tokens decoded one by one.")] = 32,
    prefill: Annotated[
        list[int] | None, typer.Option(min=1, metavar="N", help="MODEL_DIR: length of a prompt; repeatable.")
    ] = None,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="MODEL_DIR: run code that lies in it.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Interleaved medians; answers are checked first; dense is our own kernel on the same layout, and F.linear."""
    if file is not None and file.is_dir():
        _model(file, tokens, prefill or [128], threads, trust_remote_code, json)
        return
    from tersely.report import bench  # imports torch where it is installed, so that both share one thread pool

    settings = bench.Settings(threads=threads, working_set_bytes=working_set * 1_000_000, seconds=seconds)
    covered = []
    if file is not None:
        rows, coverage = bench.bench_file(file, batch or [1], settings)
        covered = [coverage.note]
    else:
        match = re.fullmatch(r"(\d+)x(\d+)", shape)
        if match is None or 0 in (int(match[1]), int(match[2])):
            raise typer.BadParameter(f"{shape!r} is not like 4096x4096", param_hint="--shape")
        rows = bench.bench_shape(int(match[1]), int(match[2]), dtype, batch or [1], settings)
    if json:
        output.print_json([row.to_json() for row in rows])
        for note in covered:
            output.complain(note, kind="note")
        return
    if rows:
        output.print_table(FORMS, rows)
    output.notes([*bench.notes(rows), *covered])


def _cell(column: int) -> Callable[[Any], str]:
    return lambda row: str(row.cells()[column])


FORMS = (
    Column("what", _cell(0), keep=9, least=24),
    Column("batch", _cell(1), right=True, keep=6),
    Column("objective", _cell(2), keep=2),
    Column("stored as", _cell(3), keep=5, least=12, middle=False),
    Column("bits/weight", _cell(4), right=True, keep=3),
    Column("ms", _cell(5), right=True, keep=7),
    Column("dense ms", _cell(6), right=True, keep=7),
    Column("x dense", _cell(7), right=True, keep=8),
    Column("F.linear ms", _cell(8), right=True, keep=1),
    Column("x F.linear", _cell(9), right=True, keep=4),
)
MODELS = (
    Column("what", lambda row: row.what),
    Column("dense ms", lambda row: f"{row.dense_ms:.2f}", right=True),
    Column("compressed ms", lambda row: f"{row.coded_ms:.2f}", right=True),
    Column("x dense", lambda row: f"{row.x_dense:.2f}", right=True),
)


def _model(
    folder: Path, tokens: int, prefill: list[int], threads: int | None, trust_remote_code: bool, json: bool
) -> None:
    found = adapters.of_transformers("measure").bench_folder(
        folder, tokens, prefill, threads=threads, trust_remote_code=trust_remote_code
    )
    if json:
        output.print_json(found.to_json())
        return
    output.print_table(MODELS, found.rows)
    output.notes(
        (
            f"weights: dense {output.size(found.dense_bytes)}, compressed {output.size(found.coded_bytes)}, "
            f"{found.coded_bytes / found.dense_bytes:.3f} of dense",
            f"compressed are {found.coded_weights:,} of {found.weights:,} weights "
            f"({100 * found.coded_weights / max(1, found.weights):.1f} %), the others are dense in both",
            f"{found.threads} threads, medians of interleaved runs; answers differ by at most {found.error:.1e} of the "
            "largest" + (f", {found.same_tokens} of {found.tokens} greedy tokens are the same" if found.tokens else ""),
            *([f"the machine was busy, times are void: {found.busy}"] if found.busy else []),
        )
    )
