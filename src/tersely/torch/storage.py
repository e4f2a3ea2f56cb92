"""Saving and loading: files of tersely, whole modules, and flat dictionaries for other writers."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tersely.core.choices import ON_SLOW, Check, Mode, Objective, OnSlow, Orientation
from tersely.core.dtypes import BY_NAME, raw_bytes
from tersely.core.errors import ArgumentError, CorruptError, TerselyError
from tersely.files import folder
from tersely.files import open as files
from tersely.files.container import alias, closing, description
from tersely.planner.choose import slow_here
from tersely.tensors.tensor import Tensor as Coded
from tersely.torch import dense, extra_state, recipes, torchao, views
from tersely.torch.compression import all_names, parameters_of, put
from tersely.torch.content import Content, Leaf, Plain
from tersely.torch.dtypes import NAMES, as_tensor
from tersely.torch.int8 import Int8Linear
from tersely.torch.placement import LINE, laid_at
from tersely.torch.tensor import CLASSES, TerselyTensor

PathLike = str | os.PathLike[str]


def encode(
    tensor: Tensor,
    *,
    objective: Objective = "balanced",
    profile: str = "native",
    mode: Mode = "fused",
    orientation: Orientation = "out_in",
    threads: int | None = None,
    **options: Any,
) -> TerselyTensor:
    """One dense tensor as a TerselyTensor, coded even where that does not make it smaller if `formulation` says so.

    options: formulation and its parameters, as `tersely.encode` takes them. A tensor that no code makes smaller
    becomes a TerselyTensor of formulation 'dense'.
    """
    content = views.encode(tensor, (objective, profile), orientation, threads=threads, **options)
    return CLASSES[mode](content, encoding=(objective, profile))


def coded_of(tensor: TerselyTensor) -> Coded | None:
    """One tensor's codes as `tersely` stores them: by reference, coded anew where that cannot be; None: dense."""
    coded = recipes.by_reference(tensor)
    return recipes.anew(tensor) if coded is None and not isinstance(tensor.content, Plain) else coded


