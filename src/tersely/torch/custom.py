"""The operators that compilers see: `tersely::decode`, `tersely::product`, `tersely::pick`. int8_operators.py has more.

They take components as tensors and the description as text, so that nothing but torch's own types crosses the border;
shapes follow from the text alone. At run time a leaf is made once for its components and found again by them.

They are registered with the dispatcher itself: `torch.library.custom_op` wraps every call in Python three times over.
Gradients never meet them, because they are written down below autograd.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from tersely.backends.cpu.threads import get_num_threads
from tersely.torch.content import Content, Leaf, Window
from tersely.torch.dtypes import TORCH
from tersely.torch.form import Form, unframed
from tersely.torch.products import kernel_of, pick, product

_library = torch.library.Library("tersely", "DEF")
_leaves: dict[tuple[object, ...], Leaf] = {}


def operator(schema: str) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """Registers a function as an operator of the CPU."""

    def register(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        _library.define(schema, tags=(torch.Tag.pt2_compliant_tag,))
        _library.impl(schema.partition("(")[0], function, "CPU")
        return function

    return register


def leaf_of(parts: Sequence[Tensor], text: str) -> Leaf:
    """The leaf over these components. It keeps their memory, so an address cannot come to mean other bytes, and goes
    when the first component does."""
    key = (*(part.data_ptr() for part in parts), text)
    leaf = _leaves.get(key)
    if leaf is None:
        held = [part.detach() for part in parts]
        leaf = _leaves[key] = Leaf(*unframed(Form(text), held, True))
        leaf.held = held
        weakref.finalize(parts[0], _leaves.pop, key, None).atexit = False
    return leaf


def _content(leaf: Leaf, first: int, last: int, squeezed: bool) -> Content:
    whole = not squeezed and (first, last) == (0, leaf.shape[0])
    return leaf if whole else Window(leaf, first, last, squeezed)


@operator("decode(Tensor[] parts, str form, SymInt first, SymInt last) -> Tensor")
def decode(parts: Sequence[Tensor], form: str, first: int, last: int) -> Tensor:
    """Rows [first, last) of a coded tensor, dense."""
    return _content(leaf_of(parts, form), first, last, False).decode()


@torch.library.register_fake("tersely::decode")
def _(parts: Sequence[Tensor], form: str, first: int, last: int) -> Tensor:
    whole = Form(form)
    return parts[0].new_empty((last - first, *whole.shape[1:]), dtype=TORCH[whole.dtype])


@operator(
    "product(Tensor x, Tensor[] parts, str form, SymInt first, SymInt last, bool squeezed, Tensor? bias, bool transposed) "
    "-> Tensor"
)
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
    leaf = leaf_of(parts, form)
    key = (first, last, squeezed, transposed)
    kernel = leaf.kernels.get(key)
    if kernel is None:
        kernel = leaf.kernels[key] = kernel_of(_content(leaf, first, last, squeezed), transposed)
    if kernel:
        call, dtype, number, inner, outer, turned, most = kernel
        shape = x.shape
        rows = x.numel() // inner if inner else most + 1
        if rows <= most and x.dtype is dtype and shape[-1] == inner and (bias is None or bias.dtype is dtype):
            x = x.contiguous()
            bias = None if bias is None else bias.contiguous()
            out = x.new_empty((*shape[:-1], outer))
            pointer = 0 if bias is None else bias.data_ptr()
            call(x.data_ptr(), number, rows, pointer, number, out.data_ptr(), get_num_threads(), turned)
            return out
    content = _content(leaf, first, last, squeezed)
    result = product(content, x.contiguous(), None if bias is None else bias.contiguous(), transposed)
    if result is None:
        dense = content.decode()
        result = torch.nn.functional.linear(x, dense.t() if transposed else dense, bias)
    return result


@torch.library.register_fake("tersely::product")
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


@operator("pick(Tensor indices, Tensor[] parts, str form) -> Tensor")
def pick_rows(indices: Tensor, parts: Sequence[Tensor], form: str) -> Tensor:
    """Rows of a coded matrix by number."""
    leaf = leaf_of(parts, form)
    picked = pick(leaf, indices)
    return torch.nn.functional.embedding(indices, leaf.decode()) if picked is None else picked


@torch.library.register_fake("tersely::pick")
def _(indices: Tensor, parts: Sequence[Tensor], form: str) -> Tensor:
    whole = Form(form)
    return parts[0].new_empty((*indices.shape, whole.shape[1]), dtype=TORCH[whole.dtype])
