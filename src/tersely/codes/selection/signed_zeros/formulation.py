"""`signed_zeros`: which zeros are -0.0, a bit a weight, and the tensor with clean zeros under another formulation.

Pruning by a mask (`weight * mask`) leaves -0.0 wherever the weight was negative. To every product it is a zero like any
other; coded as a value it would cost as much as one, and no formulation for zeros would see half of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from tersely.codes.node import Formulation, Part, Run, Span, expect_child, prefixed
from tersely.codes.protocol import Candidate, Request, Work
from tersely.codes.selection.block_sparse.formulation import block_sparse
from tersely.codes.selection.blocks.formulation import blocks
from tersely.codes.selection.signed_zeros import costs, reference
from tersely.codes.selection.sparse.formulation import sparse
from tersely.codes.selection.submatrix.formulation import submatrix
from tersely.codes.words.affine.formulation import affine
from tersely.codes.words.palette.formulation import palette
from tersely.codes.words.row_palette.formulation import row_palette
from tersely.codes.words.split.formulation import split
from tersely.core.encoded import Encoded, Node, stored, stream_bytes
from tersely.core.errors import ArgumentError, UnsupportedError
from tersely.core.geometry import PANEL_ROWS

NAME = "signed_zeros"
SIGNS = "signs"
"""The component: bits in the tensor's own order, the first one lowest in its byte. Missing where every zero is -0.0."""
EVERY = "every"
"""The flag: every zero is -0.0."""
CLEAN = "clean"
"""The child."""
MIN_SHARE = 0.02
"""Share of the weights that must be -0.0 for a bit each to be worth a look at all other formulations."""
_DRAWN = 4096

CHILDREN: tuple[Formulation, ...] = (split, sparse, palette, row_palette, affine, blocks, block_sparse, submatrix)
OFFERED = tuple(row for row in CHILDREN if row is not split)
"""Under `split` a zero costs what every weight does, whatever its sign."""


