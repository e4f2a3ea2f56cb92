#!/usr/bin/env bash
# torch 2.13.0, CPU: scaled_dot_product_attention gives zeros for a query that is NaN, where softmax(q k) v, its own math
# backend and float64 by that formula give NaN. A NaN in a network's queries ends there unseen.
# Seen: "fused [0.0, 0.0, 0.0, 0.0]", "math [nan, nan, nan, nan]".
. "$(dirname "$0")/common.sh"
torch 2.13.0
packages numpy==2.4.6
"$python" -W ignore - <<'PYTHON'
import sys
import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

torch.manual_seed(0)
q, k, v = (torch.randn(1, 1, 4, 4) for _ in range(3))
q[0, 0, 1, 0] = float("nan")
fused = F.scaled_dot_product_attention(q, k, v)[0, 0, 1]
with sdpa_kernel(SDPBackend.MATH):
    math = F.scaled_dot_product_attention(q, k, v)[0, 0, 1]
print("fused", fused.tolist())
print("math", math.tolist())
sys.exit(0 if bool((fused == 0).all()) and bool(math.isnan().all()) else 1)
PYTHON
