"""`tersely.encode`: one array from Python to a coded tensor."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import numpy as np

from tersely.core.choices import Objective, Orientation
from tersely.core.dtypes import by_name
from tersely.core.errors import ArgumentError
from tersely.planner import choose
from tersely.planner.profiles import Profile
from tersely.tensors.tensor import Tensor


def encode(
    array: Any,
    formulation: str | None = None,
    objective: Objective = "balanced",
    profile: str | os.PathLike[str] | Profile = "native",
    *,
    batch: int = 1,
    orientation: Orientation = "out_in",
    threads: int | None = None,
    int4_columns: int | None = None,
    **parameters: Any,
) -> Tensor:
    """Codes an array, every bit of it.

    Args:
        array: NumPy array of any shape (ml_dtypes for bfloat16 and float8), or what gives one by DLPack or the buffer
            protocol.
        formulation: None lets the planner choose; 'dense'; or one of these, which take parameters as plans name them:
            'split' with code='packed', bits=4 or code='layered', widths=(3,), 'sparse' with positions='bitmap',
            'gaps', 'n_of_m' or 'elias_fano', 'palette', 'row_palette' and 'affine' with
            columns=32 (of a group; 0 for rows), numbers='sparse' and positions, 'integer' with bits=0 to 8 or
            code='distances', 'blocks', 'block_sparse' with block='row', '16x1' or 'chunk', 'submatrix' with
            kept='split' or another that codes floats, or of integers 'integer', 'dense', 'sparse' or 'block_sparse',
            'signed_zeros' with clean='sparse' or another one for the tensor without its -0.0.
        objective: 'size', 'speed' or 'balanced'.
        profile: 'native' plans for this machine's class, 'portable' for AVX2 and AVX-512 alike; or the file of a
            measured one.
        batch: rows of x to plan for.
        orientation: 'out_in' for [outputs, inputs], 'in_out' for [inputs, outputs].
        threads: workers of the encoder; None for `get_num_threads()`.
        int4_columns: weights in a row of a uint8 array whose bytes hold two 4-bit values each (twice the last
            dimension): they are coded one by one, for objectives 'speed' and 'balanced' as fields that `linear`
            multiplies as they are (packed=), where that takes no more; None for bytes that are values.
        parameters: of the formulation, by name.

    Returns:
        The coded tensor; one of formulation 'dense' where nothing is smaller.

    Raises:
        ArgumentError: for dtypes that safetensors cannot hold, big-endian arrays and parameters that do not fit.
    """
    decoded = isinstance(array, Tensor)
    if isinstance(array, Tensor):
        if by_name(array.encoded.dtype).packed:
            raise ArgumentError(f"dtype {array.encoded.dtype} is never coded: the tensor can be saved as it is")
        array = array.decode()
    elif not isinstance(array, np.ndarray) and hasattr(array, "__dlpack__"):
        try:
            array = np.from_dlpack(array)
        except (RuntimeError, BufferError, TypeError) as error:
            raise ArgumentError(f"the array cannot be taken over by DLPack: {error}") from None
    given = np.asarray(array)
    encoded = choose.encode(
        given,
        formulation=formulation,
        objective=objective,
        profile=profile,
        batch=batch,
        orientation=orientation,
        threads=threads,
        int4_columns=int4_columns,
        **parameters,
    )
    # What stays as it is would change with the caller's array; one that was decoded here is nobody else's.
    views = {name: one for name, one in encoded.components.items() if np.may_share_memory(one, given)}
    if views and not decoded:
        own = {name: np.array(one) for name, one in views.items()}
        encoded = replace(encoded, components={**encoded.components, **own})
    return Tensor(encoded)


def over(array: np.ndarray) -> Tensor:
    """Returns a dense tensor over an array's own memory: what is written there later is what it multiplies by.

    Args:
        array: contiguous, of a dtype that safetensors can hold; the tensor keeps it alive.

    Raises:
        ArgumentError: for other dtypes and big-endian arrays.
    """
    return Tensor(choose.encode(array, formulation="dense"))
