"""`compress_` and `decompress_`: the weights of any module, in place, ties kept."""

from __future__ import annotations

import fnmatch
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from tersely.core.choices import Mode, Objective
from tersely.core.dtypes import BY_NAME
from tersely.core.errors import ArgumentError
from tersely.planner import choose
from tersely.planner.choose import OBJECTIVES, check_batch
from tersely.planner.profiles import Profile, resolve
from tersely.torch.modules import budget, torchao
from tersely.torch.modules.config import Config
from tersely.torch.modules.int8_linear import Int8Linear
from tersely.torch.modules.pruning import fold_masks
from tersely.torch.modules.settings import Settings, Use, forced, layout_of, prepared, request_of
from tersely.torch.modules.summary import ParameterReport, Summary
from tersely.torch.operators import views
from tersely.torch.weight.dtypes import NAMES
from tersely.torch.weight.placement import residue_of
from tersely.torch.weight.tersely_tensor import TerselyTensor, class_of
from tersely.torch.weight.weight_storage import Dense

Progress = Callable[[int, int, str], None]
"""Called with (bytes done, bytes in all, name of the parameter at work)."""

# MEASURED on Zen 3, batch 1, weights in cache, dense / coded in us: float32 64 KB 5.1 / 9.6, 1 MB 28.5 / 25.2; bfloat16
# 72 KB 10.5 / 14.1, 288 KB 22.1 / 20.6. Below 64 KB the Python objects of a coded weight eat half of what it saves.
MINIMUM_BYTES = 65536
"""Smaller weights stay dense."""

ONLY_MEMORY = "memory only: decoding comes on top of the convolution; objective='size' codes it"


def compress_(
    module: nn.Module,
    *,
    include: str | Sequence[str] | None = None,
    exclude: str | Sequence[str] | None = None,
    config: Mapping[str, Any] | None = None,
    objective: Objective = "balanced",
    profile: str | os.PathLike[str] | Profile = "native",
    batch: int = 1,
    target_bits: float | None = None,
    mode: Mode = "fused",
    threads: int | None = None,
    progress: bool | Progress = True,
) -> Summary:
    """Compresses the weights of a module in place, losslessly; vectors stay as they are, as do buffers but Int8Linear's.

    Args:
        module: any module on the CPU. Its compressed parameters are frozen; masks of `torch.nn.utils.prune` are folded
            into their weights.
        include: glob patterns of the names of parameters to compress; None for all.
        exclude: glob patterns of names to leave dense, which go before `include`.
        config: settings by name: the exact name of a parameter or module first, then patterns 're:...' (full match),
            then '_default'. A value is None (leave dense), an objective, or a mapping with any of objective, mode,
            minimum_bytes, and formulation with its parameters, as `tersely.encode` and plans have them (view too). Exact
            names must belong to something.
        objective: 'size', 'speed' or 'balanced'; the last two leave convolutions dense that would be decoded at every
            call.
        profile: 'native' plans for this machine's class, a file of `tersely calibrate` by its times; copy_ into a
            compressed weight plans by the class.
        batch: rows of x to plan for.
        target_bits: instead of an objective, the fastest codes by predicted times with which all parameters together, dense
            ones too, take at most so many bits per weight; what `config` gives a formulation or another objective keeps it.
        mode: 'fused' multiplies codes; 'identical' decodes and calls torch's operator, so outputs are bit for bit those
            of the dense module.
        threads: workers of the encoder; None for as many as products use.
        progress: a bar on a terminal, or a function of (bytes done, bytes in all, name).

    Returns a Summary.

    Raises, changing nothing, ArgumentError for settings that mean nothing or do not fit their weight, and for a module that
    is already compressed, has no weights yet (meta device), or holds gradients of a parameter to be compressed;
    TerselyError for target_bits that cannot be reached, naming the fewest that can.
    """
    if objective not in OBJECTIVES:
        raise ArgumentError(f"unknown objective {objective!r}: use one of {', '.join(OBJECTIVES)}")
    class_of(mode)
    target, batch = resolve(profile), check_batch(batch)
    limit = None if target_bits is None else budget.check(target_bits)
    uses = list(parameters_of(module))
    done = [use.name for use in uses if isinstance(use.parameter, TerselyTensor)]
    if done:
        raise ArgumentError(f"the module is already compressed ({done[0]}): use decompress_ first")
    default = Settings(objective, target, mode, threads, MINIMUM_BYTES, batch=batch)
    given = Config(config, default)
    given.check_names(_config_names(module, uses))
    wanted = _filter(include, exclude)

    def chosen(name: str) -> bool:
        return wanted(name) and given.of(name) is not None

    def planned() -> tuple[list[Use], dict[str, Settings | None]]:
        uses = list(parameters_of(module))
        settings = {use.name: given.of(use.name) for use in uses}
        for use in uses:
            use.reason = use.reason or _why_not(use, settings[use.name], wanted(use.name))
            if not use.reason and limit is None and _only_loses(use, settings[use.name]):
                use.reason = ONLY_MEMORY
        _refuse(uses)
        return uses, settings

    uses, settings = planned()  # refuses before anything changes
    with ExitStack() as undo:
        folded = fold_masks(module, chosen)
        undo.callback(folded.undo)
        undo.callback(torchao.give_back, module)
        if torchao.adopt(module, chosen) or folded.names:
            uses, settings = planned()
        for use in uses:
            own = settings[use.name]
            if not use.reason and own is not None and own.options:
                forced(use, own)  # refuses options that do not fit the weight before any other weight is replaced
        if limit is not None:
            settings = budget.within(uses, settings, default, limit)
        undo.pop_all()
        names = folded.names
        del folded  # and with it the weights as they were before
    reports, frozen = [], []
    with _meter(progress, sum(use.parameter.nbytes for use in uses)) as tell:
        for use in uses:
            own = settings[use.name]
            report = ParameterReport(
                use.name,
                tuple(use.parameter.shape),
                str(use.parameter.dtype).removeprefix("torch."),
                "dense",
                use.parameter.nbytes,
                use.parameter.nbytes,
                use.reason,
            )
            if not use.reason and own is not None:
                trainable = use.parameter.requires_grad
                report = _compress_one(use, own, report)
                if not report.reason and trainable:
                    frozen.append(use.name)
            reports.append(report)
            tell(report.bytes_before, use.name)
    return Summary(tuple(reports), tuple(frozen), names)


