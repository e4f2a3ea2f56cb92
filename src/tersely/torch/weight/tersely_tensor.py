"""`TerselyTensor`: a weight that is coded and yet a `torch.Tensor`, so that modules stay what they are.

Two classes for the two numeric modes. `TerselyTensor` itself is mode "identical": it has `__torch_dispatch__` only, so
torch takes every path that it takes for dense weights and meets the decoded weight at its end. `FusedTensor` is mode
"fused": products go to tersely's kernels, `F.linear` by a short way that does not pass the dispatcher.

Compressed weights are frozen. `copy_`, and `.data =`, replace the codes for all aliases of a weight; any other in-place
write is refused. C++ that asks for the memory of one gets an error: there is none.
"""

from __future__ import annotations

import hashlib
import warnings
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NoReturn
from weakref import WeakValueDictionary

import numpy as np
import torch
from torch import Tensor

from tersely.core.errors import ArgumentError, TerselyError
from tersely.torch.weight import short_way
from tersely.torch.weight.concatenated import in_shared_memory, rebuild
from tersely.torch.weight.dispatch import OPERATORS
from tersely.torch.weight.holder import Absent, Holder, Slicing, chained
from tersely.torch.weight.layouts import laid_out, strides_of
from tersely.torch.weight.weight_storage import Dense, WeightStorage, next_number

COMPONENT = "tersely_component"
"""And a number: attributes that compilers find components by."""
ADVICE = "tersely.torch.decompress_(model) gives dense weights back, and tensor.decode() a dense copy of this one"


