"""`palette`: a table of distinct words and an index for each weight. The row of the registry: see `protocol`."""

from __future__ import annotations

import numpy as np

from tersely.codes import checks
from tersely.codes.checks import expect_bytes
from tersely.codes.palette import held, reference
from tersely.codes.palette.candidates import candidates, forced, why_not
from tersely.codes.palette.layout import (
    DTYPES,
    INDEX_DTYPE,
    INDICES,
    NAME,
    TABLE,
    VERSION,
    entries_of,
    grid_of,
    index_bits,
)
from tersely.codes.protocol import Work
from tersely.codes.split import formulation as split
from tersely.codes.split.layout import Parameters
from tersely.core.dtypes import by_name
from tersely.core.encoded import Encoded, index_bytes, stream_bytes
from tersely.core.errors import FormatError
from tersely.core.geometry import CHUNK_WEIGHTS, Geometry

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

PREFIX = f"{INDICES}."


def slow_under(encoded: Encoded, profile: str) -> bool:
    """Without AVX-512: coded indices, and tables of more words than a few shuffles look up (`tersely.planner.cost_model`)."""
    if grid_of(encoded.node) is not None:
        return False
    if profile in ("avx512", "amx"):
        return False
    most = 6 if by_name(encoded.dtype).bits == 32 else 5
    return INDICES in encoded.node.children or index_bits(entries_of(encoded.node)) > most


def work(encoded: Encoded, geometry: Geometry) -> Work:
    """For the cost model; `encoded` must have passed `validate`."""
    if grid_of(encoded.node) is not None:
        return held.work(encoded, geometry)
    child = encoded.node.children.get(INDICES)
    code = "" if child is None else f" {child.parameters['code']}"
    kernel = f"palette {index_bits(entries_of(encoded.node))}{code}"
    places = geometry.panels * geometry.chunks_per_panel * CHUNK_WEIGHTS
    return Work(kernel, geometry, encoded.nbytes_stored, places)


def _indices(encoded: Encoded) -> Encoded:
    """Coded indices as a tensor of their own."""
    components = {name[len(PREFIX) :]: data for name, data in encoded.components.items() if name.startswith(PREFIX)}
    return Encoded(
        encoded.shape,
        INDEX_DTYPE,
        encoded.view,
        encoded.orientation,
        encoded.column_order,
        encoded.node.children[INDICES],
        components,
    )


def _code_of(encoded: Encoded) -> Parameters | None:
    """The code of the indices under `split`; None where they are under none."""
    coded = INDICES in encoded.node.children and grid_of(encoded.node) is None
    return split.parameters_of(_indices(encoded)) if coded else None


def validate(encoded: Encoded, geometry: Geometry) -> None:
    """Structure check: sizes, and the directory of coded indices; never indices, and the table where it is a grid."""
    checks.expect_dtype(encoded, DTYPES, NAME)
    entries = entries_of(encoded.node)
    coded = INDICES in encoded.node.children
    own = {name for name in encoded.components if not (coded and name.startswith(PREFIX))}
    checks.expect_components(own, {TABLE} if coded else {TABLE, INDICES}, NAME)
    expect_bytes(encoded.components, TABLE, index_bytes(entries * by_name(encoded.dtype).bits // 8))
    if not coded:
        chunks = geometry.panels * geometry.chunks_per_panel
        expect_bytes(encoded.components, INDICES, stream_bytes(chunks * 8 * index_bits(entries)))
        return
    try:
        if grid_of(encoded.node) is None:
            split.validate(_indices(encoded), geometry)
        else:
            word = by_name(encoded.dtype).word
            held.validate(encoded, geometry, encoded.components[TABLE][: entries * word.itemsize].view(word))
    except FormatError as error:
        if error.component not in (None, TABLE):
            error.component = PREFIX + error.component
        raise


def decode(encoded: Encoded, geometry: Geometry, threads: int = 1) -> np.ndarray:
    """The tensor in its own shape and dtype. `encoded` must have passed `validate`."""
    entries, code = entries_of(encoded.node), _code_of(encoded)

    def oracle(word: np.dtype) -> np.ndarray:
        if grid_of(encoded.node) is not None:
            return held.decode(encoded, geometry, word)
        return reference.decode(encoded.components, geometry, entries, code, word)

    return checks.decode(encoded, threads, oracle)
