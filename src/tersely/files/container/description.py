"""The component `info`: a coded tensor's own description, so that it survives any re-saving of the file.

Compact JSON, padded with spaces to a multiple of 64 bytes, with a CRC-32 of itself (its eight digits read as zeros).
FORMAT: docs/FORMAT.md, "The component info".
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from tersely.core.dtypes import BY_NAME, BY_TAG
from tersely.core.encoded import Encoded, Node
from tersely.core.errors import CorruptError, UnsupportedError
from tersely.files.container import limits

VERSION = "1.0"
"""The format of descriptions, and of files without a pool."""
POOLED_VERSION = "2.0"
"""The format of files with a pool (`container.pool`), whose tensors readers of 1.0 would miss."""
MAJORS = frozenset(version.split(".")[0] for version in (VERSION, POOLED_VERSION))
"""First numbers of the formats that are read."""
MARK = ".tersely."
INFO = "info"

_SELF = b'"self_crc32":"'
_KEYS = {
    "tersely",
    "shape",
    "dtype",
    "view",
    "orientation",
    "column_order",
    "profile",
    "tree",
    "components",
    "crc32",
    "self_crc32",
}


def crc32(data: Any, start: int = 0) -> str:
    """Eight hexadecimal digits."""
    return f"{zlib.crc32(data, start):08x}"


def joined_crc32(first: str, second: str, second_bytes: int) -> str:
    """The CRC-32 of two pieces of data one after another, from their own ones and the length of the second.

    As zlib's crc32_combine: appending a zero byte is a linear map of the 32 bits; `second_bytes` of them are its powers
    of two, each a matrix whose column k is what it makes of bit k.
    """
    crc, power = (
        int(first, 16),
        [zlib.crc32(b"\0", (1 << bit) ^ 0xFFFFFFFF) ^ zlib.crc32(b"\0", 0xFFFFFFFF) for bit in range(32)],
    )

    def through(matrix: list[int], value: int) -> int:
        result = 0
        for column in matrix:
            result ^= column if value & 1 else 0
            value >>= 1
        return result

    while second_bytes:
        if second_bytes & 1:
            crc = through(power, crc)
        power = [through(power, column) for column in power]
        second_bytes >>= 1
    return f"{crc ^ int(second, 16):08x}"


def seal(document: bytes, mark: bytes) -> bytes:
    """Fill the eight digits after `mark` (zeros so far) with the CRC-32 of the whole document."""
    at = document.index(mark) + len(mark)
    return document[:at] + crc32(document).encode() + document[at + 8 :]


def seal_holds(document: bytes, mark: bytes) -> bool:
    """Whether the digits after `mark` are the CRC-32 of the document with zeros in their place."""
    at = document.find(mark)
    if at < 0:
        return False
    at += len(mark)
    return crc32(document[:at] + b"0" * 8 + document[at + 8 :]).encode() == document[at : at + 8]


def to_bytes(encoded: Encoded, component_crc32: Mapping[str, str], original_crc32: str) -> bytes:
    """The component `info` of a coded tensor. original_crc32: of the decoded tensor's bytes."""
    document = {
        "tersely": VERSION,
        "shape": list(encoded.shape),
        "dtype": BY_NAME[encoded.dtype].tag,
        "view": encoded.view,
        "orientation": encoded.orientation,
        "column_order": encoded.column_order,
        "profile": encoded.profile,
        "tree": encoded.node.to_json(),
        "components": {name: component_crc32[name] for name in encoded.components},
        "crc32": original_crc32,
        "self_crc32": "00000000",
    }
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
    return seal(text + b" " * (-len(text) % 64), _SELF)


def _refuse(_: str) -> Any:
    raise ValueError("a number that is not a short integer")


def _integer(text: str) -> int:
    return _refuse(text) if len(text) > 20 else int(text)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice")
    return found


_DECODER = json.JSONDecoder(parse_int=_integer, parse_float=_refuse, parse_constant=_refuse, object_pairs_hook=_unique)


