"""How a file is given to a coder: as it is, its byte planes, or tensor by tensor. Each coder's smallest counts.

What a coder does not take itself (the header, tensors of a dtype that it does not know) is kept by raw LZMA, which adds
no bytes of its own; that tensors' lengths would be stored beside them is left out. So no peer is charged for a container.
"""

from __future__ import annotations

import lzma
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from benchmarks import peers, variants
from benchmarks.peers import Peer

BYTES = ("zstd_long", "xz", "brotli", "zpaq", "zstd")
"""Coders of bytes, which see a file as one stream; the others see numbers."""
FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME}]


@dataclass(frozen=True)
class Arrangement:
    """A file as arrays, each coded by itself, and what is not given to the coder."""

    arrays: tuple[np.ndarray, ...]
    rest: bytes = b""


def _planes(arrays: Iterable[np.ndarray]) -> np.ndarray:
    """The first byte of every value, the second of every value, and so on, by array."""
    split = [array.reshape(-1).view(np.uint8).reshape(-1, array.dtype.itemsize).T.reshape(-1) for array in arrays]
    return np.concatenate([np.zeros(0, np.uint8), *split])


def _joined(arrays: Iterable[np.ndarray]) -> list[np.ndarray]:
    """Arrays of one dtype as one, in the order of their first."""
    found: dict[np.dtype, list[np.ndarray]] = {}
    for array in arrays:
        found.setdefault(array.dtype, []).append(array.reshape(-1))
    return [np.concatenate(parts) for parts in found.values()]


def of_bytes(data: bytes) -> dict[str, Arrangement]:
    """The arrangements for coders of bytes. Files of bytes have no planes."""
    header, tensors = variants.read(data)
    found = {"file": Arrangement((np.frombuffer(data, np.uint8),))}
    if any(array.dtype.itemsize > 1 for array in tensors.values()):
        start = np.frombuffer(header, np.uint8)
        by_tensor, by_dtype = _planes(tensors.values()), _planes(_joined(tensors.values()))
        found["planes of each tensor"] = Arrangement((np.concatenate([start, by_tensor]),))
        found["planes of each dtype"] = Arrangement((np.concatenate([start, by_dtype]),))
    return found


def of_numbers(data: bytes, takes: Callable[[np.ndarray], bool]) -> dict[str, Arrangement]:
    """The arrangements for coders of numbers: tensors by themselves, and those of a dtype as one."""
    header, tensors = variants.read(data)
    arrays = [array for array in tensors.values() if array.size]
    given = [array for array in arrays if takes(array)]
    rest = header + b"".join(array.tobytes() for array in arrays if not takes(array))
    joined = _joined(given)
    found = {"tensors": Arrangement(tuple(given), rest)}
    if all(map(takes, joined)):
        found["tensors of a dtype as one"] = Arrangement(tuple(joined), rest)
    return found if given else {}


def of(data: bytes, name: str, peer: Peer) -> dict[str, Arrangement]:
    """What there is for a peer of this name; nothing where it takes none of the tensors."""
    if name in BYTES:
        return of_bytes(data)
    return of_numbers(data, lambda array: peers.takes(peer, array))


def stored_bytes(peer: Peer, arranged: Arrangement) -> int:
    """How many bytes a peer takes for it. Raises SystemExit where it does not give every bit back."""
    total = len(lzma.compress(arranged.rest, lzma.FORMAT_RAW, filters=FILTERS)) if arranged.rest else 0
    for array in arranged.arrays:
        stored = peer.encode(array)
        if not peers.same_bits(peer, stored, array):
            raise SystemExit(f"{peer} does not give a tensor of shape {list(array.shape)}, {array.dtype} back")
        total += min(stored.nbytes, array.nbytes)
    return total
