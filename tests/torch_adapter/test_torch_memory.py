"""Memory of a process of its own that loads a model and runs it: the mapped codes, and little else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch_fixtures import mode, two_threads

import tersely.torch

WIDTH, LAYERS = 2048, 12
LAYER = WIDTH * WIDTH * 2
DENSE = LAYER * LAYERS
SLACK = 8 << 20
"""Heaps, caches of allocators, code that is first run: seen are 1 to 3 MB."""

CHILD = """
import json, sys, threading
import torch
from torch import nn
import tersely.torch

path, mode, width, layers = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
torch.set_num_threads(2)

def fields(place):
    return dict(line.split(":", 1) for line in open(place).read().splitlines() if ":" in line)

def proportional():
    return int(fields("/proc/self/smaps_rollup")["Pss"].split()[0]) * 1024

def anonymous():
    return int(fields("/proc/self/status")["RssAnon"].split()[0]) * 1024

def network(count):
    return nn.Sequential(*(nn.Linear(width, width, bias=False, dtype=torch.bfloat16) for _ in range(count)))

x = torch.randn(1, width).bfloat16()
with torch.inference_mode():  # threads and code
    small = nn.Linear(256, 256, bias=False, dtype=torch.bfloat16)
    tersely.torch.compress_(small, mode=mode, progress=False)
    small(x[:, :256])
with torch.device("meta"):  # older versions of torch import much for it
    network(1)
before, start = proportional(), anonymous()
peak, ended = start, threading.Event()

def watch():
    global peak
    while not ended.wait(0.001):
        peak = max(peak, anonymous())

watcher = threading.Thread(target=watch)
watcher.start()
with torch.device("meta"):
    model = network(layers)
tersely.torch.load_model(model, path, mode=mode)
with torch.inference_mode():
    for _ in range(3):
        assert model(x).isfinite().all()
after = proportional()
ended.set()
watcher.join()
peak = max(peak, anonymous())
print(json.dumps({"proportional": after - before, "peak_anonymous": peak - start}))
"""


def test_loaded_models_take_the_memory_of_their_codes(mode: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    model = nn.Sequential(*(nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(LAYERS))).bfloat16()
    for layer in model:
        nn.init.normal_(layer.weight, std=0.02)
    tersely.torch.compress_(model, progress=False)
    tersely.torch.save_model(model, path)
    assert path.stat().st_size <= 0.77 * DENSE
    command = [sys.executable, "-c", CHILD, str(path), mode, str(WIDTH), str(LAYERS)]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    decoded = LAYER if mode == "identical" else 0
    assert 0.6 * DENSE <= found["proportional"] <= path.stat().st_size + decoded + SLACK
    assert found["peak_anonymous"] <= decoded + SLACK
