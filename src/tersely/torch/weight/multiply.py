"""Products by codes: `multiply`, the one place where torch's tensors meet a kernel, and `product`, which also splits work.

Three entrances end in `multiply`: the short way of `F.linear` (`short_way`), the dispatcher's operators (`product` below)
and compiled code (`operators/compiled`). Above `Kernel.max_rows` rows of x, `product` decodes weights to scratch for
torch's own matrix product (`tersely.tensors.handoff` has the figures).
"""

from __future__ import annotations

import torch
from torch import Tensor

from tersely.backends.cpu.threads import get_num_threads
from tersely.tensors import handoff
from tersely.torch.weight.coded import Coded, RowSlice
from tersely.torch.weight.concatenated import Concatenated
from tersely.torch.weight.dtypes import PRODUCT_CODES
from tersely.torch.weight.scratch import decode_to_scratch, scratch
from tersely.torch.weight.weight_storage import Kernel, WeightStorage, traced

_MEMORY = (Tensor, torch.nn.Parameter)


def multiply(kernel: Kernel | None, x: Tensor, bias: Tensor | None) -> Tensor | None:
    """Multiplies x by the weight of a kernel.

    Args:
        x: [..., inner], and no tracer's. bias: [outer] or None.

    Returns [..., outer] in the kernel's dtype; None where dtypes, shapes or devices are not the kernel's, x has more than
    `max_rows` rows, or a tensor turns out to have no memory.
    """
    if kernel is None:
        return None
    run, dtype, code, inner, outer, transposed, max_rows = kernel
    try:  # what has no memory of its own shape (sparse, nested, held by a transform of torch.func) says so by raising here
        shape, address, contiguous = x.shape, x.data_ptr(), x.is_contiguous()
        bias_address = 0 if bias is None else bias.data_ptr()
    except RuntimeError:
        return None
    if x.dtype is not dtype or not x.is_cpu or not shape or shape[-1] != inner:
        return None
    rows = x.numel() // inner
    if rows > max_rows or (rows and not address):  # no address: the storage was freed
        return None
    if not contiguous:
        x = x.contiguous()
        address = x.data_ptr()
    if bias is not None:
        if bias.dtype is not dtype or bias.shape != (outer,) or not bias.is_cpu:
            return None
        if not bias.is_contiguous():
            bias = bias.contiguous()
            bias_address = bias.data_ptr()
    size = list(shape)
    size[-1] = outer
    out = x.new_empty(size)
    run(address, code, rows, bias_address, code, out.data_ptr(), get_num_threads(), transposed)
    return out


def product(storage: WeightStorage, x: Tensor, bias: Tensor | None, transposed: bool) -> Tensor | None:
    """Returns x @ w.T + bias, or x @ w + bias where `transposed`, in any number of rows; None where no kernel multiplies.

    Args:
        storage: the weight w, two dimensions. x: [..., inner]. bias: [outer] or None.

    Whatever does not fit gives None, for torch to do it or to say what is wrong.
    """
    if not _fits(storage, x, bias, transposed):
        return None
    if isinstance(storage, Concatenated):
        return _by_pieces(storage, x, bias, transposed)
    if not isinstance(storage, (Coded, RowSlice)):
        return None
    if traced(storage) or type(x) not in _MEMORY:
        return _as_operator(storage, x, bias, transposed)
    kernel = storage.kernel(transposed)
    result = multiply(kernel, x, bias)
    if result is None and kernel is not None and x.numel() // kernel.inner > kernel.max_rows:
        result = _by_panels(storage, x.reshape(-1, kernel.inner), bias, transposed).view(*x.shape[:-1], kernel.outer)
    return result


def _fits(storage: WeightStorage, x: Tensor, bias: Tensor | None, transposed: bool) -> bool:
    """Returns whether x and bias, with memory or a tracer's, are what products of this weight take."""
    if len(storage.shape) != 2 or x.dtype is not storage.dtype or x.dtype not in PRODUCT_CODES:
        return False
    inner, outer = storage.shape if transposed else (storage.shape[1], storage.shape[0])
    if x.layout is not torch.strided or x.is_nested or not x.ndim or x.shape[-1] != inner:
        return False
    weight = storage.tensors()
    if weight and x.device != weight[0].device:
        return False
    return bias is None or (
        bias.dtype is x.dtype
        and bias.layout is torch.strided
        and bias.device == x.device
        and bias.ndim == 1
        and bias.shape[0] == outer
    )


