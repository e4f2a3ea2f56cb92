"""What a call gave and what it left behind, as plain data; and how the outcomes of two twins compare."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

Tree = Any
"""Nested tuples, dictionaries, `Leaf`s and plain values."""
ANYTHING = "<anything>"
"""Stands for what is never the same twice."""
_KEPT = 1 << 14
"""Elements up to which a tensor is kept as numbers too, for comparisons within a tolerance."""


@dataclass(frozen=True)
class Leaf:
    """A tensor or array. numbers: as float64 where it is small; bits: a hash of its bytes."""

    word: str
    shape: tuple[int, ...]
    dtype: str
    strides: tuple[int, ...]
    bits: str
    numbers: np.ndarray | None = field(compare=False, repr=False, default=None)


@dataclass
class Outcome:
    """error: names of the error's classes, and its text. value: the result. state: weight, aliases and output
    before, between expression and poke (both of the dense twin alone) and
    afterwards. shares: whether the result lies in the weight's memory (told by the dense twin alone).
    follow: entries of the state that are aliases and show what the weight holds now."""

    error: tuple[tuple[str, ...], str] | None = None
    value: Tree = None
    before: Tree = None
    between: Tree = None
    state: Tree = None
    shares: bool = False
    follow: tuple[str, ...] = ()
    value_error: str = ""


def tree_of(value: Any, numbers: bool = False, depth: int = 0) -> Tree:
    """Anything as data that can be compared and pickled. numbers: floats are kept too, not only a hash of them."""
    if depth > 6:
        return "..."
    if isinstance(value, torch.Tensor):
        return _leaf(value, numbers)
    if isinstance(value, np.ndarray):
        return Leaf("array", value.shape, str(value.dtype), (), _hash(np.ascontiguousarray(value).tobytes()))
    if isinstance(value, np.generic):
        return (type(value).__name__, repr(value))
    if isinstance(value, (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device, torch.layout)):
        return value if isinstance(value, (bool, int, type(None))) else repr(value)
    if isinstance(value, dict):
        return {str(key): tree_of(inner, numbers, depth + 1) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return tuple(tree_of(inner, numbers, depth + 1) for inner in value)
    if isinstance(value, nn.Module):
        return {"module": {name: tree_of(t, numbers, depth + 1) for name, t in value.state_dict().items()}}
    if hasattr(value, "__next__"):
        return tuple(tree_of(inner, numbers, depth + 1) for inner, _ in zip(value, range(100), strict=False))
    return f"<{type(value).__name__}>"


def _leaf(tensor: torch.Tensor, keep: bool) -> Leaf:
    word = "tensor"
    shape, dtype = tuple(tensor.shape), str(tensor.dtype)
    if tensor.layout is not torch.strided or tensor.is_nested or tensor.is_quantized:
        word = f"{word} {tensor.layout}"
        tensor = tensor.dequantize() if tensor.is_quantized else tensor.to_dense()
    if tensor.device.type == "meta":
        return Leaf(f"{word} meta", shape, dtype, tuple(tensor.stride()), "")
    strides = tuple(tensor.stride())
    with torch.no_grad():
        dense = tensor.detach()
        dense = dense.decode() if hasattr(dense, "decode") else dense
        dense = dense.resolve_conj().resolve_neg()
        word += " of wrong shape" if (tuple(dense.shape), str(dense.dtype)) != (shape, dtype) else ""
        dense = dense.contiguous().clone()
        raw = dense.reshape(-1).view(torch.uint8).numpy().tobytes() if dense.numel() else b""
        numbers = None
        if keep and dense.numel() <= _KEPT and dense.is_floating_point():
            numbers = dense.to(torch.float64).numpy().copy()
    return Leaf(word, shape, dtype, strides, _hash(raw), numbers)


def _hash(raw: bytes) -> str:
    return hashlib.blake2b(raw, digest_size=12).hexdigest()


def compare(dense: Outcome, ours: Outcome, tolerance: float, output_tolerance: float) -> str:
    """'' where the twins agree, else what differs in a few words. tolerance: of the value (0: bit for bit)."""
    if ours.error is not None:
        names, text = ours.error
        if "TerselyError" not in names and (dense.error is None or dense.error[0][0] not in names):
            return f"foreign error: {names[0]}: {text}"
    elif dense.error is not None and dense.error[1].startswith("a leaf Variable that requires grad"):
        return ""  # compressed weights stay frozen, so they are no such variable
    elif dense.error is not None:
        return f"accepts what dense refuses with {dense.error[0][0]}: {dense.error[1]}"
    elif ours.value_error and not dense.value_error:
        return f"a result that cannot be read: {ours.value_error}"
    else:
        found = _differs(dense.value, ours.value, tolerance, "result")
        if found:
            return found
    found = _differs(dense.state, ours.state, output_tolerance, "afterwards")
    if found and ours.error is not None:
        found = _differs(dense.before, ours.state, output_tolerance, "refused, but")
        if found and dense.between is not None and not _differs(dense.between, ours.state, output_tolerance, ""):
            return ""
    return found


def _differs(dense: Tree, ours: Tree, tolerance: float, place: str) -> str:
    if dense == ANYTHING:
        return ""
    if isinstance(dense, Leaf) and isinstance(ours, Leaf):
        return _leaves_differ(dense, ours, tolerance, place)
    if isinstance(dense, dict) and isinstance(ours, dict):
        if list(dense) != list(ours):
            return f"{place}: entries {list(ours)} instead of {list(dense)}"
        pairs = [(f"{place} {key}", dense[key], ours[key]) for key in dense]
    elif isinstance(dense, tuple) and isinstance(ours, tuple):
        if len(dense) != len(ours):
            return f"{place}: {len(ours)} values instead of {len(dense)}"
        pairs = [(f"{place}[{at}]", one, other) for at, (one, other) in enumerate(zip(dense, ours, strict=True))]
    elif dense == ours:
        return ""
    else:
        return f"{place}: {str(ours)[:80]} instead of {str(dense)[:80]}"
    return next((found for found in (_differs(a, b, tolerance, where) for where, a, b in pairs) if found), "")


def _leaves_differ(dense: Leaf, ours: Leaf, tolerance: float, place: str) -> str:
    for word in ("word", "shape", "dtype"):
        if getattr(dense, word) != getattr(ours, word):
            return f"{place}: {word} {getattr(ours, word)} instead of {getattr(dense, word)}"
    if dense.bits != ours.bits and dense.bits != "?":
        if not tolerance or dense.numbers is None or ours.numbers is None:
            return f"{place}: other values"
        if not np.allclose(ours.numbers, dense.numbers, rtol=tolerance, atol=tolerance, equal_nan=True):
            return f"{place}: other values, beyond {tolerance}"
    if dense.strides != ours.strides and 1 not in dense.shape and 0 not in dense.shape and place.startswith("result"):
        return f"{place}: strides {ours.strides} instead of {dense.strides}"
    return ""


def without_bits(tree: Tree, again: Tree) -> Tree:
    """`tree` where whatever differs `again` (memory that nobody has written, addresses, times) is not compared. again: None where no tensor's values are."""
    if isinstance(tree, Leaf) and (again is None or isinstance(again, Leaf)):
        return (
            tree
            if again is not None and tree.bits == again.bits
            else Leaf(tree.word, tree.shape, tree.dtype, tree.strides, "?")
        )
    if isinstance(tree, dict) and again is None:
        return {key: without_bits(tree[key], None) for key in tree}
    if isinstance(tree, tuple) and again is None:
        return tuple(without_bits(one, None) for one in tree)
    if isinstance(tree, dict) and isinstance(again, dict) and list(tree) == list(again):
        return {key: without_bits(tree[key], again[key]) for key in tree}
    if isinstance(tree, tuple) and isinstance(again, tuple) and len(tree) == len(again):
        return tuple(without_bits(a, b) for a, b in zip(tree, again, strict=True))
    return tree if again is None or tree == again else ANYTHING
