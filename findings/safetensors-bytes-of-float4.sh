#!/usr/bin/env bash
# safetensors 0.8.0 with torch 2.13.0: a file with tensors of float4_e2m1fn_x2 and float8_e8m0fnu is given whole by
# safetensors.torch.load_file, while safetensors.torch.load of the same bytes ends in KeyError.
# Seen: "load_file: ['scale', 'w']", "load: KeyError 'F4'" (or 'F8_E8M0', whichever comes first).
. "$(dirname "$0")/common.sh"
torch 2.13.0
packages numpy==2.4.6 safetensors==0.8.0 packaging==26.3
"$python" - <<'PYTHON'
import os, sys, tempfile
import torch
from safetensors.torch import load, load_file, save_file

tensors = {
    "w": torch.arange(32, dtype=torch.uint8).view(4, 8).view(torch.float4_e2m1fn_x2),
    "scale": torch.full((4,), 127, dtype=torch.uint8).view(torch.float8_e8m0fnu),
}
with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "a.safetensors")
    save_file(tensors, path)
    print("load_file:", sorted(load_file(path)))
    try:
        found = load(open(path, "rb").read())
    except KeyError as error:
        print("load: KeyError", error)
        sys.exit(0)
print("load:", sorted(found), "- the behaviour has changed")
sys.exit(1)
PYTHON
