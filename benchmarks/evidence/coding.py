"""A unit of coding: one coder on a sample of one network in one state; bytes, seconds, and whether every bit came back.

Ours are whole files, of one of the coders' levels or of a runnable objective; a rival is not charged for names and
headers. A coder of bytes gets the arrangement that zstd at level 3 makes smallest; a coder of numbers gets tensors.
"""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import tersely
from benchmarks import arrangements, peers, variants
from benchmarks.evidence.isolate import DisqualifiedError
from benchmarks.peers import Peer, Stored
from benchmarks.variants import Tensors
from tersely.core import dtypes
from tersely.storage import codec

STORED = {"tersely max": "max", "tersely fast": "fast"}
RUNNABLE = {"tersely size": "size", "tersely balanced": "balanced"}
OURS = (*STORED, *RUNNABLE)


def measure(unit: Mapping[str, Any]) -> dict[str, Any]:
    """Of the tensors in unit["file"]: bytes, original_bytes, order_0_bytes; encode_mb_per_s and decode_mb_per_s of processor time."""
    tersely.set_num_threads(1)
    tensors, coder = variants.read(Path(unit["file"]).read_bytes())[1], unit["coder"]
    original = sum(one.nbytes for one in tensors.values())
    found: dict[str, Any] = {"original_bytes": original, "order_0_bytes": variants.order_0_bytes(tensors)}
    if coder in OURS:
        nbytes, seconds = _ours(coder, tensors)
    else:
        missing: dict[str, str] = {}
        peer = peers.installed((coder,), missing).get(coder)
        if peer is None:
            return {"failed": f"is not installed: {missing[coder]}"}
        given = _arranged(coder, peer, tensors)
        if given is None:
            return {"failed": "takes none of the tensors"}
        found["arrangement"] = given[0]
        nbytes, seconds = _peer(coder, peer, given[1])
        if coder not in arrangements.BYTES:  # the header is among what it does not take; bytes of a file are one stream
            nbytes -= len(variants.read(variants.write(tensors))[0])
    megabytes = original / 1e6
    speeds = {f"{way}_mb_per_s": megabytes / max(spent, 1e-6) for way, spent in seconds.items()}
    return found | {"bytes": nbytes} | speeds


def _arranged(coder: str, peer: Peer, tensors: Tensors) -> tuple[str, arrangements.Arrangement] | None:
    choices = arrangements.of(variants.write(tensors), coder, peer)
    if coder not in arrangements.BYTES:
        return ("tensors", choices["tensors"]) if choices else None
    judge = peers.installed(("zstd",)).get("zstd")
    sizes = {key: arrangements.stored_bytes(judge, one) if judge else 0 for key, one in choices.items()}
    best = min(sizes, key=sizes.__getitem__)
    return best, choices[best]


def _peer(coder: str, peer: Peer, given: arrangements.Arrangement) -> tuple[int, dict[str, float]]:
    total, spent = len(given.rest), {"encode": 0.0, "decode": 0.0}
    for array in given.arrays:
        copy = array.copy()  # some rearrange what they are given
        start = _clock()
        stored: Stored = peer.encode(copy)
        encoded = _clock()
        back = bytes(memoryview(peer.decode(stored)).cast("B"))
        spent["decode"] += _clock() - encoded
        spent["encode"] += encoded - start
        if back != array.tobytes():
            raise DisqualifiedError(f"a tensor of shape {list(array.shape)}, {array.dtype} does not come back")
        total += min(stored.nbytes, array.nbytes)
    return total, spent


def _ours(coder: str, tensors: Tensors) -> tuple[int, dict[str, float]]:
    """The bytes of the whole file; seconds of the tensors."""
    options: dict[str, Any] = (
        {"store": "smallest", "level": STORED[coder]} if coder in STORED else {"objective": RUNNABLE[coder]}
    )
    with tempfile.TemporaryDirectory() as folder:
        source, coded, back = (Path(folder, f"{one}.safetensors") for one in ("source", "coded", "back"))
        source.write_bytes(variants.write(tensors))
        tersely.compress(source, coded, **options)
        tersely.decompress(coded, back)
        if back.read_bytes() != source.read_bytes():
            raise DisqualifiedError("the file does not come back")
        nbytes = coded.stat().st_size
    spent = {"encode": 0.0, "decode": 0.0}
    for array in tensors.values():
        start = _clock()
        if coder in STORED:
            item = codec.Item(dtypes.raw_bytes(array), dtypes.of_array(array), array.shape)
            block = codec.encode([item], STORED[coder], threads=1)  # type: ignore[arg-type]
            encoded = _clock()
            codec.decode(block, [item.spec], threads=1)
        else:
            tensor = tersely.encode(array, objective=RUNNABLE[coder], threads=1)  # type: ignore[arg-type]
            encoded = _clock()
            tensor.decode(threads=1)
        spent["decode"] += _clock() - encoded
        spent["encode"] += encoded - start
    return nbytes, spent


def _clock() -> float:
    """Seconds of processor time, those of programs that a coder calls too: what others do meanwhile does not count."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def largest_matrix(tensors: Tensors) -> np.ndarray | None:
    """The largest weight as [outputs, inputs]; None where there is none."""
    weights = [one.reshape(len(one), -1) for one in tensors.values() if one.ndim >= 2 and one.size >= 4096]
    return max(weights, key=lambda one: one.size, default=None)
