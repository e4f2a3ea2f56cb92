"""Sizes and speeds of the storage tier beside every peer, on files of real networks and what is made of them.

    python -m benchmarks.storage --models FOLDER --quick               # a few small rows
    python -m benchmarks.storage --models FOLDER                       # all rows; sizes only
    python -m benchmarks.storage --models FOLDER --slow                # zpaq of large files, too
    python -m benchmarks.storage --models FOLDER --speed --only mobilenetv2-qat --resume
    python -m benchmarks.storage --models FOLDER --resume --again fast max    # after a change of ours

A row is a file (storage.toml): the lossy step is done once, and every coder gets the same bytes. Ours are whole stored
files, headers and check sums and all, decoded to the same file. A peer gets the arrangement of the file that it makes
smallest (arrangements.py); of large files a coder of bytes gets the one that zstd at level 3 makes smallest. Round trips
are compared, and what a peer does not take is kept by LZMA. Who is missing, is left out or fails is in the record with
the reason.

Speeds (--speed) are those of the coders alone, one thread, in megabytes of original bytes a second of processor time, on
the row's largest tensors, --sample of them: quick coders take turns by the protocol, slow ones run once. Records are
written after every row.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

import tersely
from benchmarks import arrangements, peers, protocol, record, variants
from benchmarks.peers import Peer, Stored
from benchmarks.protocol import Protocol
from tersely.core import dtypes
from tersely.storage import codec

CASES = Path(__file__).with_name("storage.toml")
LEVELS = ("fast", "max")
LARGE = 8_000_000
"""Bytes of a file from which peers are not given every arrangement."""
ZPAQ_LARGEST = 6_000_000
"""Bytes of a file from which zpaq, which takes seconds for each megabyte, waits for --slow."""
SLOW = ("zstd_long", "xz", "brotli", "zpaq", "openzl", "nncodec", "max")
QUICK = 1_200_000
"""Bytes of the largest file that --quick measures."""
Row = dict[str, Any]


def cases(models: Path) -> Iterator[tuple[str, str, Path, dict[str, Any]]]:
    """Model, name of the variant, the model's file, and how the variant is made; smaller files of a group first."""
    told = tomllib.loads(CASES.read_text())
    for group in told["group"]:
        for model in group["models"]:
            for name in group["variants"]:
                yield model, name, models / f"{model}.safetensors", told["variants"][name]


class Ours:
    """The coder of a level, with the functions of a peer: the largest tensors are a block each."""

    def __init__(self, level: str) -> None:
        self.level: Any = level

    def version(self) -> str:
        return tersely.__version__

    def encode(self, array: np.ndarray) -> Stored:
        item = codec.Item(dtypes.raw_bytes(array), dtypes.of_array(array), array.shape)
        block = codec.encode([item], self.level, threads=1)
        return Stored((block, item.spec), len(block), array.shape, array.dtype)

    def decode(self, stored: Stored) -> Any:
        block, spec = stored.data
        return codec.decode(block, [spec], threads=1)[0]

    def product(self, stored: Stored, x: np.ndarray) -> Callable[[], Any] | None:
        return None


def our_bytes(data: bytes, level: Any) -> int:
    """How large the stored file is. Raises SystemExit where decompressing it gives another file."""
    with TemporaryDirectory() as folder:
        source, stored, back = (Path(folder, f"{name}.safetensors") for name in ("source", "stored", "back"))
        source.write_bytes(data)
        tersely.compress(source, stored, store="smallest", level=level, threads=1)
        tersely.decompress(stored, back)
        if back.read_bytes() != data:
            raise SystemExit(f"level {level} does not give the file back")
        return stored.stat().st_size


