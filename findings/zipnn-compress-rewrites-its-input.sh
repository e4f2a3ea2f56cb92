#!/usr/bin/env bash
# ZipNN 0.5.4: compress() of float32 or bfloat16 reorders the bits of its input where they lie and leaves them so: a
# torch tensor holds other numbers afterwards, and so does a `bytes` object. What it returns decodes to the original
# numbers, but whoever compresses the same weights again, as those that two names of a state dict share, stores the
# reordered ones. float16 and float8 are left alone.
# Seen: "torch.bfloat16: weights kept False, first copy exact True, second copy exact False", the same for float32,
# "torch.float16: weights kept True, first copy exact True, second copy exact True", "bytes kept False".
. "$(dirname "$0")/common.sh"
torch 2.13.0
packages numpy==2.4.6 zipnn==0.5.4
"$python" -W ignore - <<'PYTHON'
import sys
import torch
from zipnn import ZipNN


def coder():
    return ZipNN(input_format="torch", threads=1)


def same(a, b):
    return torch.equal(a.view(torch.uint8), b.view(torch.uint8))


torch.manual_seed(0)
found = {}
for dtype in (torch.bfloat16, torch.float32, torch.float16):
    weights = (torch.randn(256, 256) * 0.02).to(dtype)
    before = weights.clone()
    first = coder().compress(weights)
    kept = same(weights, before)
    second = coder().compress(weights)
    found[dtype] = kept, *(same(coder().decompress(copy), before) for copy in (first, second))
    print(f"{dtype}: weights kept %s, first copy exact %s, second copy exact %s" % found[dtype])

data = (torch.randn(65536) * 0.02).numpy().tobytes()
before = bytearray(data)
ZipNN(input_format="byte", bytearray_dtype="float32", threads=1).compress(data)
print("bytes kept", data == before)
changed = found[torch.bfloat16] == found[torch.float32] == (False, True, False)
sys.exit(0 if changed and all(found[torch.float16]) and data != before else 1)
PYTHON
