"""Products from codes: x @ w.T and x @ w for the contents that kernels know, by addresses, without a conversion.

Three regimes by the rows of x: registers and tiles inside the kernels, and above `most_rows` torch's own GEMM on weights
decoded to scratch.
"""

from __future__ import annotations

import math
import threading
from typing import Any

import torch
from torch import Tensor

from tersely.backends.cpu import isa
from tersely.backends.cpu.threads import get_num_threads
from tersely.torch.content import Content, Leaf, Pieces, Window, traced
from tersely.torch.dtypes import PRODUCT_CODES
from tersely.torch.placement import LINE, at_residue

# MEASURED on Zen 3 (AVX2), 2 threads, 2048 x 2048, ms: float32, 1024 rows: tiles 278, decoded 292, dense 262; 2048 rows:
# 495, 438, 409. bfloat16, where torch has no matrix unit: 1024 rows: tiles 209, decoded 1142, dense 1035.
FLOAT_ROWS = 1024
NARROW_ROWS = {"avx512_bf16": 512, "amx": 512}
"""By instruction set: elsewhere torch's products of 16-bit floats are so slow that the tile loop always wins."""
PANEL_BYTES = 1 << 26
"""Decoded weights that torch's GEMM gets at a time. MEASURED: at 4 MB, half the speed."""


def most_rows(dtype: torch.dtype) -> int:
    """Rows of x up to which the tile loop is used."""
    return FLOAT_ROWS if dtype is torch.float32 else NARROW_ROWS.get(isa.active(), 1 << 62)


_local = threading.local()


def scratch(shape: tuple[int, ...], dtype: torch.dtype, residue: int = 0) -> Tensor:
    """Memory of this thread that the next call of `scratch` overwrites: for operators that keep nothing of it.

    residue: its address, in bytes modulo `LINE`.
    """
    count = math.prod(shape) * dtype.itemsize + 2 * LINE
    kept: Tensor | None = _local.__dict__.get("kept")
    if kept is None or kept.numel() < count:
        with torch.inference_mode(False):  # used again outside of the mode that it may have been made in
            kept = _local.kept = torch.empty(count, dtype=torch.uint8, device="cpu")
    return at_residue(kept, residue, shape, dtype)


def decode_to_scratch(content: Content) -> Tensor:
    """The decoded content, in `scratch` where it is not dense anyway; an operator's result while tracing."""
    if traced(content) or not isinstance(content, (Leaf, Window, Pieces)):
        return content.decode()
    out = scratch(content.shape, content.dtype, content.residue)
    content.decode_into(out)
    return out


def matrix_of(content: Content) -> tuple[Any, bool]:
    """(native matrix, whether it is coded transposed) of a content with two dimensions; (None, False): none."""
    if isinstance(content, Leaf):
        return content.matrix(0, content.shape[0], False)
    if isinstance(content, Window):
        return content.leaf.matrix(content.first, content.last, content.squeezed)
    return None, False


def kernel_of(content: Content, transposed: bool) -> tuple[Any, ...]:
    """What a product needs that does not depend on x: (call, dtype, its number, inner, outer, whether the call is to
    turn the codes, most rows), for x @ w.T, or x @ w where `transposed`; () where no kernel fits."""
    if len(content.shape) != 2 or content.dtype not in PRODUCT_CODES:
        return ()
    matrix, swapped = matrix_of(content)
    if matrix is None:
        return ()
    inner, outer = content.shape if transposed else (content.shape[1], content.shape[0])
    number, most = PRODUCT_CODES[content.dtype], most_rows(content.dtype)
    return (matrix.multiply_at, content.dtype, number, inner, outer, transposed != swapped, most)