class Description:
    """A parsed `info`: everything of an `Encoded` but the component bytes, and the checksums."""

    def __init__(self, raw: bytes, file: str, tensor: str) -> None:
        """Raises CorruptError or UnsupportedError naming file and tensor."""
        self._file, self._tensor = file, tensor
        if len(raw) > limits.INFO_BYTES:
            raise self._corrupt(f"{len(raw)} bytes of description (limit {limits.INFO_BYTES})")
        document = self._load(raw)
        version = document.get("tersely")
        if not isinstance(version, str) or version.split(".")[0] != VERSION.split(".")[0]:
            raise UnsupportedError(
                f"format version {version!r}: this tersely reads {VERSION}; use a newer release",
                file=file,
                tensor=tensor,
                component=INFO,
            )
        if not seal_holds(raw, _SELF):
            raise self._corrupt("its own checksum does not hold; get the file again")
        if set(document) != _KEYS:
            raise self._corrupt(f"unknown or missing field {sorted(set(document) ^ _KEYS)[0]!r}")
        shape, tag = document["shape"], document["dtype"]
        if (
            not isinstance(shape, list)
            or len(shape) > limits.DIMENSIONS
            or not all(type(length) is int and 0 <= length < 1 << 63 for length in shape)
            or math.prod(max(1, length) for length in shape) >= limits.ELEMENTS
        ):
            raise self._corrupt("the shape is not a short list of integers; get the file again")
        if not isinstance(tag, str) or tag not in BY_TAG:
            raise self._corrupt(f"unknown dtype {tag!r}")
        words = {key: document[key] for key in ("view", "orientation", "column_order", "profile", "crc32")}
        if not all(isinstance(word, str) and len(word) < 64 for word in words.values()):
            raise self._corrupt("view, orientation, column_order, profile and crc32 must be short words")
        self.shape: tuple[int, ...] = tuple(shape)
        self.dtype = BY_TAG[tag]
        self.view, self.orientation = words["view"], words["orientation"]
        self.column_order, self.profile, self.crc32 = words["column_order"], words["profile"], words["crc32"]
        self.node = self._node(document["tree"], 0)
        self.components: dict[str, str] = document["components"]
        if not isinstance(self.components, dict) or not all(
            isinstance(digits, str) and len(digits) == 8 for digits in self.components.values()
        ):
            raise self._corrupt("components must map names to CRC-32s of eight digits")

    def encoded(self, components: Mapping[str, np.ndarray]) -> Encoded:
        return Encoded(
            self.shape,
            self.dtype.name,
            self.view,
            self.orientation,
            self.column_order,
            self.node,
            components,
            self.profile,
        )

    def _corrupt(self, message: str) -> CorruptError:
        return CorruptError(message, file=self._file, tensor=self._tensor, component=INFO)

    def _load(self, raw: bytes) -> dict[str, Any]:
        try:
            document = _DECODER.decode(raw.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise self._corrupt(f"not a description: {str(error)[:100]}; get the file again") from None
        if not isinstance(document, dict):
            raise self._corrupt("not a description: no object; get the file again")
        return document

    def _node(self, json_node: Any, depth: int) -> Node:
        if depth > limits.TREE_DEPTH:
            raise self._corrupt(f"formulations nested deeper than {limits.TREE_DEPTH}")
        if not isinstance(json_node, dict) or not set(json_node) <= {
            "formulation",
            "version",
            "parameters",
            "children",
        }:
            raise self._corrupt("a node of the tree has formulation, version, parameters and children only")
        parameters, children = json_node.get("parameters", {}), json_node.get("children", {})
        if (
            not isinstance(json_node.get("formulation"), str)
            or type(json_node.get("version")) is not int
            or not isinstance(parameters, dict)
            or not isinstance(children, dict)
        ):
            raise self._corrupt("a node of the tree needs a formulation (a word) and a version (an integer)")
        nodes = {name: self._node(child, depth + 1) for name, child in children.items()}
        return Node(json_node["formulation"], json_node["version"], parameters, nodes)
