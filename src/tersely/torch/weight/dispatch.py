"""`OPERATORS`: what the operators above this room tell the tensor class, which must not import them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Operators:
    """What operators do with compressed weights, which is decided above this file: `operators.table` says it here.

    Attributes:
        run: what gives the result of an operator with at least one compressed argument: (operator, args, kwargs).
        assign: what `.data =` does: (weight, new).
    """

    run: Callable[[Any, tuple[Any, ...], dict[str, Any]], Any]
    assign: Callable[[Any, Any], None]


OPERATORS = Operators()
