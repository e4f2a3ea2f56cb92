"""Tensors that are stored as they are: what may go into a file, and what a file gives.

Whoever gives or asks for many tensors learns which of them cannot be had, by name; the others are not taken along.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from tersely.core.dtypes import BY_NAME
from tersely.core.encoded import Encoded, Node
from tersely.core.errors import ArgumentError, TerselyError
from tersely.files.container.reader import Reader
from tersely.files.open import File
from tersely.tensors.tensor import Tensor as CodedTensor
from tersely.torch.weight import plain
from tersely.torch.weight.dtypes import as_array, of_bytes, packed_bytes, why_torch_lacks

_NODE = Node("dense", 1)
_SHOWN = 4


def checked(name: str, tensor: Tensor) -> None:
    """Raises ArgumentError, naming the tensor and the remedy, for what is no plain memory."""
    if reason := plain.reason_refused(tensor):
        raise ArgumentError(f"the tensor {name!r} {reason}")


def stored(name: str, tensor: Tensor) -> Any:
    """Returns a dense tensor as a file takes it: an array, or a tensor of tersely where arrays lack its dtype.

    Raises ArgumentError naming the tensor.
    """
    try:
        packed = packed_bytes(tensor)
        if packed is None:
            return as_array(tensor)
    except ArgumentError as error:
        said = str(error).removeprefix("the tensor ")
        raise ArgumentError(f"the tensor {name!r}{':' if said == str(error) else ''} {said}") from None
    dtype, shape, raw = packed
    return CodedTensor(Encoded(shape, dtype.name, "folded", "out_in", "as_is", _NODE, {"bytes": raw}))


def for_others(state: Mapping[str, Any], name: str) -> Any:
    """Returns an entry of a state dict as other writers need it, who look at memory, not at marks or strides.

    Raises ArgumentError for tensors that are no plain memory.
    """
    value = state[name]
    if not isinstance(value, Tensor):
        return value
    checked(name, value)
    lazy = value.is_conj() or value.is_neg() or value._is_zerotensor() or not value.is_contiguous()
    return plain.resolved(value) if lazy else value


class Loaded(dict[str, Tensor]):
    """The tensors of a file. Those that torch cannot have are not among them, and say why when they are asked for."""

    def __init__(self, file: str) -> None:
        super().__init__()
        self._file = file
        self.refused: dict[str, str] = {}

    def __missing__(self, name: str) -> Tensor:
        if name not in self.refused:
            raise KeyError(name)
        raise TerselyError(f"{self._file}: tensor {name!r} cannot be given: {self.refused[name]}; {_REMEDY}")

    def warn(self, stacklevel: int) -> None:
        """Says which tensors are left out."""
        if self.refused:
            first = [f"{name!r} ({reason})" for name, reason in list(self.refused.items())[:_SHOWN]]
            more = f" and {len(self.refused) - _SHOWN} more" if len(self.refused) > _SHOWN else ""
            warnings.warn(f"{self._file}: left out {', '.join(first)}{more}; {_REMEDY}", stacklevel=stacklevel + 1)


_REMEDY = "tersely.load_file gives the bytes"


class DenseTensors:
    """Dense tensors of an open file, which may be written to: their pages are private."""

    def __init__(self, file: File, path: str | os.PathLike[str], mmap: bool) -> None:
        """mmap: False gives each of them memory of its own."""
        self._reader = file.reader if isinstance(file.reader, Reader) else None  # what is stored is not there as it is
        self._start = file.reader.header.data_start
        mapped = np.memmap(path, np.uint8, "c") if mmap and self._reader and os.path.getsize(path) else None
        self._private = None if mapped is None else mapped.view(np.ndarray)

    def reason_refused(self, coded: CodedTensor) -> str:
        """Returns why torch cannot have a tensor; '' where it can."""
        return why_torch_lacks(BY_NAME[coded.encoded.dtype], coded.encoded.shape)

    def get(self, name: str, coded: CodedTensor) -> Tensor:
        """Returns the tensor of that name. Copies of others, and what is not aligned, get memory of their own."""
        dtype = BY_NAME[coded.encoded.dtype]
        entry = None if self._reader is None else self._reader.dense.get(name)
        if self._reader is None or entry is None:
            raw = coded.decode().reshape(-1).view(np.uint8)
            return of_bytes(raw if raw.flags.writeable else raw.copy(), dtype, coded.encoded.shape)
        begin, length = self._start + entry.begin, entry.end - entry.begin
        if self._private is None or self._reader.is_pooled(name):
            raw = self._reader.raw(entry).copy()
        else:
            raw = self._private[begin : begin + length]
            if begin % dtype.numpy.itemsize or not length:  # a mapping begins at a page
                raw = raw.copy()
        return of_bytes(raw, dtype, entry.shape)
