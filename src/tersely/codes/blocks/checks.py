"""What the formulations of blocks check alike when a file is opened."""

from __future__ import annotations

from collections.abc import Mapping

from tersely.codes.checks import expect_bytes, expect_components
from tersely.core.encoded import Encoded, Node
from tersely.core.errors import UnsupportedError


def check_node(node: Node, name: str, version: int, parameters: set[str], child: str) -> None:
    """The node's version, names of parameters, and its one child under `dense`. Raises UnsupportedError."""
    if node.version != version:
        raise UnsupportedError(
            f"formulation {name!r} version {node.version}: this tersely reads version {version}; use a newer release"
        )
    if set(node.parameters) != parameters:
        raise UnsupportedError(
            f"{name} has the parameters {', '.join(sorted(parameters))}; the file is damaged or needs a newer tersely"
        )
    if set(node.children) != {child}:
        raise UnsupportedError(f"{name} has one child, {child}; the file is damaged or needs a newer tersely")
    found = node.children[child]
    if found.formulation != "dense" or found.version != 1 or found.parameters or found.children:
        raise UnsupportedError(
            f"{child} of {name} under formulation {found.formulation!r} version {found.version}: this tersely reads "
            "'dense' version 1; use a newer release"
        )


def shape_of(node: Node, shapes: tuple[str, ...]) -> str:
    """The shape of the blocks. Raises UnsupportedError."""
    shape = node.parameters["block"]
    if not isinstance(shape, str) or shape not in shapes:
        raise UnsupportedError(
            f"{node.formulation} of blocks {shape!r}: this tersely reads {', '.join(shapes)}; the file is damaged or "
            "needs a newer tersely"
        )
    return shape


def check_components(encoded: Encoded, expected: Mapping[str, int], name: str) -> None:
    """Names and lengths. Raises CorruptError with the component and the byte."""
    expect_components(encoded.components, expected, name)
    for component, size in expected.items():
        expect_bytes(encoded.components, component, size)
