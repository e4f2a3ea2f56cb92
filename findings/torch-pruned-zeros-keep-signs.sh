#!/usr/bin/env bash
# torch 2.13.0: torch.nn.utils.prune multiplies by its mask, so half of the weights it prunes become -0.0, also after
# prune.remove and in the state dict. A lossless coder pays a bit for each of those signs: xz needs a third more for a layer
# pruned by 90 %. to_sparse and to_sparse_csr drop both zeros, so their to_dense has other bits.
# Seen: "49.9 % of the pruned weights are -0.0", "xz: 571 kB, with signs dropped 429 kB",
# "same bits after to_sparse False False".
. "$(dirname "$0")/common.sh"
torch 2.13.0
packages numpy==2.4.6
"$python" -W ignore - <<'PYTHON'
import lzma
import sys
import torch
from torch.nn.utils import prune

torch.manual_seed(0)
layer = torch.nn.Linear(1024, 1024, bias=False)
prune.l1_unstructured(layer, "weight", amount=0.9)
prune.remove(layer, "weight")
weight = layer.state_dict()["weight"]
negative = (weight.signbit() & (weight == 0)).sum().item() / (weight == 0).sum().item()
print(f"{negative * 100:.1f} % of the pruned weights are -0.0")
as_it_is, dropped = (len(lzma.compress(w.numpy().tobytes())) for w in (weight, weight + 0.0))
print(f"xz: {as_it_is // 1000} kB, with signs dropped {dropped // 1000} kB")
ways = (weight.to_sparse(), weight.to_sparse_csr())
same = [torch.equal(way.to_dense().view(torch.int32), weight.view(torch.int32)) for way in ways]
print("same bits after to_sparse", *same)
sys.exit(0 if 0.4 < negative < 0.6 and as_it_is > 1.2 * dropped and not any(same) else 1)
PYTHON