def product(content: Content, x: Tensor, bias: Tensor | None, transposed: bool) -> Tensor | None:
    """x [..., inner] @ w.T + bias, or x @ w + bias where `transposed`; None where no kernel fits.

    content: two dimensions. bias: None or [outer], contiguous, of x's dtype. x: of content's dtype; the caller has
    checked shapes and devices.
    """
    if x.dtype is not content.dtype or content.dtype not in PRODUCT_CODES:
        return None
    if isinstance(content, Pieces):
        return _by_pieces(content, x, bias, transposed)
    if not isinstance(content, (Leaf, Window)):
        return None
    if traced(content) or (type(x) is not Tensor and type(x) is not torch.nn.Parameter):
        return _as_operator(content, x, bias, transposed)
    matrix, swapped = matrix_of(content)
    if matrix is None:
        return None
    inner, outer = content.shape if transposed else (content.shape[1], content.shape[0])
    x = x.contiguous()
    rows = x.numel() // inner if inner else 0
    if rows > most_rows(x.dtype):
        return _by_panels(content, matrix, x.reshape(rows, inner), bias, transposed, swapped).view(*x.shape[:-1], outer)
    out = x.new_empty((*x.shape[:-1], outer))
    code = PRODUCT_CODES[x.dtype]
    pointer = 0 if bias is None else bias.data_ptr()
    matrix.multiply_at(
        x.data_ptr(), code, rows, pointer, code, out.data_ptr(), get_num_threads(), transposed != swapped
    )
    return out


def _by_pieces(content: Pieces, x: Tensor, bias: Tensor | None, transposed: bool) -> Tensor | None:
    """Matrices joined along their rows: results side by side, or summed up. Decodes pieces that kernels do not know."""
    if content.kind != "cat" or content.dim != 0:
        return None
    results = []
    for start, stop, piece in zip(content.starts, content.starts[1:], content.pieces, strict=False):
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


def _by_panels(
    content: Content, matrix: Any, x: Tensor, bias: Tensor | None, transposed: bool, swapped: bool
) -> Tensor:
    """Many rows of x: the weights are decoded once for all of them, and torch's GEMM is faster than the tile loop."""
    columns = content.shape[1]
    block = max(16, PANEL_BYTES // max(1, columns * content.dtype.itemsize) // 16 * 16)
    if swapped or transposed or block >= content.shape[0]:
        dense = decode_to_scratch(content)
        return torch.nn.functional.linear(x, dense.t() if transposed else dense, bias)
    rows = content.shape[0]
    out = x.new_empty((x.shape[0], rows))
    for first in range(0, rows, block):
        last = min(first + block, rows)
        part = matrix.part(0, first, last)
        if part is None:
            dense = decode_to_scratch(content)
            return torch.nn.functional.linear(x, dense, bias)
        panel = scratch((last - first, columns), content.dtype)
        part.decode_at(panel.data_ptr(), get_num_threads())
        if bias is None:
            torch.mm(x, panel.t(), out=out[:, first:last])
        else:
            torch.addmm(bias[first:last], x, panel.t(), out=out[:, first:last])
    return out


def _as_operator(content: Leaf | Window, x: Tensor, bias: Tensor | None, transposed: bool) -> Tensor:
    leaf, first, last, squeezed = content, 0, content.shape[0] if content.shape else 0, False
    if isinstance(content, Window):
        leaf, first, last, squeezed = content.leaf, content.first, content.last, content.squeezed  # type: ignore[assignment]
    assert isinstance(leaf, Leaf)
    return torch.ops.tersely.product(  # type: ignore[no-any-return]
        x, list(leaf.parts), leaf.form.text, first, last, squeezed, bias, transposed
    )


def pick(content: Content, indices: Tensor) -> Tensor | None:
    """Rows of a matrix by number, as an embedding takes them; None where only decoding the whole gives them."""
    if not isinstance(content, Leaf) or len(content.shape) != 2 or indices.dtype not in (torch.int64, torch.int32):
        return None
    if traced(content) or type(indices) is not Tensor:
        return torch.ops.tersely.pick(  # type: ignore[no-any-return]
            indices, list(content.parts), content.form.text
        )
    coded = content.coded
    if coded.matrix is None:
        return None
    if coded.geometry.view != "matrix" or coded.geometry.orientation == "in_out":
        return None
    wanted = indices.to(torch.int64).contiguous()
    out = torch.empty((*indices.shape, content.shape[1]), dtype=content.dtype, device="cpu")
    wrong = coded.matrix.pick_at(wanted.data_ptr(), wanted.numel(), out.data_ptr(), get_num_threads())
    if wrong >= 0:
        raise IndexError(f"index {int(wanted.view(-1)[wrong])} is out of range for {content.shape[0]} embeddings")
    return out