class SignedZeros(Formulation):
    """A node's flag says that every zero is negative."""

    NAME = NAME
    HUE = 12
    NEVER_NOISE = True
    ADVICE = (
        "zeros of either sign (+0.0 and -0.0), whose signs are kept; without them (weight + 0.0 in PyTorch and NumPy)"
    )

    @property
    def nests(self) -> Mapping[str, tuple[Formulation, ...]]:
        return {CLEAN: CHILDREN}

    # -- coding

    def candidates(self, request: Request) -> list[Candidate]:
        if not _may_pay(request.words):
            return []
        signs = reference.signs_of(request.words)
        if signs.sum() < MIN_SHARE * signs.size:
            return []
        clean = replace(request, words=reference.cleaned(request.words, signs))
        return [_candidate(one, signs, clean.words) for row in OFFERED for one in row.candidates(clean)]

    def candidate_for(self, request: Request) -> Candidate:
        """clean: the formulation of the tensor with clean zeros; the other parameters are its own.

        Raises ArgumentError.
        """
        options = dict(request.parameters)
        name = options.pop(CLEAN, "sparse")
        row = next((row for row in CHILDREN if name == row.NAME), None)
        if row is None:
            raise ArgumentError(
                f"signed_zeros holds no {name!r}: use one of {', '.join(repr(row.NAME) for row in CHILDREN)}"
            )
        signs = reference.signs_of(request.words)
        clean = replace(request, words=reference.cleaned(request.words, signs), parameters=options)
        return _candidate(row.candidate_for(clean), signs, clean.words)

    def walks(self, node: Node) -> bool:
        return _row(node.children[CLEAN]).walks(node.children[CLEAN])

    def lists(self, node: Node) -> bool:
        return _row(node.children[CLEAN]).lists(node.children[CLEAN])

    def density(self, part: Part) -> float:
        clean = part.children[CLEAN]
        return clean.row.density(clean)

    # -- checking

    def parse(self, node: Node, dtype: str, layout: Any) -> bool:
        expect_child(node, CLEAN)
        every = node.parameters.get(EVERY, True)
        if set(node.parameters) - {EVERY} or every is not True:
            raise UnsupportedError(
                f"formulation {NAME!r} has the parameter {EVERY}, true, or none; the file is damaged or needs a newer tersely"
            )
        return bool(node.parameters)

    def sizes(self, parameters: bool, dtype: str, layout: Any) -> Mapping[str, int]:
        return {} if parameters else {SIGNS: stream_bytes(-(-layout.elements // 8))}

    # -- reading

    def words(self, part: Part) -> np.ndarray:
        clean = part.children[CLEAN]
        words = clean.row.words(clean)
        signs = np.ones(words.size, bool) if part.parameters else _bits(part, words.size)
        return reference.with_signs(words, signs)

    # -- costs

    def work(self, part: Part) -> Work | None:
        clean = part.children[CLEAN]
        inner = clean.row.work(clean)
        if inner is None:
            return None
        return replace(inner, kernel=costs.Kernel(inner.kernel), nbytes=part.nbytes, inner=inner)

    def predict_ns(self, work: Work, dtype: str, machine: str, batch: int) -> float:
        """The cost model adds the time of the product of its child."""
        return 0.0

    def slower_than_dense(self, part: Part, profile: str) -> bool:
        clean = part.children[CLEAN]
        return clean.row.slower_than_dense(clean, profile)

    def avoidable_bytes(self, encoded: Encoded) -> int:
        return int(encoded.components[SIGNS].nbytes) if SIGNS in encoded.components else 0

    # -- slicing

    def step(self, part: Part) -> int:
        clean = part.children[CLEAN]
        return clean.row.step(clean)

    def slice_panels(self, part: Part, span: Span) -> Run:
        if part.parameters:
            return Run()
        seen, (first, last) = part.layout, span.panels

        def element(panel: int) -> int:
            matrix, inside = divmod(panel, seen.panels_per_matrix)
            return int((matrix * seen.rows + min(inside * PANEL_ROWS, seen.rows)) * seen.columns)

        return Run(bits={SIGNS: _bits(part, part.layout.elements)[element(first) : element(last)]})


def _candidate(one: Candidate, signs: np.ndarray, clean: np.ndarray) -> Candidate:
    every = bool(signs.sum() == signs.size - np.count_nonzero(clean))

    def components(threads: int) -> dict[str, np.ndarray]:
        own = {} if every else {SIGNS: stored(np.packbits(signs, bitorder="little"), stream_bytes)}
        return own | prefixed(CLEAN, one.components(threads))

    return Candidate(
        costs.Kernel(one.kernel),
        one.geometry,
        one.nbytes + (0 if every else stream_bytes(-(-signs.size // 8))),
        one.padded_weights,
        one.entries,
        one,
        node=Node(NAME, 1, {EVERY: True} if every else {}, {CLEAN: one.node}),
        components=components,
        options={CLEAN: one.node.formulation, **one.options},
        allowance=one.allowance,
    )


def _row(clean: Node) -> Formulation:
    return {row.NAME: row for row in CHILDREN}[clean.formulation]


def _may_pay(words: np.ndarray) -> bool:
    """Whether as many weights as `MIN_SHARE` asks for may be -0.0, by a sample: most tensors have none."""
    flat = words.reshape(-1)
    if flat.size > 2 * _DRAWN:
        flat = flat[_drawn(flat.size)]
    return bool(np.count_nonzero(flat == reference.negative_zero(words.dtype)) >= flat.size * MIN_SHARE / 4)


@lru_cache(maxsize=64)
def _drawn(count: int) -> np.ndarray:
    """Places among so many, the same every time."""
    found = np.random.default_rng(0).integers(count, size=_DRAWN)
    found.flags.writeable = False
    return found


def _bits(part: Part, count: int) -> np.ndarray:
    return np.unpackbits(part.components[SIGNS], count=count, bitorder="little").astype(bool)


signed_zeros = SignedZeros()
