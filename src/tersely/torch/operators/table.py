"""What each of torch's operators does with compressed weights: one table, and a rule for all others.

products, embedding, grouped products    kernels in mode "fused"; decoded in scratch in mode "identical"
convolutions                             products where kernels have one tap, else decoded in scratch, one layer at a time
views that codes can follow              compressed
other views                              a dense TerselyTensor: writes through it would be lost, so it refuses them
in-place writes                          copy_ replaces the codes; all others are refused by name
everything else                          decodes, then works
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from tersely.core.errors import TerselyError
from tersely.torch.operators import int8_operators, pointwise, views
from tersely.torch.weight.dispatch import OPERATORS
from tersely.torch.weight.layouts import laid_out
from tersely.torch.weight.multiply import pick, product
from tersely.torch.weight.scratch import decode_to_scratch
from tersely.torch.weight.tersely_tensor import ADVICE, FusedTensor, TerselyTensor, warn_once
from tersely.torch.weight.weight_storage import Dense, WeightStorage

aten = torch.ops.aten
Handler = Callable[[Any, tuple[Any, ...], dict[str, Any]], Any]


def run(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Returns the result of `func` where at least one argument is a TerselyTensor."""
    handler = TABLE.get(func)
    if handler is not None:
        result = handler(func, args, kwargs)
        if result is not NotImplemented:
            return result
    # Outside of inference mode torch has taken composite operators apart before they come here.
    result = func.decompose(*args, **kwargs)
    return decoded(func, args, kwargs) if result is NotImplemented else result


def decoded(
    func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], memory: Callable[[Any], Any] | None = None
) -> Any:
    """Decodes every compressed argument, then lets torch work. Refuses to write into one."""
    kind = _kind(func)
    if kind == "write":
        _refuse_writes(func, args, kwargs)
    if kind == "view":
        return _viewed(func, args, kwargs)
    unpack = memory or TerselyTensor.decode

    def dense(value: Any) -> Any:
        return unpack(value) if isinstance(value, TerselyTensor) else value

    args, kwargs = pytree.tree_map(dense, (args, kwargs))
    return func(*args, **kwargs)


