"""Files that are open when a process forks: the child has no threads of its parent, and waits for none of them."""

from __future__ import annotations

import gc
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
from tersely.core import collector
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


def test_a_collector_that_another_thread_paused() -> None:
    """A fork while another thread opens a file: nobody would ever turn the child's collector on again."""
    held, done = threading.Event(), threading.Event()

    def pause() -> None:
        with collector.paused():
            held.set()
            done.wait()

    thread = threading.Thread(target=pause)
    thread.start()
    held.wait()

    def collects() -> bool:
        good = gc.isenabled()
        with collector.paused():
            good = good and not gc.isenabled()
        return good and gc.isenabled()

    try:
        assert not gc.isenabled()
        assert in_child(collects)
    finally:
        done.set()
        thread.join()
    assert gc.isenabled()


def test_a_pause_amid_which_this_thread_forks() -> None:
    with collector.paused():
        with collector.paused():
            assert in_child(gc.isenabled)
        assert not gc.isenabled()
        child = os.fork()
        if child == 0:
            signal.alarm(SECONDS)
    if child == 0:  # it has left the pause that its parent began
        good = gc.isenabled()
        with collector.paused():
            good = good and not gc.isenabled()
        os._exit(0 if good and gc.isenabled() else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off_in_children() -> None:
    gc.disable()
    try:
        with collector.paused():
            assert in_child(lambda: not gc.isenabled())
    finally:
        gc.enable()


def test_a_lock_of_the_collector_that_another_thread_held() -> None:
    lock = collector._pauses._lock
    with lock:
        assert in_child(lambda: collector._pauses._lock is not lock and _pauses_once())


def _pauses_once() -> bool:
    with collector.paused():
        return not gc.isenabled()
