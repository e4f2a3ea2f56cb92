"""Tensors of a model as arrays: elements raw, typed or in files beside it, bit for bit."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from tersely.core.dtypes import BY_TAG, DType
from tersely.core.errors import CorruptError, UnsupportedError
from tersely.files.container import varints
from tersely.files.foreign.onnx import external, tensors
from tersely.files.foreign.onnx.tensors import TensorProto

KINDS = {kind: BY_TAG[tag].numpy for kind, (tag, _) in tensors.TYPES.items() if tag in BY_TAG}
"""NumPy's dtype of an ONNX data type."""


@dataclass
class Weights:
    """The initialisers of a model by name, read when they are asked for."""

    folder: external.Folder | None = None
    path: str = ""
    protos: dict[str, TensorProto] = field(default_factory=dict)

    def add(self, proto: TensorProto) -> None:
        if proto.name in self.protos:
            raise CorruptError("two initialisers have this name", file=self.path, tensor=proto.name)
        self.protos[proto.name] = proto

    def __contains__(self, name: str) -> bool:
        return name in self.protos

    def array(self, name: str) -> np.ndarray:
        return self.array_of(self.protos[name], name)

    def array_of(self, proto: TensorProto, name: str) -> np.ndarray:
        """The elements, a view of the mapped file where they lie as arrays do.

        Raises CorruptError where lengths contradict the shape, UnsupportedError for types that arrays do not have.
        """
        dtype = KINDS.get(proto.data_type)
        if dtype is None:
            raise UnsupportedError(f"elements of {tensors.type_name(proto.data_type)}", file=self.path, tensor=name)
        assert self.folder is not None
        number = 0
        if proto.external:
            number, location = external.location_outside(proto, self.folder, name)
        else:
            location = tensors.location_inside(proto, self.path)
            if location.reason_refused == "elements in several pieces":
                return self._pieces(proto, dtype, name)
        if location.reason_refused:
            raise UnsupportedError(location.reason_refused, file=self.path, tensor=name)
        raw = self.folder.files[number].bytes[location.begin : location.end]
        if location.form != "raw":
            return self._typed(raw, proto, dtype, name)
        return np.frombuffer(raw.tobytes() if location.begin % dtype.itemsize else raw, dtype).reshape(proto.dims)

    def _typed(self, raw: np.ndarray, proto: TensorProto, dtype: np.dtype, name: str) -> np.ndarray:
        """Elements that are varints of the bits that an element has, negative ones as 64 bits."""
        count = math.prod(proto.dims)
        if int(np.count_nonzero(raw < 128)) != count:
            raise CorruptError(f"other than {count} elements", file=self.path, tensor=name)
        found = varints.decode(raw, _row(dtype), count)
        return _longhand(raw, dtype, proto) if found is None else found.view(dtype).reshape(proto.dims)

    def _pieces(self, proto: TensorProto, dtype: np.dtype, name: str) -> np.ndarray:
        """Several fields, packed or one number each."""
        assert self.folder is not None
        data = self.folder.files[0].bytes
        if proto.segmented or len(proto.spans) != 1:
            raise UnsupportedError("elements in segments", file=self.path, tensor=name)
        ((number, spans),) = proto.spans.items()
        raw = np.concatenate([data[begin:end] for begin, end in spans])
        count = math.prod(proto.dims)
        if number in (tensors.FLOATS, tensors.DOUBLES, tensors.RAW):
            if raw.size != count * dtype.itemsize:
                raise CorruptError(f"{raw.size} bytes of {count} elements", file=self.path, tensor=name)
            return raw.view(dtype).reshape(proto.dims)
        if int(np.count_nonzero(raw < 128)) != count:
            raise CorruptError(f"other than {count} elements", file=self.path, tensor=name)
        return _longhand(raw, dtype, proto)


def _row(dtype: np.dtype) -> DType:
    return next(row for row in BY_TAG.values() if row.numpy == dtype)


def _longhand(raw: np.ndarray, dtype: np.dtype, proto: TensorProto) -> np.ndarray:
    """Varints that are not in their shortest form."""
    numbers, value, shift = [], 0, 0
    for byte in raw.tolist():
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 128:
            numbers.append(value & (1 << 8 * dtype.itemsize) - 1)
            value = shift = 0
    word = np.dtype(f"<u{dtype.itemsize}")
    return np.array(numbers, word).view(dtype).reshape(proto.dims)
