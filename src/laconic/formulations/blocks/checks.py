"""What the formulations of blocks check alike when a file is opened."""

from __future__ import annotations

from collections.abc import Mapping

from laconic.encoded import Encoded, Node
from laconic.errors import CorruptError, UnsupportedError


def check_node(node: Node, name: str, version: int, parameters: set[str], child: str) -> None:
    """The node's version, names of parameters, and its one child under `dense`. Raises UnsupportedError."""
    if node.version != version:
        raise UnsupportedError(
            f"formulation {name!r} version {node.version}: this laconic reads version {version}; use a newer release"
        )
    if set(node.parameters) != parameters:
        raise UnsupportedError(
            f"{name} has the parameters {', '.join(sorted(parameters))}; the file is damaged or needs a newer laconic"
        )
    if set(node.children) != {child}:
        raise UnsupportedError(f"{name} has one child, {child}; the file is damaged or needs a newer laconic")
    found = node.children[child]
    if found.formulation != "dense" or found.version != 1 or found.parameters or found.children:
        raise UnsupportedError(
            f"{child} of {name} under formulation {found.formulation!r} version {found.version}: this laconic reads "
            "'dense' version 1; use a newer release"
        )


def shape_of(node: Node, shapes: tuple[str, ...]) -> str:
    """The shape of the blocks. Raises UnsupportedError."""
    shape = node.parameters["block"]
    if not isinstance(shape, str) or shape not in shapes:
        raise UnsupportedError(
            f"{node.formulation} of blocks {shape!r}: this laconic reads {', '.join(shapes)}; the file is damaged or "
            "needs a newer laconic"
        )
    return shape


def check_components(encoded: Encoded, expected: Mapping[str, int], name: str) -> None:
    """Names and lengths. Raises CorruptError with the component and the byte."""
    if missing := sorted(set(expected) - set(encoded.components)):
        raise CorruptError("the component is missing; get the file again", component=missing[0])
    if extra := sorted(set(encoded.components) - set(expected)):
        raise CorruptError(f"a component that formulation {name!r} does not have", component=extra[0])
    for component, size in expected.items():
        actual = int(encoded.components[component].nbytes)
        if actual != size:
            raise CorruptError(
                f"{actual} bytes where shape and parameters need {size}", component=component, byte=min(actual, size)
            )
