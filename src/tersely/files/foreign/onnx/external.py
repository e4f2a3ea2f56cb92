"""Data in files beside the model: which range of which file, and never one outside the model's folder.

`external_data` is a map of strings: location (relative to the model), offset and length (decimal, may be missing).
See: onnx.proto, "external_data".
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from tersely.core.errors import CorruptError, TerselyError
from tersely.files.container.pieces import is_inside
from tersely.files.foreign.onnx.tensors import Location, TensorProto, element_bytes, type_name
from tersely.files.foreign.source import SlicedFile


class Folder:
    """The model and the files beside it that its tensors name; each is opened once, the model is the first."""

    def __init__(self, model: SlicedFile) -> None:
        self.files = [model]
        self._numbers: dict[str, int] = {}
        # The model itself may be a link (a cache of downloads): then its data may lie beside what it leads to.
        self._allowed = {model.path.parent.resolve(), model.path.resolve().parent}

    def number_of(self, location: str, tensor: str) -> int:
        """The file's number. Raises TerselyError where it leaves the folder or cannot be read."""
        if not is_inside(location):
            raise CorruptError(
                f"external data {location!r} leaves the folder of the model, which is refused",
                file=self.files[0].name,
                tensor=tensor,
            )
        name = str(PurePosixPath(location))
        if name not in self._numbers:
            path: Path = self.files[0].path.parent / name
            resolved = path.resolve()
            if not any(folder in resolved.parents for folder in self._allowed):
                raise CorruptError(
                    f"external data {location!r} is a link out of the folder of the model, which is refused",
                    file=self.files[0].name,
                    tensor=tensor,
                )
            if resolved == self.files[0].path.resolve():
                raise CorruptError("external data in the model's own file", file=self.files[0].name, tensor=tensor)
            if not path.exists():
                raise TerselyError(f"{path} does not exist, but tensor {tensor!r} of {self.files[0].name} lies in it")
            self._numbers[name] = len(self.files)
            self.files.append(SlicedFile(path, name))
        return self._numbers[name]


def location_outside(found: TensorProto, folder: Folder, tensor: str) -> tuple[int, Location]:
    """(file, location) of a tensor with external data. Raises TerselyError where the entries are wrong."""
    stored = element_bytes(found)
    if stored is None:
        return 0, Location(reason_refused=type_name(found.data_type))
    tag, shape, size = stored
    number = folder.number_of(found.entries.get("location", ""), tensor)
    file = folder.files[number]
    offset = _decimal(found.entries.get("offset", "0"), "offset", file, tensor)
    length = _decimal(found.entries.get("length", str(size)), "length", file, tensor)
    if length != size:
        raise CorruptError(
            f"{length} bytes of external data where shape {found.dims} needs {size}",
            file=file.name,
            tensor=tensor,
            file_byte=offset,
        )
    if offset + size > file.bytes.size:
        raise CorruptError(
            f"external data ends at byte {offset + size} of the file, which has {file.bytes.size}: truncated?",
            file=file.name,
            tensor=tensor,
            file_byte=min(offset, file.bytes.size),
        )
    return number, Location(tag, shape, offset, offset + size)


def _decimal(text: str, what: str, file: SlicedFile, tensor: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise CorruptError(f"external data has the {what} {text[:30]!r}, not a number", file=file.name, tensor=tensor)
    return int(text)