def peer_bytes(data: bytes, name: str, peer: Peer) -> tuple[int, str] | None:
    """The fewest bytes a peer takes, and in which arrangement; None where it takes no tensor of the file."""
    arranged = arrangements.of(data, name, peer)
    judge = peers.installed(("zstd",)).get("zstd")
    if judge and len(data) > LARGE and name in arrangements.BYTES:
        sizes = {key: arrangements.stored_bytes(judge, one) for key, one in arranged.items()}
        best = min(sizes, key=sizes.__getitem__)
        arranged = {best: arranged[best]}
    sizes = {key: arrangements.stored_bytes(peer, one) for key, one in arranged.items()}
    if not sizes:
        return None
    best = min(sizes, key=sizes.__getitem__)
    return sizes[best], best


def measure(row: Row, data: bytes, every: dict[str, Peer], slow: bool) -> None:
    """Put what is missing of a row into it."""
    for level in LEVELS:
        if level not in row["stored"]:
            row["stored"][level] = {"bytes": our_bytes(data, level)}
    for name, peer in every.items():
        if name in row["stored"]:
            continue
        if name == "zpaq" and len(data) > ZPAQ_LARGEST and not slow:
            row["left_out"][name] = "a large file: --slow"
            continue
        try:
            found = peer_bytes(data, name, peer)
        except Exception as error:  # a peer that fails is no reason to stop; a wrong round trip is, and is SystemExit
            row["left_out"][name] = f"{type(error).__name__}: {error}"[:200]
            continue
        if found is None:
            row["left_out"][name] = "it takes none of the tensors"
            continue
        row["left_out"].pop(name, None)
        row["stored"][name] = {"bytes": found[0], "arrangement": found[1]}


