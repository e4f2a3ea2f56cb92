"""`make bench-peers`: size and speed on one thread beside other lossless codecs, on the tensors of real models.

    python -m benchmarks.files a.safetensors b.safetensors

Every codec gets every float tensor by itself, as a checkpoint is stored, as it is and cast to bfloat16. A round trip that does
not give the same bits ends the run. Times are of the processor, one thread. The others must be decoded before they can be
multiplied; tersely need not.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

import tersely
from benchmarks import peers, protocol, record
from benchmarks.peers import Peer, Stored
from benchmarks.protocol import Protocol
from tersely.planner import choose
from tersely.tensors.tensor import Tensor

SMALLEST = 1000
"""Weights that a tensor must have: what a codec does to smaller ones is overhead of calls."""


@dataclass(frozen=True)
class Ours:
    """tersely under an objective, with the functions of a peer."""

    objective: Any

    def version(self) -> str:
        return tersely.__version__

    def encode(self, array: np.ndarray) -> Stored:
        tensor = Tensor(choose.encode(array, objective=self.objective, threads=1))
        return Stored(tensor, tensor.nbytes_stored, array.shape, array.dtype)

    def decode(self, stored: Stored) -> Any:
        return np.ascontiguousarray(stored.data.decode(threads=1)).reshape(-1).view(np.uint8)

    def product(self, stored: Stored, x: np.ndarray) -> Callable[[], Any] | None:
        return lambda: tersely.linear(x, stored.data)


def codecs() -> dict[str, Peer]:
    """Ours first, then the peers that are installed."""
    return {"tersely, size": Ours("size"), "tersely, speed": Ours("speed"), **peers.installed(peers.CODECS)}


def tensors_of(path: Path) -> list[np.ndarray]:
    """The float32 and float16 tensors of a file that are large enough, as arrays of our own."""
    arrays = [tensor.decode() for tensor in tersely.load_file(path).values()]
    return [a for a in arrays if a.dtype in (np.dtype(np.float32), np.dtype(np.float16)) and a.size >= SMALLEST]


def measure(arrays: list[np.ndarray], plan: Protocol) -> list[dict[str, Any]]:
    """A row for each codec: sizes, and medians of encoding and decoding all tensors, taking turns."""
    every = codecs()
    stored = {name: [peer.encode(array) for array in arrays] for name, peer in every.items()}
    for name, peer in every.items():
        for one, array in zip(stored[name], arrays, strict=True):
            if not peers.same_bits(peer, one, array):
                raise SystemExit(f"{name} does not give a tensor of shape {list(array.shape)} back")
    gc.collect()
    encoding = protocol.measure(
        {name: lambda k, p=peer: [p.encode(array) for array in arrays] for name, peer in every.items()},  # type: ignore[misc]
        plan,
    )
    decoding = protocol.measure(
        {name: lambda k, p=peer, n=name: [p.decode(one) for one in stored[n]] for name, peer in every.items()},  # type: ignore[misc]
        plan,
    )
    original = sum(array.nbytes for array in arrays)
    rows = []
    for name, peer in every.items():
        size = sum(one.nbytes for one in stored[name])
        rows.append(
            {
                "codec": name,
                "version": peer.version(),
                "original_bytes": original,
                "stored_bytes": size,
                "ratio": original / size,
                "encode_mb_per_s": original / encoding.median_ms[name] / 1e3,
                "decode_mb_per_s": original / decoding.median_ms[name] / 1e3,
            }
        )
    return rows


def main() -> None:
    default = Protocol(threads=1, seconds=0, minimum_rounds=3, clock=time.process_time)
    parser = protocol.options(__doc__, default)
    parser.add_argument("models", type=Path, nargs="+", help="safetensors files with float32 or float16 tensors")
    arguments = parser.parse_args()
    plan = protocol.begin(arguments, default)
    found = record.new("files", plan) | {"time": "processor", "rows": []}
    for path in arguments.models:
        arrays = tensors_of(path)
        if not arrays:
            raise SystemExit(f"{path} has no float32 or float16 tensor of {SMALLEST} weights or more")
        for cast in (None, np.dtype(ml_dtypes.bfloat16)):
            these = arrays if cast is None else [array.astype(cast) for array in arrays]
            dtype = " cast to ".join(dict.fromkeys((arrays[0].dtype.name, these[0].dtype.name)))
            for row in measure(these, plan):
                found["rows"].append({"model": path.stem, "dtype": dtype, **row})
                print("{model}, {dtype}: {codec} {ratio:.3f}".format(**found["rows"][-1]), flush=True)
    record.save(found, arguments.output)


if __name__ == "__main__":
    main()
