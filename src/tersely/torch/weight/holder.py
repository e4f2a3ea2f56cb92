"""`Holder`: what the aliases of one weight share. `detach()`, `.data`, transposes and slices all show one.

Dense aliases see each other's writes because they have one memory. Codes are immutable, so a write puts other codes into
the holder, and every tensor that shows it forgets what it had kept of the old ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, NoReturn, Protocol
from weakref import WeakValueDictionary

import numpy as np
import torch
from torch import Tensor

from tersely.torch.weight.weight_storage import WeightStorage, next_number

Slicing = Callable[[WeightStorage], WeightStorage]
"""How a view finds what it shows in the whole storage of its holder, now and after every write."""


class Shows(Protocol):
    """A tensor that shows what a holder holds."""

    def forget(self) -> None:
        """Drops what was kept of the holder's earlier storage."""


class Holder:
    """The storage of a weight and the tensors that show it.

    Tensors with one holder are tied, as dense ones with one memory are; a copy has a holder of its own over the same,
    immutable codes.
    """

    def __init__(self, storage: WeightStorage) -> None:
        self.storage = storage
        self.made_of: Sequence[Callable[[], Tensor | None]] = ()  # by a pickle: weak references
        self._shown_by: WeakValueDictionary[int, Shows] = WeakValueDictionary()

    def show(self, tensor: Shows) -> None:
        """Tells a tensor of every write from now on."""
        self._shown_by[id(tensor)] = tensor

    def hide(self, tensor: Shows) -> None:
        """Stops watching a tensor, until it is shown again."""
        self._shown_by.pop(id(tensor), None)

    def replace(self, storage: WeightStorage) -> None:
        """Puts other weights of the same shape and dtype in the place of these, for all who show them."""
        self.storage = storage
        for tensor in list(self._shown_by.values()):
            tensor.forget()

    @cached_property
    def token(self) -> Tensor:
        """A tensor whose memory no other weight has, and that is no component either. It cannot be resized into more."""
        return torch.from_numpy(np.zeros(1, np.uint8))

    @cached_property
    def number(self) -> int:
        """A number that no other holder of this process has: pickles tell ties from copies by it."""
        return next_number()


def chained(first: Slicing | None, then: Slicing | None) -> Slicing | None:
    """Returns the slicing of a slice; None is the whole."""
    if first is None or then is None:
        return then if first is None else first
    return lambda storage: then(first(storage))


class Absent:
    """An attribute of a base class that is not to be found in this one."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: type | None = None) -> NoReturn:
        raise AttributeError(f"a compressed weight has no {self.name}")
