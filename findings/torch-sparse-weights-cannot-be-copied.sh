#!/usr/bin/env bash
# torch 2.13.0: a module whose weight is sparse runs, and its state dict is saved and loaded, but copy.deepcopy of it raises
# RuntimeError, whatever the layout, and so does swa_utils.AveragedModel, which begins with a copy. Of tensors that are no
# parameters, those of COO are copied, and those of compressed rows, columns or blocks raise NotImplementedError; clone copies each.
# Seen: "module, COO: runs True, saved True, copied: RuntimeError: unsupported memory format option Preserve, averaged: " and
# the same again; the same of CSR, CSC and BSR; "tensor, CSR: cloned True, copied: NotImplementedError: Cannot access storage of SparseCsrTensorImpl".
. "$(dirname "$0")/common.sh"
torch 2.13.0
packages numpy==2.4.6
"$python" -W ignore - <<'PYTHON'
import copy
import io
import sys
import torch
from torch.optim.swa_utils import AveragedModel

torch.manual_seed(0)
dense = torch.randn(8, 8) * (torch.rand(8, 8) < 0.3)
forms = {
    "COO": dense.to_sparse(),
    "CSR": dense.to_sparse_csr(),
    "CSC": dense.to_sparse_csc(),
    "BSR": dense.to_sparse_bsr((2, 2)),
}


class Product(torch.nn.Module):
    def __init__(self, weight):
        super().__init__()
        self.weight = torch.nn.Parameter(weight, requires_grad=False)

    def forward(self, x):
        return self.weight @ x


def copied(one, copying=copy.deepcopy):
    try:
        copying(one)
    except (RuntimeError, NotImplementedError) as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0]}"
    return "fine"


x, seen = torch.randn(8, 3), []
for name, form in forms.items():
    module, file = Product(form), io.BytesIO()
    runs = torch.allclose(module(x), dense @ x, atol=1e-5)
    torch.save(module.state_dict(), file)
    file.seek(0)
    saved = torch.equal(torch.load(file, weights_only=True)["weight"].to_dense(), dense)
    print(f"module, {name}: runs {runs}, saved {saved}, copied: {copied(module)}, averaged: {copied(module, AveragedModel)}")
    cloned = torch.equal(form.clone().to_dense(), dense)
    print(f"tensor, {name}: cloned {cloned}, copied: {copied(form)}")
    good = runs and saved and cloned and copied(module) == copied(module, AveragedModel) != "fine"
    seen.append(good and copied(form).startswith("fine" if name == "COO" else "NotImplementedError"))
sys.exit(0 if all(seen) else 1)
PYTHON
