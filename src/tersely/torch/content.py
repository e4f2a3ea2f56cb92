"""What a `TerselyTensor` holds: immutable pieces that know their shape, decode exactly, and give parts by reference.

    Leaf      one coded tensor: a description and its components as uint8 tensors
    Window    rows [first, last) of a leaf's first dimension, or one of them
    Joined    pieces side by side along a dimension (torch.cat); Stacked: on top of each other (torch.stack)
    Plain     a dense tensor: what a cast gives, and views that codes cannot follow

Nothing here knows about operators, and codes are taken apart by `tersely` alone.
"""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from tersely.backends.cpu.threads import get_num_threads
from tersely.tensors.tensor import Tensor as Coded
from tersely.torch.dtypes import PRODUCT_CODES, TORCH, as_array, as_tensor
from tersely.torch.form import Form, coded_of, form_of, unframed
from tersely.torch.placement import LINE, laid_at, placed_like, residue_of

Spec = tuple[Any, ...]
"""Everything of a content but its tensors: nested tuples of strings and numbers, for pickles and for tracing."""

_NUMBERS = itertools.count()


def next_number() -> int:
    """A number that this process has not given before."""
    return next(_NUMBERS)


class Content(ABC):
    """Base of the pieces. shape and dtype are those of the decoded tensor; rows are along dimension 0.

    residue: the address of the dense weight that it was made of, in bytes modulo `LINE`, where it is decoded to again.
    """

    residue: int = 0
    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def real(self) -> bool:
        """False while a compiler traces: then the tensors have no bytes."""
        return all(type(tensor) is Tensor for tensor in self.tensors())

    def in_shared_memory(self) -> Content:
        """The same in shared memory."""
        return rebuild(self.spec(True), [tensor.clone().share_memory_() for tensor in self.tensors()])

    def twin(self) -> Self:
        """Another content over the same components: of a copy, which is not tied to what it was made of."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        return other

    def placed(self, residue: int) -> Self:
        """A twin whose dense weight lies at that residue."""
        twin = self.twin()
        twin.residue = residue
        return twin

    @abstractmethod
    def tensors(self) -> list[Tensor]: ...

    @property
    def framed(self) -> Content:
        """The same as compilers see it: what layers of one shape do not have in common is a component (`form`)."""
        return self

    @abstractmethod
    def spec(self, residues: bool = False) -> Spec:
        """residues: with the places of dense weights, which pickles keep and compiled code does not depend on."""

    @abstractmethod
    def decode_into(self, out: Tensor) -> None:
        """Fill `out`, contiguous, of this shape and dtype."""

    def decode(self) -> Tensor:
        """A fresh contiguous tensor; while tracing, an operator that gives one."""
        out = placed_like(self.residue, self.shape, self.dtype)
        self.decode_into(out)
        return out

    @abstractmethod
    def narrow(self, first: int, last: int) -> Content: ...

    @abstractmethod
    def select(self, index: int) -> Content: ...

    @property
    def nbytes_stored(self) -> int:
        """Bytes that stay in memory; a leaf counts whole, however little of it is seen."""
        return sum(tensor.nbytes for tensor in self.tensors())

    @property
    @abstractmethod
    def description(self) -> str:
        """For people: formulation, code."""


class Leaf(Content):
    """One coded tensor. form: its description. parts: its components, in the order of form.names."""

    def __init__(self, form: Form, parts: Sequence[Tensor], coded: Coded | None = None, residue: int = 0) -> None:
        self.form, self.parts, self.residue = form, tuple(parts), residue
        self.shape, self.dtype = form.shape, TORCH[form.dtype]
        self._coded = coded
        self._matrices: dict[tuple[int, int, bool], Any] = {}
        self.kernels: dict[tuple[int, int, bool, bool], tuple[Any, ...]] = {}
        """Of products that compiled code asked for, by their arguments."""
        self.held: Sequence[Tensor] = ()  # for as long as this

    @classmethod
    def of(cls, coded: Coded, residue: int = 0) -> Leaf:
        form = form_of(coded.encoded)
        return cls(form, [as_tensor(coded.encoded.components[name]) for name in form.names], coded, residue)

    @property
    def coded(self) -> Coded:
        """The `tersely.Tensor` over the same bytes, validated when first asked for."""
        if self._coded is None:
            self._coded = coded_of(self.form, [part.numpy() for part in self.parts])
        return self._coded

    def turned(self) -> Coded | None:
        """The same codes as those of the transposed matrix or matrices; None where they cannot be seen so."""
        form = self.form.turned()
        return None if form is None else coded_of(form, [part.numpy() for part in self.parts])

    @cached_property
    def pointwise(self) -> Leaf | None:
        """The same codes as a matrix [outputs, inputs], where they are a kernel of one tap; None for all others."""
        form = self.form.pointwise()
        return None if form is None else Leaf(form, self.parts, residue=self.residue)

    @cached_property
    def framed(self) -> Leaf:
        return self if self.form.is_frame else Leaf(self.form.frame, [*self.parts, as_tensor(self.form.filling())])

    def matrix(self, first: int, last: int, squeezed: bool) -> tuple[Any, bool]:
        """(native matrix, whether it is coded transposed) for rows [first, last); (None, False) where kernels cannot.

        squeezed: `first` is one matrix of a stack.
        """
        key = (first, last, squeezed)
        if key not in self._matrices:
            self._matrices[key] = self._find_matrix(first, last, squeezed)
        return self._matrices[key]  # type: ignore[no-any-return]

    def _find_matrix(self, first: int, last: int, squeezed: bool) -> tuple[Any, bool]:
        whole, geometry = self.coded.matrix, self.coded.geometry
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
        return list(self.parts)

    def spec(self, residues: bool = False) -> Spec:
        return ("leaf", self.form.text, self.residue if residues else 0)

    def decode(self) -> Tensor:
        if traced(self):
            return torch.ops.tersely.decode(list(self.parts), self.form.text, 0, self.shape[0])
        return super().decode()

    def decode_into(self, out: Tensor) -> None:
        matrix = self.coded.matrix
        if matrix is not None and out.numel():
            matrix.decode_at(out.data_ptr(), get_num_threads())
        elif out.numel():
            self.coded.decode(as_array(out))

    def narrow(self, first: int, last: int) -> Content:
        return self if (first, last) == (0, self.shape[0]) else Window(self, first, last, False)

    def select(self, index: int) -> Content:
        return Window(self, index, index + 1, True)

    @property
    def description(self) -> str:
        return self.form.code


class Window(Content):
    """Rows [first, last) of a leaf; squeezed: row `first` itself, without its dimension."""

    def __init__(self, leaf: Leaf, first: int, last: int, squeezed: bool) -> None:
        self.leaf, self.first, self.last, self.squeezed = leaf, first, last, squeezed
        self.shape = leaf.shape[1:] if squeezed else (last - first, *leaf.shape[1:])
        self.dtype = leaf.dtype
        self.residue = (leaf.residue + first * math.prod(leaf.shape[1:]) * leaf.dtype.itemsize) % LINE

    def tensors(self) -> list[Tensor]:
        return self.leaf.tensors()

    @property
    def framed(self) -> Window:
        return Window(self.leaf.framed, self.first, self.last, self.squeezed)

    def spec(self, residues: bool = False) -> Spec:
        return ("window", self.leaf.spec(residues), self.first, self.last, self.squeezed)

    def decode(self) -> Tensor:
        if not traced(self):
            return super().decode()
        leaf = self.leaf
        rows = torch.ops.tersely.decode(list(leaf.parts), leaf.form.text, self.first, self.last)
        return rows.squeeze(0) if self.squeezed else rows

    def decode_into(self, out: Tensor) -> None:
        matrix, _ = self.leaf.matrix(self.first, self.last, self.squeezed)
        if matrix is not None:
            matrix.decode_at(out.data_ptr(), get_num_threads())
        elif out.numel():
            out.copy_(as_tensor(self.leaf.coded.rows(self.first, self.last)).reshape(self.shape))

    def narrow(self, first: int, last: int) -> Content:
        if not self.squeezed:
            return Window(self.leaf, self.first + first, self.first + last, False)
        return Plain(self.decode()[first:last])

    def select(self, index: int) -> Content:
        if not self.squeezed:
            return Window(self.leaf, self.first + index, self.first + index + 1, True)
        return Plain(self.decode()[index])

    @property
    def description(self) -> str:
        return f"{self.leaf.description} rows {self.first}:{self.last}"


class Pieces(Content):
    """Several contents as one. kind: 'cat' along dim (0, or 1 of stacks) or 'stack' along dimension 0."""

    def __init__(self, kind: str, dim: int, pieces: Sequence[Content]) -> None:
        self.kind, self.dim, self.pieces = kind, dim, tuple(pieces)
        first = self.pieces[0]
        self.dtype = first.dtype
        if kind == "stack":
            self.shape = (len(self.pieces), *first.shape)
        else:
            lengths = sum(piece.shape[dim] for piece in self.pieces)
            self.shape = (*first.shape[:dim], lengths, *first.shape[dim + 1 :])

    @cached_property
    def starts(self) -> list[int]:
        """Where each piece begins along the joined dimension, and the end."""
        lengths = (1 if self.kind == "stack" else piece.shape[self.dim] for piece in self.pieces)
        return [0, *itertools.accumulate(lengths)]

    def tensors(self) -> list[Tensor]:
        return [tensor for piece in self.pieces for tensor in piece.tensors()]

    @property
    def framed(self) -> Pieces:
        return Pieces(self.kind, self.dim, [piece.framed for piece in self.pieces])

    def spec(self, residues: bool = False) -> Spec:
        counted = tuple((len(piece.tensors()), piece.spec(residues)) for piece in self.pieces)
        return ("pieces", self.kind, self.dim, counted)

    def decode(self) -> Tensor:
        if traced(self):
            decoded = [piece.decode() for piece in self.pieces]
            return torch.stack(decoded) if self.kind == "stack" else torch.cat(decoded, self.dim)
        return super().decode()

    def decode_into(self, out: Tensor) -> None:
        for start, piece in zip(self.starts, self.pieces, strict=False):
            if self.kind == "stack":
                piece.decode_into(out[start])
            elif self.dim == 0:
                piece.decode_into(out[start : start + piece.shape[0]])
            else:
                out.narrow(self.dim, start, piece.shape[self.dim]).copy_(piece.decode())

    def narrow(self, first: int, last: int) -> Content:
        if self.kind == "cat" and self.dim != 0:
            return Pieces("cat", self.dim, [piece.narrow(first, last) for piece in self.pieces])
        if self.kind == "stack":
            return Pieces("stack", 0, self.pieces[first:last]) if first < last else Plain(self.decode()[first:last])
        parts = []
        for start, piece in zip(self.starts, self.pieces, strict=False):
            low, high = max(first - start, 0), min(last - start, piece.shape[0])
            if low < high:
                parts.append(piece.narrow(low, high))
        if not parts:
            return Plain(self.decode()[first:last])
        return parts[0] if len(parts) == 1 else Pieces("cat", 0, parts)

    def select(self, index: int) -> Content:
        if self.kind == "stack":
            return self.pieces[index]
        if self.dim != 0:
            return Pieces("cat", self.dim - 1, [piece.select(index) for piece in self.pieces])
        for start, piece in zip(self.starts, self.pieces, strict=False):
            if index < start + piece.shape[0]:
                return piece.select(index - start)
        raise IndexError(index)

    def narrow_along(self, dim: int, first: int, last: int) -> Content | None:
        """Pieces [first, last) of a join along `dim` other than 0, or None where they do not begin and end there."""
        if self.kind == "stack" and dim > 0:
            inner = [narrow_along(piece, dim - 1, first, last) for piece in self.pieces]
            known = [piece for piece in inner if piece is not None]
            return Pieces("stack", 0, known) if len(known) == len(inner) else None
        if self.kind != "cat" or self.dim != dim or first not in self.starts or last not in self.starts[1:]:
            return None
        chosen = self.pieces[self.starts.index(first) : self.starts.index(last)]
        return chosen[0] if len(chosen) == 1 else Pieces("cat", dim, chosen) if chosen else None

    @property
    def description(self) -> str:
        return f"{self.kind} of {len(self.pieces)} x {self.pieces[0].description}"


class Plain(Content):
    """A dense tensor of any strides and device. owner: it may be overwritten, because nobody else holds it."""

    def __init__(self, tensor: Tensor, owner: bool = False) -> None:
        self.tensor, self.owner = tensor, owner
        self.shape, self.dtype = tuple(tensor.shape), tensor.dtype

    def tensors(self) -> list[Tensor]:
        return [self.tensor]

    def spec(self, residues: bool = False) -> Spec:
        return ("plain", self.owner)

    def decode(self) -> Tensor:
        return self.tensor

    def decode_into(self, out: Tensor) -> None:
        out.copy_(self.tensor)

    def narrow(self, first: int, last: int) -> Content:
        return Plain(self.tensor[first:last])

    def select(self, index: int) -> Content:
        return Plain(self.tensor[index])

    def twin(self) -> Plain:
        return Plain(laid_at(self.tensor.clone(), residue_of(self.tensor)), True)

    def placed(self, residue: int) -> Plain:
        return Plain(laid_at(self.tensor, residue), True)

    description: ClassVar[str] = "dense"  # type: ignore[misc]


def narrow_along(content: Content, dim: int, first: int, last: int) -> Content | None:
    """`content` between two places of one dimension, still coded; None where only decoding gives it."""
    if (first, last) == (0, content.shape[dim]):
        return content
    if dim == 0:
        return None if isinstance(content, Window) and content.squeezed else content.narrow(first, last)
    return content.narrow_along(dim, first, last) if isinstance(content, Pieces) else None


def rebuild(spec: Spec, tensors: Iterable[Tensor]) -> Content:
    """Inverse of `spec` and `tensors`. Raises CorruptError, UnsupportedError when the codes are first used."""
    given = list(tensors)
    if spec[0] == "leaf":
        return _leaf(spec, given)
    if spec[0] == "window":
        return Window(_leaf(spec[1], given), int(spec[2]), int(spec[3]), bool(spec[4]))
    if spec[0] == "plain":
        return Plain(given[0], bool(spec[1]))
    pieces, at = [], 0
    for count, inner in spec[3]:
        pieces.append(rebuild(inner, given[at : at + count]))
        at += count
    return Pieces(spec[1], spec[2], pieces)


def _leaf(spec: Spec, parts: Sequence[Tensor]) -> Leaf:
    real = all(type(part) in (Tensor, torch.nn.Parameter) for part in parts)
    return Leaf(*unframed(Form(spec[1]), parts, real), residue=int(spec[2]) % LINE)


def traced(content: Content) -> bool:
    """Whether work must be written down as operators instead of being done."""
    return torch._C._len_torch_dispatch_stack() > 0 or not content.real
