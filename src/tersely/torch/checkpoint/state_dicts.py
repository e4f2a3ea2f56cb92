"""State dicts of plain tensors, for writers of safetensors that know no codes; and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from tersely.core.choices import Mode
from tersely.core.dtypes import BY_NAME, raw_bytes
from tersely.core.errors import CorruptError
from tersely.files.container import alias, closing, description
from tersely.tensors.tensor import Tensor as CodedTensor
from tersely.torch.checkpoint import dense_tensors, recipes
from tersely.torch.weight.coded import Coded
from tersely.torch.weight.dtypes import NAMES, as_tensor
from tersely.torch.weight.tersely_tensor import TerselyTensor, class_of


def flatten_state_dict(state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a state dict of plain tensors only, for any safetensors writer: compressed tensors as their uint8 components.

    Each weight once: a second name of a tied one, and slices and joins that are stored as pieces, become recipes, which
    lie in one more tensor, `tersely_recipes`. Lazy conjugates and negatives are computed, strides undone. What such a
    writer saves, `tersely.torch.load_file` reads; `tersely.load_file` and `tersely decompress` read the tensors and pieces.

    Raises ArgumentError for a tensor of that name, and for those that are no plain memory.
    """
    weights = {name: tensor for name, tensor in state_dict.items() if isinstance(tensor, TerselyTensor)}
    shelf = recipes.Shelf(weights, state_dict, once=True)
    flat: dict[str, Any] = {}
    seen: set[int] = set()
    for name in [*state_dict, *shelf.pieces]:
        if name in shelf.stored:
            stored = shelf.stored[name]
            given = _components(name, stored) if isinstance(stored, CodedTensor) else {name: as_tensor(stored)}
            for key, tensor in given.items():  # copies of a weight share components, which other writers refuse
                flat[key] = tensor.clone() if tensor.data_ptr() in seen and tensor.nbytes else tensor
                seen.add(tensor.data_ptr())
        elif name not in weights:
            flat[name] = dense_tensors.for_others(state_dict, name)
    return flat | shelf.note_tensor()


def _components(name: str, coded: CodedTensor) -> dict[str, Tensor]:
    components = coded.encoded.components
    sums = {key: description.crc32(data) for key, data in components.items()}
    original = coded.crc32 or description.crc32(raw_bytes(coded.decode()))
    info = bytearray(description.to_bytes(coded.encoded, sums, original))
    mark = f"{name}{description.MARK}"
    tensors = {f"{mark}{key}": as_tensor(data) for key, data in components.items()}
    return {f"{mark}{description.INFO}": torch.frombuffer(info, dtype=torch.uint8), **tensors}


def unflatten_state_dict(flat: Mapping[str, Any], *, mode: Mode = "fused") -> dict[str, Any]:
    """Returns the state dict that `flatten_state_dict` was given. Raises CorruptError, UnsupportedError naming the tensor."""
    kind = class_of(mode)
    groups: dict[str, dict[str, Tensor]] = {}
    state: dict[str, Any] = {}
    for key, value in flat.items():
        name, mark, component = key.rpartition(description.MARK)
        if mark:
            groups.setdefault(name, {})[component] = value
        else:
            state[key] = value
    descriptions: dict[str, description.Description] = {}
    storages: dict[str, Coded] = {}
    for name, components in groups.items():
        if description.INFO not in components:
            raise CorruptError("components without their description", tensor=name)
        if isinstance(state.get(name), Tensor) and tuple(state[name].shape) == closing.SHAPE:
            del state[name]
        raw = components.pop(description.INFO).numpy().tobytes()
        found = description.Description(raw, "state dict", name)
        if set(found.components) != set(components):
            odd = sorted(set(found.components) ^ set(components))[0]
            raise CorruptError("the component is missing or unknown", tensor=name, component=odd)
        descriptions[name] = found
        if not alias.is_alias(found.node):
            encoded = found.encoded({key: components[key].contiguous().numpy() for key in found.components})
            storages[name] = Coded.of(CodedTensor(encoded))
    dense = {
        name: (BY_NAME[NAMES[value.dtype]].tag, tuple(value.shape))
        for name, value in state.items()
        if isinstance(value, Tensor) and value.dtype in NAMES
    }
    copies = alias.resolve(descriptions, dense, {}, "state dict")
    for name in groups:  # in the order of the dictionary
        other = copies.get(name, name)
        storage = storages.get(other)
        if storage is None:
            state[name] = state[other].clone()
        else:
            state[name] = kind(storage if other == name else storage.copy())
    return recipes.followed(state, recipes.taken_note(state, {}, "state dict"), mode, "state dict")
