"""`compress_` and `decompress_`: the weights of any module, in place, ties kept."""

from __future__ import annotations

import fnmatch
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from laconic.dtypes import BY_NAME
from laconic.errors import ArgumentError, LaconicError
from laconic.plan import OBJECTIVES, check_batch
from laconic.profiles import Profile, resolve
from laconic.torch import budget, torchao, views
from laconic.torch.content import Plain
from laconic.torch.dtypes import NAMES
from laconic.torch.int8 import Int8Linear
from laconic.torch.pruning import fold_masks
from laconic.torch.settings import Settings, Use, layout_of, prepared
from laconic.torch.summary import ParameterReport, Summary
from laconic.torch.tensor import CLASSES, LaconicTensor

Progress = Callable[[int, int, str], None]
"""Called with (bytes done, bytes in all, name of the parameter at work)."""

# MEASURED on Zen 3, batch 1, weights in cache, dense / coded in us: float32 64 KB 5.1 / 9.6, 1 MB 28.5 / 25.2; bfloat16
# 72 KB 10.5 / 14.1, 288 KB 22.1 / 20.6. Below 64 KB the Python objects of a coded weight eat half of what it saves.
MINIMUM_BYTES = 65536
"""Smaller weights stay dense."""


def compress_(
    module: nn.Module,
    *,
    include: str | Sequence[str] | None = None,
    exclude: str | Sequence[str] | None = None,
    config: Mapping[str, Any] | None = None,
    objective: str = "balanced",
    profile: str | os.PathLike[str] | Profile = "native",
    batch: int = 1,
    target_bits: float | None = None,
    mode: str = "fused",
    threads: int | None = None,
    progress: bool | Progress = True,
) -> Summary:
    """Compress the weights of a module in place, losslessly; vectors stay as they are, and buffers but those of Int8Linear.

    Args:
        include, exclude: glob patterns of parameter names.
        config: settings by name: the exact name of a parameter or module first, then patterns 're:...' (full match),
            then '_default'. A value is None (leave dense), an objective, or a mapping with any of objective, mode,
            minimum_bytes, formulation, code, widths.
        objective: 'size', 'speed' or 'balanced'. profile: 'native' plans for this machine's class, a file of
            `laconic calibrate` by its times; copy_ into a compressed weight plans by the class. batch: rows of x to plan for.
        target_bits: instead of an objective, the fastest codes by predicted times with which all parameters together, dense
            ones too, take at most so many bits per weight; what `config` gives a formulation or another objective keeps it.
        mode: 'fused' multiplies codes; 'identical' decodes and calls torch's operator, so outputs are bit for bit those
            of the dense module. threads: workers of the encoder. progress: a bar on a terminal, or a function.

    Returns a Summary. Compressed parameters are frozen; masks of `torch.nn.utils.prune` are folded into their weights. Raises ArgumentError, changing nothing, for a module that is
    already compressed, has no weights yet (meta device), or holds gradients of a parameter to be compressed; LaconicError, with
    nothing but masks changed, for target_bits that cannot be reached, naming the fewest that can.
    """
    if objective not in OBJECTIVES:
        raise ArgumentError(f"unknown objective {objective!r}: use one of {', '.join(OBJECTIVES)}")
    if mode not in CLASSES:
        raise ArgumentError(f"unknown mode {mode!r}: use one of {', '.join(CLASSES)}")
    target, batch = resolve(profile), check_batch(batch)
    limit = None if target_bits is None else budget.check(target_bits)
    uses = list(parameters_of(module))
    done = [use.name for use in uses if isinstance(use.parameter, LaconicTensor)]
    if done:
        raise ArgumentError(f"the module is already compressed ({done[0]}): use decompress_ first")
    default = Settings(objective, target, mode, threads, MINIMUM_BYTES, batch=batch)
    wanted = _filter(include, exclude)

    def planned() -> tuple[list[Use], dict[str, Settings | None]]:
        uses = list(parameters_of(module))
        settings = {use.name: _settings(use.name, config, default) for use in uses}
        for use in uses:
            use.reason = use.reason or _why_not(use, settings[use.name], wanted(use.name))
        _refuse(uses)
        return uses, settings

    uses, settings = planned()  # refuses before anything changes
    folded = fold_masks(module, lambda name: wanted(name) and _settings(name, config, default) is not None)
    adopted = torchao.adopt(module, lambda name: wanted(name) and _settings(name, config, default) is not None)
    if folded or adopted:
        uses, settings = planned()
    if limit is not None:
        try:
            settings = budget.within(uses, settings, default, limit)
        except LaconicError:
            torchao.give_back(module)
            raise
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
    torchao.give_back(module, torchao.is_dense)
    return Summary(tuple(reports), tuple(frozen), folded)


