"""Numbers of which most stand for 0.0, as a child under `sparse`: what selects weights and what words are made of, nested.

The child's bytes are 0 where the weight is: `affine` has number - zero there, modulo 256, as int8; `row_palette` its
indices, since the word that a row has most of is its table's first. So a mask skips zeros whatever the scales are. Gaps have
no segments to expand: kernels walk the entries of 16 rows, which they take as signed bytes, so they are for numbers that
count as these do.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tersely.codes.node import INFO
from tersely.codes.protocol import Candidate, Request
from tersely.codes.selection.sparse import candidates as offers
from tersely.codes.selection.sparse.formulation import sparse
from tersely.codes.selection.sparse.layout import MASKS
from tersely.core.encoded import Node
from tersely.core.errors import ArgumentError, CorruptError
from tersely.core.geometry import Geometry

GAPS = "gaps"
SPARSE = "sparse"
"""What a caller names to have numbers under it."""
MIN_ZEROS = 0.4
"""Share of zeros below which masks and bytes have no chance beside row fields."""


def is_sparse(node: Node) -> bool:
    return node.formulation == sparse.NAME


def positions(*, signed: bool) -> tuple[str, ...]:
    """What may say where numbers are. signed: they are the signed bytes that weights are multiples by."""
    return (*MASKS, GAPS) if signed else MASKS


def check_positions(child: Node, allowed: tuple[str, ...]) -> None:
    """Raises CorruptError for positions that numbers cannot have."""
    if child.parameters.get("positions") not in allowed:
        raise CorruptError(
            f"these sparse numbers have the positions {', '.join(allowed)}; get the file again", component=INFO
        )


def candidates(
    numbers: np.ndarray, dtype: str, geometry: Geometry, request: Request, allowed: tuple[str, ...] = MASKS
) -> list[Candidate]:
    """What is worth considering for bytes in the tensor's shape, 0 where the weight is 0.0."""
    if np.count_nonzero(numbers) > (1 - MIN_ZEROS) * numbers.size:
        return []
    found = offers.in_view(replace(request, words=numbers, dtype=dtype), geometry)
    return [one for one in found if one.node.parameters["positions"] in allowed]


def candidate_for(numbers: np.ndarray, dtype: str, request: Request, allowed: tuple[str, ...] = MASKS) -> Candidate:
    """The form that parameters of `sparse` name. Raises ArgumentError."""
    found = offers.candidate_for(replace(request, words=numbers, dtype=dtype))
    if found.node.parameters["positions"] not in allowed:
        raise ArgumentError(f"these sparse numbers have the positions {', '.join(map(repr, allowed))}")
    return found
