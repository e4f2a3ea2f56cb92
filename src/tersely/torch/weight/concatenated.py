"""`Concatenated`: several storages as one, by reference; and storages made anew from what pickles and compilers keep."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from tersely.torch.weight.coded import Coded, RowSlice
from tersely.torch.weight.placement import LINE
from tersely.torch.weight.tensor_spec import TensorSpec, unframed
from tersely.torch.weight.weight_storage import Dense, Structure, WeightStorage, traced

Kind = Literal["cat", "stack"]


class Concatenated(WeightStorage):
    """Several storages as one. kind: 'cat' along dim (0, or 1 of stacks) or 'stack' along a new dimension 0."""

    def __init__(self, kind: Kind, dim: int, pieces: Sequence[WeightStorage]) -> None:
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
    def framed(self) -> Concatenated:
        return Concatenated(self.kind, self.dim, [piece.framed for piece in self.pieces])

    def structure(self, residues: bool = False) -> Structure:
        counted = tuple((len(piece.tensors()), piece.structure(residues)) for piece in self.pieces)
        return ("concatenated", self.kind, self.dim, counted)

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

    def narrow(self, first: int, last: int) -> WeightStorage:
        if self.kind == "cat" and self.dim != 0:
            return Concatenated("cat", self.dim, [piece.narrow(first, last) for piece in self.pieces])
        if self.kind == "stack":
            chosen = self.pieces[first:last]
            return Concatenated("stack", 0, chosen) if chosen else Dense(self.decode()[first:last])
        pieces = []
        for start, piece in zip(self.starts, self.pieces, strict=False):
            low, high = max(first - start, 0), min(last - start, piece.shape[0])
            if low < high:
                pieces.append(piece.narrow(low, high))
        if not pieces:
            return Dense(self.decode()[first:last])
        return pieces[0] if len(pieces) == 1 else Concatenated("cat", 0, pieces)

    def select(self, index: int) -> WeightStorage:
        if self.kind == "stack":
            return self.pieces[index]
        if self.dim != 0:
            return Concatenated("cat", self.dim - 1, [piece.select(index) for piece in self.pieces])
        for start, piece in zip(self.starts, self.pieces, strict=False):
            if index < start + piece.shape[0]:
                return piece.select(index - start)
        raise IndexError(index)

    def narrow_along(self, dim: int, first: int, last: int) -> WeightStorage | None:
        """Returns places [first, last) of a dimension other than 0, or None where no piece begins or ends there."""
        if self.kind == "stack" and dim > 0:
            inner = [narrow_along(piece, dim - 1, first, last) for piece in self.pieces]
            known = [piece for piece in inner if piece is not None]
            return Concatenated("stack", 0, known) if len(known) == len(inner) else None
        if self.kind != "cat" or self.dim != dim or first not in self.starts or last not in self.starts[1:]:
            return None
        chosen = self.pieces[self.starts.index(first) : self.starts.index(last)]
        return chosen[0] if len(chosen) == 1 else Concatenated("cat", dim, chosen) if chosen else None

    @property
    def description(self) -> str:
        return f"{self.kind} of {len(self.pieces)} x {self.pieces[0].description}"


def narrow_along(storage: WeightStorage, dim: int, first: int, last: int) -> WeightStorage | None:
    """Returns places [first, last) of one dimension, still coded; None where only decoding gives them."""
    if (first, last) == (0, storage.shape[dim]):
        return storage
    if dim == 0:
        return None if isinstance(storage, RowSlice) and storage.squeezed else storage.narrow(first, last)
    return storage.narrow_along(dim, first, last) if isinstance(storage, Concatenated) else None


def rebuild(structure: Structure, tensors: Iterable[Tensor]) -> WeightStorage:
    """Returns the storage that `structure` and `tensors` were taken of.

    The codes raise CorruptError or UnsupportedError when they are first used, not here.
    """
    given = list(tensors)
    if structure[0] == "coded":
        return _coded(structure, given)
    if structure[0] == "rows":
        return RowSlice(_coded(structure[1], given), int(structure[2]), int(structure[3]), bool(structure[4]))
    if structure[0] == "dense":
        return Dense(given[0], bool(structure[1]))
    pieces, at = [], 0
    for count, inner in structure[3]:
        pieces.append(rebuild(inner, given[at : at + count]))
        at += count
    return Concatenated(structure[1], structure[2], pieces)


def in_shared_memory(storage: WeightStorage) -> WeightStorage:
    """Returns the same storage with its tensors in shared memory."""
    return rebuild(storage.structure(True), [tensor.clone().share_memory_() for tensor in storage.tensors()])


def _coded(structure: Structure, components: Sequence[Tensor]) -> Coded:
    real = all(type(component) in (Tensor, torch.nn.Parameter) for component in components)
    return Coded(*unframed(TensorSpec(structure[1]), components, real), residue=int(structure[2]) % LINE)
