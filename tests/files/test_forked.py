"""Files that are open when a process forks: the child has no threads of its parent, and waits for none of them."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from support import pooled_files, stored_files
from support.arrays import normal, same_bits

import tersely
from tersely.files.container.reader import Reader
from tersely.files.open import File
from tersely.storage.archive.reader import Archive

SECONDS = 20


def in_child(work: Callable[[], bool]) -> bool:
    """Whether work comes to a good end in a process that is forked here."""
    child = os.fork()
    if child == 0:
        signal.alarm(SECONDS)
        good = False
        try:
            good = work()
        finally:
            os._exit(0 if good else 1)
    return os.waitpid(child, 0)[1] == 0


def test_blocks_that_workers_of_the_parent_had_begun(tmp_path: Path, rng: np.random.Generator) -> None:
    arrays = {f"w{k}": normal(rng, (64, 256), np.dtype(np.float32)) for k in range(8)}
    safetensors.numpy.save_file(arrays, tmp_path / "m.safetensors")
    tersely.compress(tmp_path / "m.safetensors", tmp_path / "s.safetensors", store="smallest")
    file = File(tmp_path / "s.safetensors", threads=2)
    names = list(arrays)
    for name in names[:2]:
        assert same_bits(file[name].decode(), arrays[name])
    assert in_child(lambda: all(same_bits(file[name].decode(), arrays[name]) for name in names[2:]))
    assert all(same_bits(file[name].decode(), arrays[name]) for name in names[2:])


@pytest.mark.parametrize("kind", ["pool", "archive"])
def test_a_lock_that_another_thread_held(tmp_path: Path, rng: np.random.Generator, kind: str) -> None:
    """A fork while another thread decodes."""
    path = tmp_path / "packed.safetensors"
    if kind == "pool":
        tersely.compress(pooled_files.write(tmp_path / "m.safetensors", rng), path)
        pool = Reader(path).pool
        assert pool is not None
        lock, read = pool._lock, lambda: pool.raw("layers.0.bias").size > 0
    else:
        tersely.compress(stored_files.write(tmp_path / "m.safetensors", rng), path, store="smallest")
        archive = Archive(path)
        lock, read = archive._lock, lambda: archive.tensor(archive.number("block.bias")).size > 0
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    try:
        assert in_child(read)
    finally:
        done.set()
        thread.join()
