"""`laconic run`: text from a model folder, dense or compressed, with its speed and memory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from laconic.cli import adapters, output


def run(
    folder: Annotated[Path, typer.Argument(metavar="MODEL_DIR", help="A model folder, dense or compressed.")],
    prompt: Annotated[str, typer.Option(help="The beginning of the text.")],
    tokens: Annotated[int, typer.Option("--tokens", "-n", min=1, help="Most new tokens.")] = 64,
    mode: Annotated[Literal["fused", "identical"] | None, typer.Option(help="For compressed folders.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Workers; default: those of torch.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Continue a prompt greedily; print tokens per second and what the weights take in memory."""
    tell = None if json else lambda text: typer.echo(text, nl=False)
    found = adapters.of_transformers("running").generate(folder, prompt, tokens, mode, threads=threads, tell=tell)
    if json:
        output.print_json(found.to_json())
        return
    rate = "-" if found.tokens_per_second is None else f"{found.tokens_per_second:.2f}"
    typer.echo()
    output.console.print(
        f"{found.tokens} tokens, {rate} tokens/s after the first ({found.seconds_to_first * 1e3:.0f} ms, "
        f"loading {found.load_seconds:.2f} s), {found.threads} threads, {found.mode}",
        highlight=False,
        soft_wrap=True,
    )
    if found.busy:
        output.console.print(
            f"note: the machine was busy, times are void: {found.busy}", highlight=False, soft_wrap=True
        )
    output.console.print(
        f"weights {output.size(found.weight_bytes)}, dense {output.size(found.dense_bytes)}: "
        f"{found.dense_bytes / found.weight_bytes:.3f} x smaller",
        highlight=False,
        soft_wrap=True,
    )
