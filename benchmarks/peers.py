"""`make bench-peers`: size and one-thread speed of tersely beside other lossless codecs, on the tensors of real models.

Every codec gets every float tensor by itself, as a checkpoint is stored. A round trip that does not give the same bits
ends the run.
"""

from __future__ import annotations

import argparse
import gc
import importlib.metadata
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from rich.console import Console
from rich.table import Table

import tersely
from benchmarks.common import fingerprint, save
from tersely.planner import choose
from tersely.tensors.tensor import Tensor

SMALLEST = 1000
"""Weights that a tensor must have: what a codec does to smaller ones is overhead of calls."""


@dataclass(frozen=True)
class Codec:
    """encode gives what is stored, size its bytes, decode the tensor's bytes in any form that `np.asarray` takes."""

    name: str
    encode: Callable[[np.ndarray], Any]
    decode: Callable[[Any, np.ndarray], Any]
    size: Callable[[Any], int] = len


def words_of(array: np.ndarray) -> np.ndarray:
    """Flat, in a dtype that NumPy itself has: bfloat16 as unsigned words."""
    flat = array.reshape(-1)
    return flat.view(np.uint16) if flat.dtype == ml_dtypes.bfloat16 else flat


def ours(objective: str) -> Codec:
    def encode(array: np.ndarray) -> Tensor:
        return Tensor(choose.encode(array, objective=objective, threads=1))

    def decode(tensor: Tensor, like: np.ndarray) -> np.ndarray:
        return tensor.decode(threads=1)

    return Codec(f"tersely, {objective}", encode, decode, lambda tensor: tensor.nbytes_stored)


def zstd(level: int) -> Codec:
    import zstandard

    compressor, decompressor = zstandard.ZstdCompressor(level=level), zstandard.ZstdDecompressor()
    return Codec(
        f"zstd {level}",
        lambda array: compressor.compress(array.reshape(-1).view(np.uint8)),
        lambda stored, like: decompressor.decompress(stored),
    )


def zipnn() -> Codec:
    from zipnn import ZipNN

    coders = {
        name: ZipNN(input_format="byte", bytearray_dtype=name, threads=1) for name in ("float32", "bfloat16", "float16")
    }
    return Codec(
        "ZipNN",
        # It reorders its input's bytes in place, so it gets its own; a bytearray costs next to nothing beside it.
        lambda array: coders[array.dtype.name].compress(bytearray(array.reshape(-1).view(np.uint8))),
        lambda stored, like: coders[like.dtype.name].decompress(stored),
    )


def pcodec() -> Codec:
    from pcodec import ChunkConfig, standalone

    return Codec(
        "pcodec",
        lambda array: standalone.simple_compress(words_of(array), ChunkConfig()),
        lambda stored, like: standalone.simple_decompress(stored),
    )


def codecs() -> list[Codec]:
    deflate = Codec(
        "zlib 6",
        lambda array: zlib.compress(array.reshape(-1).view(np.uint8), 6),
        lambda stored, like: zlib.decompress(stored),
    )
    return [ours("size"), ours("speed"), zstd(3), deflate, zipnn(), pcodec()]


def tensors_of(path: Path) -> list[np.ndarray]:
    """The float32 and float16 tensors of a file that are large enough, as arrays of our own."""
    arrays = [tensor.decode() for tensor in tersely.load_file(path).values()]
    return [a for a in arrays if a.dtype in (np.dtype(np.float32), np.dtype(np.float16)) and a.size >= SMALLEST]


def timed(run: Callable[[], Any]) -> tuple[Any, float]:
    gc.collect()
    start = time.process_time()
    found = run()
    return found, time.process_time() - start


def measure(codec: Codec, arrays: list[np.ndarray], rounds: int) -> dict[str, Any]:
    """Best times of some rounds over all tensors. Raises SystemExit where a round trip fails."""
    encode_s, decode_s, stored = [], [], []
    for _ in range(rounds):
        stored, seconds = timed(lambda: [codec.encode(array) for array in arrays])
        encode_s.append(seconds)
        pairs = list(zip(stored, arrays, strict=True))
        decoded, seconds = timed(lambda pairs=pairs: [codec.decode(one, array) for one, array in pairs])
        decode_s.append(seconds)
        for array, back in zip(arrays, decoded, strict=True):
            back_bytes = back.tobytes() if isinstance(back, np.ndarray) else bytes(back)
            if back_bytes != array.tobytes():
                raise SystemExit(f"{codec.name} does not give a tensor of shape {list(array.shape)} back")
        del decoded
    original, size = sum(array.nbytes for array in arrays), sum(codec.size(one) for one in stored)
    return {
        "codec": codec.name,
        "original_bytes": original,
        "stored_bytes": size,
        "ratio": original / size,
        "encode_mb_per_s": original / min(encode_s) / 1e6,
        "decode_mb_per_s": original / min(decode_s) / 1e6,
    }


def versions() -> dict[str, str]:
    """Of the peers."""
    names = ("zstandard", "zipnn", "pcodec")
    return {"zlib": zlib.ZLIB_RUNTIME_VERSION, **{name: importlib.metadata.version(name) for name in names}}


def print_rows(rows: list[dict[str, Any]]) -> None:
    table = Table("model", "dtype", "codec", "ratio", "encode MB/s", "decode MB/s")
    for row in rows:
        table.add_row(
            row["model"],
            row["dtype"],
            row["codec"],
            f"{row['ratio']:.3f}",
            f"{row['encode_mb_per_s']:.0f}",
            f"{row['decode_mb_per_s']:.0f}",
        )
    Console(width=120).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", type=Path, nargs="+", help="safetensors files with float32 or float16 tensors")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    rows = []
    for path in arguments.models:
        arrays = tensors_of(path)
        if not arrays:
            raise SystemExit(f"{path} has no float32 or float16 tensor of {SMALLEST} weights or more")
        for cast in (None, np.dtype(ml_dtypes.bfloat16)):
            these = arrays if cast is None else [array.astype(cast) for array in arrays]
            for codec in codecs():
                dtype = " cast to ".join(dict.fromkeys((arrays[0].dtype.name, these[0].dtype.name)))
                rows.append({"model": path.stem, "dtype": dtype, **measure(codec, these, arguments.rounds)})
                print(rows[-1], flush=True)
    record = {
        "machine": fingerprint() | versions(),
        "threads": 1,
        "rounds": arguments.rounds,
        "time": "processor",
        "rows": rows,
    }
    save(record, "peers", arguments.output)
    print_rows(rows)


if __name__ == "__main__":
    main()