def _compress_one(use: Use, settings: Settings, report: ParameterReport) -> ParameterReport:
    parameter = use.parameter
    layout, base, orientation = prepared(use)
    content = views.encode(
        base,
        (settings.objective, settings.profile),
        orientation,
        threads=settings.threads,
        batch=settings.batch,
        **dict(settings.options or {}),
    )
    if isinstance(content, Plain):
        return _with_reason(report, "no code makes it smaller")
    weight = CLASSES[settings.mode](
        content, layout, (settings.objective, settings.profile.machine), was_trainable=parameter.requires_grad
    )
    put(use, use.wrap(weight, False))
    return ParameterReport(
        report.name, report.shape, report.dtype, weight.formulation, report.bytes_before, weight.nbytes_stored
    )


def decompress_(module: nn.Module) -> Summary:
    """Undo `compress_` exactly: dense parameters, bit for bit, as trainable as they were, ties kept."""
    reports = []
    for use in parameters_of(module):
        weight = use.parameter
        if not isinstance(weight, LaconicTensor):
            continue
        dense = weight.decode()
        if isinstance(weight.content, Plain):
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
    """Every distinct parameter with all its places; parameters that share memory (or codes) and shape are one."""
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


def put(use: Use, parameter: Tensor) -> None:
    """Set a parameter in all places at once. RNNs keep a list of their own, which setattr brings up to date."""
    for owner, name in use.places:
        setattr(owner, name, parameter)


def _identity(parameter: Tensor) -> Any:
    if isinstance(parameter, LaconicTensor):
        return (id(parameter.content), parameter.layout_, type(parameter))
    if parameter.device.type == "meta" or not parameter.numel():
        return id(parameter)
    try:
        place = parameter.data_ptr()
    except RuntimeError:
        return id(parameter)
    return (
        (place, tuple(parameter.shape), parameter.stride(), parameter.dtype, parameter.device)
        if place
        else id(parameter)
    )


def _recomputed(owner: nn.Module, name: str) -> str:
    """Why a parameter that only serves to compute the weight anew at every call stays dense."""
    if isinstance(owner, nn.utils.parametrize.ParametrizationList):
        return "parametrised: the weight is computed anew at each call"
    if name.endswith("_orig") and f"{name.removesuffix('orig')}mask" in owner._buffers:
        return "pruned with a mask, shared or not chosen: the weight is computed anew at each call"
    if name.endswith(("_g", "_v", "_orig")) and owner._forward_pre_hooks:
        return "weight_norm or spectral_norm: the weight is computed anew at each call"
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
    if name is None or not (BY_NAME[name].split or use.is_buffer):
        return f"dtype {parameter.dtype} is stored as it is in this version"
    if parameter.ndim < 2:
        return "a vector"
    if parameter.device.type not in ("cpu", "meta"):
        return f"on {parameter.device}; only weights on the CPU are compressed"
    if parameter.nbytes < settings.minimum_bytes:
        return f"smaller than {settings.minimum_bytes} bytes"
    return "" if layout_of(parameter) else "neither contiguous, transposed nor channels-last"


def _refuse(uses: Sequence[Use]) -> None:
    empty = [use.name for use in uses if not use.reason and use.parameter.device.type == "meta"]
    if empty:
        raise ArgumentError(
            f"{len(empty)} parameters are on the meta device and have no weights ({empty[0]}, ...): load them first, or "
            "load a compressed file with laconic.torch.load_model"
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


def _settings(name: str, config: Mapping[str, Any] | None, default: Settings) -> Settings | None:
    """The settings of one parameter; None: leave it dense. Raises ArgumentError for a value it does not know."""
    value: Any = {}
    if config:
        owner = name.rpartition(".")[0]
        patterns = (key for key in config if key.startswith("re:") and re.fullmatch(key[3:], name))
        key = name if name in config else owner if owner in config else next(patterns, "_default")
        value = config.get(key, {})
    if value is None:
        return None
    given = {"objective": value} if isinstance(value, str) else dict(value)
    own: dict[str, Any] = {
        word: given.pop(word, getattr(default, word)) for word in ("objective", "mode", "minimum_bytes")
    }
    if own["objective"] not in OBJECTIVES or own["mode"] not in CLASSES:
        raise ArgumentError(f"config for {name!r}: unknown objective or mode in {value!r}")
    if unknown := sorted(set(given) - {"formulation", "code", "bits", "widths"}):
        raise ArgumentError(f"config for {name!r}: unknown setting {unknown[0]!r}")
    return Settings(profile=default.profile, threads=default.threads, batch=default.batch, options=given, **own)


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
