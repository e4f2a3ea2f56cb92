"""Single tensors of open files, checked and decoded; errors name file and tensor.

structure   header, descriptions, directories: milliseconds, afterwards no payload can crash anything
checksums   every byte of the file against its CRC-32
full        every tensor decoded and compared with the CRC-32 of the original bytes
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tersely.codes import registry
from tersely.codes.node import Checked
from tersely.core.dtypes import raw_bytes
from tersely.core.errors import FormatError, VerificationError
from tersely.files.container import description
from tersely.files.container.reader import Reader


def checked(reader: Any, name: str) -> Checked:
    """One tensor of an open file (`file`, `encoded`), its structure checked; errors name file and tensor."""
    try:
        return registry.check(reader.encoded(name))
    except FormatError as error:
        raise error.located(file=reader.file, tensor=name) from None


def check_tensor(reader: Reader, name: str, check: str) -> Checked:
    """Check one tensor of an open file at one of the three levels; errors name file and tensor."""
    found = checked(reader, name)
    if check != "structure":
        try:
            reader.check_sums(name)
        except FormatError as error:
            raise error.located(file=reader.file, tensor=name) from None
    if check == "full" and name in reader.descriptions:
        check_decoded(reader, name, decoded(reader, name, found))
    return found


def decoded(reader: Any, name: str, found: Checked | None = None, threads: int | None = None) -> np.ndarray:
    """The decoded bytes of a tensor of an open file, uint8; errors name file and tensor. found: it, once checked. threads:
    workers, None for as many as products use."""
    try:
        return raw_bytes(registry.decode(found or checked(reader, name), threads))
    except FormatError as error:
        raise error.located(file=reader.file, tensor=name) from None


def check_decoded(reader: Reader, name: str, raw: np.ndarray) -> None:
    """Compare decoded bytes with the CRC-32 of the original ones, where the file has it. Raises VerificationError."""
    known = reader.descriptions.get(name)
    if known is not None and description.crc32(raw) != known.crc32:
        raise VerificationError("decoded weights are not those that were stored", file=reader.file, tensor=name)


def claimed_bytes(reader: Any) -> int:
    """Bytes of all decoded tensors, by their descriptions."""
    coded = sum(-(-math.prod(one.shape) * one.dtype.bits // 8) for one in reader.descriptions.values())
    return coded + sum(entry.nbytes for entry in reader.dense.values())
