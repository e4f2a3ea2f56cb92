"""Parts and joins in files: saving them codes nothing anew, and loading gives them back as what they were.

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
from tersely.tensors.tensor import Tensor as Coded
from tersely.torch import dense, views
from tersely.torch.content import Content, Leaf, Pieces, Plain, Window
from tersely.torch.dtypes import as_array
from tersely.torch.form import coded_of, form_of
from tersely.torch.placement import LINE, residue_of
from tersely.torch.tensor import CLASSES, TerselyTensor

NOTE = "tersely_recipes"
"""The metadata entry, or the tensor that holds its text."""
RESIDUES = "tersely_residues"
"""The metadata entry that says where dense weights lay, where that is not at the beginning of a cache line."""
DEEPEST = 8
Tree = Any


def by_reference(tensor: TerselyTensor) -> Coded | None:
    """The tensor as one coded tensor by its stored bytes; None where they cannot be taken as they are."""
    coded = _as_one(tensor.content)
    if coded is None or tensor.layout_ != "transposed":
        return coded
    form = form_of(coded.encoded).turned()
    return None if form is None else coded_of(form, list(coded.encoded.components.values()))


def anew(tensor: TerselyTensor) -> Coded | None:
    """The tensor decoded and coded again; None where no code makes it smaller."""
    content = views.encode(tensor.decode(), tensor.encoding)
    return content.coded if isinstance(content, Leaf) else None


def _as_one(content: Content) -> Coded | None:
    if isinstance(content, Leaf):
        return content.coded
    if isinstance(content, Window):
        found = slicing.take(content.leaf.coded.checked, content.first, content.last, squeezed=content.squeezed)
        return None if found is None else Coded(found)
    if not isinstance(content, Pieces):
        return None
    pieces: list[Coded] = []
    for piece in content.pieces:
        coded = _as_one(piece)
        if coded is None:
            return None
        pieces.append(coded)
    found = slicing.join(content.kind, content.dim, [piece.checked for piece in pieces])
    return None if found is None else Coded(found, _crc32(pieces) if content.dim == 0 else None)


def _crc32(pieces: list[Coded]) -> str | None:
    """Of decoded bytes one after another, where files said those of all pieces."""
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
        self._twins: dict[tuple[Any, ...], str] = {}
        self._seen: dict[int, set[tuple[int, int]]] = {}
        for name, tensor in tensors.items():
            if not isinstance(tensor, Tensor):
                raise ArgumentError(f"{name!r} is a {type(tensor).__name__}, not a tensor")
            if isinstance(tensor, TerselyTensor):
                for window in _windows(tensor.content):
                    self._seen.setdefault(id(window.leaf), set()).add((window.first, window.last))
                if isinstance(tensor.content, Leaf) and tensor.layout_ != "transposed":
                    self._names.setdefault(_key(tensor.content), name)
        for name, tensor in tensors.items():
            self._add(name, tensor)

    def note(self) -> dict[str, str]:
        """The metadata entries, of those that are needed."""
        notes = {NOTE: self._text()} if self.recipes else {}
        if self.residues:
            notes[RESIDUES] = json.dumps(self.residues, separators=(",", ":"))
        return notes

    def note_tensor(self) -> dict[str, Tensor]:
        """The same as a tensor."""
        return {NOTE: torch.frombuffer(bytearray(self._text().encode()), dtype=torch.uint8)} if self.recipes else {}

    def _text(self) -> str:
        return json.dumps({"recipes": self.recipes, "pieces": self.pieces}, separators=(",", ":"))

    def _add(self, name: str, tensor: Tensor) -> None:
        if not isinstance(tensor, TerselyTensor):
            self.stored[name] = dense.stored(name, tensor)
            if self._exact and tensor.ndim > 1:
                self._lay(name, residue_of(tensor))
            return
        content = tensor.content
        tree = self._elsewhere(name, tensor) if self._once else None
        if tree is not None:
            self.recipes[name] = tree
            return
        coded = by_reference(tensor)
        in_pieces = isinstance(content, Pieces) or (isinstance(content, Window) and self._held(content.leaf))
        if coded is None and in_pieces:
            tree = self._tree(name, tensor, content)
            self.recipes[name] = ["transposed", tree] if tensor.layout_ == "transposed" else tree
            return
        if coded is None and not isinstance(content, Plain):
            coded = anew(tensor)
        self.stored[name] = as_array(tensor.decode()) if coded is None else coded
        if self._exact and coded is not None:
            self._lay(name, content.residue)

    def _lay(self, name: str, residue: int) -> None:
        if residue:
            self.residues[name] = residue

    def _elsewhere(self, name: str, tensor: TerselyTensor) -> Tree | None:
        """The recipe of a weight that the file holds anyway, or None."""
        turned = tensor.layout_ == "transposed"
        tree = self._known(tensor.content)
        if tree is None or tree == name:
            twin = self._twins.setdefault((*_key(tensor.content), turned), name)
            return twin if twin in self.stored else None
        return ["transposed", tree] if turned else tree

    def _known(self, content: Content) -> Tree | None:
        """The recipe of a content by tensors that have names, or None."""
        if _key(content) in self._names:
            return self._names[_key(content)]
        if isinstance(content, Window):
            whole = self._known(content.leaf)
            return None if whole is None else _rows(content, whole)
        if not isinstance(content, Pieces):
            return None
        pieces = [self._known(piece) for piece in content.pieces]
        return None if None in pieces else [content.kind, content.dim, pieces]

    def _held(self, leaf: Leaf) -> bool:
        """Whether the file has the whole leaf under a name, or parts of it that are as much."""
        windows = self._seen.get(id(leaf), set())
        return _key(leaf) in self._names or sum(last - first for first, last in windows) >= leaf.shape[0]

    def _tree(self, owner: str, tensor: TerselyTensor, content: Content) -> Tree:
        """The recipe of a content; owner: the tensor that pieces are named after."""
        key = _key(content)
        if key in self._names:
            return self._names[key]
        coded = _as_one(content)
        if coded is None and isinstance(content, Pieces):
            return [content.kind, content.dim, [self._tree(owner, tensor, piece) for piece in content.pieces]]
        if coded is None and isinstance(content, Window) and self._held(content.leaf):
            return _rows(content, self._tree(owner, tensor, content.leaf))
        part = tensor.like(content, "contiguous")
        if coded is None and not isinstance(content, Plain):
            coded = anew(part)
        name = next(
            name for name in (f"{owner}#{k}" for k in range(len(self._claimed) + 1)) if name not in self._claimed
        )
        self._claimed.add(name)
        self.pieces.append(name)
        self._names[key] = name
        self.stored[name] = as_array(part.decode()) if coded is None else coded
        return name


def _key(content: Content) -> tuple[Any, ...]:
    if isinstance(content, Window):
        return (id(content.leaf), content.first, content.last, content.squeezed)
    return (id(content),)


def _rows(window: Window, whole: Tree) -> Tree:
    return ["row", window.first, whole] if window.squeezed else ["rows", window.first, window.last, whole]


def _windows(content: Content) -> Iterator[Window]:
    if isinstance(content, Pieces):
        for piece in content.pieces:
            yield from _windows(piece)
    elif isinstance(content, Window):
        yield content


def taken_note(tensors: dict[str, Any], metadata: Mapping[str, str], file: str) -> str | None:
    """The text of the recipes, its tensor taken out of `tensors`. Raises CorruptError."""
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
    """The tensors of a file with its recipes followed and their pieces left out. Raises CorruptError."""
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
            content = _made(tree, tensors)
            if layout == "transposed" and len(content.shape) < 2:
                raise ValueError("it has no two dimensions to exchange")
        except (ValueError, TypeError, IndexError) as error:
            raise CorruptError(f"its recipe cannot be followed: {error}", file=file, tensor=name) from None
        tied = tensors[tree] if isinstance(tree, str) else None
        if isinstance(tied, TerselyTensor):
            made[name] = CLASSES[mode](tied.holder, layout)
        else:
            made[name] = _tensor(content, layout, mode)
    for name in pieces & set(tensors):
        del tensors[name]
    tensors.update(made)
    return tensors


def residues_of(metadata: Mapping[str, str], file: str) -> dict[str, int]:
    """Where dense weights lay, by name, in bytes modulo a cache line. Raises CorruptError."""
    try:
        found = json.loads(metadata.get(RESIDUES, "{}"))
        fits = isinstance(found, dict) and all(type(value) is int and 0 <= value < LINE for value in found.values())
    except (ValueError, RecursionError):
        fits = False
    if not fits:
        raise CorruptError(f"the metadata entry {RESIDUES!r} is damaged; get the file again", file=file)
    return found


def _tensor(content: Content, layout: str, mode: str) -> Tensor:
    if any(not isinstance(piece, Plain) for piece in _leaves(content)):
        return CLASSES[mode](content, layout)
    return content.decode().transpose(-2, -1) if layout == "transposed" else content.decode()


def _leaves(content: Content) -> Iterator[Content]:
    if isinstance(content, Pieces):
        for piece in content.pieces:
            yield from _leaves(piece)
    else:
        yield content


def _made(tree: Tree, tensors: Mapping[str, Any], depth: int = 0) -> Content:
    """Raises ValueError, TypeError or IndexError with a reason for a tree that makes no sense."""
    if isinstance(tree, str):
        if not isinstance(tensors.get(tree), Tensor):
            raise ValueError(f"the file has no tensor {tree!r}")
        tensor = tensors[tree]
        return tensor.content if isinstance(tensor, TerselyTensor) else Plain(tensor, True)
    if not isinstance(tree, list) or not tree or depth >= DEEPEST:
        raise ValueError("it is no tree of at most eight levels")
    word, *rest = tree
    if word in ("rows", "row"):
        *numbers, whole = rest
        if len(numbers) != (2 if word == "rows" else 1) or any(type(number) is not int for number in numbers):
            raise ValueError(f"{word} of no whole numbers")
        content = _made(whole, tensors, depth + 1)
        first, last = numbers[0], numbers[-1] + (word == "row")
        if not content.shape or not 0 <= first < last <= content.shape[0]:
            raise ValueError(f"rows {first}:{last} of shape {list(content.shape)}")
        return content.narrow(first, last) if word == "rows" else content.select(first)
    if word not in ("stack", "cat"):
        raise ValueError(f"unknown word {word!r}")
    dim, inner = rest
    pieces = [_made(part, tensors, depth + 1) for part in inner]
    shapes = {(piece.dtype, *_others(piece, word, dim)) for piece in pieces}
    known = dim == 0 if word == "stack" else pieces and (len(pieces[0].shape), dim) in ((2, 0), (3, 0), (3, 1))
    if type(dim) is not int or not known or len(shapes) != 1:
        raise ValueError(f"pieces that do not fit for {word} along {dim!r}")
    return Pieces(word, dim, pieces)


def _others(piece: Content, word: str, dim: int) -> tuple[Any, ...]:
    """What pieces must have in common."""
    return piece.shape if word == "stack" else (*piece.shape[:dim], None, *piece.shape[dim + 1 :])
