#!/usr/bin/env bash
# torch 2.13.0: Tensor.set_ with a size that the given storage, of a fixed length, is too small for raises RuntimeError, but
# the tensor has the refused size and strides afterwards.
# Seen: "refused: ...", "shape afterwards: [2, 2]".
. "$(dirname "$0")/common.sh"
torch 2.13.0
packages numpy==2.4.6
"$python" -W ignore - <<'PYTHON'
import sys
import numpy as np
import torch

tensor = torch.zeros(8, 8)
storage = torch.from_numpy(np.zeros(1, np.uint8)).untyped_storage()
try:
    tensor.set_(storage, 0, (2, 2), (2, 1))
except RuntimeError as error:
    print("refused:", str(error).splitlines()[0][:120])
print("shape afterwards:", list(tensor.shape))
sys.exit(0 if list(tensor.shape) == [2, 2] else 1)
PYTHON
