"""Which forms of `affine` are worth considering, and the form that a caller asks for.

One scale a row where that does, else one for the longest group of columns that does. Numbers in row fields always; coded
where that is smaller; under `sparse` where many weights are zero.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tersely.codes.node import INDEX, prefixed
from tersely.codes.protocol import Candidate, Request
from tersely.codes.words.affine import codec, sparse_numbers
from tersely.codes.words.affine.costs import Kernel
from tersely.codes.words.affine.layout import NUMBERS, SIGNED_ZERO, Scaling
from tersely.codes.words.affine.row_fields import options_of
from tersely.codes.words.split import codec as split
from tersely.core.errors import ArgumentError

SPARSE_DTYPE = "int8"
"""Of sparse numbers, which are differences."""


def candidates(request: Request) -> list[Candidate]:
    found = codec.find_scales(request.words, request.geometry(), request.dtype, request.threads)
    if found is None:
        return []
    fields, coded = _candidate(found), _coded(found, None)
    return [fields, *[coded] * (coded.nbytes < fields.nbytes), *_sparse(found, request)]


def _sparse(found: codec.Scaled, request: Request) -> list[Candidate]:
    """Those whose zeros are skipped; where some are -0.0, `signed_zeros` keeps their signs and asks again without."""
    if found.scaling.signed_zeros:
        return []
    if np.count_nonzero(request.words) > (1 - sparse_numbers.MIN_ZEROS) * request.words.size:
        return []
    numbers, scaling = found.sparse
    offers = sparse_numbers.candidates(numbers, SPARSE_DTYPE, found.geometry, request, _positions(scaling))
    return [_candidate(found, one) for one in offers]


def _positions(scaling: Scaling) -> tuple[str, ...]:
    return sparse_numbers.positions(signed=scaling.zero == SIGNED_ZERO)


def candidate_for(request: Request) -> Candidate:
    """code: of the numbers. columns: of a group, 0 for whole rows, None for the longest that do."""
    code, columns = options_of(request, "affine", NUMBERS)
    geometry = request.geometry()
    if geometry.view == "folded":
        raise ArgumentError("affine needs a tensor that is seen as matrices, whose rows have scales of their own")
    if columns is None:
        found = codec.find_scales(request.words, geometry, request.dtype, request.threads)
    else:
        found = codec.scales_of_groups(request.words, geometry, request.dtype, columns, request.threads)
    if found is None:
        which = "rows, or groups of their columns," if columns is None else f"groups of {columns or 'all'} columns"
        raise ArgumentError(f"affine needs weights that are integers times a scale: {which} of this tensor are not")
    if isinstance(code, Request):
        if found.scaling.signed_zeros:
            raise ArgumentError("sparse numbers have no signs of zeros: use formulation='signed_zeros', clean='affine'")
        numbers, scaling = found.sparse
        return _candidate(found, sparse_numbers.candidate_for(numbers, SPARSE_DTYPE, code, _positions(scaling)))
    if code[0] == "lines":
        return _candidate(found)
    if code[0] == "constant" and found.numbers.min() != found.numbers.max():
        raise ArgumentError("code 'constant' needs a tensor of one number")
    return _coded(found, code)


def _coded(found: codec.Scaled, code: split.Code | None) -> Candidate:
    """code: None for the smallest."""
    model = split.size_model(found.numbers, found.geometry, INDEX, found.threads)
    return _candidate(found, split.under(model, lambda: found.numbers, code))


def _candidate(found: codec.Scaled, coded: split.Coded | Candidate | None = None) -> Candidate:
    """coded: numbers under `split` or `sparse`, None for row fields."""
    sparse = coded if isinstance(coded, Candidate) else None
    geometry, scaling = found.geometry, found.scaling if coded is None else replace(found.scaling, bits=None)
    if sparse is not None:
        scaling = found.sparse[1]

    def components(threads: int) -> dict[str, np.ndarray]:
        own = found.components(scaling, threads)
        if coded is None:
            return own
        inner = coded.components(threads) if isinstance(coded, Candidate) else coded.encode(threads)
        return own | prefixed(NUMBERS, inner)

    return Candidate(
        Kernel(scaling.bits, scaling.columns, None if sparse is None else sparse.kernel),
        geometry,
        sum(found.component_bytes(scaling).values()) + (0 if coded is None else coded.nbytes),
        scaling.padded_weights(geometry),
        0 if sparse is None else sparse.entries,
        node=scaling.node(None if coded is None else coded.node),
        components=components,
        options={"columns": scaling.columns}
        | ({} if coded is None else dict(coded.options))
        | ({} if sparse is None else {NUMBERS: sparse_numbers.SPARSE}),
    )
