"""Saving and loading: files of tersely, whole modules, and flat dictionaries for other writers."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from tersely.core.choices import ON_SLOW, Check, Mode, Objective, OnSlow, Orientation
from tersely.core.errors import ArgumentError, TerselyError
from tersely.files import folder
from tersely.files import open as files
from tersely.planner.choose import slow_here
from tersely.tensors.tensor import Tensor as CodedTensor
from tersely.torch.checkpoint import dense_tensors as dense
from tersely.torch.checkpoint import extra_state, recipes
from tersely.torch.modules import torchao
from tersely.torch.modules.compression import all_names, parameters_of, put
from tersely.torch.modules.int8_linear import Int8Linear
from tersely.torch.operators import views
from tersely.torch.weight.coded import Coded
from tersely.torch.weight.placement import LINE, laid_at
from tersely.torch.weight.tersely_tensor import TerselyTensor, class_of
from tersely.torch.weight.weight_storage import Dense, WeightStorage

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
    """Returns one dense tensor as a TerselyTensor; one of formulation 'dense' where no code makes it smaller.

    Args:
        tensor: a dense tensor on the CPU, of any shape and a dtype that is coded.
        objective: 'size', 'speed' or 'balanced'.
        profile: as in `compress_`, but for files.
        mode: 'fused' or 'identical', as in `compress_`.
        orientation: 'out_in' for [outputs, inputs], 'in_out' for [inputs, outputs].
        threads: workers of the encoder; None for as many as products use.
        options: formulation and its parameters, as `tersely.encode` takes them; it is then coded even where that does
            not make it smaller.

    Raises:
        ArgumentError: for tensors and options that do not fit.
    """
    storage = views.encode(tensor, (objective, profile), orientation, threads=threads, **options)
    return class_of(mode)(storage, encoding=(objective, profile))


def to_coded_tensor(tensor: TerselyTensor) -> CodedTensor | None:
    """Returns a tensor's codes as `tersely` stores them: by reference, else coded anew; None: dense."""
    coded = recipes.by_reference(tensor)
    return recipes.anew(tensor) if coded is None and not isinstance(tensor.storage_, Dense) else coded


def save_file(tensors: Mapping[str, Tensor], path: PathLike, metadata: Mapping[str, str] | None = None) -> None:
    """Writes tensors, compressed and dense, to one file that `load_file` and any safetensors reader open.

    Slices and joins of compressed tensors are stored by the bytes that they have, as one tensor or as pieces
    (`tersely.torch.checkpoint.recipes`); a slice that codes cannot follow is coded anew. The file appears whole or not
    at all.

    Args:
        tensors: by name.
        path: the file to write; an existing one is replaced.
        metadata: text by key, for the file's header.

    Raises:
        ArgumentError: for tensors that no file holds.
        DestinationError: where the file cannot be written.
    """
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            raise ArgumentError(extra_state.reason_refused(name, tensor))
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
    """Returns all tensors of a file: compressed ones as TerselyTensor, dense ones as they are.

    Tensors that the file has once under several names share their codes, and are not tied: equal weights need not be
    one. Those whose dtype torch lacks (float6) are left out with a warning, and say why when they are asked for.

    Args:
        path: the file.
        mode: 'fused' or 'identical', as in `compress_`.
        mmap: codes stay in the mapped file and dense tensors copy its pages when written to; False reads the file.
        check: how deep to check: 'structure', 'checksums' or 'full'.
        on_slow: what to do with a tensor packed for a faster class of machine, which would run slower than dense here:
            'keep' and warn, 'transcode' it for this machine, or 'decode' it.

    Returns:
        Tensors by name, in the order of the file.

    Raises:
        CorruptError: for damage, naming file, tensor, component and byte.
        UnsupportedError: for a file that needs another release of tersely.
        TerselyError: where the file does not exist or cannot be read.
    """
    return _loaded(path, mode, mmap, check, on_slow)[0]


def _loaded(
    path: PathLike, mode: Mode, mmap: bool, check: Check, on_slow: OnSlow
) -> tuple[dict[str, Tensor], Mapping[str, str]]:
    """What `load_file` returns, and the file's metadata."""
    if on_slow not in ON_SLOW:
        raise ArgumentError(f"unknown on_slow {on_slow!r}: use one of {', '.join(ON_SLOW)}")
    kind = class_of(mode)
    file = files.open_file(path, mmap=mmap, check=check)
    plain = dense.DenseTensors(file, path, mmap)
    tensors = dense.Loaded(str(path))
    storages: dict[str, WeightStorage] = {}
    slow = []
    encoding = ("balanced", "native")
    residues = recipes.residues_of(file.metadata, str(path))
    for name in file:
        coded, stored = file[name], file.reader.stored_as(name)
        if coded.formulation == "dense":
            if reason := plain.reason_refused(coded):
                tensors.refused[name] = reason
                continue
            tensors[name] = plain.get(name, coded)
            if mode == "identical" and tensors[name].ndim > 1:
                tensors[name] = laid_at(tensors[name], _residue(file, name, residues))
            continue
        known = stored in storages
        residue = _residue(file, name, residues)
        if len(coded.shape) > 1 and slow_here(coded.checked):  # vectors are not multiplied
            slow.append(name)
            if on_slow == "decode":
                tensors[name] = Coded.of(coded).decode()
                continue
            if on_slow == "transcode" and not known:
                fresh = views.encode(Coded.of(coded).decode(), encoding, coded.encoded.orientation)
                storages[stored] = fresh.placed(residue)
        if stored not in storages:
            storages[stored] = Coded.of(coded, residue)
        storage = storages[stored]
        tensors[name] = kind(storage.placed(residue) if known else storage, encoding=encoding)
    tensors.warn(stacklevel=3)
    if slow and on_slow == "keep":
        warnings.warn(
            f"{path}: {len(slow)} of its tensors ({slow[0]}{', ...' * (len(slow) > 1)}) have codes that are slower than dense weights on this "
            "machine; on_slow='transcode' or 'decode' trades memory for speed",
            stacklevel=3,
        )
    note = recipes.taken_note(tensors, file.metadata, str(path))
    return recipes.followed(tensors, note, mode, str(path)), file.metadata


