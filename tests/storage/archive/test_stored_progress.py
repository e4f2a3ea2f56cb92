"""What callers see and hold in hand while a file is stored, transcoded or loaded: progress, workers, an interruption."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from support import stored_files

import tersely
from tersely.core.errors import ArgumentError

Job = Callable[[Path, Path, Path, Any, int], object]
JOBS: dict[str, Job] = {
    "store": lambda source, stored, out, progress, threads: tersely.compress(
        source, out, store="smallest", progress=progress, threads=threads
    ),
    "transcode": lambda source, stored, out, progress, threads: tersely.transcode(
        stored, out, progress=progress, threads=threads
    ),
    "load": lambda source, stored, out, progress, threads: tersely.load_file(
        stored, progress=progress, threads=threads
    ),
}


@pytest.fixture
def source(tmp_path: Path, rng: np.random.Generator) -> Path:
    path = tmp_path / "in" / "m.safetensors"
    path.parent.mkdir()
    tensors = {f"{number}.weight": rng.standard_normal((300, 256), np.float32) for number in range(5)}
    safetensors.numpy.save_file(tensors, path)
    tersely.compress(path, path.with_name("s.safetensors"), store="smallest")
    return path


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", JOBS)
def test_progress_grows_up_to_all_bytes(source: Path, tmp_path: Path, name: str, threads: int) -> None:
    seen: list[tuple[int, int, str]] = []
    JOBS[name](
        source,
        source.with_name("s.safetensors"),
        tmp_path / "out.safetensors",
        lambda *facts: seen.append(facts),
        threads,
    )
    done, totals, names = zip(*seen, strict=True)
    assert list(done) == sorted(done)
    assert len(set(totals)) == 1
    assert 5 * 300 * 256 * 4 <= done[-1] <= totals[0]
    assert {f"{number}.weight" for number in range(5)} <= set(names)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("name", JOBS)
@pytest.mark.parametrize("calls", [1, 4, 7])
def test_an_interruption_leaves_nothing(source: Path, tmp_path: Path, name: str, threads: int, calls: int) -> None:
    left = [calls]

    def stop(done: int, total: int, tensor: str) -> None:
        left[0] -= 1
        if not left[0] or (name == "load" and calls > 5):  # a file that is loaded is not verified once more
            raise KeyboardInterrupt

    out = tmp_path / "out" / "o.safetensors"
    out.parent.mkdir()
    with pytest.raises(KeyboardInterrupt):
        JOBS[name](source, source.with_name("s.safetensors"), out, stop, threads)
    assert list(out.parent.iterdir()) == []
    assert not any(thread.name.startswith("tersely-behind") for thread in threading.enumerate())


def test_loaded_tensors_do_not_depend_on_threads(tmp_path: Path, rng: np.random.Generator) -> None:
    plain, stored = stored_files.write(tmp_path / "m.safetensors", rng), tmp_path / "s.safetensors"
    tersely.compress(plain, stored, store="smallest")
    one, three = (tersely.load_file(stored, threads=threads) for threads in (1, 3))
    for name, tensor in one.items():
        ours, theirs = tensor.encoded, three[name].encoded
        assert ours.node == theirs.node
        assert {key: part.tobytes() for key, part in ours.components.items()} == {
            key: part.tobytes() for key, part in theirs.components.items()
        }


def test_transcoded_bytes_do_not_depend_on_threads(tmp_path: Path, rng: np.random.Generator) -> None:
    plain, stored = stored_files.write(tmp_path / "m.safetensors", rng), tmp_path / "s.safetensors"
    tersely.compress(plain, stored, store="smallest")
    for threads in (1, 3):
        tersely.transcode(stored, tmp_path / f"{threads}.safetensors", threads=threads)
    assert (tmp_path / "1.safetensors").read_bytes() == (tmp_path / "3.safetensors").read_bytes()


def test_no_threads_are_refused(source: Path) -> None:
    with pytest.raises(ArgumentError, match="threads"):
        tersely.load_file(source.with_name("s.safetensors"), threads=0)