def _compress_one(use: Use, settings: Settings, report: ParameterReport) -> ParameterReport:
    parameter = use.parameter
    layout, base, orientation = prepared(use)
    storage = views.encode(
        base,
        (settings.objective, settings.profile),
        orientation,
        threads=settings.threads,
        batch=settings.batch,
        **dict(settings.options or {}),
    )
    if isinstance(storage, Dense):
        return _with_reason(report, _why_plain(use, settings))
    weight = class_of(settings.mode)(
        storage.placed(residue_of(parameter)),
        layout,
        (settings.objective, settings.profile.machine),
        was_trainable=parameter.requires_grad,
    )
    put(use, use.wrap(weight, False))
    return ParameterReport(
        report.name,
        report.shape,
        report.dtype,
        weight.formulation,
        report.bytes_before,
        weight.nbytes_stored,
        note="memory only" if use.only_decoded else "",
    )


def _why_plain(use: Use, settings: Settings) -> str:
    """What the candidates say about a weight for which dense was chosen."""
    if settings.options:
        return "left dense by config"
    request = request_of(use, settings)
    return choose.reason_dense(choose.decide(request), request, lambda candidate: candidate.nbytes)


def decompress_(module: nn.Module) -> Summary:
    """Undoes `compress_` exactly: dense parameters, bit for bit, as trainable as they were, ties kept. Returns a Summary."""
    reports = []
    for use in parameters_of(module):
        weight = use.parameter
        if not isinstance(weight, TerselyTensor):
            continue
        dense = weight.decode()
        if isinstance(weight.storage_, Dense):
            dense = dense.detach().clone()
        put(use, use.wrap(dense, weight.was_trainable))
        reports.append(
            ParameterReport(
                use.name,
                tuple(dense.shape),
                str(dense.dtype).removeprefix("torch."),
                "dense",
                weight.nbytes_stored,
                dense.nbytes,
                "decompressed",
            )
        )
    torchao.give_back(module)
    return Summary(tuple(reports))


def parameters_of(module: nn.Module) -> Iterator[Use]:
    """Yields every distinct parameter with all its places; those that share memory (or codes) and shape are one."""
    uses: dict[Any, Use] = {}
    for path, owner in module.named_modules(remove_duplicate=True):
        tensors: dict[str, Tensor | None] = dict(owner._parameters)
        if isinstance(owner, Int8Linear):
            tensors["weight"] = owner.weight
        for name, parameter in tensors.items():
            if parameter is None:
                continue
            key = _identity(parameter)
            full = f"{path}.{name}" if path else name
            use = uses.setdefault(key, Use(full, parameter, []))
            use.places.append((owner, name))
            use.reason = use.reason or _recomputed(owner, name)
    yield from uses.values()


def all_names(module: nn.Module, uses: Iterable[Use]) -> list[list[str]]:
    """Returns the names of each parameter in the module's state, all of them where modules are in several places."""
    paths: dict[int, list[str]] = {}
    for path, owner in module.named_modules(remove_duplicate=False):
        paths.setdefault(id(owner), []).append(f"{path}." if path else "")
    return [[f"{path}{name}" for owner, name in use.places for path in paths[id(owner)]] for use in uses]


def _config_names(module: nn.Module, uses: Iterable[Use]) -> Iterator[list[str]]:
    """The names of `all_names`, and of a parameter behind a mask by the name that folding gives it."""
    for names in all_names(module, uses):
        yield names
        yield [name.removesuffix("_orig") for name in names]


