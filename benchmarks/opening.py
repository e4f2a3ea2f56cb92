"""From a stored file to weights that can be multiplied: seconds and peak memory, beside ZipNN's decoding of the same file.

    python -m benchmarks.opening --like resnet50v2-partial-fp32.safetensors --megabytes 1000

The file is drawn: the shapes of a real network, over and over, each row normal with the standard deviation of that row of
the real one, so that nothing repeats but its statistics are real. Every step runs in a process of its own, which says how
long it took without its imports; files are in the page cache. Steps and numbers of threads take turns in one run by the
protocol of all benchmarks: medians count, and a run while others use the processors is taken again, or marked void.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import ml_dtypes
import numpy as np

import tersely
import tersely.files.commands
import tersely.files.transcoded  # what is imported when it is asked for, too, is not timed
from benchmarks import protocol, record, variants
from benchmarks.protocol import Protocol, Took

ROUNDS = 3


def drawn(like: Path, size: int, dtype: np.dtype) -> bytes:
    """A file of about so many bytes, with the shapes and the rows' deviations of a real one."""
    real = [array for array in variants.read(like.read_bytes())[1].values() if array.ndim >= 2]
    generator, found, total = np.random.default_rng(0), {}, 0
    while total < size:
        for array in real:
            deviation = array.astype(np.float32).std(axis=tuple(range(1, array.ndim)), keepdims=True)
            values = generator.standard_normal(array.shape, np.float32) * deviation
            found[f"{len(found)}.weight"] = values.astype(dtype)
            total += array.size * dtype.itemsize
            if total >= size:
                break
    return variants.write(found)


def store(source: str, stored: str, threads: int) -> float:
    return _timed(lambda: tersely.compress(source, stored, store="smallest", threads=threads))


def transcode(source: str, stored: str, threads: int) -> float:
    runnable = f"{stored}.runnable"
    found = _timed(lambda: tersely.transcode(stored, runnable, threads=threads))
    Path(runnable).unlink()
    return found


def load(source: str, stored: str, threads: int) -> float:
    """Until every tensor can be multiplied."""
    tersely.set_num_threads(threads)
    return _timed(lambda: [tensor.nbytes_stored for tensor in tersely.load_file(stored).values()])


def zipnn(source: str, stored: str, threads: int) -> float:
    """One thread, whatever is asked: its decoder has the tensors one by one."""
    from benchmarks.peers import zipnn as peer

    kept = [peer.encode(array) for array in variants.read(Path(source).read_bytes())[1].values()]
    return _timed(lambda: [peer.decode(one) for one in kept])


STEPS: dict[str, Callable[[str, str, int], float]] = {
    "store": store, "transcode": transcode, "load": load, "zipnn": zipnn,
}  # fmt: skip


def _peak_mb() -> float:
    """Most memory this process has had. Not ru_maxrss, which a process has from the one that started it."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1e3


def _timed(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    kept = run()  # until the clock is read: what is given back is no part of it
    spent = time.perf_counter() - start
    del kept
    return spent


def _in_a_process(step: str, source: Path, stored: Path, threads: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.opening", "step", step, str(source), str(stored), str(threads)]
    ran = subprocess.run(command, capture_output=True, text=True)
    if ran.returncode:
        raise SystemExit(f"{step}: {ran.stderr}")
    found: dict[str, float] = json.loads(ran.stdout.splitlines()[-1])
    return found


def measure(
    like: Path, size: int, dtype: np.dtype, threads: Sequence[int], plan: Protocol
) -> Iterator[dict[str, object]]:
    """A row for each number of threads: median and least seconds, the largest peak of memory, and the speed of each step in
    original bytes."""
    with TemporaryDirectory() as folder:
        source, stored = Path(folder, "source.safetensors"), Path(folder, "stored.safetensors")
        source.write_bytes(drawn(like, size, dtype))
        original = source.stat().st_size
        first = _in_a_process("store", source, stored, 1)
        peaks: dict[str, float] = {}

        def runs(step: str, count: int) -> Callable[[int], Took]:
            def run(number: int) -> Took:
                found = _in_a_process(step, source, stored, count)
                peaks[f"{step} {count}"] = max(found["peak_mb"], peaks.get(f"{step} {count}", 0.0))
                return Took(found["seconds"] * 1e3)

            return run

        steps = [("zipnn", 1), *((step, count) for count in threads for step in ("transcode", "load"))]
        times = protocol.measure({f"{step} {count}": runs(step, count) for step, count in steps}, plan)
        kept = stored.stat().st_size
    facts = {"like": like.stem, "dtype": dtype.name, "bytes": original, "stored_bytes": kept, "busy": times.busy}

    def took(seconds: float, least: float, peak: float) -> dict[str, float]:
        return {"seconds": seconds, "least_seconds": least, "mb_per_s": original / seconds / 1e6, "peak_mb": peak}

    for count in threads:
        own = {step: f"{step} {1 if step == 'zipnn' else count}" for step in ("transcode", "load", "zipnn")}
        found = {
            step: took(times.median_ms[key] / 1e3, times.least_ms[key] / 1e3, peaks[key]) for step, key in own.items()
        }
        if count == 1:
            found = {"store": took(first["seconds"], first["seconds"], first["peak_mb"])} | found
        yield facts | {
            "threads": count,
            "steps": found,
            "load_x_zipnn": found["load"]["least_seconds"] / found["zipnn"]["least_seconds"],
        }


def main() -> None:
    if sys.argv[1:2] == ["step"]:
        step, source, stored, threads = sys.argv[2:]
        seconds = STEPS[step](source, stored, int(threads))
        print(json.dumps({"seconds": seconds, "peak_mb": _peak_mb()}))
        return
    default = Protocol(threads=2, seconds=0, minimum_rounds=ROUNDS)
    parser = protocol.options(__doc__, default)
    parser.add_argument("--like", type=Path, required=True, help="a safetensors file of a real network")
    parser.add_argument("--megabytes", type=float, default=1000)
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"], choices=("float32", "bfloat16"))
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    chosen = parser.parse_args()
    plan = replace(protocol.begin(chosen, default), minimum_rounds=chosen.rounds)
    found = record.new("opening", plan) | {"rounds": chosen.rounds, "rows": []}
    for name in chosen.dtypes:
        dtype = np.dtype(getattr(ml_dtypes, name, name))
        for row in measure(chosen.like, int(chosen.megabytes * 1e6), dtype, sorted({1, chosen.threads}), plan):
            found["rows"].append(row)
            print(json.dumps(row, indent=1), flush=True)
    record.save(found, chosen.output)


if __name__ == "__main__":
    main()
