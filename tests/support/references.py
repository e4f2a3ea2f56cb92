"""What the NumPy references say of a coded tensor, and slices of tensors that are checked first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tersely.codes import registry, slicing
from tersely.core.encoded import Encoded


def reference_words(encoded: Encoded) -> np.ndarray:
    """What the NumPy reference decodes."""
    checked = registry.check(encoded)
    return checked.row.words(checked.root)


def slower_than_dense(encoded: Encoded, profile: str) -> bool:
    """What the formulation says of a tensor's products."""
    checked = registry.check(encoded)
    return checked.row.slower_than_dense(checked.root, profile)


def take(encoded: Encoded, first: int, last: int, **how: bool) -> Encoded | None:
    """`slicing.take` of a tensor that is checked first."""
    return slicing.take(registry.check(encoded), first, last, **how)


def join(kind: str, dim: int, tensors: Sequence[Encoded]) -> Encoded | None:
    """`slicing.join` of tensors that are checked first."""
    return slicing.join(kind, dim, [registry.check(one) for one in tensors])