def _residue(file: files.File, name: str, noted: Mapping[str, int]) -> int:
    """The residue at which the dense weight lay: as the file notes it, or as safetensors maps the original file."""
    return noted.get(name, (file.reader.offset_in_original(name) or 0) % LINE)


def save_model(module: nn.Module, path: PathLike, metadata: Mapping[str, str] | None = None) -> None:
    """Writes a module's state to one file; tied parameters once, their other names into the metadata.

    What modules give as extra state (`get_extra_state`) is kept where it is a tensor or made of None, booleans,
    numbers, strings, lists and dictionaries with strings for keys.

    Args:
        module: any module, compressed or not.
        path: the file to write; an existing one is replaced.
        metadata: text by key, for the file's header.

    Raises:
        ArgumentError: naming what cannot be kept.
        DestinationError: where the file cannot be written.
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
    """Gives a module the weights of a file, compressed ones compressed; on the meta device no dense copy is made.

    Nothing is cast: tensors keep the dtype of the file, as with `load_state_dict(assign=True)`, so that no bits are
    lost. Where it is not the module's, a warning says of how many, and what to do.

    Args:
        module: any module with the names and shapes of the file.
        path: a file, a shard index, or a folder: what its index says, or all its .safetensors files where it has none.
        strict: whether names that are missing in the file or unknown to the module are errors.
        mode: 'fused' or 'identical', as in `compress_`.
        mmap: as in `load_file`.
        check: as in `load_file`.
        on_slow: as in `load_file`.

    Raises:
        TerselyError: changing nothing, that lists every missing, unexpected and misshapen name (strict=False: misshapen
            ones only), and for a tensor that two files have.
        CorruptError: for damage, naming file, tensor, component and byte.
        UnsupportedError: for a file that needs another release of tersely.
    """
    source = Path(path)
    tensors, metadata = _state_of(source, mode, mmap, check, on_slow)
    own = module.state_dict()
    aliased = {name: tensors[first] for name, first in metadata.items() if name in own and first in tensors}
    extra = extra_state.taken(metadata, str(source))
    tensors = aliased | tensors
    uses = list(parameters_of(module))
    for tie in all_names(module, uses):
        given = next((name for name in tie if name in tensors), None)
        if given is not None:
            tensors |= {name: tensors[given] for name in tie if name not in tensors}
    _compare(module, tensors, extra, str(source), strict)
    _warn_of_dtypes(own, tensors, str(source))
    trainable = [getattr(use.parameter, "was_trainable", use.parameter.requires_grad) for use in uses]
    given_state = {name: value for name, value in (extra | tensors).items() if name in own}
    module.load_state_dict(given_state, strict=False, assign=True)
    for use, was_trainable in zip(uses, trainable, strict=True):
        owner, name = use.owners[0]
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
    source: Path, mode: Mode, mmap: bool, check: Check, on_slow: OnSlow
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a file or of the files of a folder, and their metadata."""
    tensors: dict[str, Tensor] = {}
    metadata: dict[str, str] = {}
    origin: dict[str, Path] = {}
    for file, wanted in folder.loaded_from(source).items():
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


def _warn_of_dtypes(own: Mapping[str, Any], tensors: Mapping[str, Tensor], path: str) -> None:
    """Says which tensors have another dtype in the file than in the module. own: the module's state before loading."""
    both = [name for name, value in own.items() if isinstance(value, Tensor) and name in tensors]
    other = [name for name in both if tensors[name].dtype is not own[name].dtype]
    if other:
        stored, asked = tensors[other[0]].dtype, own[other[0]].dtype
        warnings.warn(
            f"{path}: {len(other)} of {len(both)} tensors keep the dtype of the file, which is not the module's "
            f"({other[0]} stays {stored}, the module had {asked}): make the module {stored} before loading "
            f"(module.to({stored})), or cast it afterwards (module.to({asked}); compressed weights become dense)",
            stacklevel=3,
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
