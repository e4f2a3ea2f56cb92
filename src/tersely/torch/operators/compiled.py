"""The operators that compilers see: `tersely::decode`, `tersely::product`, `tersely::pick`. int8_operators.py has more.

They take components as tensors and the description as text, so that nothing but torch's own types crosses the border;
shapes follow from the text alone. At run time a storage is made once for its components and found again by them.

They are registered with the dispatcher itself: `torch.library.custom_op` wraps every call in Python three times over.
Gradients never meet them, because they are written down below autograd.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from tersely.torch.weight import multiply as products
from tersely.torch.weight.coded import Coded
from tersely.torch.weight.dtypes import TORCH
from tersely.torch.weight.tensor_spec import TensorSpec, unframed

_library = torch.library.Library("tersely", "DEF")
_kept: dict[tuple[object, ...], Coded] = {}


def operator(schema: str) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """Returns what registers a function as an operator of the CPU. schema: as torch writes them, without namespace."""

    def register(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        _library.define(schema, tags=(torch.Tag.pt2_compliant_tag,))
        _library.impl(schema.partition("(")[0], function, "CPU")
        return function

    return register


def storage_over(components: Sequence[Tensor], text: str) -> Coded:
    """Returns the storage over these components, the same one at every call.

    It keeps their memory, so an address cannot come to mean other bytes, and goes when the first component does.
    """
    key = (*(component.data_ptr() for component in components), text)
    found = _kept.get(key)
    if found is None:
        held = [component.detach() for component in components]
        found = _kept[key] = Coded(*unframed(TensorSpec(text), held, True))
        found.held = held
        weakref.finalize(components[0], _kept.pop, key, None).atexit = False
    return found


@operator("decode(Tensor[] components, str spec, SymInt first, SymInt last) -> Tensor")
def decode(components: Sequence[Tensor], spec: str, first: int, last: int) -> Tensor:
    """Returns rows [first, last) of a coded tensor, dense."""
    return storage_over(components, spec).narrow(first, last).decode()


@torch.library.register_fake("tersely::decode")
def _(components: Sequence[Tensor], spec: str, first: int, last: int) -> Tensor:
    whole = TensorSpec(spec)
    return components[0].new_empty((last - first, *whole.shape[1:]), dtype=TORCH[whole.dtype])


@operator(
    "product(Tensor x, Tensor[] components, str spec, SymInt first, SymInt last, bool squeezed, Tensor? bias, "
    "bool transposed) -> Tensor"
)
def product(
    x: Tensor,
    components: Sequence[Tensor],
    spec: str,
    first: int,
    last: int,
    squeezed: bool,
    bias: Tensor | None,
    transposed: bool,
) -> Tensor:
    """Returns x @ w.T + bias, or x @ w + bias where `transposed`; w: rows [first, last) of the coded tensor, or one."""
    storage = storage_over(components, spec).kept_slice(first, last, squeezed)
    result = products.multiply(storage.kernel(transposed), x, bias)
    if result is None:
        result = products.product(storage, x, bias, transposed)
    if result is None:
        dense = storage.decode()
        result = torch.nn.functional.linear(x, dense.t() if transposed else dense, bias)
    return result


@torch.library.register_fake("tersely::product")
def _(
    x: Tensor,
    components: Sequence[Tensor],
    spec: str,
    first: int,
    last: int,
    squeezed: bool,
    bias: Tensor | None,
    transposed: bool,
) -> Tensor:
    shape = TensorSpec(spec).shape
    rows, columns = shape[1:] if squeezed else (last - first, shape[1])
    return x.new_empty((*x.shape[:-1], columns if transposed else rows))


@operator("pick(Tensor indices, Tensor[] components, str spec) -> Tensor")
def pick(indices: Tensor, components: Sequence[Tensor], spec: str) -> Tensor:
    """Returns rows of a coded matrix by number."""
    storage = storage_over(components, spec)
    picked = products.pick(storage, indices)
    return torch.nn.functional.embedding(indices, storage.decode()) if picked is None else picked


@torch.library.register_fake("tersely::pick")
def _(indices: Tensor, components: Sequence[Tensor], spec: str) -> Tensor:
    whole = TensorSpec(spec)
    return components[0].new_empty((*indices.shape, whole.shape[1]), dtype=TORCH[whole.dtype])
