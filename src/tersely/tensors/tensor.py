"""`tersely.Tensor`: a weight in coded form that behaves like a read-only array where that is useful."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np

from tersely.backends.cpu.threads import get_num_threads, workers_of
from tersely.codes import registry
from tersely.codes.checks import MAX_BYTES, too_large
from tersely.codes.node import Checked
from tersely.core.dtypes import by_name
from tersely.core.encoded import Encoded
from tersely.core.errors import ArgumentError, OutOfRangeError, TooLargeError
from tersely.core.geometry import Geometry


class Tensor:
    """A tensor whose weights stay coded; every access gives the exact bits.

    Made by `tersely.encode` and `tersely.load_file`. Immutable, safe under several threads.
    """

    def __init__(
        self,
        encoded: Encoded | Checked,
        crc32: str | None = None,
        *,
        origin: tuple[str, str] | None = None,
    ) -> None:
        """Checks the structure of `encoded` unless that is done.

        Args:
            encoded: the description and the components.
            crc32: of the decoded bytes, eight hexadecimal digits, where a file says it. What is saved again carries it
                on, so that damage in between is still found.
            origin: file and name, for errors.

        Raises:
            CorruptError: for damage, naming component and byte.
            UnsupportedError: for what needs another release of tersely.
        """
        self.checked = registry.check(encoded)
        self.crc32 = crc32
        self._origin = origin

    @property
    def encoded(self) -> Encoded:
        """The description and the components."""
        return self.checked.encoded

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """The shape of the decoded array; for elements of less than a byte the last dimension counts bytes."""
        return by_name(self.encoded.dtype).array_shape(self.encoded.shape)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of weights: of elements of the decoded array."""
        return math.prod(self.shape)

    @cached_property
    def dtype(self) -> np.dtype:
        """The NumPy or ml_dtypes dtype of the decoded array; uint8 for elements of less than a byte."""
        return by_name(self.encoded.dtype).numpy

    @property
    def nbytes(self) -> int:
        """The bytes of the decoded tensor."""
        return self.size * self.dtype.itemsize

    @property
    def nbytes_stored(self) -> int:
        """The bytes of the components: what stays in memory."""
        return self.encoded.nbytes_stored

    @property
    def bits_per_weight(self) -> float:
        """The stored bits per weight; NaN for a tensor without weights."""
        return self.nbytes_stored * 8 / self.size if self.size else float("nan")

    @property
    def formulation(self) -> str:
        return self.encoded.node.formulation

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The parameters of the formulation: code, widths, table ..."""
        return dict(self.encoded.node.parameters)

    @property
    def components(self) -> Mapping[str, np.ndarray]:
        """The stored bytes by component name, slack included (read-only views)."""
        views = {}
        for name, component in self.encoded.components.items():
            views[name] = component.view()
            views[name].flags.writeable = False
        return views

    @property
    def geometry(self) -> Geometry:
        """How the tensor is seen as matrices."""
        return self.checked.geometry

    @cached_property
    def matrix(self) -> Any:
        """The native matrix over the components, or None (dense, or no native module)."""
        try:
            return registry.matrix(self.checked)
        except TooLargeError as error:
            raise self._located(error) from None

    @cached_property
    def float_products(self) -> tuple[Any, Any] | None:
        """x @ weight.T and x @ weight of the native matrix, for a weight of floats; None where there is no kernel.

        All that a product must know of a weight in one place: of weights that were not used for a while each object on
        the way to the kernel is waited for.
        """
        if self.ndim != 2 or not by_name(self.encoded.dtype).floating:
            return None
        if self.matrix is None or self.geometry.view == "folded":
            return None
        both = (self.matrix.linear, self.matrix.linear_transposed)
        # The stored matrix is [rows, columns] in coding order; an in_out weight is its transpose.
        return both[::-1] if self.geometry.orientation == "in_out" else both

    def decode(self, out: np.ndarray | None = None, *, threads: int | None = None) -> np.ndarray:
        """Returns the exact tensor.

        Args:
            out: C-contiguous writeable array of the same shape and dtype, filled and returned; None for a new array.
            threads: workers; None for `get_num_threads()`.

        Raises:
            ArgumentError: where `out` does not fit.
            TooLargeError: where memory does not hold what a file claims.
        """
        if out is not None:
            if not isinstance(out, np.ndarray):
                raise ArgumentError(f"out must be a NumPy array, not {type(out).__name__}")
            if out.shape != self.shape or out.dtype != self.dtype:
                raise ArgumentError(
                    f"out has shape {list(out.shape)} and dtype {out.dtype}; "
                    f"it must have {list(self.shape)} and {self.dtype}"
                )
            if not out.flags.c_contiguous or not out.flags.writeable:
                raise ArgumentError("out must be C-contiguous and writeable")
        try:
            if self.matrix is not None:
                target = self._empty(self.shape, self.dtype) if out is None else out
                words = target.reshape(-1).view(by_name(self.encoded.dtype).word)
                self.matrix.decode(words, workers_of(threads))
                return target
            decoded = registry.decode(self.checked, threads)
            if out is None:
                return decoded.copy() if self.formulation == "dense" else decoded
            out[...] = decoded
            return out
        except MemoryError:
            raise self.too_large() from None

    def rows(self, first: int, last: int) -> np.ndarray:
        """Returns exactly `decode()[first:last]` along the first dimension, decoding only what holds it.

        Args:
            first: the first row, as in a slice: negative numbers count from the end.
            last: the row behind the last one.

        Raises:
            ArgumentError: for a tensor without dimensions.
            TooLargeError: where memory does not hold what a file claims.
        """
        if not self.shape:
            raise ArgumentError("a tensor without dimensions has no rows: use decode()")
        try:
            return self._rows(first, last)
        except MemoryError:
            raise self.too_large(f"taking rows {first} to {last} of it") from None

    def _rows(self, first: int, last: int) -> np.ndarray:
        first, last, _ = slice(first, last).indices(self.shape[0])
        last = max(first, last)
        if self.matrix is None:
            return registry.decode(self.checked)[first:last].copy()
        geometry = self.geometry
        word = by_name(self.encoded.dtype).word
        shape = (last - first, *self.shape[1:])
        per_row = self.size // self.shape[0] if self.shape[0] else 0
        if geometry.view == "folded" or geometry.orientation == "in_out":
            if geometry.view == "stack":
                span = (first * geometry.panels_per_matrix, last * geometry.panels_per_matrix)
            else:
                span = (0, geometry.panels)
        elif geometry.view == "stack":
            span = (first * geometry.panels_per_matrix, last * geometry.panels_per_matrix)
        else:
            span = (first // 16, -(-last // 16))
        words = self._empty(((last - first) * per_row,), word)
        self.matrix.decode_window(words, span[0], span[1], first * per_row, get_num_threads())
        return words.view(self.dtype).reshape(shape)

    def _empty(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """NumPy's `empty`, whose errors for what cannot be are several."""
        if math.prod(shape) * dtype.itemsize >= MAX_BYTES:
            raise MemoryError
        return np.empty(shape, dtype)

    def too_large(self, doing: str = "decoding it") -> TooLargeError:
        """Returns what to raise where memory does not hold what the tensor's shape asks for."""
        return self._located(too_large(self.encoded, doing))

    def _located(self, error: TooLargeError) -> TooLargeError:
        file, name = self._origin or (None, None)
        error.located(file=file, tensor=name)
        return error

    def __getitem__(self, index: Any) -> Any:
        """Returns one weight, a row, or a slice of rows.

        A weight, by full integer index, is found by rank: its neighbours are not decoded.

        Raises:
            OutOfRangeError: for an index that the tensor does not have.
            TooLargeError: where memory does not hold what a file claims.
        """
        key = index if isinstance(index, tuple) else (index,)
        if any(isinstance(part, bool) for part in key):
            raise OutOfRangeError("True and False are no indices of a coded tensor: use decode()[...]")
        if not key and self.shape:
            return self.decode()
        if len(key) == 1 and isinstance(key[0], slice) and key[0].step in (None, 1) and self.shape:
            first, last, _ = key[0].indices(self.shape[0])
            return self.rows(first, last)
        try:
            indices = [operator.index(part) for part in key]
        except TypeError:
            return self.decode()[index]
        if len(indices) > self.ndim:
            raise OutOfRangeError(f"{len(indices)} indices for a tensor of {self.ndim} dimensions")
        for axis, (position, length) in enumerate(zip(indices, self.shape, strict=False)):
            if not -length <= position < length:
                raise OutOfRangeError(
                    f"index {position} is out of range for dimension {axis} of length {length}{self._unit()}"
                )
            indices[axis] = position % length
        if len(indices) < self.ndim:
            return self.rows(indices[0], indices[0] + 1)[0][tuple(indices[1:])]
        flat = int(np.ravel_multi_index(indices, self.shape)) if indices else 0
        if self.matrix is None:
            return registry.decode(self.checked).reshape(-1)[flat]
        word = by_name(self.encoded.dtype).word
        try:
            found = self._position(flat)
        except MemoryError:
            raise self.too_large("an index of its columns") from None
        return np.array([self.matrix.access(*found)], dtype=word).view(self.dtype)[0]

    def _unit(self) -> str:
        dtype = by_name(self.encoded.dtype)
        return f" ({dtype.name} is given by bytes, {dtype.bits} bits an element)" if dtype.packed else ""

    def _position(self, flat: int) -> tuple[int, int, int]:
        """(matrix, row, column) of the element at row-major position `flat`."""
        geometry = self.geometry
        if geometry.view == "folded":
            return 0, flat // geometry.columns, flat % geometry.columns
        matrix, inside = divmod(flat, geometry.rows * geometry.columns)
        if geometry.orientation == "in_out":
            column, row = divmod(inside, geometry.rows)
            return matrix, row, column
        row, column = divmod(inside, geometry.columns)
        return matrix, row, column if self._column_of is None else int(self._column_of[column])

    @cached_property
    def _column_of(self) -> np.ndarray | None:
        offsets = self.geometry.column_offsets()
        return None if offsets is None else np.argsort(offsets)

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles leave out what is made when it is asked for: native matrices stay where they are."""
        return {"encoded": self.encoded, "crc32": self.crc32, "_origin": self._origin}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """What a pickle says is checked like what a file says."""
        self.checked = registry.check(state["encoded"])
        self.crc32, self._origin = state["crc32"], state["_origin"]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("a coded tensor cannot be viewed without decoding: use copy=None or copy=True")
        decoded = self.decode()
        return decoded if dtype is None else decoded.astype(dtype)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of a tensor without dimensions")
        return self.shape[0]

    def __repr__(self) -> str:
        ratio = self.nbytes / self.nbytes_stored if self.nbytes_stored else 1.0
        how = registry.label(self.encoded.node.to_json())
        return f"tersely.Tensor(shape={list(self.shape)}, dtype={self.encoded.dtype}, {how}, {ratio:.3f}x smaller)"
