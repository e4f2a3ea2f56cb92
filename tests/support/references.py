"""What the NumPy references say of a coded tensor, and slices of tensors that are checked first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from tersely.backends.cpu import native
from tersely.codes import registry, slicing
from tersely.core.encoded import Encoded
from tersely.planner import choose


def reference_words(encoded: Encoded) -> np.ndarray:
    """What the NumPy reference decodes."""
    checked = registry.check(encoded)
    return checked.row.words(checked.root)


def reference_components(array: np.ndarray, **options: Any) -> Mapping[str, np.ndarray]:
    """What the NumPy reference encodes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "module", None)
        return choose.encode(array, **options).components


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
