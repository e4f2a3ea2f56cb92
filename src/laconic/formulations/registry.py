"""The closed list of formulations, and the three things every one of them can do: validate, decode, say its words."""

from __future__ import annotations

import numpy as np

from laconic.dtypes import by_name
from laconic.encoded import Encoded
from laconic.errors import ArgumentError, CorruptError, UnsupportedError
from laconic.formulations.dense import formulation as dense
from laconic.formulations.split import formulation as split
from laconic.geometry import Geometry
from laconic.threads import get_num_threads

NAMES = ("dense", "split")


def geometry_of(encoded: Encoded) -> Geometry:
    """How the tensor is seen as matrices. Raises CorruptError where the description contradicts its shape."""
    try:
        return Geometry(encoded.shape, encoded.view, encoded.orientation, encoded.column_order)
    except ArgumentError as error:
        raise CorruptError(str(error), component="info") from error


def validate(encoded: Encoded) -> None:
    """Check everything but payload. Raises CorruptError or UnsupportedError naming component and byte."""
    if encoded.node.formulation == "dense":
        dense.validate(encoded)
    elif encoded.node.formulation == "split":
        split.validate(encoded, geometry_of(encoded))
    else:
        raise UnsupportedError(
            f"unknown formulation {encoded.node.formulation!r}: this laconic reads {', '.join(NAMES)}; "
            "use a newer release"
        )


def decode(encoded: Encoded, threads: int | None = None) -> np.ndarray:
    """The tensor, every bit of it, in its own shape and dtype. Validates first; allocates just the tensor."""
    if encoded.node.formulation == "dense":
        dense.validate(encoded)
        return dense.decode(encoded)
    validate(encoded)
    geometry = geometry_of(encoded)
    words = split.decode(encoded, geometry, split.parameters_of(encoded), threads or get_num_threads())
    dtype = by_name(encoded.dtype).numpy
    assert dtype is not None  # split codes no dtype that NumPy and ml_dtypes lack
    return words.view(dtype)