def save_file(tensors: Mapping[str, Tensor], path: PathLike, metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors, compressed and dense, to one file that `load_file` and any safetensors reader open.

    Parts and joins of compressed tensors are stored by the bytes that they have, as one tensor or as pieces
    (`tersely.torch.recipes`); a part that codes cannot follow is coded anew. The file appears whole or not at all.
    Raises ArgumentError or DestinationError.
    """
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            raise ArgumentError(extra_state.why_not(name, tensor))
        if hasattr(tensor, "__tensor_flatten__") and not isinstance(tensor, TerselyTensor):
            remedy = (
                "compress_ puts an Int8Linear, which they do, in the place of each layer that it can (its summary says why not); "
                if torchao.is_payload(tensor)
                else ""
            )
            raise ArgumentError(
                f"{name!r} is a {type(tensor).__name__}, which these files do not hold: {remedy}torch.save keeps it"
            )
    shelf = recipes.Shelf(tensors)
    ours = (recipes.NOTE, recipes.RESIDUES)
    own = {key: value for key, value in (metadata or {}).items() if key not in ours}
    files.save_file(shelf.stored, path, own | shelf.note(), closed=True)


def load_file(
    path: PathLike, *, mode: Mode = "fused", mmap: bool = True, check: Check = "structure", on_slow: OnSlow = "keep"
) -> dict[str, Tensor]:
    """All tensors of a file: compressed ones as TerselyTensor, dense ones as they are.

    Tensors that the file has once under several names share their codes, and are not tied: equal weights need not be one.
    Those whose dtype torch lacks (float6) are left out with a warning, and say why when they are asked for.

    Args:
        mode: as in `compress_`. mmap: codes stay in the mapped file and dense tensors copy its pages when written to;
            False reads the file. check: 'structure', 'checksums' or 'full'.
        on_slow: what to do with a tensor packed for a faster class of machine, which would run slower than dense here:
            'keep' and warn, 'transcode' it for this machine, or 'decode' it.

    Raises TerselyError (CorruptError, UnsupportedError) naming file, tensor, component and byte.
    """
    return _loaded(path, mode, mmap, check, on_slow)[0]


def _loaded(
    path: PathLike, mode: Mode, mmap: bool, check: Check, on_slow: OnSlow
) -> tuple[dict[str, Tensor], Mapping[str, str]]:
    """As `load_file`, with the file's metadata."""
    if on_slow not in ON_SLOW:
        raise ArgumentError(f"unknown on_slow {on_slow!r}: use one of {', '.join(ON_SLOW)}")
    _check_mode(mode)
    file = files.open_file(path, mmap=mmap, check=check)
    plain = dense.DenseTensors(file, path, mmap)
    tensors = dense.Loaded(str(path))
    contents: dict[str, Content] = {}
    slow = []
    encoding = ("balanced", "native")
    residues = recipes.residues_of(file.metadata, str(path))
    for name in file:
        coded, stored = file[name], file.reader.stored_as(name)
        if coded.formulation == "dense":
            if reason := plain.why_not(coded):
                tensors.refused[name] = reason
                continue
            tensors[name] = plain.get(name, coded)
            if mode == "identical" and tensors[name].ndim > 1:
                tensors[name] = laid_at(tensors[name], _residue(file, name, residues))
            continue
        known = stored in contents
        residue = _residue(file, name, residues)
        if len(coded.shape) > 1 and slow_here(coded.checked):  # vectors are not multiplied
            slow.append(name)
            if on_slow == "decode":
                tensors[name] = Leaf.of(coded).decode()
                continue
            if on_slow == "transcode" and not known:
                fresh = views.encode(Leaf.of(coded).decode(), encoding, coded.encoded.orientation)
                contents[stored] = fresh.placed(residue)
        if stored not in contents:
            contents[stored] = Leaf.of(coded, residue)
        content = contents[stored]
        tensors[name] = CLASSES[mode](content.placed(residue) if known else content, encoding=encoding)
    tensors.warn(stacklevel=3)
    if slow and on_slow == "keep":
        warnings.warn(
            f"{path}: {len(slow)} tensors ({slow[0]}, ...) have codes that are slower than dense weights on this "
            "machine; on_slow='transcode' or 'decode' trades memory for speed",
            stacklevel=3,
        )
    note = recipes.taken_note(tensors, file.metadata, str(path))
    return recipes.followed(tensors, note, mode, str(path)), file.metadata


def _residue(file: files.File, name: str, noted: Mapping[str, int]) -> int:
    """Where the dense weight lay: as the file notes it, or where safetensors maps it from the original file."""
    return noted.get(name, (file.reader.offset_in_original(name) or 0) % LINE)


def _check_mode(mode: Mode) -> None:
    if mode not in CLASSES:
        raise ArgumentError(f"unknown mode {mode!r}: use one of {', '.join(CLASSES)}")


def save_model(module: nn.Module, path: PathLike, metadata: Mapping[str, str] | None = None) -> None:
    """Write a module's state to one file; tied parameters once, their other names into the metadata.

    What modules give as extra state (`get_extra_state`) is kept where it is a tensor or made of None, booleans, numbers,
    strings, lists and dictionaries with strings for keys. Raises ArgumentError naming what cannot be kept.
    """
    aliases: dict[str, str] = {}
    for names in all_names(module, parameters_of(module)):
        aliases |= dict.fromkeys(names[1:], names[0])
    state = module.state_dict()
    kept = {name: tensor for name, tensor in state.items() if isinstance(tensor, Tensor) and name not in aliases}
    extra = {name: value for name, value in state.items() if not isinstance(value, Tensor)}
    save_file(kept, path, {**aliases, **(metadata or {}), **extra_state.note(extra)})


def load_model(
    module: nn.Module,
    path: PathLike,
    *,
    strict: bool = True,
    mode: Mode = "fused",
    mmap: bool = True,
    check: Check = "structure",
    on_slow: OnSlow = "keep",
) -> None:
    """Give a module the weights of a file, compressed ones compressed; on the meta device no dense copy is made.

    path: a file, a shard index, or a folder: what its index says, or all its .safetensors files where it has none. Other
        arguments as `load_file`.
    Raises TerselyError, changing nothing, that lists every missing, unexpected and misshapen name (strict=False: misshapen
    ones only), and for a tensor that two files have.
    """
    place = Path(path)
    tensors, metadata = _state_of(place, mode, mmap, check, on_slow)
    own = module.state_dict()
    aliased = {name: tensors[first] for name, first in metadata.items() if name in own and first in tensors}
    extra = extra_state.taken(metadata, str(place))
    tensors = aliased | tensors
    uses = list(parameters_of(module))
    for tie in all_names(module, uses):
        given = next((name for name in tie if name in tensors), None)
        if given is not None:
            tensors |= {name: tensors[given] for name in tie if name not in tensors}
    _compare(module, tensors, extra, str(place), strict)
    trainable = [getattr(use.parameter, "was_trainable", use.parameter.requires_grad) for use in uses]
    given_state = {name: value for name, value in (extra | tensors).items() if name in own}
    module.load_state_dict(given_state, strict=False, assign=True)
    for use, was_trainable in zip(uses, trainable, strict=True):
        owner, name = use.places[0]
        parameter = getattr(owner, name)
        if isinstance(parameter, TerselyTensor):
            parameter.was_trainable = was_trainable
            if use.reason:  # its owner writes to it, or computes another weight from it, at each call
                parameter = use.wrap(parameter.decode().detach(), was_trainable)
        if parameter is not None:
            put(use, parameter)
    empty = [name for name, buffer in module.named_buffers() if buffer.device.type == "meta"]
    if empty:
        warnings.warn(f"buffers that no file holds are still on the meta device: {', '.join(empty[:8])}", stacklevel=2)


def _state_of(
    place: Path, mode: Mode, mmap: bool, check: Check, on_slow: OnSlow
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a file or of the files of a folder, and their metadata."""
    tensors: dict[str, Tensor] = {}
    metadata: dict[str, str] = {}
    origin: dict[str, Path] = {}
    for file, wanted in folder.loaded_from(place).items():
        found, own = _loaded(file, mode, mmap, check, on_slow)
        for name, tensor in found.items():
            if wanted is not None and name not in wanted:
                continue
            if name in origin:
                raise TerselyError(
                    f"{origin[name]} and {file} both have a tensor {name!r}, and no index says which one is meant: give "
                    "the file, or remove the one that is a leftover"
                )
            tensors[name], origin[name] = tensor, file
        metadata |= own
    return tensors, metadata


def _compare(
    module: nn.Module, tensors: Mapping[str, Tensor], extra: Mapping[str, Any], path: str, strict: bool
) -> None:
    """extra: state that is no tensor. What a module gives as extra state may have any shape."""
    state = module.state_dict()
    own = {name: value for name, value in state.items() if isinstance(value, Tensor) and not extra_state.is_name(name)}
    given = {*tensors, *extra}
    missing = sorted(set(state) - given) if strict else []
    unexpected = sorted(given - set(state)) if strict else []
    wrong = [
        f"{name}: the file has {list(tensors[name].shape)}, the module {list(own[name].shape)}"
        for name in own
        if name in tensors and tensors[name].shape != own[name].shape
    ]
    remedy = _other_kind(module, tensors)
    if missing or unexpected or wrong or remedy:
        raise TerselyError(
            f"{path} does not fit the module; missing in the file: {missing or 'none'}; "
            f"unknown to the module: {unexpected or 'none'}; of another shape: {wrong or 'none'}{remedy}"
        )


def _other_kind(module: nn.Module, tensors: Mapping[str, Tensor]) -> str:
    """What to do about linear layers that are int8 in the file and floats in the module, or the other way round."""
    ours: list[str] = []
    theirs: list[str] = []
    for path, owner in module.named_modules():
        weight = tensors.get(f"{path}.weight" if path else "weight")
        if weight is not None and isinstance(owner, Int8Linear if weight.dtype.is_floating_point else nn.Linear):
            (theirs if weight.dtype.is_floating_point else ours).append(path or "the module itself")
    remedy = ""
    if ours:
        remedy += (
            f"; the file has int8 weights for {', '.join(ours[:8])}: put tersely.torch.Int8Linear in their places, or, where "
            "torchao quantised the module, compress_ it before loading"
        )
    if theirs:
        remedy += (
            f"; the file has floats for {', '.join(theirs[:8])}, which are Int8Linear: load them into nn.Linear, and "
            "quantise after that (Int8Linear.from_linear)"
        )
    return remedy


def flatten_state_dict(state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """A state dict of plain tensors only, for any safetensors writer: each compressed tensor as its uint8 components.

    Each weight once: a second name of a tied one, and parts and joins that are stored as pieces, become recipes, which
    lie in one more tensor, `tersely_recipes`. Lazy conjugates and negatives are computed, strides undone. What such a writer saves, `tersely.torch.load_file` reads; `tersely.load_file`
    and `tersely decompress` read the tensors and pieces. Raises ArgumentError for a tensor of that name, and for
    those that are no plain memory.
    """
    weights = {name: tensor for name, tensor in state_dict.items() if isinstance(tensor, TerselyTensor)}
    shelf = recipes.Shelf(weights, state_dict, once=True)
    flat: dict[str, Any] = {}
    seen: set[int] = set()
    for name in [*state_dict, *shelf.pieces]:
        if name in shelf.stored:
            stored = shelf.stored[name]
            given = _components(name, stored) if isinstance(stored, Coded) else {name: as_tensor(stored)}
            for key, tensor in given.items():  # copies of a weight share components, which other writers refuse
                flat[key] = tensor.clone() if tensor.data_ptr() in seen and tensor.nbytes else tensor
                seen.add(tensor.data_ptr())
        elif name not in weights:
            flat[name] = dense.for_others(state_dict, name)
    return flat | shelf.note_tensor()


def _components(name: str, coded: Coded) -> dict[str, Tensor]:
    components = coded.encoded.components
    sums = {key: description.crc32(data) for key, data in components.items()}
    original = coded.crc32 or description.crc32(raw_bytes(coded.decode()))
    info = bytearray(description.to_bytes(coded.encoded, sums, original))
    mark = f"{name}{description.MARK}"
    tensors = {f"{mark}{key}": as_tensor(data) for key, data in components.items()}
    return {f"{mark}{description.INFO}": torch.frombuffer(info, dtype=torch.uint8), **tensors}


def unflatten_state_dict(flat: Mapping[str, Any], *, mode: Mode = "fused") -> dict[str, Any]:
    """Inverse of `flatten_state_dict`. Raises CorruptError, UnsupportedError naming the tensor."""
    _check_mode(mode)
    groups: dict[str, dict[str, Tensor]] = {}
    state: dict[str, Any] = {}
    for key, value in flat.items():
        name, mark, component = key.rpartition(description.MARK)
        if mark:
            groups.setdefault(name, {})[component] = value
        else:
            state[key] = value
    descriptions: dict[str, description.Description] = {}
    contents: dict[str, Leaf] = {}
    for name, parts in groups.items():
        if description.INFO not in parts:
            raise CorruptError("components without their description", tensor=name)
        if isinstance(state.get(name), Tensor) and tuple(state[name].shape) == closing.SHAPE:
            del state[name]
        raw = parts.pop(description.INFO).numpy().tobytes()
        found = description.Description(raw, "state dict", name)
        if set(found.components) != set(parts):
            odd = sorted(set(found.components) ^ set(parts))[0]
            raise CorruptError("the component is missing or unknown", tensor=name, component=odd)
        descriptions[name] = found
        if not alias.is_alias(found.node):
            encoded = found.encoded({key: parts[key].contiguous().numpy() for key in found.components})
            contents[name] = Leaf.of(Coded(encoded))
    dense = {
        name: (BY_NAME[NAMES[value.dtype]].tag, tuple(value.shape))
        for name, value in state.items()
        if isinstance(value, Tensor) and value.dtype in NAMES
    }
    copies = alias.resolve(descriptions, dense, {}, "state dict")
    for name in groups:  # in the order of the dictionary
        other = copies.get(name, name)
        content = contents.get(other)
        if content is None:
            state[name] = state[other].clone()
        else:
            state[name] = CLASSES[mode](content if other == name else content.twin())
    return recipes.followed(state, recipes.taken_note(state, {}, "state dict"), mode, "state dict")
