"""An ONNX model, with the files that its weights lie in, as a source to compress."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np

from tersely.core.dtypes import BY_TAG
from tersely.core.errors import CorruptError, TerselyError
from tersely.files.container import varints
from tersely.files.foreign.onnx import external, graph, tensors
from tersely.files.foreign.onnx.wire import Message
from tersely.files.foreign.source import Slice, SlicedFile, SlicedSource

SUFFIX = ".onnx"
CONSTANT_BYTES = 32
"""Attributes up to this long stay in the graph's own bytes: they are shapes, axes and scalars, and a name costs
more."""
_SHOWN = 3


def open_model(path: str | os.PathLike[str]) -> SlicedSource:
    """The weights of a model by name: initialisers, and constants of more than `CONSTANT_BYTES`.

    What cannot be taken out (strings, types that no tensor file has) stays in the graph's bytes, and a note says so.
    Raises TerselyError: CorruptError with tensor and byte where the file is damaged; no weights; data out of the
    folder.
    """
    file = SlicedFile(Path(path), Path(path).name)
    walk = graph.Walk(Message(memoryview(file.bytes), 0, file.bytes.size, str(path)))  # type: ignore[arg-type]
    if not walk.graphs:
        raise TerselyError(f"{path} has no graph: not an ONNX model")
    folder = external.Folder(file)
    slices, left = [], []
    for found in walk.found:
        number, location = 0, tensors.Location()
        if found.proto.external:
            number, location = external.location_outside(found.proto, folder, found.name)
        else:
            location = tensors.location_inside(found.proto, str(path))
        if found.constant and location.end - location.begin <= CONSTANT_BYTES and not found.proto.external:
            continue
        reason = location.reason_refused or _not_canonical(folder.files[number], location, found.name)
        if reason:
            left.append(f"{found.name!r} ({reason})")
        else:
            slices.append(
                Slice(found.name, number, location.begin, location.end, location.tag, location.shape, location.form)
            )
    left += [f"{name!r} ({what})" for name, what, size in walk.kept if size > CONSTANT_BYTES]
    if not slices:
        raise TerselyError(
            f"{path} holds no weights that can be taken out" + (f": {', '.join(left[:_SHOWN])}" if left else "")
        )
    notes = []
    if left:
        rest = f" and {len(left) - _SHOWN} more" if len(left) > _SHOWN else ""
        notes.append(f"kept inside the model's graph as they are: {', '.join(left[:_SHOWN])}{rest}")
    return SlicedSource("onnx", folder.files, slices, notes, walk.in_out)


def _not_canonical(file: SlicedFile, location: tensors.Location, name: str) -> str:
    """Why numbers written one by one would not come back byte for byte, or ''.

    Raises CorruptError for a wrong count.
    """
    if location.form == "raw":
        return ""
    raw = file.bytes[location.begin : location.end]
    count, there = math.prod(location.shape), int(np.count_nonzero(raw < 128))
    if there != count:
        raise CorruptError(
            f"{there} elements where shape {list(location.shape)} needs {count}",
            file=str(file.path),
            tensor=name,
            file_byte=location.begin,
        )
    return "numbers not in their shortest form" if varints.decode(raw, BY_TAG[location.tag], count) is None else ""
