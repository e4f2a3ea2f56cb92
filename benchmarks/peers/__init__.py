"""Others to compare with, a file for each, all with the same four functions:

    version()            what is measured; ImportError where it is not installed
    encode(array)        the array as the peer keeps it, with the bytes that this takes
    decode(stored)       the bytes of the array again, in any form that memoryview takes
    product(stored, x)   a function of nothing that multiplies x by the stored matrix, or None where the peer must
                         decode first, or has no product for this x

What a peer reads its input as (dtype, level, threads) is in its file, with the reason. One that does not take every array
has TAKES, the names of dtypes, or a function takes(array), or both.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np


@dataclass(frozen=True)
class Stored:
    """What a peer keeps of an array: data in a form of its own, the bytes that it takes, shape and dtype."""

    data: Any
    nbytes: int
    shape: tuple[int, ...]
    dtype: np.dtype


class Peer(Protocol):
    """A module of this package."""

    def version(self) -> str: ...
    def encode(self, array: np.ndarray) -> Stored: ...
    def decode(self, stored: Stored) -> Any: ...
    def product(self, stored: Stored, x: np.ndarray) -> Callable[[], Any] | None: ...


PRODUCTS = ("torch_linear", "torch_mv", "torch_csr", "scipy_csr")
CODECS = ("zstd", "zlib", "zipnn", "pcodec")
STORAGE = ("zstd_long", "xz", "brotli", "zpaq", "zipnn", "pcodec_best", "openzl", "nncodec", "huffman")
"""What stores smallest, each at its best, for `benchmarks.storage`."""
MODEL_CODERS = (
    "deep_compression", "csr", "csc", "bitmap", "hac", "shac", "cer", "cser", "fixed12", "wavelet",
)  # fmt: skip
"""Other methods of model coding, each a plain implementation of ours of what a paper says, or a product that is not for CPUs."""

CODERS = (*STORAGE, "zstd", *MODEL_CODERS)
"""Every coder of weights, for `benchmarks.evidence`."""
MULTIPLYING = ("scipy_csr", "torch_csr", *(name for name in MODEL_CODERS if name != "deep_compression"))
"""Those that have a product of what they coded."""


def installed(names: tuple[str, ...], missing: dict[str, str] | None = None) -> dict[str, Peer]:
    """The peers of these names that can be had here; why others cannot is put into `missing`."""
    found = {}
    for name in names:
        peer = cast(Peer, importlib.import_module(f"benchmarks.peers.{name}"))
        try:
            peer.version()
        except ImportError as reason:
            if missing is not None:
                missing[name] = str(reason)
            continue
        found[name] = peer
    return found


def takes(peer: Peer, array: np.ndarray) -> bool:
    """Whether the peer takes an array of this dtype, and with these values."""
    if array.dtype.name not in getattr(peer, "TAKES", (array.dtype.name,)):
        return False
    return bool(getattr(peer, "takes", lambda array: True)(array))


def same_bits(peer: Peer, stored: Stored, array: np.ndarray) -> bool:
    """Whether the peer gives the array back bit for bit."""
    return bytes(memoryview(peer.decode(stored)).cast("B")) == array.tobytes()