class TerselyTensor(torch.Tensor):
    """A weight kept in codes. Made by `compress_`, `encode` and `load_file`; `decode()` gives the exact dense tensor.

    storage: what it holds. layout: 'contiguous', 'transposed' (the last two dimensions are swapped), 'channels_last' or
    'channels_last_3d'. encoding: (objective, profile) by which `copy_` codes new weights.
    """

    holder: Holder
    slicing: Slicing | None
    _shown: WeightStorage | None
    layout_: str
    encoding: tuple[str, str]
    was_trainable: bool
    fuses: ClassVar[bool] = False

    @staticmethod
    def __new__(
        cls: type[TerselyTensor],
        storage: WeightStorage | Holder | Tensor,
        layout: str = "contiguous",
        encoding: tuple[str, str] = ("balanced", "native"),
        was_trainable: bool = False,
        slicing: Slicing | None = None,
        **kept: Any,
    ) -> TerselyTensor:
        if isinstance(storage, Tensor):  # as accelerate makes parameters anew: by class, from a tensor and attributes
            return again(storage, bool(kept.get("requires_grad", False)))
        holder = storage if isinstance(storage, Holder) else Holder(storage)
        shown = holder.storage if slicing is None else slicing(holder.storage)
        # What shows a weight is as normal a tensor as the weight: views of normal tensors are, under inference_mode too.
        if torch.is_inference_mode_enabled():
            with torch.inference_mode(False):
                self = _wrapper(cls, shown, layout)
        else:
            self = _wrapper(cls, shown, layout)
        self.holder, self.slicing, self._shown = holder, slicing, shown
        self.layout_, self.encoding, self.was_trainable = layout, encoding, was_trainable
        holder.show(self)
        return self

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return OPERATORS.run(func, args, dict(kwargs or {}))

    # -- what it is ------------------------------------------------------------------------------------------------

    @property
    def numerics(self) -> str:
        """'fused' or 'identical'."""
        return "fused" if self.fuses else "identical"

    @property
    def storage_(self) -> WeightStorage:
        """What the holder has of this tensor at present."""
        found = self._shown
        if found is None:
            whole = self.holder.storage
            found = self._shown = whole if self.slicing is None else self.slicing(whole)
        return found

    @property
    def identity(self) -> tuple[Any, ...]:
        """Equal for tensors that are tied: those that show one weight in the same way."""
        return (id(self.holder) if self.slicing is None else id(self), self.layout_, type(self))

    @property
    def formulation(self) -> str:
        """How the weight is coded: 'split packed(4)', ..., or 'dense'."""
        return self.storage_.description

    @property
    def nbytes_stored(self) -> int:
        """Bytes of the components, which stay in memory."""
        return self.storage_.nbytes_stored

    @property
    def ratio(self) -> float:
        """Dense bytes / stored bytes."""
        stored = self.nbytes_stored
        return self.numel() * self.dtype.itemsize / stored if stored else 1.0

    def decode(self) -> Tensor:
        """Returns the exact dense tensor, with these strides. Not to be written to where the formulation is 'dense'."""
        return laid_out(self.storage_.decode(), self.layout_, self.storage_.residue)

    def like(self, storage: WeightStorage, layout: str | None = None) -> TerselyTensor:
        """Returns another storage in this class, with this tensor's settings."""
        return type(self)(storage, self.layout_ if layout is None else layout, self.encoding)

    def alias(self, slicing: Slicing | None = None, layout: str | None = None) -> TerselyTensor:
        """Returns this weight, or a slice of it, in another tensor: it shows what `copy_` writes into either."""
        layout = self.layout_ if layout is None else layout
        return type(self)(self.holder, layout, self.encoding, slicing=chained(self.slicing, slicing))

    def forget(self) -> None:
        """Drops what was kept of the holder's earlier storage."""
        flattened = "_flat" in self.__dict__
        for name in [name for name in self.__dict__ if name in ("_kernel", "_flat") or name.startswith(COMPONENT)]:
            del self.__dict__[name]
        self._shown = None
        if flattened:  # compiled code takes the components by their names without asking
            self.__tensor_flatten__()

    def rebind(self, holder: Holder, slicing: Slicing | None = None) -> None:
        """Shows another weight, or a slice of one, of this shape and dtype."""
        self.holder, self.slicing = holder, slicing
        holder.show(self)
        self.forget()

    def exchange(self, other: TerselyTensor) -> None:
        """Becomes what another tensor of this shape, dtype and layout is, and it what this one is: `swap_tensors`."""
        for name in ("holder", "slicing", "encoding", "was_trainable"):
            mine, theirs = getattr(self, name), getattr(other, name)
            setattr(self, name, theirs)
            setattr(other, name, mine)
        for tensor in (self, other):
            tensor.holder.show(tensor)
            tensor.forget()

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        word = "Parameter " if getattr(self, "_is_param", False) else ""
        smaller = f"{self.ratio:.3f}x smaller, " if self.storage_.real else ""  # compilers print it, too
        return (
            f"{word}TerselyTensor(shape={list(self.shape)}, dtype={self.dtype}, {self.formulation}, "
            f"{smaller}mode={self.numerics})"
        )

    # -- moving and copying ----------------------------------------------------------------------------------------

    def __deepcopy__(self, memo: dict[int, Any]) -> TerselyTensor:
        """Codes are immutable and shared; a dense storage is copied. Copies are tied as what they were made of."""
        if id(self) not in memo:
            if id(self.holder) not in memo:
                memo[id(self.holder)] = Holder(self.holder.storage.copy())
            copy = type(self)(memo[id(self.holder)], self.layout_, self.encoding, self.was_trainable, self.slicing)
            copy._mark(getattr(self, "_is_param", False))
            memo[id(self)] = copy
        return memo[id(self)]  # type: ignore[no-any-return]

    def __copy__(self) -> TerselyTensor:
        """Returns another tensor that shows the same weight, as copies of dense ones do."""
        other = self.alias()
        other.was_trainable = self.was_trainable
        other._mark(getattr(self, "_is_param", False))
        return other

    def __reduce_ex__(self, protocol: Any) -> Any:
        is_parameter = bool(getattr(self, "_is_param", False))
        number = self.holder.number if self.slicing is None else next_number()
        settings = (self.layout_, self.encoding, self.was_trainable, is_parameter, number)
        storage = self.storage_
        return _rebuild, (self.numerics, storage.structure(True), storage.tensors(), settings)

    def _mark(self, is_parameter: bool) -> None:
        if is_parameter:
            self._is_param = True

    def share_memory_(self) -> TerselyTensor:
        """Moves the components to shared memory."""
        if not self.is_shared():
            self.holder.replace(in_shared_memory(self.holder.storage))
        return self

    def is_shared(self) -> bool:
        return all(tensor.is_shared() for tensor in self.storage_.tensors())

    def requires_grad_(self, requires_grad: bool = True) -> TerselyTensor:
        """Compressed weights stay frozen: asked of a parameter, it says so once."""
        if requires_grad and getattr(self, "_is_param", False):
            warn_once("compressed weights stay frozen: requires_grad_(True) has no effect on them; " + ADVICE)
        return self

    @property
    def requires_grad(self) -> bool:
        return torch.Tensor.requires_grad.__get__(self)  # type: ignore[attr-defined, no-any-return]

    @requires_grad.setter
    def requires_grad(self, requires_grad: bool) -> None:
        self.requires_grad_(requires_grad)

    @property
    def data(self) -> TerselyTensor:
        """This weight, as a tensor that is no parameter; what is written into it is written here."""
        return self.alias()

    @data.setter
    def data(self, new: Tensor) -> None:
        """Takes new weights of this shape and dtype in the place of these; aliases keep the old ones, as dense ones do.

        Raises TerselyError for weights that the codes could not follow.
        """
        OPERATORS.assign(self, new)

    # -- memory, which there is none of ----------------------------------------------------------------------------

    def data_ptr(self) -> NoReturn:
        raise TerselyError(
            "a compressed weight has no dense memory to point at. To save it, use tersely.torch.save_file, "
            "save_model, or tersely.torch.flatten_state_dict(state_dict) for another safetensors writer; " + ADVICE
        )

    def untyped_storage(self) -> Any:
        """Memory that stands for this weight and no other: tied weights are found by it. Never the weight's bytes."""
        if not self.storage_.real:
            return super().untyped_storage()
        return self.holder.token.untyped_storage()

    def storage(self) -> NoReturn:
        self.data_ptr()

    _typed_storage = storage

    def numpy(self, *, force: bool = False) -> np.ndarray:
        if force:
            return self.decode().numpy(force=True)
        raise TerselyError(f"a compressed weight cannot be seen as an array without decoding: {ADVICE}")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.numpy()

    def __dlpack__(self, **_: Any) -> NoReturn:
        raise TerselyError(f"a compressed weight has no dense memory to hand over by DLPack: {ADVICE}")

    __dlpack_c_exchange_api__ = Absent()
    """Torch's own, by which C++ takes the memory of any tensor without asking it."""

    def __format__(self, spec: str) -> str:
        return format(self.decode(), spec) if spec else str(self)

    def tolist(self) -> Any:
        return self.decode().tolist()

    def apply_(self, *_: Any) -> NoReturn:
        raise TerselyError(f"a compressed weight has no dense memory to be changed element by element: {ADVICE}")

    map_ = map2_ = apply_

    # -- what compilers ask ----------------------------------------------------------------------------------------

    def __tensor_flatten__(self) -> tuple[list[str], Any]:
        """Asked twice for each weight at every call of compiled code, so it is kept."""
        flat = self.__dict__.get("_flat")
        if flat is None:
            seen = self.storage_.framed
            tensors = seen.tensors()
            names = [f"{COMPONENT}{number}" for number in range(len(tensors))]
            self.__dict__.update(zip(names, tensors, strict=True))
            flat = self.__dict__["_flat"] = (names, (seen.structure(), self.layout_, self.encoding))
        return flat  # type: ignore[no-any-return]

    def _stable_hash_for_caching(self) -> str:
        """Equal for weights that compiled code may be shared by, also in another process."""
        text = repr((self.numerics, self.__tensor_flatten__()[1]))
        return hashlib.sha256(text.encode()).hexdigest()

    @classmethod
    def __tensor_unflatten__(
        cls, inner: Mapping[str, Tensor], context: Any, size: Any = None, stride: Any = None
    ) -> TerselyTensor:
        spec, layout, encoding = context
        tensors = [inner[f"{COMPONENT}{number}"] for number in range(len(inner))]
        return cls(rebuild(spec, tensors), layout, encoding)


