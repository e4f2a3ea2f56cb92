"""`memory_footprint`: the bytes that a module's weights take as they are kept."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from tersely.torch.interop.imports import when_imported
from tersely.torch.weight.tersely_tensor import TerselyTensor


def install() -> None:
    """Has `get_memory_footprint` of transformers' models tell the bytes of codes, when transformers is imported."""
    when_imported("transformers.modeling_utils", _prepare)


def _prepare(modeling: ModuleType) -> None:
    kind: Any = getattr(modeling, "PreTrainedModel", None)
    original = getattr(kind, "get_memory_footprint", None)
    if original is None or getattr(original, "of_tersely", False):
        return

    @functools.wraps(original)
    def get_memory_footprint(self: nn.Module, return_buffers: bool = True) -> int:
        if any(isinstance(weight, TerselyTensor) for weight in [*self.parameters(), *self.buffers()]):
            return memory_footprint(self, buffers=return_buffers)
        return int(original(self, return_buffers))

    get_memory_footprint.of_tersely = True  # type: ignore[attr-defined]
    kind.get_memory_footprint = get_memory_footprint


def memory_footprint(module: nn.Module, *, buffers: bool = True) -> int:
    """Returns the bytes of a module's weights as they are in memory, compressed ones by their codes.

    What counts elements, such as `nbytes` of a weight, tells the size of the dense tensor; `nbytes_stored` of a weight is
    this number for that one. `get_memory_footprint` of transformers' models tells it, too.

    Args:
        module: any module, compressed or not. Memory that several weights share is counted once.
        buffers: whether buffers count, too.
    """
    return stored_bytes([*module.parameters(), *(module.buffers() if buffers else ())])


def stored_bytes(tensors: Iterable[Tensor]) -> int:
    """Returns the bytes of tensors as they are in memory. What they share, codes or dense memory, is counted once."""
    seen: set[tuple[int, int]] = set()
    total = 0
    for tensor in tensors:
        for each in tensor.storage_.tensors() if isinstance(tensor, TerselyTensor) else [tensor]:
            size = each.numel() * each.element_size()
            key = _place(each, size)
            if key not in seen:
                seen.add(key)
                total += size
    return total


def _place(tensor: Tensor, size: int) -> tuple[int, int]:
    """The place where the bytes lie; tensors without addresses, as those of the meta device, are taken for different ones."""
    try:
        address = tensor.data_ptr() if tensor.device.type != "meta" else 0
    except RuntimeError:  # of a subclass or a transform: it has no address
        address = 0
    return (address, size) if address else (-id(tensor), size)
