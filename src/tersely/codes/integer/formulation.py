"""`integer`: whole numbers of 8 and 16 bits, as fields or under a code of `split`. The row of the registry: see `protocol`."""

from __future__ import annotations

import numpy as np

from tersely.codes import checks
from tersely.codes.integer import distances, fields, nibbles
from tersely.codes.integer.candidates import candidates, fast, forced, kernel_of, places_of, why_not
from tersely.codes.integer.layout import DTYPES, NAME, VERSION, check_node
from tersely.codes.protocol import Work
from tersely.core.dtypes import by_name
from tersely.core.encoded import Encoded
from tersely.core.errors import FormatError
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


_CODED = {distances.CHILD: distances, nibbles.CHILD: nibbles}
"""What knows the tensors with a child."""


def slow_under(encoded: Encoded, profile: str) -> bool:
    """Where fields save too little to pay for taking them apart; for one row of x a code of `split` is slower on every
    machine, and fields of 4-bit values on none, by which their products go."""
    if encoded.node.children:
        return not nibbles.as_fields(encoded.node)
    weights = by_name(encoded.dtype).bits // 8
    for length in encoded.shape:
        weights *= length
    return not fast(encoded.nbytes_stored, weights, profile)


def work(encoded: Encoded, geometry: Geometry) -> Work:
    if nibbles.CHILD in encoded.node.children and nibbles.as_fields(encoded.node):
        geometry = nibbles.inner(encoded, geometry)[1]
        return Work(kernel_of(geometry, encoded.dtype), geometry, encoded.nbytes_stored, places_of(geometry))
    kernel = kernel_of(geometry, encoded.dtype, next(iter(encoded.node.children), ""))
    return Work(kernel, geometry, encoded.nbytes_stored, places_of(geometry))


def validate(encoded: Encoded, geometry: Geometry) -> None:
    """Structure check, as `fields` and the children's modules make it."""
    checks.expect_dtype(encoded, DTYPES, NAME)
    if child := check_node(encoded.node, encoded.dtype):
        own = {name for name in encoded.components if not name.startswith(f"{child}.")}
        checks.expect_components(own, (), NAME)
        try:
            _CODED[child].validate(encoded, geometry)
        except FormatError as error:
            if error.component not in (None, "info"):
                error.component = f"{child}.{error.component}"
            raise
        return
    fields.validate(encoded, geometry)


def decode(encoded: Encoded, geometry: Geometry, threads: int = 1) -> np.ndarray:
    """The tensor in its own shape and dtype. `encoded` must have passed `validate`."""
    return checks.decode(
        encoded,
        threads,
        lambda word: _reference(encoded, geometry),
    )


def _reference(encoded: Encoded, geometry: Geometry) -> np.ndarray:
    for child in encoded.node.children:
        return _CODED[child].decode(encoded, geometry)
    return fields.decode(encoded, geometry)