def sample(data: bytes, limit: int) -> list[np.ndarray]:
    """The largest tensors, so many bytes of them at most; the first rows of the largest where it alone is more."""
    ordered = sorted(variants.read(data)[1].values(), key=lambda one: -one.nbytes)
    largest = ordered[0]
    if largest.nbytes > limit:
        return [largest[: max(1, limit * len(largest) // largest.nbytes)]]
    sizes = np.cumsum([array.nbytes for array in ordered])
    return ordered[: int((sizes <= limit).sum())]


def _clock() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def speeds(arrays: list[np.ndarray], every: dict[str, Peer], plan: Protocol) -> dict[str, Any]:
    """Megabytes a second encoded and decoded by each coder that takes all of the arrays; "busy" says what disturbed."""
    original = sum(array.nbytes for array in arrays)
    takes = {name: peer for name, peer in every.items() if all(peers.takes(peer, array) for array in arrays)}
    found: dict[str, Any] = {"original_bytes": original, "busy": ""}
    stored: dict[str, list[Stored]] = {}
    for name, peer in takes.items():
        start = _clock()
        stored[name] = [peer.encode(array) for array in arrays]
        encoded = _clock()
        same = all(peers.same_bits(peer, one, array) for one, array in zip(stored[name], arrays, strict=True))
        if not same:
            raise SystemExit(f"{name} does not give a tensor back")
        if name in SLOW:
            ways = {"encode": encoded - start, "decode": _clock() - encoded}
            found[name] = {f"{way}_mb_per_s": original / max(spent, 1e-6) / 1e6 for way, spent in ways.items()}
    quick = {name: peer for name, peer in takes.items() if name not in SLOW}
    runs: dict[str, dict[str, protocol.Run]] = {
        "encode": {n: lambda k, p=p: [p.encode(array) for array in arrays] for n, p in quick.items()},  # type: ignore[misc]
        "decode": {n: lambda k, p=p, n=n: [p.decode(one) for one in stored[n]] for n, p in quick.items()},  # type: ignore[misc]
    }
    for way, these in runs.items():
        times = protocol.measure(these, plan)
        found["busy"] = found["busy"] or times.busy
        for name in quick:
            found.setdefault(name, {})[f"{way}_mb_per_s"] = original / times.median_ms[name] / 1e3
    return found


def _resumed(path: Path, again: list[str], only: list[str], commit: str) -> list[Row]:
    """The rows of a record, those that are wanted without what is to be measured again."""
    if not path.is_file():
        return []
    before = json.loads(path.read_text())
    for row in before["rows"]:
        if before["commit"] != commit:
            row.setdefault("commit", before["commit"])
        for name in again if _wanted(only, row["model"], row["variant"]) else []:
            row["stored"].pop(name, None)
    rows: list[Row] = before["rows"]
    return rows


def _wanted(only: list[str], model: str, name: str) -> bool:
    return not only or any(word in f"{model}, {name}" for word in only)


def told(row: Row) -> str:
    """A line for the terminal."""
    ratios = {name: row["bytes"] / one["bytes"] for name, one in row["stored"].items()}
    ordered = sorted(ratios, key=lambda name: -ratios[name])
    listed = ", ".join(f"{name} {ratios[name]:.4f}" for name in ordered)
    return f"{row['model']} {row['variant']}: {listed}; order 0 {row['bytes'] / row['order_0_bytes']:.4f}"


def main(arguments: argparse.Namespace | None = None) -> None:
    default = Protocol(threads=1, seconds=0, minimum_rounds=3, clock=_clock)
    parser = protocol.options(__doc__, default)
    parser.add_argument("--models", type=Path, required=True, help="folder of the files that storage.toml names")
    parser.add_argument("--only", nargs="+", default=[], help="rows with one of these in 'MODEL, VARIANT'")
    parser.add_argument("--quick", action="store_true", help=f"files of up to {QUICK / 1e6} MB")
    parser.add_argument("--slow", action="store_true", help=f"zpaq of files of more than {ZPAQ_LARGEST / 1e6} MB, too")
    parser.add_argument("--peers", nargs="+", default=list(peers.STORAGE), choices=peers.STORAGE + peers.MODEL_CODERS)
    parser.add_argument("--speed", action="store_true", help="speeds, not sizes")
    parser.add_argument("--sample", type=float, default=8, help="MB of a row's largest tensors whose speeds are taken")
    parser.add_argument("--resume", action="store_true", help="keep what the record has of the same bytes")
    parser.add_argument("--again", nargs="+", default=[], help="coders to measure again with --resume")
    chosen = parser.parse_args() if arguments is None else arguments
    plan = protocol.begin(chosen, default)
    missing: dict[str, str] = {}
    every = peers.installed(tuple(chosen.peers), missing)
    found = record.new("storage", plan) | {
        "time": "processor",
        "peers": {name: peer.version() for name, peer in every.items()},
        "missing": missing,
        "rows": [],
    }
    if chosen.resume:
        found["rows"] = _resumed(chosen.output or record.path_of(found), chosen.again, chosen.only, found["commit"])
    for model, name, path, variant in cases(chosen.models):
        if not _wanted(chosen.only, model, name):
            continue
        if not path.is_file():
            print(f"{model}, {name}: skipped, {path} is not there", flush=True)
            continue
        if chosen.quick and path.stat().st_size > QUICK:
            continue
        row_of(found, model, name, variants.made(path, variant), every, chosen, plan)
        record.save(found, chosen.output)


def row_of(
    found: record.Record,
    model: str,
    name: str,
    data: bytes,
    every: dict[str, Peer],
    chosen: argparse.Namespace,
    plan: Protocol,
) -> None:
    """Measure a row, or what is missing of it, and put it into the record."""
    digest = hashlib.sha256(data).hexdigest()
    row = next((one for one in found["rows"] if (one["model"], one["variant"]) == (model, name)), None)
    if row is None or row["sha256"] != digest:
        found["rows"] = [one for one in found["rows"] if one is not row]
        tensors = variants.read(data)[1]
        row = {"model": model, "variant": name, "sha256": digest, "bytes": len(data), "stored": {}, "left_out": {}}
        row["order_0_bytes"] = variants.order_0_bytes(tensors)
        found["rows"].append(row)
    if chosen.speed:
        arrays = sample(data, int(chosen.sample * 1e6))
        row["speeds"] = speeds(arrays, {level: Ours(level) for level in LEVELS} | every, plan)
        print(model, name, json.dumps(row["speeds"], indent=1), flush=True)
    else:
        measure(row, data, every, chosen.slow)
        print(told(row), flush=True)


if __name__ == "__main__":
    main()
