"""`split` under a code that not every dtype fits."""

from __future__ import annotations

import numpy as np

from tersely.core.errors import ArgumentError
from tersely.planner import choose as plan


def encode_or_none(array: np.ndarray, orientation: str, code: dict) -> object:
    try:
        return plan.encode(array, formulation="split", orientation=orientation, **code)
    except ArgumentError as error:
        assert "do not fit" in str(error)  # a code with more symbols than the dtype has exponents
        return None
