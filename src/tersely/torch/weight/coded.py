"""`Coded` and `RowSlice`: one coded tensor over uint8 tensors, and rows of it by reference."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from tersely.backends.cpu.threads import get_num_threads
from tersely.tensors import handoff
from tersely.tensors.tensor import Tensor as CodedTensor
from tersely.torch.weight.dtypes import PRODUCT_CODES, TORCH, as_array, as_tensor
from tersely.torch.weight.placement import LINE
from tersely.torch.weight.tensor_spec import TensorSpec, spec_of, tensor_of
from tersely.torch.weight.weight_storage import Dense, Kernel, Structure, WeightStorage, traced


class _Multiplied(WeightStorage):
    """What kernels can multiply: a storage over one native matrix."""

    _kernels: dict[bool, Kernel | None]

    @abstractmethod
    def matrix(self) -> tuple[Any, bool]:
        """Returns (native matrix, whether it is coded transposed); (None, False) where kernels cannot multiply this."""

    def kernel(self, transposed: bool) -> Kernel | None:
        if transposed not in self._kernels:
            self._kernels[transposed] = self._find_kernel(transposed)
        return self._kernels[transposed]

    def _find_kernel(self, transposed: bool) -> Kernel | None:
        if len(self.shape) != 2 or self.dtype not in PRODUCT_CODES:
            return None
        matrix, coded_transposed = self.matrix()
        inner, outer = self.shape if transposed else (self.shape[1], self.shape[0])
        if matrix is None or not inner:
            return None
        name, code = self.dtype, PRODUCT_CODES[self.dtype]
        max_rows = handoff.torch_max_rows(str(name).removeprefix("torch."))
        return Kernel(matrix.multiply_at, name, code, inner, outer, transposed != coded_transposed, max_rows)


class Coded(_Multiplied):
    """One coded tensor.

    Attributes:
        spec: its description.
        components: its bytes, uint8 tensors in the order of `spec.names`.
        slices: rows of it that compiled code asked for, by (first, last, squeezed).
        held: tensors that live as long as this does.
    """

    def __init__(
        self, spec: TensorSpec, components: Sequence[Tensor], coded: CodedTensor | None = None, residue: int = 0
    ) -> None:
        self.spec, self.components, self.residue = spec, tuple(components), residue
        self.shape, self.dtype = spec.shape, TORCH[spec.dtype]
        self._coded = coded
        self._kernels = {}
        self._matrices: dict[tuple[int, int, bool], tuple[Any, bool]] = {}
        self.slices: dict[tuple[int, int, bool], WeightStorage] = {}
        self.held: Sequence[Tensor] = ()

    @classmethod
    def of(cls, coded: CodedTensor, residue: int = 0) -> Coded:
        """Returns the storage over the bytes of a `tersely.Tensor`."""
        spec = spec_of(coded.encoded)
        return cls(spec, [as_tensor(coded.encoded.components[name]) for name in spec.names], coded, residue)

    @property
    def coded_tensor(self) -> CodedTensor:
        """The `tersely.Tensor` over the same bytes, validated when first asked for."""
        if self._coded is None:
            self._coded = tensor_of(self.spec, [component.numpy() for component in self.components])
        return self._coded

    @cached_property
    def pointwise(self) -> Coded | None:
        """These codes as a matrix [outputs, inputs], where they are a kernel of one tap; None for all others."""
        spec = self.spec.pointwise()
        return None if spec is None else Coded(spec, self.components, residue=self.residue)

    @cached_property
    def framed(self) -> Coded:
        return (
            self if self.spec.is_frame else Coded(self.spec.frame, [*self.components, as_tensor(self.spec.filling())])
        )

    def matrix(self) -> tuple[Any, bool]:
        return self.matrix_of_rows(0, self.shape[0] if self.shape else 0, False)

    def matrix_of_rows(self, first: int, last: int, squeezed: bool) -> tuple[Any, bool]:
        """Returns (native matrix, whether it is coded transposed) for rows [first, last).

        Args:
            squeezed: whether `first` is one matrix of a stack.

        (None, False) where kernels cannot multiply these rows.
        """
        key = (first, last, squeezed)
        if key not in self._matrices:
            self._matrices[key] = self._find_matrix(first, last, squeezed)
        return self._matrices[key]

    def _find_matrix(self, first: int, last: int, squeezed: bool) -> tuple[Any, bool]:
        whole, geometry = self.coded_tensor.matrix, self.coded_tensor.geometry
        transposed = geometry.orientation == "in_out"
        if whole is None or self.dtype not in PRODUCT_CODES:
            return None, False
        if squeezed:
            return (whole.part(first, 0, geometry.rows), transposed) if geometry.view == "stack" else (None, False)
        if geometry.view != "matrix" or first == last:
            return None, False
        if (first, last) == (0, self.shape[0]):
            return whole, transposed
        return (None, False) if transposed else (whole.part(0, first, last), False)

    def tensors(self) -> list[Tensor]:
        return list(self.components)

    def structure(self, residues: bool = False) -> Structure:
        return ("coded", self.spec.text, self.residue if residues else 0)

    def decode(self) -> Tensor:
        if traced(self):
            return torch.ops.tersely.decode(list(self.components), self.spec.text, 0, self.shape[0])
        return super().decode()

    def decode_into(self, out: Tensor) -> None:
        matrix = self.coded_tensor.matrix
        if matrix is not None and out.numel():
            matrix.decode_at(out.data_ptr(), get_num_threads())
        elif out.numel():
            self.coded_tensor.decode(as_array(out))

    def narrow(self, first: int, last: int) -> WeightStorage:
        return self if (first, last) == (0, self.shape[0]) else RowSlice(self, first, last, False)

    def select(self, index: int) -> WeightStorage:
        return RowSlice(self, index, index + 1, True)

    def kept_slice(self, first: int, last: int, squeezed: bool) -> WeightStorage:
        """Returns rows [first, last), or the row `first` without its dimension, the same object every time."""
        key = (first, last, squeezed)
        found = self.slices.get(key)
        if found is None:
            whole = not squeezed and (first, last) == (0, self.shape[0])
            found = self if whole else self.slices.setdefault(key, RowSlice(self, *key))
        return found

    @property
    def description(self) -> str:
        return self.spec.code


class RowSlice(_Multiplied):
    """Rows [first, last) of a `Coded`; squeezed: row `first` itself, without its dimension."""

    def __init__(self, whole: Coded, first: int, last: int, squeezed: bool) -> None:
        self.whole, self.first, self.last, self.squeezed = whole, first, last, squeezed
        self.shape = whole.shape[1:] if squeezed else (last - first, *whole.shape[1:])
        self.dtype = whole.dtype
        self.residue = (whole.residue + first * math.prod(whole.shape[1:]) * whole.dtype.itemsize) % LINE
        self._kernels = {}

    def matrix(self) -> tuple[Any, bool]:
        return self.whole.matrix_of_rows(self.first, self.last, self.squeezed)

    def tensors(self) -> list[Tensor]:
        return self.whole.tensors()

    @property
    def framed(self) -> RowSlice:
        return RowSlice(self.whole.framed, self.first, self.last, self.squeezed)

    def structure(self, residues: bool = False) -> Structure:
        return ("rows", self.whole.structure(residues), self.first, self.last, self.squeezed)

    def decode(self) -> Tensor:
        if not traced(self):
            return super().decode()
        rows = torch.ops.tersely.decode(list(self.whole.components), self.whole.spec.text, self.first, self.last)
        return rows.squeeze(0) if self.squeezed else rows

    def decode_into(self, out: Tensor) -> None:
        matrix, _ = self.matrix()
        if matrix is not None:
            matrix.decode_at(out.data_ptr(), get_num_threads())
        elif out.numel():
            out.copy_(as_tensor(self.whole.coded_tensor.rows(self.first, self.last)).reshape(self.shape))

    def narrow(self, first: int, last: int) -> WeightStorage:
        if not self.squeezed:
            return RowSlice(self.whole, self.first + first, self.first + last, False)
        return Dense(self.decode()[first:last])

    def select(self, index: int) -> WeightStorage:
        if not self.squeezed:
            return RowSlice(self.whole, self.first + index, self.first + index + 1, True)
        return Dense(self.decode()[index])

    @property
    def description(self) -> str:
        return f"{self.whole.description} rows {self.first}:{self.last}"
