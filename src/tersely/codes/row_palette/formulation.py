"""`row_palette`: a table of words for each row, or for each group of its columns. The row of the registry: see
`protocol`."""

from __future__ import annotations

import numpy as np

from tersely.codes import checks
from tersely.codes.affine.reference import numbers_in
from tersely.codes.protocol import Work
from tersely.codes.row_palette import reference
from tersely.codes.row_palette.candidates import FAST_BITS, candidates, forced, kernel_of, places_of, why_not
from tersely.codes.row_palette.layout import DTYPES, INDEX_DTYPE, INDICES, NAME, VERSION, Tables
from tersely.codes.split import formulation as split
from tersely.codes.split import reference as split_reference
from tersely.core.dtypes import by_name
from tersely.core.encoded import Encoded
from tersely.core.errors import CorruptError, FormatError
from tersely.core.geometry import Geometry

__all__ = [
    "DTYPES",
    "NAME",
    "VERSION",
    "candidates",
    "decode",
    "forced",
    "slow_under",
    "validate",
    "why_not",
    "work",
]

_PREFIX = f"{INDICES}."


def indices_of(encoded: Encoded) -> Encoded:
    """Coded indices as a tensor of their own."""
    own = {name[len(_PREFIX) :]: data for name, data in encoded.components.items() if name.startswith(_PREFIX)}
    seen = (encoded.view, encoded.orientation, encoded.column_order)
    return Encoded(encoded.shape, INDEX_DTYPE, *seen, encoded.node.children[INDICES], own)


def slow_under(encoded: Encoded, profile: str) -> bool:
    """All but fields whose words kernels look up in registers: others are looked up weight by weight."""
    bits = Tables.of(encoded.node).bits
    return bits is None or bits > FAST_BITS


def work(encoded: Encoded, geometry: Geometry) -> Work:
    """For the cost model; `encoded` must have passed `validate`."""
    tables = Tables.of(encoded.node)
    return Work(kernel_of(tables), geometry, encoded.nbytes_stored, places_of(geometry, tables))


def validate(encoded: Encoded, geometry: Geometry) -> None:
    """Structure check: sizes, and the directory of coded indices; never tables or indices."""
    checks.expect_dtype(encoded, DTYPES, NAME)
    tables = Tables.of(encoded.node)
    if geometry.view == "folded":
        raise CorruptError("row_palette codes matrices, and this tensor is folded", component="info")
    sizes = tables.component_bytes(geometry, encoded.dtype)
    coded = tables.bits is None
    own = {name for name in encoded.components if not (coded and name.startswith(_PREFIX))}
    checks.expect_components(own, set(sizes), NAME)
    for name, size in sizes.items():
        checks.expect_bytes(encoded.components, name, size)
    if not coded:
        return
    try:
        split.validate(indices_of(encoded), geometry)
    except FormatError as error:
        if error.component is not None:
            error.component = _PREFIX + error.component
        raise


def decode(encoded: Encoded, geometry: Geometry, threads: int = 1) -> np.ndarray:
    """The tensor in its own shape and dtype. `encoded` must have passed `validate`."""
    return checks.decode(encoded, threads, lambda word: decode_reference(encoded, geometry))


def decode_reference(encoded: Encoded, geometry: Geometry) -> np.ndarray:
    """The NumPy reference: the tensor's words, from valid components."""
    tables = Tables.of(encoded.node)
    if tables.bits is not None:
        indices = numbers_in(encoded.components[INDICES], geometry, tables.bits)
    else:
        inner = indices_of(encoded)
        code = split.parameters_of(inner)
        indices = split_reference.decode(inner.components, geometry, INDEX_DTYPE, code, np.dtype(np.uint8))
    return reference.decode(encoded.components, geometry, by_name(encoded.dtype).word, tables, indices)
