"""The operators that compilers see: `laconic::decode`, `laconic::product`, `laconic::pick`.

They take components as tensors and the description as text, so that nothing but torch's own types crosses the border;
shapes follow from the text alone. At run time a leaf is made once for its components and found again by them.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence

import torch
from torch import Tensor

from laconic.torch.content import Content, Leaf, Window
from laconic.torch.dtypes import TORCH
from laconic.torch.form import Form
from laconic.torch.products import pick, product

_leaves: dict[tuple[object, ...], Leaf] = {}


def _leaf(parts: Sequence[Tensor], text: str) -> Leaf:
    """The leaf over these components. It keeps their memory, so an address cannot come to mean other bytes, and goes
    when the first component does."""
    key = (*(part.data_ptr() for part in parts), text)
    leaf = _leaves.get(key)
    if leaf is None:
        leaf = _leaves[key] = Leaf(Form(text), [part.detach() for part in parts])
        weakref.finalize(parts[0], _leaves.pop, key, None).atexit = False
    return leaf


def _content(leaf: Leaf, first: int, last: int, squeezed: bool) -> Content:
    whole = not squeezed and (first, last) == (0, leaf.shape[0])
    return leaf if whole else Window(leaf, first, last, squeezed)


@torch.library.custom_op("laconic::decode", mutates_args=())
def decode(parts: Sequence[Tensor], form: str, first: int, last: int) -> Tensor:
    """Rows [first, last) of a coded tensor, dense."""
    return _content(_leaf(parts, form), first, last, False).decode()


@decode.register_fake
def _(parts: Sequence[Tensor], form: str, first: int, last: int) -> Tensor:
    whole = Form(form)
    return parts[0].new_empty((last - first, *whole.shape[1:]), dtype=TORCH[whole.dtype])


@torch.library.custom_op("laconic::product", mutates_args=())
def multiply(
    x: Tensor,
    parts: Sequence[Tensor],
    form: str,
    first: int,
    last: int,
    squeezed: bool,
    bias: Tensor | None,
    transposed: bool,
) -> Tensor:
    """x @ w.T + bias, or x @ w + bias where `transposed`; w: rows [first, last) of the coded tensor, or one matrix."""
    content = _content(_leaf(parts, form), first, last, squeezed)
    result = product(content, x.contiguous(), None if bias is None else bias.contiguous(), transposed)
    if result is None:
        dense = content.decode()
        result = torch.nn.functional.linear(x, dense.t() if transposed else dense, bias)
    return result


@multiply.register_fake
def _(
    x: Tensor,
    parts: Sequence[Tensor],
    form: str,
    first: int,
    last: int,
    squeezed: bool,
    bias: Tensor | None,
    transposed: bool,
) -> Tensor:
    shape = Form(form).shape
    rows, columns = shape[1:] if squeezed else (last - first, shape[1])
    return x.new_empty((*x.shape[:-1], columns if transposed else rows))


@torch.library.custom_op("laconic::pick", mutates_args=())
def pick_rows(indices: Tensor, parts: Sequence[Tensor], form: str) -> Tensor:
    """Rows of a coded matrix by number."""
    leaf = _leaf(parts, form)
    picked = pick(leaf, indices)
    return torch.nn.functional.embedding(indices, leaf.decode()) if picked is None else picked


@pick_rows.register_fake
def _(indices: Tensor, parts: Sequence[Tensor], form: str) -> Tensor:
    whole = Form(form)
    return parts[0].new_empty((*indices.shape, whole.shape[1]), dtype=TORCH[whole.dtype])
