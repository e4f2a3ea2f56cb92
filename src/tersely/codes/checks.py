"""What formulations check alike: names and lengths of components, directories, how large a decoded tensor would be."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from typing import TypeGuard

import numpy as np

from tersely.core.dtypes import by_name
from tersely.core.encoded import Encoded, index_bytes
from tersely.core.errors import CorruptError, TooLargeError

Components = Mapping[str, np.ndarray]

MAX_BYTES = 1 << 48
"""Decoded bytes that no machine has: from here on nothing is tried, so that no size of an array leaves 64 bits."""


def is_integer(value: object) -> TypeGuard[int]:
    """Whether what a caller gives is an integer; True and 2.0 are none."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def expect_components(found: Collection[str], expected: Collection[str], formulation: str) -> None:
    """Raises CorruptError naming a component that is missing or unknown."""
    if missing := sorted(set(expected) - set(found)):
        raise CorruptError("the component is missing; get the file again", component=missing[0])
    if extra := sorted(set(found) - set(expected)):
        raise CorruptError(f"a component that formulation {formulation!r} does not have", component=extra[0])


def expect_bytes(components: Components, component: str, expected: int, because: str = "shape and parameters") -> None:
    """Raises CorruptError, with the first byte that is missing or too much, where a component has another length."""
    actual = int(components[component].nbytes)
    if actual != expected:
        raise CorruptError(
            f"{actual} bytes where {because} need {expected}", component=component, byte=min(actual, expected)
        )


def directory_of(components: Components, parts: int, limits: Callable[[], np.ndarray], what: str) -> np.ndarray:
    """The entries (u64 [parts + 1]) of a component `directory`, which begin with zero and grow by at most `limits()`.

    limits: called only where the file has as many entries as the shape claims, which may be any number.
    Raises CorruptError with the byte of the entry that does not.
    """
    expect_bytes(components, "directory", index_bytes((parts + 1) * 8))
    starts = components["directory"][: (parts + 1) * 8].view("<u8")
    if starts[0]:
        raise CorruptError("the first entry is not zero", component="directory", byte=0)
    wrong = np.flatnonzero(starts[1:] - starts[:-1] > limits())  # wraps where entries fall: then over the limit
    if wrong.size:
        raise CorruptError(
            f"part {wrong[0]} has an impossible number of {what}",
            component="directory",
            byte=int(wrong[0] + 1) * 8,
        )
    return starts


def decoded_bytes(encoded: Encoded) -> int:
    """Bytes of all weights.

    Empty dimensions count as one: arrays with absurd ones beside them cannot be made either.
    """
    return math.prod(max(1, length) for length in encoded.shape) * by_name(encoded.dtype).bits // 8


def too_large(encoded: Encoded, doing: str = "decoding it") -> TooLargeError:
    """What to raise where memory does not hold what a tensor claims: a few bytes of code may stand for any size."""
    return TooLargeError(
        f"shape {list(encoded.shape)} of {encoded.dtype} is {decoded_bytes(encoded)} bytes, and {doing} takes more memory "
        "than there is; take fewer rows at a time, or refuse such files with load_file(max_bytes=)"
    )
