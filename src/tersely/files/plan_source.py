"""What plans and explanations are made of: whatever `compress` takes, and what it or `transcode` wrote, decoded."""

from __future__ import annotations

from pathlib import Path

from tersely.files import folder
from tersely.files.compress_file import checked_names, is_ours, open_original
from tersely.files.container.reader import Reader
from tersely.files.decoded_source import RunnableSource
from tersely.files.encode_tensor import TensorFile
from tersely.files.folder import InputTree
from tersely.files.listing import weight_files


def find(path: Path) -> InputTree:
    """A file, sharded checkpoint or folder, compressed or not. Raises TerselyError with what is wrong and what would do."""
    if path.is_dir() and (path / folder.LEDGER).exists():
        weights = tuple(name for name in weight_files(path) if is_ours(path / name))
        return InputTree(path, path, True, weights, in_out=folder.is_in_out(path))
    return folder.find_source(path, False)


def open_tensors(path: Path, threads: int | None = None) -> TensorFile:
    """The tensors of one of its files as plain ones, whatever they lie as. Raises FormatError, TerselyError."""
    reader = open_original(path, threads)
    if isinstance(reader, Reader) and reader.compressed:
        reader = RunnableSource(reader)
    return checked_names(reader)
