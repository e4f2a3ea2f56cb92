"""`laconic inspect`: what a file holds and where every bit went."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.tree import Tree

import laconic
from laconic.cli import output


def run(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="A compressed (or plain) file or folder.")],
    tree: Annotated[bool, typer.Option("--tree", help="Every tensor's components as a tree.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Show shape, dtype, formulation, bits per weight and bytes per component of every tensor. Reads no payload."""
    report = laconic.inspect(path)
    if json:
        output.print_json(report.to_json())
        return
    if tree:
        root = Tree(f"{path}  {output.size(report.bytes_after)}", highlight=False)
        for tensor in report.tensors:
            bits = "" if tensor.bits_per_weight is None else f", {tensor.bits_per_weight:.3f} bits/weight"
            shape = " x ".join(map(str, tensor.shape)) or "scalar"
            branch = root.add(f"[bold]{tensor.name}[/bold]  {shape} {tensor.dtype}, {tensor.code}{bits}")
            for name, count in tensor.components.items():
                share = count * 8 / tensor.weights if tensor.weights else 0.0
                branch.add(f"{name}  {output.size(count)}  {share:.4f} bits/weight")
        output.console.print(root)
    else:
        output.console.print(output.tensor_table(report.tensors, None))
    if report.profile:
        output.console.print(f"objective {report.objective}, profile {report.profile}", highlight=False)
    output.print_totals(report, "file")
