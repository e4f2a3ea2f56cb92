"""Which tensors of a file are coded together: the small ones, where a file has many of them.

Each tensor that is coded alone has a description, entries in the header and padding, which cost more than a small one
can save. Their number, dtypes and shapes decide, no weights, so plans, explanations and files come to the same answer.
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

from tersely.files.container import limits, pool

REASON = "small: coded together with others"
"""Why a tensor that is in the pool of its file has no code of its own."""
_ELEMENTS = {"size": 1 << 16, "balanced": 1 << 14}
"""Tensors of fewer elements are pooled. They are decoded once, when they are first asked for, and multiplied as dense
ones; larger ones, whose products take time, keep a code of their own."""
_TENSORS = 16
"""Files of fewer tensors are left as every reader of safetensors sees them."""
_DESCRIPTION_BYTES = 512
"""About what the description and the entries of a tensor take."""
_WORTH = 1024
"""A pool is made where it saves about one part of so many, or more."""
_known: WeakKeyDictionary[Any, dict[Any, frozenset[str]]] = WeakKeyDictionary()


def names(source: Any, objective: str, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> frozenset[str]:
    """The tensors that a file made of a source keeps in a pool; none where it has none.

    Args:
        source: anything with `dense` and `file_bytes`; its tensors do not change.
        objective: 'size' and 'balanced' have pools.
        include: glob patterns of names of the tensors to compress; none for all.
        exclude: glob patterns of names of tensors that stay as they are.
    """
    if objective not in _ELEMENTS:
        return frozenset()
    known = _known.setdefault(source, {})
    key = (objective, tuple(include), tuple(exclude))
    if key not in known:
        wanted = [
            name for name in source.dense if not _matches(name, exclude) and (not include or _matches(name, include))
        ]
        known[key] = _names(source, wanted, _ELEMENTS[objective])
    return known[key]


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _names(source: Any, wanted: Sequence[str], elements: int) -> frozenset[str]:
    if len(wanted) < _TENSORS or pool.RESERVED & source.dense.keys():
        return frozenset()
    found, held = set(), 0
    for one in sorted((source.dense[name] for name in wanted), key=lambda one: one.nbytes):
        if not one.nbytes or math.prod(one.shape) >= elements:
            continue
        held += one.nbytes
        if held > limits.POOL_BYTES:
            break
        found.add(one.name)
    saved = len(wanted) * _DESCRIPTION_BYTES + sum(source.dense[name].nbytes for name in found) // 8
    return frozenset(found if saved * _WORTH >= source.file_bytes else ())
