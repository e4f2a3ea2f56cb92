"""`dense_weights`: a module on its exact dense weights for a while, for readers that know nothing of codes.

Exporters copy weights into a format of their own, so codes would gain nothing there: inside the context the module is an
ordinary dense one, and afterwards it has its codes again.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tersely.torch.modules.compression import parameters_of, put
from tersely.torch.modules.int8_linear import Int8Linear
from tersely.torch.modules.settings import Use
from tersely.torch.weight.tersely_tensor import TerselyTensor


@contextmanager
def dense_weights(module: nn.Module) -> Iterator[nn.Module]:
    """Gives a module its exact dense weights inside a with-statement, and its codes back afterwards.

    For exporters and other libraries that read memory: `with tersely.torch.dense_weights(model): export(model, ...)`.
    `torch.onnx.export`, `torch.jit` and OpenVINO are entered so by themselves. The whole dense model is in memory
    meanwhile; its weights are frozen as the codes are, and ties are kept. What is written to inside stays dense, with its
    new values and a warning.

    Args:
        module: any module, compressed or not; it is the module itself that the context gives.
    """
    lent: list[_Lent] = []
    written_out: list[Int8Linear] = []
    try:
        for use in list(_coded(module)):
            lent.append(_lend(use))
        for owner in module.modules():
            if isinstance(owner, Int8Linear) and not owner.written_out:
                owner.written_out = True
                written_out.append(owner)
        yield module
    finally:
        for owner in written_out:
            owner.written_out = False
        changed = [one.use.name for one in lent if not one.give_back()]
        if changed:
            warnings.warn(
                f"{len(changed)} weights were written to inside dense_weights ({changed[0]}, ...): they keep their new "
                "values and stay dense; tersely.torch.decompress_(model) and compress_(model) code them anew",
                stacklevel=3,
            )


def needs_dense(module: nn.Module) -> bool:
    """Returns whether a reader of memory would not find the weights of a module, or not the operators of its layers."""
    return any(True for _ in _coded(module)) or any(isinstance(owner, Int8Linear) for owner in module.modules())


@dataclass
class _Lent:
    """A coded weight and the dense one that stands in its places meanwhile."""

    use: Use
    dense: Tensor
    version: int
    address: int

    def give_back(self) -> bool:
        """Puts the codes back, unless somebody has written to the dense weight or replaced it."""
        dense, coded = self.dense, self.use.parameter
        same_kind = (dense.shape, dense.dtype, dense.device) == (coded.shape, coded.dtype, coded.device)
        kept = same_kind and dense._version == self.version and dense.data_ptr() == self.address
        if kept:
            ours = [place for place in self.use.places if getattr(*place, None) is dense]
            put(Use(self.use.name, coded, ours), coded)
        return kept


def _lend(use: Use) -> _Lent:
    weight = use.parameter
    assert isinstance(weight, TerselyTensor)
    with torch.inference_mode(False), torch.no_grad():  # tensors of inference mode count no writes
        dense: Tensor = weight.decode().detach()
        if getattr(weight, "_is_param", False):
            dense = nn.Parameter(dense, requires_grad=False)
        put(use, dense)
    return _Lent(use, dense, dense._version, dense.data_ptr())


def _coded(module: nn.Module) -> Iterator[Use]:
    """Every compressed weight with all its places: parameters, buffers, and plain attributes."""
    for use in parameters_of(module):
        if isinstance(use.parameter, TerselyTensor):
            yield use
    others: dict[int, Use] = {}
    for path, owner in module.named_modules():
        for name, value in [*owner._buffers.items(), *vars(owner).items()]:
            if isinstance(value, TerselyTensor) and not (isinstance(owner, Int8Linear) and name == "weight"):
                use = others.setdefault(id(value), Use(f"{path}.{name}" if path else name, value, []))
                use.places.append((owner, name))
    yield from others.values()
