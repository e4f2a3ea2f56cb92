"""`laconic inspect`: what a file holds and where every bit went."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.tree import Tree

import laconic
from laconic.anatomy import Part
from laconic.cli import output
from laconic.reports import FileReport, TensorReport


def run(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="A compressed (or plain) file or folder.")],
    tree: Annotated[bool, typer.Option("--tree", help="Every tensor's nodes and components as a tree.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Show shape, dtype, formulation, bits per weight and bytes per component of every tensor. Reads no payload."""
    report = laconic.inspect(path)
    if json:
        output.print_json(report.to_json())
        return
    if tree:
        output.console.print(_tree(path, report))
    else:
        output.console.print(output.tensor_table(report.tensors, None))
    if report.profile:
        output.console.print(f"objective {report.objective}, profile {report.profile}", highlight=False)
    output.print_totals(report, "file")


def _tree(path: Path, report: FileReport) -> Tree:
    root = Tree(f"{escape(str(path))}  {output.size(report.bytes_after)}", highlight=False)
    for tensor in report.tensors:
        shape = " x ".join(map(str, tensor.shape)) or "scalar"
        anatomy = tensor.anatomy
        facts = f"{shape} {tensor.dtype}: {_measures(escape(anatomy.label), tensor.bytes_after, tensor)}"
        branch = root.add(f"[bold]{escape(tensor.name)}[/bold]\n{facts}")
        if tensor.components:
            _grow(branch, anatomy, tensor)
    header = report.bytes_after - sum(tensor.bytes_after for tensor in report.tensors)
    root.add(f"[dim]header  {output.size(header)}[/dim]")
    return root


def _grow(branch: Tree, part: Part, tensor: TensorReport) -> None:
    """Components, then children with theirs one step further in."""
    for name, count in part.components.items():
        branch.add(_measures(escape(name), count, tensor))
    for child in part.children:
        _grow(branch.add(_measures(f"{escape(child.name)}: {child.label}", child.nbytes, tensor)), child, tensor)


def _measures(what: str, count: int, tensor: TensorReport) -> str:
    bits = f"  {count * 8 / tensor.weights:.4f} bits/weight" if tensor.weights else ""
    share = f"  {100 * count / tensor.bytes_after:.1f} %" if count != tensor.bytes_after else ""
    return f"{what}  {output.size(count)}{bits}{share}"
