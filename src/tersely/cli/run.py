"""`tersely run`: text from a model folder, dense or compressed, with its speed and memory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tersely.cli import adapters, output
from tersely.core.choices import Mode


def run(
    folder: Annotated[Path, typer.Argument(metavar="MODEL_DIR", help="A model folder, dense or compressed.")],
    prompt: Annotated[str, typer.Option(metavar="TEXT", help="The beginning of the text.")],
    tokens: Annotated[int, typer.Option("--tokens", "-n", min=1, metavar="N", help="Most new tokens.")] = 64,
    mode: Annotated[Mode | None, typer.Option(help="For compressed folders.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, metavar="N", help="Workers; default: those of torch.")] = None,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run code that lies in MODEL_DIR.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Continue a prompt greedily; print tokens per second and what the weights take in memory."""
    tell = None if json else lambda text: typer.echo(text, nl=False)
    found = adapters.of_transformers("running").generate(
        folder, prompt, tokens, mode, threads=threads, tell=tell, trust_remote_code=trust_remote_code
    )
    if json:
        output.print_json(found.to_json())
        return
    rate = "-" if found.tokens_per_second is None else f"{found.tokens_per_second:.2f}"
    typer.echo()
    output.line(
        f"{found.tokens} tokens, {rate} tokens/s after the first ({found.seconds_to_first * 1e3:.0f} ms, "
        f"loading {found.load_seconds:.2f} s), {found.threads} threads, {found.mode}"
    )
    if found.busy:
        output.notes((f"the machine was busy, times are void: {found.busy}",))
    smaller = found.dense_bytes / found.weight_bytes
    output.line(
        f"weights {output.size(found.weight_bytes)}, dense {output.size(found.dense_bytes)}: "
        + (f"{smaller:.3f} x smaller" if smaller > 1 else "not smaller")
    )
