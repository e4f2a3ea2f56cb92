"""`submatrix`: empty rows and columns cost a bit each, the others are coded without them. The row of the registry: see
`protocol`."""

from __future__ import annotations

import numpy as np

from tersely.codes import checks
from tersely.codes.protocol import Work
from tersely.codes.submatrix import inner, reference
from tersely.codes.submatrix.candidates import candidates, forced, why_not
from tersely.codes.submatrix.layout import COLUMNS, DTYPES, KEPT, NAME, PREFIX, ROWS, VERSION, component_bytes, kept_of
from tersely.core.encoded import Encoded, Node
from tersely.core.errors import CorruptError, FormatError, UnsupportedError
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


def slow_under(encoded: Encoded, profile: str) -> bool:
    """Only where codes are slow and most of the weights are kept."""
    kept = kept_of(encoded)
    most = kept.shape[0] * kept.shape[1] * 2 > int(np.prod(encoded.shape))
    return most and inner.row_of(kept.node).slow_under(kept, profile)


def work(encoded: Encoded, geometry: Geometry) -> Work | None:
    """For the cost model; `encoded` must have passed `validate`."""
    kept = kept_of(encoded)
    known = getattr(inner.row_of(kept.node), "work", None)
    if known is None:
        return None
    own: Work = known(kept, _geometry(kept))
    return Work(f"submatrix {own.kernel}", geometry, encoded.nbytes_stored, own.places, own.entries, own)


def validate(encoded: Encoded, geometry: Geometry) -> None:
    """Structure check: parameters, bitmaps, and what the formulation of what is kept checks of it."""
    checks.expect_dtype(encoded, DTYPES, NAME)
    _check_node(encoded.node)
    if geometry.view not in ("matrix", "convolution"):
        raise CorruptError(
            f"submatrix codes one matrix, and this tensor is seen as {geometry.view!r}", component="info"
        )
    if geometry.column_order != "as_is":
        raise CorruptError(
            f"submatrix has columns as they are, not in order {geometry.column_order!r}", component="info"
        )
    own = {name for name in encoded.components if not name.startswith(PREFIX)}
    sizes = component_bytes(geometry)
    checks.expect_components(own, set(sizes), NAME)
    for name, all_places in ((ROWS, geometry.rows), (COLUMNS, geometry.columns)):
        checks.expect_bytes(encoded.components, name, sizes[name])
        _check_bitmap(encoded, name, all_places)
    kept = kept_of(encoded)
    try:
        inner.row_of(kept.node).validate(kept, _geometry(kept))
    except FormatError as error:
        if error.component not in (None, "info"):
            error.component = PREFIX + str(error.component)
        raise


def _check_node(node: Node) -> None:
    """Raises UnsupportedError."""
    counts = [node.parameters.get(name) for name in (ROWS, COLUMNS)]
    if node.version != VERSION or set(node.parameters) != {ROWS, COLUMNS} or set(node.children) != {KEPT}:
        raise UnsupportedError(
            f"formulation {NAME!r} has version {VERSION}, the parameters {COLUMNS} and {ROWS} and one child, {KEPT}; "
            "the file is damaged or needs a newer tersely"
        )
    if not all(type(count) is int and count > 0 for count in counts):
        raise UnsupportedError(f"a submatrix of {counts[0]!r} rows and {counts[1]!r} columns; get the file again")


def _check_bitmap(encoded: Encoded, name: str, places: int) -> None:
    """Raises CorruptError unless as many bits are set as are kept, none beyond the last place."""
    bits = np.unpackbits(encoded.components[name], bitorder="little")
    if (stray := np.flatnonzero(bits[places:])).size:
        raise CorruptError("a bit beyond the last place is set", component=name, byte=int(places + stray[0]) // 8)
    expected, found = encoded.node.parameters[name], int(bits.sum(dtype=np.int64))
    if found != expected:
        raise CorruptError(f"{found} {name} are kept where the description has {expected}", component=name, byte=0)


def decode(encoded: Encoded, geometry: Geometry, threads: int = 1) -> np.ndarray:
    """The tensor in its own shape and dtype. `encoded` must have passed `validate`."""
    return checks.decode(encoded, threads, lambda word: _decoded(encoded, geometry, word))


def _decoded(encoded: Encoded, geometry: Geometry, word: np.dtype) -> np.ndarray:
    kept = kept_of(encoded)
    words = inner.row_of(kept.node).decode(kept, _geometry(kept), 1).view(word)
    rows = reference.places(encoded.components[ROWS], geometry.rows)
    columns = reference.places(encoded.components[COLUMNS], geometry.columns)
    return reference.put(words, rows, columns, geometry)


def _geometry(kept: Encoded) -> Geometry:
    return Geometry(kept.shape, kept.view)
