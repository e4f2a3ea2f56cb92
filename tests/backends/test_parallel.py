"""Teams of workers: nobody waits for a worker that has not begun, for another caller, or for long for one that stands
still; forks and floating-point environments of threads.

In processes of their own: which pool there is depends on what has been imported. No time is measured here; `bench_region`
says who drew how many items.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from tersely.backends.cpu import native

pytestmark = pytest.mark.skipif(not native.available(), reason="the native module has the workers")
TORCH = importlib.util.find_spec("torch") is not None
BORROWED = pytest.param(
    "import torch\ntorch.set_num_threads(2)\n",
    id="borrowed",
    marks=pytest.mark.skipif(not TORCH, reason="torch is not installed"),
)
OWN = pytest.param("", id="own")
PREPARED = """
import os, sys, threading
import numpy as np
import tersely
from tersely.backends.cpu import native
tersely.set_num_threads(2)
region = native.module.bench_region
"""


def run(code: str, before: str = "") -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", before + PREPARED + code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_callers_wait_for_no_worker_that_is_held_elsewhere() -> None:
    """Of two callers one has the only worker, which stands still: the other does its work by itself meanwhile."""
    said = run("""
held = threading.Thread(target=region, args=(2, 4000, 100, 3_000_000))
assert any(region(2, 64, 200, 0)[1] for _ in range(200)), "the worker never comes"
held.start()
alone = sum(region(2, 64, 50, 0) [:2] == (64, 0) for _ in range(20))
print(held.is_alive(), alone > 0, native.module.parallel_pool_name())
held.join()
""")
    assert said == ["True", "True", "own", "sleeping", "pool"]


@pytest.mark.parametrize("before", [OWN, BORROWED])
def test_a_team_that_loses_time_is_not_called_but_tried_again(before: str) -> None:
    said = run(
        """
lost = [region(2, 32, 20, 30_000)[1] for _ in range(400)]
assert any(lost), "no worker ever came"
# 32 items of 20 us, and 30 ms for having company: the credit of 30 ms is gone at once. Then 30 ms are paid off by a half
# of the regions' time, by a quarter, an eighth ...: 400 of them are enough for three times more.
print(sum(map(bool, lost)) <= 6)
for _ in range(12000):
    if region(2, 32, 200, 0)[1]: break
else:
    sys.exit("never tried again")
# what it wins now keeps it
print(sum(bool(region(2, 64, 200, 0)[1]) for _ in range(100)) > 0)
""",
        before,
    )
    assert said == ["True", "True"]


@pytest.mark.parametrize("before", [OWN, BORROWED])
def test_forks_after_and_during_parallel_work(before: str) -> None:
    """A child has none of the parent's workers, and locks that other threads of the parent hold for ever."""
    said = run(
        """
weight = tersely.encode(np.random.default_rng(0).normal(size=(1024, 1024)).astype(np.float32))
x = np.ones((1, 1024), np.float32)
expected, exact = tersely.linear(x, weight), weight.decode()
going = True
def others():
    while going: tersely.linear(x, weight)
working = [threading.Thread(target=others) for _ in range(3)]
for one in working: one.start()
children = []
for _ in range(6):
    child = os.fork()
    if not child:
        same = all(np.array_equal(tersely.linear(x, weight), expected) for _ in range(20))
        os._exit(0 if same and np.array_equal(weight.decode(), exact) else 3)
    children.append(child)
print({os.waitpid(child, 0)[1] for child in children})
going = False
for one in working: one.join()
print(np.array_equal(tersely.linear(x, weight), expected))
""",
        before,
    )
    assert said == ["{0}", "True"]


@pytest.mark.parametrize("before", [OWN, BORROWED])
def test_workers_made_by_a_flushing_thread_do_not_flush(before: str) -> None:
    """A new thread inherits the environment of the one that makes it: here torch, or we, under a flushing caller."""
    said = run(
        f"""
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from support.floating_environments import environment
with environment("flushing"):
    if "torch" in sys.modules: torch.nn.functional.gelu(torch.full((512, 1024), 0.5))  # makes the team that we borrow
    for _ in range(12000):
        own, others, strange = region(2, 64, 200, 0)
        if others: break
print(others > 0, strange)
""",
        before,
    )
    assert said == ["True", "0"]


def test_callers_of_many_threads_at_once() -> None:
    """More callers than there are places for regions."""
    said = run("""
weight = tersely.encode(np.random.default_rng(0).normal(size=(640, 512)).astype(np.float32))
expected = weight.decode().tobytes()
wrong = []
def work():
    for _ in range(30):
        if weight.decode(threads=3).tobytes() != expected: wrong.append(1)
        region(3, 8, 20, 0)
callers = [threading.Thread(target=work) for _ in range(40)]
for one in callers: one.start()
for one in callers: one.join()
print(len(wrong))
""")
    assert said == ["0"]