def _by_pieces(storage: Concatenated, x: Tensor, bias: Tensor | None, transposed: bool) -> Tensor | None:
    """Matrices joined along their rows: results side by side, or summed up. Decodes pieces that kernels do not know."""
    if storage.kind != "cat" or storage.dim != 0:
        return None
    results = []
    for start, stop, piece in zip(storage.starts, storage.starts[1:], storage.pieces, strict=False):
        own_x = x[..., start:stop] if transposed else x
        own_bias = None if bias is None or transposed else bias[start:stop]
        result = product(piece, own_x, own_bias, transposed)
        if result is None:
            dense = piece.decode()
            result = torch.nn.functional.linear(own_x, dense.t() if transposed else dense, own_bias)
        results.append(result)
    if not transposed:
        return torch.cat(results, -1)
    total = results[0]
    for result in results[1:]:
        total = total + result
    return total if bias is None else total + bias


def _by_panels(storage: Coded | RowSlice, x: Tensor, bias: Tensor | None, transposed: bool) -> Tensor:
    """Many rows of x: the weights are decoded once for all of them, and torch's product is faster than the tile loop."""
    matrix, coded_transposed = storage.matrix()
    rows, columns = storage.shape
    block = handoff.block_rows(columns, handoff.TORCH_BLOCK_BYTES // storage.dtype.itemsize)
    if coded_transposed or transposed or block >= rows:
        dense = decode_to_scratch(storage)
        return torch.nn.functional.linear(x, dense.t() if transposed else dense, bias)
    out = x.new_empty((x.shape[0], rows))
    for first in range(0, rows, block):
        last = min(first + block, rows)
        rows_of_panel = matrix.part(0, first, last)
        if rows_of_panel is None:
            dense = decode_to_scratch(storage)
            return torch.nn.functional.linear(x, dense, bias)
        panel = scratch((last - first, columns), storage.dtype)
        rows_of_panel.decode_at(panel.data_ptr(), get_num_threads())
        if bias is None:
            torch.mm(x, panel.t(), out=out[:, first:last])
        else:
            torch.addmm(bias[first:last], x, panel.t(), out=out[:, first:last])
    return out


def _as_operator(storage: Coded | RowSlice, x: Tensor, bias: Tensor | None, transposed: bool) -> Tensor:
    """What a tracer writes down: the operator of `operators/compiled`, which it knows by name."""
    if isinstance(storage, RowSlice):
        whole, rows = storage.whole, (storage.first, storage.last, storage.squeezed)
    else:
        whole, rows = storage, (0, storage.shape[0], False)
    return torch.ops.tersely.product(  # type: ignore[no-any-return]
        x, list(whole.components), whole.spec.text, *rows, bias, transposed
    )


def pick(storage: WeightStorage, indices: Tensor) -> Tensor | None:
    """Returns rows of a matrix by number, as an embedding takes them; None where only decoding all of it gives them.

    Args:
        indices: int64 or int32, any shape, on the CPU.

    Raises IndexError for a number of a row that does not exist.
    """
    if not isinstance(storage, Coded) or len(storage.shape) != 2 or indices.dtype not in (torch.int64, torch.int32):
        return None
    if traced(storage) or type(indices) is not Tensor:
        return torch.ops.tersely.pick(  # type: ignore[no-any-return]
            indices, list(storage.components), storage.spec.text
        )
    coded = storage.coded_tensor
    if coded.matrix is None:
        return None
    if coded.geometry.view != "matrix" or coded.geometry.orientation == "in_out":
        return None
    wanted = indices.to(torch.int64).contiguous()
    try:
        address = wanted.data_ptr()
    except RuntimeError:  # as in `multiply`
        return None
    if not address and wanted.numel():  # on meta, or held by a transform of torch.func
        return None
    out = torch.empty((*indices.shape, storage.shape[1]), dtype=storage.dtype, device="cpu")
    wrong = coded.matrix.pick_at(address, wanted.numel(), out.data_ptr(), get_num_threads())
    if wrong >= 0:
        raise IndexError(f"index {int(wanted.view(-1)[wrong])} is out of range for {storage.shape[0]} embeddings")
    return out
