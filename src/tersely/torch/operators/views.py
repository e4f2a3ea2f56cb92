"""Views that stay compressed, joins by reference, and the one write: `copy_`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import Buffer, Parameter

from tersely.core.errors import TerselyError
from tersely.planner.profiles import Profile
from tersely.tensors.encode import encode as encode_array
from tersely.torch.weight.coded import Coded
from tersely.torch.weight.concatenated import Concatenated, narrow_along
from tersely.torch.weight.dtypes import as_array
from tersely.torch.weight.holder import Holder
from tersely.torch.weight.layouts import FORMATS
from tersely.torch.weight.placement import residue_of
from tersely.torch.weight.tersely_tensor import ADVICE, TerselyTensor
from tersely.torch.weight.weight_storage import Dense, WeightStorage, traced

aten = torch.ops.aten


def same(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """detach, alias: the same weight once more, which sees what is written to it."""
    result = args[0].alias()
    result.was_trainable = args[0].was_trainable
    return result


def copied(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """clone: codes are immutable, so a copy may share them; it is no tie."""
    result: TerselyTensor = in_format(args[0], kwargs.get("memory_format"))
    result.was_trainable = args[0].was_trainable
    return result


def in_format(tensor: TerselyTensor, memory_format: Any) -> TerselyTensor:
    """Returns a copy with the strides of a memory format: dense where codes cannot be seen so."""
    if memory_format in (None, torch.preserve_format):
        return tensor.like(tensor.storage_.copy())
    layout = next((name for name, known in FORMATS.items() if known is memory_format), "contiguous")
    if not isinstance(tensor.storage_, Dense) and "transposed" not in (layout, tensor.layout_):
        return tensor.like(tensor.storage_.copy(), layout)
    return tensor.like(Dense(tensor.decode().clone(memory_format=memory_format), True), "contiguous")


def swapped(tensor: TerselyTensor) -> Any:
    """Returns the last two dimensions exchanged."""
    if tensor.layout_ == "transposed":
        return tensor.alias(layout="contiguous")
    if tensor.layout_ != "contiguous" or isinstance(tensor.storage_, Dense):
        return NotImplemented
    return tensor.alias(layout="transposed")


def _t(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return swapped(args[0]) if args[0].ndim == 2 else NotImplemented


def _transpose(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    tensor, one, other = args
    places = {one % tensor.ndim, other % tensor.ndim} if tensor.ndim else set()
    return swapped(tensor) if tensor.ndim >= 2 and places == {tensor.ndim - 1, tensor.ndim - 2} else NotImplemented


def _permute(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    tensor, order = args
    places = [place % tensor.ndim for place in order]
    if places == list(range(tensor.ndim)):
        return tensor.alias()
    last_two = [*range(tensor.ndim - 2), tensor.ndim - 1, tensor.ndim - 2]
    return swapped(tensor) if tensor.ndim >= 2 and places == last_two else NotImplemented


def _view(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    tensor, shape = args[:2]
    return tensor.alias() if list(shape) == list(tensor.shape) else NotImplemented


def _expand(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """One matrix as a stack of itself, by reference: what matmul makes of it for x of three dimensions."""
    tensor, shape = args[:2]
    kept = [length if wanted == -1 else wanted for wanted, length in zip(shape[-2:], tensor.shape, strict=False)]
    if list(shape) == list(tensor.shape):
        return tensor.alias()
    repeats = type(tensor).fuses and tensor.ndim == 2 and len(shape) == 3 and kept == list(tensor.shape)
    if not repeats or isinstance(tensor.storage_, Dense) or tensor.layout_ not in ("contiguous", "transposed"):
        return NotImplemented
    times = shape[0]
    return tensor.alias(lambda storage: Concatenated("stack", 0, [storage] * times)) if times > 0 else NotImplemented


def select(tensor: TerselyTensor, dim: int, index: int) -> Any:
    """tensor[index] along the first dimension of a stack."""
    if dim % tensor.ndim != 0 or tensor.ndim != 3 or tensor.layout_ not in ("contiguous", "transposed"):
        return NotImplemented
    if isinstance(tensor.storage_, Dense) or not -len(tensor) <= index < len(tensor):
        return NotImplemented
    place = index % len(tensor)
    return tensor.alias(lambda storage: storage.select(place))


def _select(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return select(*args)


def unbound(tensor: TerselyTensor, dim: int = 0) -> Any:
    """Returns the matrices of a stack as a list, or NotImplemented."""
    rows = [select(tensor, dim, index) for index in range(tensor.shape[dim])]
    return NotImplemented if any(row is NotImplemented for row in rows) else rows


def _unbind(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return unbound(args[0], args[1] if len(args) > 1 else kwargs.get("dim", 0))


def narrow(tensor: TerselyTensor, dim: int, first: int, last: int) -> Any:
    """Returns places [first, last) of one dimension, still compressed, or NotImplemented."""
    dim %= tensor.ndim
    if isinstance(tensor.storage_, Dense) or tensor.layout_ not in ("contiguous", "transposed") or tensor.ndim < 2:
        return NotImplemented
    if (first, last) == (0, tensor.shape[dim]):
        return tensor.alias()
    if tensor.layout_ == "transposed" and dim >= tensor.ndim - 2:
        dim = 2 * tensor.ndim - 3 - dim
    storage = narrow_along(tensor.storage_, dim, first, last)
    if storage is None or isinstance(storage, Dense):
        return NotImplemented

    def slicing(storage: WeightStorage) -> WeightStorage:
        found = narrow_along(storage, dim, first, last)
        return Dense(storage.decode().narrow(dim, first, last - first)) if found is None else found

    return tensor.alias(slicing)


def _slice(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    tensor = args[0]
    given = [*args[1:], *[0, None, None, 1][len(args) - 1 :]]
    first, last, step = slice(*given[1:]).indices(tensor.shape[given[0]])
    return narrow(tensor, given[0], first, max(first, last)) if step == 1 else NotImplemented


def _split(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    tensor, sizes = args[:2]
    dim = args[2] if len(args) > 2 else kwargs.get("dim", 0)
    length = tensor.shape[dim]
    if isinstance(sizes, int):
        if sizes <= 0:
            return NotImplemented
        sizes = [min(sizes, length - first) for first in range(0, length, sizes)]
    slices, first = [], 0
    for size in sizes:
        slices.append(narrow(tensor, dim, first, first + size))
        first += size
    return NotImplemented if first != length or any(each is NotImplemented for each in slices) else slices


def _chunk(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    tensor, chunks = args[:2]
    dim = args[2] if len(args) > 2 else kwargs.get("dim", 0)
    return tensor.split(max(1, -(-tensor.shape[dim] // chunks)), dim) if chunks > 0 else NotImplemented


def _joinable(tensors: Sequence[Any]) -> bool:
    first = tensors[0] if tensors else None
    return isinstance(first, TerselyTensor) and all(
        type(tensor) is type(first)
        and tensor.layout_ == "contiguous"
        and tensor.dtype is first.dtype
        and not isinstance(tensor.storage_, Dense)
        and tensor.ndim == first.ndim
        for tensor in tensors
    )


def _stack(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    tensors, dim = args[0], args[1] if len(args) > 1 else kwargs.get("dim", 0)
    if dim != 0 or not _joinable(tensors) or any(tensor.shape != tensors[0].shape for tensor in tensors):
        return NotImplemented
    return tensors[0].like(Concatenated("stack", 0, [tensor.storage_ for tensor in tensors]))


def _cat(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    tensors, dim = args[0], args[1] if len(args) > 1 else kwargs.get("dim", 0)
    if not _joinable(tensors):
        return NotImplemented
    ndim = tensors[0].ndim
    dim %= ndim
    others = {(*tensor.shape[:dim], *tensor.shape[dim + 1 :]) for tensor in tensors}
    # Along rows, or stacks on stacks: what can be multiplied without putting the pieces together.
    if len(others) > 1 or (ndim, dim) not in ((2, 0), (3, 0), (3, 1)):
        return NotImplemented
    return tensors[0].like(Concatenated("cat", dim, [tensor.storage_ for tensor in tensors]))


def encode(
    tensor: Tensor, encoding: tuple[Any, str | Profile], orientation: Any = "out_in", **options: Any
) -> WeightStorage:
    """Returns a dense contiguous tensor as a storage: coded where that makes it smaller."""
    objective, profile = encoding
    coded = encode_array(as_array(tensor), objective=objective, profile=profile, orientation=orientation, **options)
    if coded.formulation == "dense":
        return Dense(tensor.detach().contiguous(), True)
    return Coded.of(coded, residue_of(tensor))


def copy_into(target: TerselyTensor, source: Any) -> None:
    """target.copy_(source): take over the codes of a compressed source, or code a dense one anew."""
    storage = target.storage_
    if target.slicing is not None or (isinstance(storage, Dense) and not storage.owner):
        raise TerselyError(
            "copy_ into a slice of a compressed weight would change the rest of it: copy the whole weight, or "
            "tersely.torch.decompress_(model) first"
        )
    if not isinstance(source, Tensor):
        source = torch.tensor(source, dtype=target.dtype, device="cpu")
    if traced(storage) or (type(source) not in (Tensor, Parameter) and not isinstance(source, (TerselyTensor, Buffer))):
        raise TerselyError(
            "copy_ into a compressed weight codes it anew, which compiled and traced code cannot do: call it outside of them"
        )
    if source.device.type == "meta" or target.device.type != "cpu":
        raise TerselyError(f"copy_ from {source.device} to {target.device} cannot carry weights; load with assign=True")
    coded = isinstance(source, TerselyTensor) and not isinstance(source.storage_, Dense)
    if coded and source.identity == target.identity:
        return
    if coded and (source.shape, source.dtype, source.layout_) == (target.shape, target.dtype, target.layout_):
        target.holder.replace(source.storage_.placed(storage.residue))
        return
    dense = (source.decode() if isinstance(source, TerselyTensor) else source).to(target.dtype)
    dense = dense.detach().expand(target.shape)
    if isinstance(storage, Dense):
        storage.tensor.copy_(dense.transpose(-2, -1) if target.layout_ == "transposed" else dense)
        return
    base = dense.transpose(-2, -1) if target.layout_ == "transposed" else dense
    orientation = storage.coded_tensor.encoded.orientation if isinstance(storage, Coded) else "out_in"
    target.holder.replace(encode(base.contiguous(), target.encoding, orientation).placed(storage.residue))


def assign(target: TerselyTensor, new: Any) -> None:
    """target.data = new. Raises TerselyError, changing nothing, where the codes could not follow."""
    if not isinstance(new, Tensor):
        raise TypeError(f"Variable data has to be a tensor, but got {type(new).__name__}")
    if new.shape != target.shape or new.dtype is not target.dtype or new.device != target.device:
        raise TerselyError(
            f".data of a compressed weight {list(target.shape)} {target.dtype} on {target.device} cannot become "
            f"{list(new.shape)} {new.dtype} on {new.device}: {ADVICE}"
        )
    # This tensor takes its leave of its aliases, as a dense one does: who kept `p.data` can give the old weights back.
    before = target.holder, target.slicing
    target.rebind(Holder(target.storage_.copy()))
    try:
        with torch.no_grad():
            copy_into(target, new)
    except BaseException:
        target.rebind(*before)
        raise


TABLE: dict[Any, Callable[[Any, tuple[Any, ...], dict[str, Any]], Any]] = {
    aten.detach.default: same,
    aten.alias.default: same,
    aten.clone.default: copied,
    aten.lift_fresh.default: same,
    aten.t.default: _t,
    aten.transpose.int: _transpose,
    aten.permute.default: _permute,
    aten.view.default: _view,
    aten._unsafe_view.default: _view,
    aten.expand.default: _expand,
    aten.select.int: _select,
    aten.unbind.int: _unbind,
    aten.slice.Tensor: _slice,
    aten.split.Tensor: _split,
    aten.split_with_sizes.default: _split,
    aten.unsafe_split.Tensor: _split,
    aten.unsafe_split_with_sizes.default: _split,
    aten.unsafe_chunk.default: _chunk,
    aten.stack.default: _stack,
    aten.cat.default: _cat,
}
"""Operators whose result stays compressed; NotImplemented where it cannot."""
