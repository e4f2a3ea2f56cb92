"""Aliases: a tensor that is bit for bit another tensor of its file is there as its description alone.

The root node of its `info` is `alias` with the other tensor's name; what the file has of the other is read for it.
FORMAT: docs/FORMAT.md, "Aliases".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tersely.core.encoded import Encoded, Node
from tersely.core.errors import CorruptError, UnsupportedError
from tersely.files.container import limits
from tersely.files.container.description import INFO, Description

FORMULATION = "alias"
VERSION = 1
TENSOR = "tensor"
"""The parameter that names the other tensor."""


def node_of(other: str) -> Node:
    """The root node of an alias of the tensor `other`."""
    return Node(FORMULATION, VERSION, {TENSOR: other})


def described(encoded: Encoded, other: str) -> Encoded:
    """What the file has of an alias of `other`. encoded: the other tensor, with its components or without."""
    return replace(encoded, node=node_of(other), components={})


def is_alias(node: Node) -> bool:
    """Whether a root node is that of an alias."""
    return node.formulation == FORMULATION


def resolve(
    descriptions: Mapping[str, Description],
    dense: Mapping[str, tuple[str, tuple[int, ...]]],
    dense_sums: Mapping[str, str],
    file: str,
) -> dict[str, str]:
    """The tensor that each alias of a file stands for, by the alias's name.

    dense: safetensors dtype and shape of dense tensors. dense_sums: CRC-32 of those that have one. Raises CorruptError
    or UnsupportedError naming file, tensor and component where an alias is none of a tensor that is there with bytes of
    its own.
    """
    return {
        name: _other(name, found, descriptions, dense, dense_sums, file)
        for name, found in descriptions.items()
        if is_alias(found.node)
    }


def _other(
    name: str,
    found: Description,
    descriptions: Mapping[str, Description],
    dense: Mapping[str, tuple[str, tuple[int, ...]]],
    dense_sums: Mapping[str, str],
    file: str,
) -> str:
    def corrupt(message: str) -> CorruptError:
        return CorruptError(message, file=file, tensor=name, component=INFO)

    node = found.node
    parameters: Mapping[str, Any] = node.parameters
    unknown = sorted(set(parameters) - {TENSOR})
    if node.version != VERSION or unknown:
        what = f"unknown parameter {unknown[0]!r}" if node.version == VERSION else f"version {node.version}"
        raise UnsupportedError(
            f"formulation {FORMULATION!r}: {what}; use a newer release", file=file, tensor=name, component=INFO
        )
    if node.children or found.components:
        raise corrupt("a copy of another tensor has no components and no children; get the file again")
    other = parameters.get(TENSOR)
    if not isinstance(other, str) or len(other) > limits.NAME_CHARACTERS:
        raise corrupt(
            f"a copy names its tensor by at most {limits.NAME_CHARACTERS} characters, not {repr(other)[:80]}; "
            "get the file again"
        )
    if other in descriptions:
        there = descriptions[other]
        if is_alias(there.node):
            raise corrupt(f"this tensor is a copy of {other!r}, which is a copy itself; get the file again")
        tag, shape, crc32 = there.dtype.tag, there.shape, there.crc32
    elif other in dense:
        (tag, shape), crc32 = dense[other], dense_sums.get(other, found.crc32)
    else:
        raise corrupt(f"this tensor is a copy of {other!r}, which this file lacks: put it back, or get the file again")
    for word, ours, theirs in (
        ("dtype", found.dtype.tag, tag),
        ("shape", list(found.shape), list(shape)),
        ("crc32", found.crc32, crc32),
    ):
        if ours != theirs:
            raise corrupt(
                f"this tensor is a copy of {other!r}, whose {word} is {theirs}, not {ours}; get the file again"
            )
    return other
