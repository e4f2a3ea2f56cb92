"""What the aliases of one weight share: `detach()`, `.data`, transposes and parts all show one `Holder`.

Dense aliases see each other's writes because they have one memory. Codes are immutable, so a write puts other codes into
the holder, and every tensor that shows it forgets what it had kept of the old ones.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn
from weakref import WeakValueDictionary

import numpy as np
import torch
from torch import Tensor

from tersely.torch.content import Content, next_number

if TYPE_CHECKING:
    from tersely.torch.tensor import TerselyTensor

Part = Callable[[Content], Content]
"""How a view finds what it shows in the whole content of its holder, now and after every write."""


class Holder:
    """The content of a weight and the tensors that show it. Tensors with one holder are tied, as dense ones with one
    memory are; a copy has a holder of its own over the same, immutable codes."""

    def __init__(self, content: Content) -> None:
        self.content = content
        self._shown_by: WeakValueDictionary[int, TerselyTensor] = WeakValueDictionary()

    def show(self, tensor: TerselyTensor) -> None:
        """Have a tensor told of every write."""
        self._shown_by[id(tensor)] = tensor

    def hide(self, tensor: TerselyTensor) -> None:
        """Stop watching a tensor, until it is shown again."""
        self._shown_by.pop(id(tensor), None)

    def replace(self, content: Content) -> None:
        """Put other weights of the same shape and dtype in the place of these, for all who show them."""
        self.content = content
        for tensor in list(self._shown_by.values()):
            tensor.forget()

    @cached_property
    def token(self) -> Tensor:
        """A tensor whose memory no other weight has, and that is no component either. It cannot be resized into more."""
        return torch.from_numpy(np.zeros(1, np.uint8))

    @cached_property
    def number(self) -> int:
        """One that no other holder of this process has: pickles tell ties from copies by it."""
        return next_number()


def chained(first: Part | None, then: Part | None) -> Part | None:
    """The part of a part; None is the whole."""
    if first is None or then is None:
        return then if first is None else first
    return lambda content: then(first(content))


class Absent:
    """An attribute of a base class that is not to be found in this one."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: type | None = None) -> NoReturn:
        raise AttributeError(f"a compressed weight has no {self.name}")