def put(use: Use, parameter: Tensor) -> None:
    """Sets a parameter in all places at once. RNNs keep a list of their own, which setattr brings up to date."""
    for owner, name in use.places:
        setattr(owner, name, parameter)


def _identity(parameter: Tensor) -> Any:
    if isinstance(parameter, TerselyTensor):
        return parameter.identity
    if parameter.device.type == "meta" or not parameter.numel():
        return id(parameter)
    try:
        place = parameter.data_ptr()
    except RuntimeError:  # of a subclass: it has no address
        return id(parameter)
    return (
        (place, tuple(parameter.shape), parameter.stride(), parameter.dtype, parameter.device)
        if place
        else id(parameter)
    )


def _recomputed(owner: nn.Module, name: str) -> str:
    """Why a parameter that its owner writes to, or computes another weight from, at every call stays dense."""
    if isinstance(owner, nn.utils.parametrize.ParametrizationList):
        return "parametrised: the weight is computed anew at each call"
    if name.endswith("_orig") and f"{name.removesuffix('orig')}mask" in owner._buffers:
        return "pruned with a mask, shared or not chosen: the weight is computed anew at each call"
    if name.endswith(("_g", "_v", "_orig")) and owner._forward_pre_hooks:
        return "weight_norm or spectral_norm: the weight is computed anew at each call"
    if isinstance(getattr(owner, f"{name}_fake_quant", None), nn.Module):
        return "quantisation-aware training: the weight is computed anew at each call"
    if name == "weight" and getattr(owner, "max_norm", None) is not None:
        return "max_norm: the layer scales its weight in place at each call"
    return ""


def _why_not(use: Use, settings: Settings | None, wanted: bool) -> str:
    parameter = use.parameter
    name = NAMES.get(parameter.dtype)
    if not wanted:
        return "excluded"
    if settings is None:
        return "left dense by config"
    if isinstance(parameter, nn.parameter.UninitializedParameter):
        return "not initialised yet"
    if torchao.is_payload(parameter) and isinstance(use.places[0][0], nn.Linear):
        return torchao.why_not(use.places[0][0]) or "torchao: shared by layers, or the module itself"
    if type(parameter) not in (nn.Parameter, Tensor) or parameter.layout is not torch.strided:
        return f"a {type(parameter).__name__} of its own kind"
    if name is None or not (BY_NAME[name].floating or use.is_buffer):
        return f"dtype {parameter.dtype} is stored as it is in this version"
    if parameter.ndim < 2:
        return "a vector"
    if parameter.device.type not in ("cpu", "meta"):
        return f"on {parameter.device}; only weights on the CPU are compressed"
    if parameter.nbytes < settings.minimum_bytes:
        return f"smaller than {settings.minimum_bytes} bytes"
    return "" if layout_of(parameter) else "neither contiguous, transposed nor channels-last"


def _only_loses(use: Use, settings: Settings | None) -> bool:
    """Returns whether codes would cost time at every call for nothing: nobody has asked for the memory."""
    return settings is not None and settings.objective != "size" and not settings.options and use.is_convolution


def _refuse(uses: Sequence[Use]) -> None:
    empty = [use.name for use in uses if not use.reason and use.parameter.device.type == "meta"]
    if empty:
        raise ArgumentError(
            f"{len(empty)} parameters are on the meta device and have no weights ({empty[0]}, ...): load them first, or "
            "load a compressed file with tersely.torch.load_model"
        )
    held = [use.name for use in uses if not use.reason and use.parameter.grad is not None]
    if held:
        raise ArgumentError(
            f"these parameters hold gradients: {', '.join(held[:8])}; compressed weights are frozen: set .grad to None "
            "(optimizer.zero_grad()) or exclude them"
        )


def _filter(include: str | Sequence[str] | None, exclude: str | Sequence[str] | None) -> Callable[[str], bool]:
    def patterns(value: str | Sequence[str] | None) -> tuple[str, ...]:
        return () if value is None else (value,) if isinstance(value, str) else tuple(value)

    wanted, unwanted = patterns(include), patterns(exclude)

    def chosen(name: str) -> bool:
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in unwanted):
            return False
        return not wanted or any(fnmatch.fnmatchcase(name, pattern) for pattern in wanted)

    return chosen


def _with_reason(report: ParameterReport, reason: str) -> ParameterReport:
    return ParameterReport(**{**report.__dict__, "reason": reason})


@contextmanager
def _meter(progress: bool | Progress, total: int) -> Iterator[Callable[[int, str], None]]:
    """A function that takes (bytes advanced, name)."""
    done = 0
    if callable(progress):
        function: Progress = progress

        def tell(advance: int, name: str) -> None:
            nonlocal done
            done += advance
            function(done, total, name)

        yield tell
    elif progress and sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import Progress as Bar

        with Bar(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("compressing", total=total)
            yield lambda advance, name: bar.update(task, advance=advance, description=name)
    else:
        yield lambda advance, name: None
