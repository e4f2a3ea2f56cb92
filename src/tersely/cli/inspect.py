"""`tersely inspect`: what a file holds and where every bit went."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text
from rich.tree import Tree

import tersely
from tersely.cli import output, tensor_table, text
from tersely.codes.anatomy import SizeNode
from tersely.files.results import FileReport, TensorReport


def run(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="A compressed (or plain) file or folder.")],
    tree: Annotated[bool, typer.Option("--tree", help="Every tensor's nodes and components as a tree.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Show shape, dtype, formulation, bits per weight and bytes per component of every tensor. Reads no payload."""
    report = tersely.inspect(path)
    if json:
        output.print_json(report.to_json())
        return
    if tree:
        output.print_tree(_tree(path, report))
    else:
        tensor_table.show(report.tensors, None)
    if report.profile:
        output.line(f"objective {report.objective}, profile {report.profile}")
    output.print_totals(report, "file")


def _tree(path: Path, report: FileReport) -> Tree:
    root = Tree(_label(f"{path}  {output.size(report.bytes_after)}"))
    for tensor in report.tensors:
        shape = " x ".join(map(str, tensor.shape)) or "scalar"
        anatomy = tensor.anatomy
        facts = f"{shape} {tensor.dtype}: {_measures(anatomy.label, tensor.bytes_after, tensor)}"
        room = None if (width := output.width()) is None else width - len("├── ")
        name = text.shown(tensor.name)
        name = name if room is None else text.shortened(name, room)
        branch = root.add(Text.assemble((name, "bold"), "\n", _label(facts), no_wrap=True))
        if tensor.components:
            _grow(branch, anatomy, tensor)
    header = report.bytes_after - sum(tensor.bytes_after for tensor in report.tensors)
    root.add(_label(f"header  {output.size(header)}", "dim"))
    return root


def _grow(branch: Tree, part: SizeNode, tensor: TensorReport) -> None:
    """Components, then children with theirs one step further in."""
    for name, count in part.components.items():
        branch.add(_label(_measures(name, count, tensor)))
    for child in part.children:
        _grow(branch.add(_label(_measures(f"{child.name}: {child.label}", child.nbytes, tensor))), child, tensor)


def _label(words: str, style: str = "") -> Text:
    return Text(text.shown(words), style, no_wrap=True, overflow="ellipsis")


def _measures(what: str, count: int, tensor: TensorReport) -> str:
    bits = f"  {count * 8 / tensor.weights:.4f} bits/weight" if tensor.weights else ""
    share = f"  {100 * count / tensor.bytes_after:.1f} %" if count != tensor.bytes_after else ""
    return f"{what}  {output.size(count)}{bits}{share}"
