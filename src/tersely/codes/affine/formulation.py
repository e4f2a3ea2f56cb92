"""`affine`: scale x (number - zero), by rows or groups of their columns. The row of the registry: see `protocol`."""

from __future__ import annotations

import numpy as np

from tersely.codes import checks
from tersely.codes.affine import reference
from tersely.codes.affine.candidates import candidates, forced, kernel_of, places_of, why_not
from tersely.codes.affine.layout import (
    DIRECTORY,
    DTYPES,
    LEAST_SCALE,
    MOST_SCALE,
    MOST_ZERO,
    NAME,
    NEGATIVE_ZERO,
    NUMBER_DTYPE,
    NUMBERS,
    SCALES,
    SIGNS,
    VERSION,
    ZEROS,
    Scaling,
)
from tersely.codes.protocol import Work
from tersely.codes.split import formulation as split
from tersely.codes.split import reference as split_reference
from tersely.core.dtypes import by_name
from tersely.core.encoded import Encoded, stream_bytes
from tersely.core.errors import CorruptError, FormatError
from tersely.core.geometry import CHUNK_WEIGHTS, PANEL_ROWS, Geometry

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

_PREFIX = f"{NUMBERS}."
MOST_FLOAT16 = 65504.0
"""The largest of its numbers."""


def numbers_of(encoded: Encoded) -> Encoded:
    """Coded numbers as a tensor of their own."""
    own = {name[len(_PREFIX) :]: data for name, data in encoded.components.items() if name.startswith(_PREFIX)}
    seen = (encoded.view, encoded.orientation, encoded.column_order)
    return Encoded(encoded.shape, NUMBER_DTYPE, *seen, encoded.node.children[NUMBERS], own)


def slow_under(encoded: Encoded, profile: str) -> bool:
    """Coded numbers: symbol by symbol without AVX-512, and with it for more bytes than 16-bit weights have to spare."""
    fast = profile in ("avx512", "amx") and encoded.dtype == "float32"
    return NUMBERS in encoded.node.children and not fast


def work(encoded: Encoded, geometry: Geometry) -> Work:
    """For the cost model; `encoded` must have passed `validate`."""
    scaling = Scaling.of(encoded.node)
    return Work(kernel_of(scaling), geometry, encoded.nbytes_stored, places_of(geometry, scaling))


def validate(encoded: Encoded, geometry: Geometry) -> None:
    """Structure check: sizes, directories, scales and zeros; never numbers or signs."""
    checks.expect_dtype(encoded, DTYPES, NAME)
    scaling = Scaling.of(encoded.node)
    if geometry.view == "folded":
        raise CorruptError("affine codes matrices, and this tensor is folded", component="info")
    sizes = scaling.component_bytes(geometry)
    coded = scaling.bits is None
    own = {name for name in encoded.components if not (coded and name.startswith(_PREFIX))}
    checks.expect_components(own, {*sizes, *((SIGNS, DIRECTORY) if scaling.signed_zeros else ())}, NAME)
    for name, size in sizes.items():
        checks.expect_bytes(encoded.components, name, size)
    _check_scales(encoded, geometry, scaling)
    if scaling.signed_zeros:
        count = int(
            checks.directory_of(
                encoded.components,
                geometry.segments,
                lambda: geometry.segment_lengths() * np.uint64(CHUNK_WEIGHTS // 8),
                "signs",
            )[-1]
        )
        checks.expect_bytes(encoded.components, SIGNS, stream_bytes(count))
    if not coded:
        return
    try:
        split.validate(numbers_of(encoded), geometry)
    except FormatError as error:
        if error.component is not None:
            error.component = _PREFIX + error.component
        raise


def _check_scales(encoded: Encoded, geometry: Geometry, scaling: Scaling) -> None:
    """Raises CorruptError for scales and zeros out of range, alone or, in float16, together."""
    count, kind = scaling.places(geometry) * PANEL_ROWS, by_name(scaling.dtype)
    words = encoded.components[SCALES][: count * kind.bits // 8].view(kind.word)
    scales = reference.values_of(words, scaling.dtype)
    if scaling.zero is None:
        zeros = encoded.components[ZEROS][: count * 2].view("<i2").astype(np.int64)
    else:
        zeros = np.array([scaling.zero])
    taken = (zeros == NEGATIVE_ZERO) & scaling.signed_zeros
    wrong = np.flatnonzero((np.abs(zeros) > MOST_ZERO) | taken)
    if wrong.size:
        component, byte = ("info", None) if scaling.zero is not None else (ZEROS, int(wrong[0]) * 2)
        raise CorruptError(f"zero {wrong[0]} is out of range: {zeros[wrong[0]]}", component=component, byte=byte)
    fits = (scales >= LEAST_SCALE) & (scales <= MOST_SCALE)
    if encoded.dtype == "float16":
        fits &= scales * (NEGATIVE_ZERO + np.abs(zeros)).astype(np.float32) <= MOST_FLOAT16
    wrong = np.flatnonzero(~fits)
    if wrong.size:
        byte = int(wrong[0]) * kind.bits // 8
        raise CorruptError(f"scale {wrong[0]} is out of range: {scales[wrong[0]]}", component=SCALES, byte=byte)


def decode(encoded: Encoded, geometry: Geometry, threads: int = 1) -> np.ndarray:
    """The tensor in its own shape and dtype. `encoded` must have passed `validate`."""
    return checks.decode(encoded, threads, lambda word: decode_reference(encoded, geometry))


def decode_reference(encoded: Encoded, geometry: Geometry) -> np.ndarray:
    """The NumPy reference: the tensor's words, from valid components."""
    scaling = Scaling.of(encoded.node)
    if scaling.bits is not None:
        numbers = reference.numbers_in(encoded.components[NUMBERS], geometry, scaling.bits)
    else:
        inner = numbers_of(encoded)
        code = split.parameters_of(inner)
        numbers = split_reference.decode(inner.components, geometry, NUMBER_DTYPE, code, np.dtype(np.uint8))
    return reference.decode(encoded.components, geometry, encoded.dtype, scaling, numbers)