class FusedTensor(TerselyTensor):
    """A `TerselyTensor` of mode "fused"."""

    fuses = True

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if not torch.compiler.is_dynamo_compiling():
            short = short_way.SHORT.get(func)
            if short is not None:
                result = short(*args, **kwargs) if kwargs else short(*args)
                if result is not None:
                    return result
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))


CLASSES: dict[str, type[TerselyTensor]] = {"fused": FusedTensor, "identical": TerselyTensor}
"""The tensor class of each numeric mode."""


def class_of(mode: str) -> type[TerselyTensor]:
    """Returns the tensor class of a numeric mode. Raises ArgumentError for any but 'fused' and 'identical'."""
    if mode not in CLASSES:
        raise ArgumentError(f"unknown mode {mode!r}: use one of {', '.join(CLASSES)}")
    return CLASSES[mode]


def again(tensor: Tensor, requires_grad: bool) -> Any:
    """Returns a parameter of a tensor: compressed where that is."""
    if not isinstance(tensor, TerselyTensor):
        return torch.nn.Parameter(tensor, requires_grad=requires_grad)
    made = tensor.alias()
    made._mark(True)
    return made


def _wrapper(cls: type[TerselyTensor], storage: WeightStorage, layout: str) -> TerselyTensor:
    """The bare tensor of a storage: its shape, strides, dtype and device, and no memory."""
    shape = storage.shape
    device: Any = torch.device("cpu")
    if isinstance(storage, Dense):
        strides, device = storage.tensor.stride(), storage.tensor.device
    else:
        strides = strides_of(shape, layout)
    if layout == "transposed":
        shape = (*shape[:-2], shape[-1], shape[-2])
        strides = (*strides[:-2], strides[-1], strides[-2])
    elif storage.tensors():
        device = storage.tensors()[0].device
    self: TerselyTensor = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
        cls, shape, strides=strides, dtype=storage.dtype, device=device, requires_grad=False
    )
    # What C++ asks for memory to write to, DLPack and accessors among it, ends in an error of torch instead of at address 0.
    torch._C._set_throw_on_mutable_data_ptr(self)
    return self


