#!/usr/bin/env bash
# torch 2.13.0: the module of an exported program fetches every parameter by its dotted name at each call, level by level
# through nn.Module.__getattr__, so a flat graph costs more lookups the deeper the model was nested: 1,202 for a hundred
# linear layers five levels down, where the model itself makes 200. In a ResNet-50 of transformers it is 2,880 lookups
# and 2.5 ms a call.
# Seen: "depth 1: model 200, exported 402", "depth 5: model 200, exported 1202".
. "$(dirname "$0")/common.sh"
torch 2.13.0
packages numpy==2.4.6
"$python" -W ignore - <<'PYTHON'
import sys
import torch

real, calls = torch.nn.Module.__getattr__, 0


def counted(self, name):
    global calls
    calls += 1
    return real(self, name)


def lookups(module, x):
    global calls
    module(x)  # what is done once only
    calls = 0
    module(x)
    return calls


torch.nn.Module.__getattr__ = counted
found = {}
with torch.no_grad():
    x = torch.ones(1, 4)
    for depth in (1, 5):
        model = torch.nn.Sequential(*(torch.nn.Linear(4, 4) for _ in range(100)))
        for _ in range(depth - 1):
            model = torch.nn.Sequential(model)
        exported = torch.export.export(model.eval(), (x,)).module()
        found[depth] = lookups(model, x), lookups(exported, x)
        print(f"depth {depth}: model {found[depth][0]}, exported {found[depth][1]}")
same = found[1][0] == found[5][0]
sys.exit(0 if same and found[5][1] > 2 * found[1][1] else 1)
PYTHON
