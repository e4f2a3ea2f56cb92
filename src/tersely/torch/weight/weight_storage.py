"""`WeightStorage`: what a `TerselyTensor` holds. Immutable; knows its shape, decodes exactly, gives slices by reference.

    Coded          one coded tensor: a TensorSpec and its components as uint8 tensors      (coded.py)
    RowSlice       rows [first, last) of a Coded's first dimension, or one of them         (coded.py)
    Concatenated   several side by side (torch.cat), or on top of each other (torch.stack) (concatenated.py)
    Dense          a dense tensor: what a cast gives, and views that codes cannot follow

Nothing here knows about operators, and codes are taken apart by `tersely` alone.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple, Self

import torch
from torch import Tensor

from tersely.torch.weight.placement import laid_at, placed_like, residue_of

Structure = tuple[Any, ...]
"""Everything of a storage but its tensors: nested tuples of strings and numbers, for pickles and for tracing."""

_NUMBERS = itertools.count()


def next_number() -> int:
    """Returns a number that this process has not given before."""
    return next(_NUMBERS)


class Kernel(NamedTuple):
    """A product by one weight, with all that does not depend on x.

    Attributes:
        run: the native function; it takes addresses.
        dtype: of the weight, x, the bias and the result.
        code: the number of that dtype in the native module.
        inner: length of x's last dimension, at least 1.
        outer: length of the result's last dimension.
        transposed: whether `run` is to take the codes for those of the transposed matrix.
        max_rows: rows of x up to which the kernel is faster than torch's product of the decoded weight.
    """

    run: Any
    dtype: torch.dtype
    code: int
    inner: int
    outer: int
    transposed: bool
    max_rows: int


class WeightStorage(ABC):
    """The base class.

    Attributes:
        shape, dtype: of the decoded tensor; rows are along dimension 0.
        residue: the address of the dense weight that this was made of, in bytes modulo `placement.LINE`; decoded weights
            lie at such an address again.
    """

    residue: int = 0
    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def real(self) -> bool:
        """Whether the tensors have bytes. They have none while a compiler traces."""
        return all(type(tensor) is Tensor for tensor in self.tensors())

    def copy(self) -> Self:
        """Returns another storage over the same components, for a copy that is not tied to what it was made of."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        return other

    def placed(self, residue: int) -> Self:
        """Returns a copy whose dense weight lies at that residue."""
        copy = self.copy()
        copy.residue = residue
        return copy

    @abstractmethod
    def tensors(self) -> list[Tensor]:
        """Returns what stays in memory, in an order that `structure` implies."""

    @property
    def framed(self) -> WeightStorage:
        """The same as compilers see it: what layers of one shape do not have in common is a component (`tensor_spec`)."""
        return self

    @abstractmethod
    def structure(self, residues: bool = False) -> Structure:
        """Returns everything but the tensors.

        Args:
            residues: whether to include where dense weights lie, which pickles keep and compiled code does not depend on.
        """

    @abstractmethod
    def decode_into(self, out: Tensor) -> None:
        """Fills `out`, contiguous, of this shape and dtype."""

    def decode(self) -> Tensor:
        """Returns a fresh contiguous tensor; while tracing, an operator that gives one."""
        out = placed_like(self.residue, self.shape, self.dtype)
        self.decode_into(out)
        return out

    def kernel(self, transposed: bool) -> Kernel | None:
        """Returns the product x @ w.T by this weight, or x @ w where `transposed`; None where no kernel multiplies it."""
        return None

    @abstractmethod
    def narrow(self, first: int, last: int) -> WeightStorage:
        """Returns rows [first, last)."""

    @abstractmethod
    def select(self, index: int) -> WeightStorage:
        """Returns one row, without its dimension."""

    @property
    def nbytes_stored(self) -> int:
        """Bytes that stay in memory; a coded tensor counts as a whole, however few of its rows are seen."""
        return sum(tensor.nbytes for tensor in self.tensors())

    @property
    @abstractmethod
    def description(self) -> str:
        """Formulation and code, for people."""


class Dense(WeightStorage):
    """A dense tensor of any strides and device. owner: it may be overwritten, because nobody else holds it."""

    def __init__(self, tensor: Tensor, owner: bool = False) -> None:
        self.tensor, self.owner = tensor, owner
        self.shape, self.dtype = tuple(tensor.shape), tensor.dtype

    def tensors(self) -> list[Tensor]:
        return [self.tensor]

    def structure(self, residues: bool = False) -> Structure:
        return ("dense", self.owner)

    def decode(self) -> Tensor:
        return self.tensor

    def decode_into(self, out: Tensor) -> None:
        out.copy_(self.tensor)

    def narrow(self, first: int, last: int) -> WeightStorage:
        return Dense(self.tensor[first:last])

    def select(self, index: int) -> WeightStorage:
        return Dense(self.tensor[index])

    def copy(self) -> Dense:
        return Dense(laid_at(self.tensor.clone(), residue_of(self.tensor)), True)

    def placed(self, residue: int) -> Dense:
        return Dense(laid_at(self.tensor, residue), True)

    description: ClassVar[str] = "dense"  # type: ignore[misc]


def traced(storage: WeightStorage) -> bool:
    """Returns whether work must be written down as operators instead of being done."""
    return torch._C._len_torch_dispatch_stack() > 0 or not storage.real
