"""`integer`: x that it is multiplied with, and what every form of it must do."""

from __future__ import annotations

from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest
from support.arrays import ISAS, same_bits

from tersely.backends.cpu import isa, native
from tersely.codes import registry
from tersely.codes.protocol import Request
from tersely.planner import choose
from tersely.tensors.tensor import Tensor

X_DTYPES = tuple(np.dtype(scalar) for scalar in (np.float32, ml_dtypes.bfloat16, np.float16))
HALF_ULP = {"float32": 2.0**-24, "bfloat16": 2.0**-8, "float16": 2.0**-11}
SUBNORMAL = {"float32": 1e-44, "bfloat16": 1e-40, "float16": 2.0**-25}
PAIRS = ((48, 100), (17, 2300), (3, 40, 33), (8, 4, 3, 3), (7,), (300, 40), (1, 1))


def check(array: np.ndarray, orientation: str = "out_in", **options: object) -> Tensor:
    """The promised size, the same bytes without the native module, the same bits under every instruction set."""
    encoded = choose.encode(array, formulation="integer", orientation=orientation, **options)
    word = f"u{array.itemsize}"
    given = {key: value for key, value in options.items() if key != "int4_columns"}
    request = Request(array.view(word), array.dtype.name, orientation, int4_columns=options.get("int4_columns"))
    assert registry.BY_NAME["integer"].candidate_for(replace(request, parameters=given)).nbytes == encoded.nbytes_stored
    for name in ISAS:
        with isa.using(name):
            assert same_bits(Tensor(encoded).decode(), array), name
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "module", None)
        assert same_bits(registry.decode(encoded), array)
        again = choose.encode(array, formulation="integer", orientation=orientation, **options)
    assert again.node == encoded.node
    assert {name: data.tobytes() for name, data in again.components.items()} == {
        name: data.tobytes() for name, data in encoded.components.items()
    }
    return Tensor(encoded)


def check_reading(tensor: Tensor, array: np.ndarray, rng: np.random.Generator) -> None:
    for first, last in ((0, 1), (1, len(array)), (len(array) // 2, len(array) // 2), (-2, len(array))):
        assert same_bits(tensor.rows(first, last), np.ascontiguousarray(array[first:last]))
    for _ in range(20):
        index = tuple(int(rng.integers(-length, length)) for length in array.shape)
        assert tensor[index] == array[index]