_said: set[str] = set()


def warn_once(message: str) -> None:
    """Warns, once in a process."""
    if message not in _said:
        _said.add(message)
        warnings.warn(message, stacklevel=3)


_rebuilt: WeakValueDictionary[Any, Holder] = WeakValueDictionary()
"""Holders by the number that each had when it was saved, and its tensors, which only one pickle made."""


def _rebuild(mode: str, spec: Any, tensors: Sequence[Tensor], settings: Any) -> TerselyTensor:
    layout, encoding, was_trainable, is_parameter, *number = settings  # earlier releases saved none
    key = (repr((number, spec)), tuple(map(id, tensors)))
    holder = _rebuilt.get(key) if number else None
    # A write frees the tensors that a holder was made of, and another pickle's may get their ids.
    if holder is None or any(made() is not tensor for made, tensor in zip(holder.made_of, tensors, strict=True)):
        # Checked when first used: pickles of torch's old format have no bytes until all of them are made.
        holder = _rebuilt[key] = Holder(rebuild(spec, tensors))
        holder.made_of = [weakref.ref(tensor) for tensor in tensors]
    result = CLASSES[mode](holder, layout, tuple(encoding), was_trainable)
    result._mark(is_parameter)
    return result


torch.serialization.add_safe_globals([_rebuild])