def _viewed(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A view that codes cannot follow: dense, made anew when the weight that it shows is written to."""
    leaves, tree = pytree.tree_flatten((args, kwargs))
    position, base = next((n, leaf) for n, leaf in enumerate(leaves) if isinstance(leaf, TerselyTensor))
    layout, leaves[position] = base.layout_, None

    def seen(storage: WeightStorage) -> Any:
        own_args, own_kwargs = pytree.tree_unflatten(
            [*leaves[:position], laid_out(storage.decode(), layout), *leaves[position + 1 :]], tree
        )
        return pytree.tree_map_only(TerselyTensor, TerselyTensor.decode, func(*own_args, **own_kwargs))

    def alias(number: int, first: Tensor) -> TerselyTensor:
        known = [first]  # until the first write

        def slicing(storage: WeightStorage) -> WeightStorage:
            return Dense(known.pop() if known else pytree.tree_leaves(seen(storage))[number])

        return base.alias(slicing, "contiguous")

    found, outer = pytree.tree_flatten(seen(base.storage_))
    if any(one.is_nested or one.layout is not torch.strided for one in found):
        raise TerselyError(f"{func} makes no strided view, which compressed weights cannot follow: {ADVICE}")
    return pytree.tree_unflatten([alias(number, one) for number, one in enumerate(found)], outer)


@cache
def _kind(func: Any) -> str:
    """'write' where an argument is written to, 'view' where the result shares memory with one, else ''."""
    schema = func._schema
    if any(argument.alias_info is not None and argument.alias_info.is_write for argument in schema.arguments):
        return "write"
    shares = func.overloadpacket in (aten.unsafe_split, aten.unsafe_split_with_sizes, aten.unsafe_chunk)
    return "view" if shares or any(value.alias_info is not None for value in schema.returns) else ""


def _refuse_writes(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    for position, argument in enumerate(func._schema.arguments):
        if argument.alias_info is None or not argument.alias_info.is_write:
            continue
        value = args[position] if position < len(args) else kwargs.get(argument.name)
        if any(isinstance(leaf, TerselyTensor) for leaf in pytree.tree_leaves(value)):
            raise TerselyError(
                f"{func._schema.name.split('::')[-1]} would write into a compressed weight, which cannot be changed in "
                "place: use copy_ with a whole new weight, or tersely.torch.decompress_(model) first"
            )


def _in_scratch(tensor: TerselyTensor) -> Tensor:
    return laid_out(decode_to_scratch(tensor.storage_), tensor.layout_, tensor.storage_.residue)


def _scratched(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Decodes into scratch, for operators that keep nothing of the weight and take one weight."""
    count = sum(isinstance(value, TerselyTensor) for value in pytree.tree_leaves((args, kwargs)))
    return decoded(func, args, kwargs, _in_scratch if count == 1 else None)


def _fused(weight: Any, x: Any, bias: Any, transposed: bool) -> Tensor | None:
    """x @ weight.T + bias, or x @ weight + bias where `transposed`, by a kernel; None where torch must do it."""
    if not isinstance(weight, FusedTensor) or isinstance(x, TerselyTensor) or isinstance(bias, TerselyTensor):
        return None
    if weight.layout_ not in ("contiguous", "transposed"):
        return None
    return product(weight.storage_, x, bias, transposed != (weight.layout_ == "transposed"))


def _linear(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    x, weight, bias = args[0], args[1], args[2] if len(args) > 2 else kwargs.get("bias")
    result = _fused(weight, x, bias, False)
    return _scratched(func, args, kwargs) if result is None else result


def _matmul(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """mm and matmul with the weight on the right."""
    x, weight = args
    result = _fused(weight, x, None, True)
    return _scratched(func, args, kwargs) if result is None else result


def _mv(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    weight, x = args
    result = _fused(weight, x, None, False) if x.ndim == 1 else None
    return _scratched(func, args, kwargs) if result is None else result


def _addmm(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    bias, x, weight = args[:3]
    unscaled = kwargs.get("beta", 1) == 1 and kwargs.get("alpha", 1) == 1
    result = _fused(weight, x, bias, True) if unscaled and isinstance(bias, Tensor) and x.ndim == 2 else None
    return _scratched(func, args, kwargs) if result is None else result


def _bmm(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """One product per matrix of the stack; one in all where it is the same matrix throughout."""
    x, weight = args
    fits = isinstance(weight, FusedTensor) and not isinstance(x, TerselyTensor) and weight.ndim == 3
    if not fits or len(x) != len(weight) or not len(x):
        return NotImplemented
    ones = views.unbound(weight)
    if ones is NotImplemented:
        return NotImplemented
    if all(one.storage_ is ones[0].storage_ for one in ones):
        result = _fused(ones[0], x.reshape(-1, x.shape[2]), None, True)
        return NotImplemented if result is None else result.view(*x.shape[:2], -1)
    results = [_fused(one, rows, None, True) for one, rows in zip(ones, x, strict=True)]
    return NotImplemented if any(result is None for result in results) else torch.stack(results)


def _grouped_mm(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Rows of x sorted by expert times each expert's matrix; an expert without rows is not decoded."""
    x, weight = args[:2]
    offsets = args[2] if len(args) > 2 else kwargs.get("offs")
    rest = [*args[3:], kwargs.get("bias"), kwargs.get("out_dtype")]
    ours = isinstance(weight, TerselyTensor) and not isinstance(x, TerselyTensor) and x.ndim == 2 and weight.ndim == 3
    if not ours or offsets is None or any(value is not None for value in rest):
        return NotImplemented
    ends = offsets.tolist()
    out = x.new_zeros((x.shape[0], weight.shape[2]))
    for index, (first, last) in enumerate(zip([0, *ends], ends, strict=False)):
        if first == last:
            continue
        one = views.select(weight, 0, index)
        rows = x[first:last]
        result = _fused(one, rows, None, True)
        out[first:last] = torch.mm(rows, one.decode()) if result is None else result
    return out


def _convolution(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """`convolution` and `_convolution`, which is what torch makes of all others."""
    x, weight, bias, stride, padding, dilation, transposed, _, groups = args[:9]
    result = NotImplemented
    if not transposed:
        result = pointwise.convolution(x, weight, bias, stride, padding, dilation, groups)
    return _scratched(func, args, kwargs) if result is NotImplemented else result


def _conv(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """`conv1d` and its kin, which inference mode hands on as they are."""
    names = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
    given = {"bias": None, **dict(zip(names, args, strict=False)), **kwargs}
    x = given.pop("input")
    result = pointwise.convolution(x, **given)
    return _scratched(func, args, kwargs) if result is NotImplemented else result


def _convolution_backward(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    gradient, x, weight, _, stride, padding, _, transposed, _, groups, wanted = args
    result = NotImplemented
    if not transposed:
        result = pointwise.backward(gradient, x, weight, stride, padding, groups, wanted)
    return _scratched(func, args, kwargs) if result is NotImplemented else result


def _embedding(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    weight, indices = args[:2]
    if isinstance(weight, TerselyTensor) and weight.layout_ == "contiguous":
        result = pick(weight.storage_, indices)
        if result is not None:
            return result
    return NotImplemented


def _copy_(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The one write that is allowed: whole new weights."""
    target, source = args[:2]
    if not isinstance(target, TerselyTensor):
        return decoded(func, args, kwargs)
    views.copy_into(target, source)
    return target


def _set(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Refuses to set a dense tensor to a compressed one: the memory that it would share is not there."""
    if isinstance(args[0], TerselyTensor):
        return NotImplemented  # a write, refused as such
    raise TerselyError(
        f"set_ cannot give a dense tensor the memory of a compressed weight, which has none: copy_ takes its values; {ADVICE}"
    )


def _is_set_to(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Returns whether both show one weight in the same way, as dense ones that have one memory."""
    return all(isinstance(tensor, TerselyTensor) for tensor in args) and args[0].identity == args[1].identity


def _to_copy(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """`.to`, `.half()`, `.float()`: other dtypes and devices have the dense weight, still as a TerselyTensor.

    On the meta device there is no weight, and so a plain tensor: modules swap a parameter with a TerselyTensor, and whoever
    else holds it would lose the weight. With a plain one they take a new parameter, as dense modules do.
    """
    weight = args[0]
    dtype, device = kwargs.get("dtype") or weight.dtype, torch.device(kwargs.get("device") or weight.device)
    if dtype == weight.dtype and device == weight.device:
        return views.in_format(weight, kwargs.get("memory_format"))
    if not isinstance(weight.storage_, Dense):
        what = f"dtype {dtype}" if dtype != weight.dtype else f"device {device}"
        warn_once(f"compressed weights are moved to {what} as dense weights: compress the model after it is moved")
    if device.type == "meta":
        return torch.empty_strided(weight.shape, weight.stride(), dtype=dtype, device="meta")
    dense = func(weight.decode(), **kwargs)
    return weight.like(Dense(dense, True), "contiguous")


def _new(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """empty_like and its kin look at shape, strides and dtype alone."""
    like = args[0]
    kwargs.setdefault("device", like.device)
    return func(torch.empty_strided(like.shape, like.stride(), dtype=like.dtype, device="meta"), *args[1:], **kwargs)


TABLE: dict[Any, Handler] = {
    aten.linear.default: _linear,
    aten.mm.default: _matmul,
    aten.matmul.default: _matmul,
    aten.mv.default: _mv,
    aten.addmm.default: _addmm,
    aten.bmm.default: _bmm,
    aten.embedding.default: _embedding,
    aten.copy_.default: _copy_,
    aten._to_copy.default: _to_copy,
    aten.is_set_to.default: _is_set_to,
    **{getattr(aten.set_, overload): _set for overload in aten.set_.overloads()},
}
"""Operators with an entry of their own; a handler returns NotImplemented to have its arguments decoded."""
TABLE |= dict.fromkeys([aten.convolution.default, aten._convolution.default], _convolution)
TABLE |= dict.fromkeys(
    [getattr(conv, way) for conv in (aten.conv1d, aten.conv2d, aten.conv3d) for way in conv.overloads()], _conv
)
TABLE[aten.convolution_backward.default] = _convolution_backward
if hasattr(aten, "mkldnn_convolution"):
    TABLE[aten.mkldnn_convolution.default] = _scratched
TABLE |= dict.fromkeys(
    [
        getattr(aten, name).default
        for name in (
            *("empty_like", "zeros_like", "ones_like", "full_like", "rand_like", "randn_like"),
            *("new_empty", "new_zeros", "new_ones", "new_full", "new_empty_strided"),
        )
    ],
    _new,
)
TABLE |= views.TABLE
TABLE |= int8_operators.TABLE
for _name in ("_grouped_mm", "grouped_mm"):
    if hasattr(aten, _name):
        TABLE[getattr(aten, _name).default] = _grouped_mm

OPERATORS.run, OPERATORS.assign = run, views.assign
