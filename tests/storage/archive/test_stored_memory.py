"""Storing, transcoding and loading need memory for the largest tensor, however many there are."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from support.peaks import peak_bytes

import tersely

ONE = 8 << 20
"""Bytes of a tensor: two blocks."""
SLACK = 3 * ONE + (16 << 20)
"""What more tensors may add: those that wait for workers, and what allocators keep."""
STEPS = {
    "store": ("tersely.compress({source!r}, {out!r}, store='smallest', threads={threads})", "0"),
    "transcode": ("tersely.transcode({stored!r}, {out!r}, threads={threads})", "0"),
    "load": (
        "found = tersely.load_file({stored!r}, threads={threads})",
        "sum(t.nbytes_stored for t in found.values())",
    ),
}


def peak(step: str, source: Path, stored: Path, threads: int) -> int:
    """Most bytes that a process of its own had at once while it did one step, but for what it has at the end."""
    out = source.with_name(f"{step}-{threads}-{source.name}")
    code, kept = STEPS[step]
    done = code.format(source=str(source), stored=str(stored), out=str(out), threads=threads)
    found = peak_bytes(f"import tersely\n{done}", kept)
    out.unlink(missing_ok=True)
    return found


@pytest.mark.peaks
@pytest.mark.skipif(sys.platform != "linux", reason="peaks are read from /proc")
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("near", [False, True])
def test_more_tensors_need_no_more_memory(tmp_path: Path, rng: np.random.Generator, threads: int, near: bool) -> None:
    """Tensors that have nothing to do with each other, or each but the first with a reference."""
    one = (rng.standard_normal((ONE // 4096, 1024), np.float32) * 0.02).astype(np.float32)
    peaks = []
    for count in (10, 26):
        source, stored = tmp_path / f"{count}.safetensors", tmp_path / f"stored-{count}.safetensors"
        different = {f"w{number:02}": np.roll(one, 1009 * number) for number in range(count)}
        if near:
            different = {name: one * np.float32(1 + number * 1e-5) for number, name in enumerate(different)}
        safetensors.numpy.save_file(different, source)
        tersely.compress(source, stored, store="smallest", threads=threads)
        peaks.append({step: peak(step, source, stored, threads) for step in STEPS})
    few, many = peaks
    assert {step: many[step] - few[step] for step in STEPS if many[step] - few[step] > SLACK} == {}
    assert max(many.values()) < 3 * ONE + 200_000_000
