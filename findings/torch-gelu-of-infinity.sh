#!/usr/bin/env bash
# torch 2.13.0, CPU, float32: gelu of infinity is NaN in a tensor of 64 numbers and infinity in a tensor of one; gelu of
# 3e38, which is 3e38, is infinity. In float64 both are right.
# Seen: "gelu(inf) of 64 nan, of one inf, float64 inf", "gelu(3e38) inf".
. "$(dirname "$0")/common.sh"
torch 2.13.0
packages numpy==2.4.6
"$python" -W ignore - <<'PYTHON'
import math
import sys
import torch
import torch.nn.functional as F

x = torch.full((64,), float("inf"))
many, one, double = F.gelu(x)[0].item(), F.gelu(x[:1]).item(), F.gelu(x.double())[0].item()
large = F.gelu(torch.full((64,), 3e38))[0].item()
print(f"gelu(inf) of 64 {many}, of one {one}, float64 {double}")
print(f"gelu(3e38) {large}")
sys.exit(0 if math.isnan(many) and one == double == math.inf and large == math.inf else 1)
PYTHON
