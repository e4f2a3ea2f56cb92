"""Slices and joins in files: saving them codes nothing anew, and loading gives them back as what they were.

Where one tensor of a file can have their bytes (`tersely.codes.slicing`), it has them. Else their pieces become
tensors of their own, and an entry of the file's metadata says how to make the others of them, as trees of (where a
writer may not set metadata, a tensor of the entry's name holds its text)

    NAME                              a tensor of the file
    ["stack", 0, [tree, ...]]         on top of each other
    ["cat", dim, [tree, ...]]         side by side
    ["rows", first, last, tree]       rows of the first dimension
    ["row", index, tree]              one of them, without its dimension
    ["transposed", tree]              the last two dimensions exchanged, at the top only

FORMAT: docs/FORMAT.md, "Recipes".
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from tersely.codes import slicing
from tersely.core.errors import ArgumentError, CorruptError
from tersely.files.container import limits
from tersely.files.container.description import joined_crc32
from tersely.tensors.tensor import Tensor as CodedTensor
from tersely.torch.checkpoint import dense_tensors as dense
from tersely.torch.operators import views
from tersely.torch.weight.coded import Coded, RowSlice
from tersely.torch.weight.concatenated import Concatenated
from tersely.torch.weight.dtypes import as_array
from tersely.torch.weight.placement import LINE, residue_of
from tersely.torch.weight.tensor_spec import spec_of, tensor_of
from tersely.torch.weight.tersely_tensor import CLASSES, TerselyTensor
from tersely.torch.weight.weight_storage import Dense, WeightStorage

NOTE = "tersely_recipes"
"""The metadata entry, or the tensor that holds its text."""
RESIDUES = "tersely_residues"
"""The metadata entry that says where dense weights lay, where that is not at the beginning of a cache line."""
DEEPEST = 8
Tree = Any


def by_reference(tensor: TerselyTensor) -> CodedTensor | None:
    """Returns the tensor as one coded tensor by its stored bytes; None where they cannot be taken as they are."""
    coded = _as_one(tensor.storage_)
    if coded is None or tensor.layout_ != "transposed":
        return coded
    spec = spec_of(coded.encoded).transposed()
    return None if spec is None else tensor_of(spec, list(coded.encoded.components.values()))


def anew(tensor: TerselyTensor) -> CodedTensor | None:
    """Returns the tensor decoded and coded again; None where no code makes it smaller."""
    storage = views.encode(tensor.decode(), tensor.encoding)
    return storage.coded_tensor if isinstance(storage, Coded) else None


def _as_one(storage: WeightStorage) -> CodedTensor | None:
    if isinstance(storage, Coded):
        return storage.coded_tensor
    if isinstance(storage, RowSlice):
        found = slicing.take(storage.whole.coded_tensor.checked, storage.first, storage.last, squeezed=storage.squeezed)
        return None if found is None else CodedTensor(found)
    if not isinstance(storage, Concatenated):
        return None
    pieces: list[CodedTensor] = []
    for piece in storage.pieces:
        coded = _as_one(piece)
        if coded is None:
            return None
        pieces.append(coded)
    found = slicing.join(storage.kind, storage.dim, [piece.checked for piece in pieces])
    return None if found is None else CodedTensor(found, _crc32(pieces) if storage.dim == 0 else None)


def _crc32(pieces: list[CodedTensor]) -> str | None:
    """The CRC of decoded bytes one after another, where files gave those of all pieces."""
    known = [(piece.crc32, piece.nbytes) for piece in pieces if piece.crc32 is not None]
    if len(known) < len(pieces):
        return None
    return reduce(lambda crc, following: joined_crc32(crc, *following), known[1:], known[0][0])


class Shelf:
    """What a file will hold. stored: coded tensors and arrays by name. recipes: the other tensors; pieces: names that are
    stored for them alone.

    taken: more names that pieces may not have. once: what the file holds under one name is a recipe under others.
    """

    def __init__(self, tensors: Mapping[str, Tensor], taken: Collection[str] = (), *, once: bool = False) -> None:
        self.stored: dict[str, Any] = {}
        self.recipes: dict[str, Tree] = {}
        self.pieces: list[str] = []
        self.residues: dict[str, int] = {}
        # Only mode "identical" depends on them, and files of the other stay the same wherever weights happened to lie.
        self._exact = any(isinstance(tensor, TerselyTensor) and not tensor.fuses for tensor in tensors.values())
        self._claimed = {*tensors, *taken}
        if NOTE in self._claimed:
            raise ArgumentError(f"the tensor name {NOTE!r} is that of recipes: give the tensor another one")
        self._once = once
        self._names: dict[tuple[Any, ...], str] = {}
        self._copies: dict[tuple[Any, ...], str] = {}
        self._seen: dict[int, set[tuple[int, int]]] = {}
        for name, tensor in tensors.items():
            if not isinstance(tensor, Tensor):
                raise ArgumentError(f"{name!r} is a {type(tensor).__name__}, not a tensor")
            if isinstance(tensor, TerselyTensor):
                for row_slice in _row_slices(tensor.storage_):
                    self._seen.setdefault(id(row_slice.whole), set()).add((row_slice.first, row_slice.last))
                if isinstance(tensor.storage_, Coded) and tensor.layout_ != "transposed":
                    self._names.setdefault(_key(tensor.storage_), name)
        for name, tensor in tensors.items():
            self._add(name, tensor)

    def note(self) -> dict[str, str]:
        """Returns the metadata entries, of those that are needed."""
        notes = {NOTE: self._text()} if self.recipes else {}
        if self.residues:
            notes[RESIDUES] = json.dumps(self.residues, separators=(",", ":"))
        return notes

    def note_tensor(self) -> dict[str, Tensor]:
        """Returns the same as a tensor."""
        return {NOTE: torch.frombuffer(bytearray(self._text().encode()), dtype=torch.uint8)} if self.recipes else {}

    def _text(self) -> str:
        return json.dumps({"recipes": self.recipes, "pieces": self.pieces}, separators=(",", ":"))

    def _add(self, name: str, tensor: Tensor) -> None:
        if not isinstance(tensor, TerselyTensor):
            self.stored[name] = dense.stored(name, tensor)
            if self._exact and tensor.ndim > 1:
                self._lay(name, residue_of(tensor))
            return
        storage = tensor.storage_
        tree = self._elsewhere(name, tensor) if self._once else None
        if tree is not None:
            self.recipes[name] = tree
            return
        coded = by_reference(tensor)
        in_pieces = isinstance(storage, Concatenated) or (isinstance(storage, RowSlice) and self._held(storage.whole))
        if coded is None and in_pieces:
            tree = self._tree(name, tensor, storage)
            self.recipes[name] = ["transposed", tree] if tensor.layout_ == "transposed" else tree
            return
        if coded is None and not isinstance(storage, Dense):
            coded = anew(tensor)
        self.stored[name] = as_array(tensor.decode()) if coded is None else coded
        if self._exact and coded is not None:
            self._lay(name, storage.residue)

    def _lay(self, name: str, residue: int) -> None:
        if residue:
            self.residues[name] = residue

    def _elsewhere(self, name: str, tensor: TerselyTensor) -> Tree | None:
        """The recipe of a weight that the file holds anyway, or None."""
        transposed = tensor.layout_ == "transposed"
        tree = self._known(tensor.storage_)
        if tree is None or tree == name:
            copy = self._copies.setdefault((*_key(tensor.storage_), transposed), name)
            return copy if copy in self.stored else None
        return ["transposed", tree] if transposed else tree

    def _known(self, storage: WeightStorage) -> Tree | None:
        """The recipe of a storage by tensors that have names, or None."""
        if _key(storage) in self._names:
            return self._names[_key(storage)]
        if isinstance(storage, RowSlice):
            whole = self._known(storage.whole)
            return None if whole is None else _rows(storage, whole)
        if not isinstance(storage, Concatenated):
            return None
        pieces = [self._known(piece) for piece in storage.pieces]
        return None if None in pieces else [storage.kind, storage.dim, pieces]

    def _held(self, whole: Coded) -> bool:
        """Returns whether the file has all of a coded tensor under a name, or slices of it that are as much."""
        row_slices = self._seen.get(id(whole), set())
        return _key(whole) in self._names or sum(last - first for first, last in row_slices) >= whole.shape[0]

    def _tree(self, owner: str, tensor: TerselyTensor, storage: WeightStorage) -> Tree:
        """The recipe of a storage; owner: the tensor that pieces are named after."""
        key = _key(storage)
        if key in self._names:
            return self._names[key]
        coded = _as_one(storage)
        if coded is None and isinstance(storage, Concatenated):
            return [storage.kind, storage.dim, [self._tree(owner, tensor, piece) for piece in storage.pieces]]
        if coded is None and isinstance(storage, RowSlice) and self._held(storage.whole):
            return _rows(storage, self._tree(owner, tensor, storage.whole))
        piece = tensor.like(storage, "contiguous")
        if coded is None and not isinstance(storage, Dense):
            coded = anew(piece)
        name = next(
            name for name in (f"{owner}#{k}" for k in range(len(self._claimed) + 1)) if name not in self._claimed
        )
        self._claimed.add(name)
        self.pieces.append(name)
        self._names[key] = name
        self.stored[name] = as_array(piece.decode()) if coded is None else coded
        return name


def _key(storage: WeightStorage) -> tuple[Any, ...]:
    if isinstance(storage, RowSlice):
        return (id(storage.whole), storage.first, storage.last, storage.squeezed)
    return (id(storage),)


def _rows(row_slice: RowSlice, whole: Tree) -> Tree:
    return ["row", row_slice.first, whole] if row_slice.squeezed else ["rows", row_slice.first, row_slice.last, whole]


def _row_slices(storage: WeightStorage) -> Iterator[RowSlice]:
    if isinstance(storage, Concatenated):
        for piece in storage.pieces:
            yield from _row_slices(piece)
    elif isinstance(storage, RowSlice):
        yield storage


def taken_note(tensors: dict[str, Any], metadata: Mapping[str, str], file: str) -> str | None:
    """Returns the text of the recipes, its tensor taken out of `tensors`. Raises CorruptError."""
    if NOTE not in tensors:
        return metadata.get(NOTE)
    if NOTE in metadata:
        raise CorruptError("recipes are there twice, as metadata and as a tensor", file=file, tensor=NOTE)
    held = tensors.pop(NOTE)
    plain = held.decode() if isinstance(held, TerselyTensor) else held  # compressing a file codes every tensor
    if not isinstance(plain, Tensor) or plain.dtype is not torch.uint8 or plain.nbytes > limits.HEADER_BYTES:
        raise CorruptError(
            "the tensor of recipes holds no text of metadata; get the file again", file=file, tensor=NOTE
        )
    return plain.contiguous().numpy().tobytes().decode(errors="replace")


def followed(tensors: dict[str, Any], note: str | None, mode: str, file: str) -> dict[str, Any]:
    """Returns the tensors of a file with its recipes followed and their pieces left out. Raises CorruptError."""
    if note is None:
        return tensors
    try:
        document = json.loads(note)
        recipes, pieces = document["recipes"], set(document["pieces"])
        if not isinstance(recipes, dict):
            raise ValueError
    except (ValueError, KeyError, TypeError, RecursionError):
        raise CorruptError(f"the recipes ({NOTE!r}) are damaged; get the file again", file=file) from None
    made = {}
    for name, tree in recipes.items():
        if name in tensors:
            raise CorruptError("the tensor is there twice, stored and as a recipe", file=file, tensor=name)
        layout = "contiguous"
        if isinstance(tree, list) and len(tree) == 2 and tree[0] == "transposed":
            layout, tree = "transposed", tree[1]
        try:
            storage = _made(tree, tensors)
            if layout == "transposed" and len(storage.shape) < 2:
                raise ValueError("it has no two dimensions to exchange")
        except (ValueError, TypeError, IndexError) as error:
            raise CorruptError(f"its recipe cannot be followed: {error}", file=file, tensor=name) from None
        tied = tensors[tree] if isinstance(tree, str) else None
        if isinstance(tied, TerselyTensor):
            made[name] = CLASSES[mode](tied.holder, layout)
        else:
            made[name] = _tensor(storage, layout, mode)
    for name in pieces & set(tensors):
        del tensors[name]
    tensors.update(made)
    return tensors


def residues_of(metadata: Mapping[str, str], file: str) -> dict[str, int]:
    """Returns where dense weights lay, by name, in bytes modulo a cache line. Raises CorruptError."""
    try:
        found = json.loads(metadata.get(RESIDUES, "{}"))
        fits = isinstance(found, dict) and all(type(value) is int and 0 <= value < LINE for value in found.values())
    except (ValueError, RecursionError):
        fits = False
    if not fits:
        raise CorruptError(f"the metadata entry {RESIDUES!r} is damaged; get the file again", file=file)
    return found


def _tensor(storage: WeightStorage, layout: str, mode: str) -> Tensor:
    if any(not isinstance(piece, Dense) for piece in _leaves(storage)):
        return CLASSES[mode](storage, layout)
    return storage.decode().transpose(-2, -1) if layout == "transposed" else storage.decode()


def _leaves(storage: WeightStorage) -> Iterator[WeightStorage]:
    if isinstance(storage, Concatenated):
        for piece in storage.pieces:
            yield from _leaves(piece)
    else:
        yield storage


def _made(tree: Tree, tensors: Mapping[str, Any], depth: int = 0) -> WeightStorage:
    """Raises ValueError, TypeError or IndexError with a reason for a tree that makes no sense."""
    if isinstance(tree, str):
        if not isinstance(tensors.get(tree), Tensor):
            raise ValueError(f"the file has no tensor {tree!r}")
        tensor = tensors[tree]
        return tensor.storage_ if isinstance(tensor, TerselyTensor) else Dense(tensor, True)
    if not isinstance(tree, list) or not tree or depth >= DEEPEST:
        raise ValueError("it is no tree of at most eight levels")
    word, *rest = tree
    if word in ("rows", "row"):
        *numbers, whole = rest
        if len(numbers) != (2 if word == "rows" else 1) or any(type(number) is not int for number in numbers):
            raise ValueError(f"{word} without integers")
        storage = _made(whole, tensors, depth + 1)
        first, last = numbers[0], numbers[-1] + (word == "row")
        if not storage.shape or not 0 <= first < last <= storage.shape[0]:
            raise ValueError(f"rows {first}:{last} of shape {list(storage.shape)}")
        return storage.narrow(first, last) if word == "rows" else storage.select(first)
    if word not in ("stack", "cat"):
        raise ValueError(f"unknown word {word!r}")
    dim, inner = rest
    pieces = [_made(piece, tensors, depth + 1) for piece in inner]
    shapes = {(piece.dtype, *_others(piece, word, dim)) for piece in pieces}
    known = dim == 0 if word == "stack" else pieces and (len(pieces[0].shape), dim) in ((2, 0), (3, 0), (3, 1))
    if type(dim) is not int or not known or len(shapes) != 1:
        raise ValueError(f"pieces that do not fit for {word} along {dim!r}")
    return Concatenated(word, dim, pieces)


def _others(piece: WeightStorage, word: str, dim: int) -> tuple[Any, ...]:
    """What pieces must have in common."""
    return piece.shape if word == "stack" else (*piece.shape[:dim], None, *piece.shape[dim + 1 :])
