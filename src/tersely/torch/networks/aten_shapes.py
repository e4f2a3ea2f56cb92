"""Translations of aten's operators that say where numbers lie, join tensors or sum along axes."""

from __future__ import annotations

from typing import Any

from tersely.core.errors import UnsupportedError
from tersely.torch.networks.calls import Call, Translate, Translated

EVERYTHING = 2**31 - 1
"""Where a slice ends that has no end: torch says 2^63 - 1, more than a graph's numbers hold."""


def _of(operator: str, argument: str = "self", **attributes: str) -> Translate:
    """attributes: by the argument that they are."""
    return lambda call: Translated(
        operator, {"x": call[argument]}, {name: call[value] for name, value in attributes.items()}
    )


def _reshape(call: Call) -> Translated:
    """First axes stay what they are where they are: they may be another batch and more tokens tomorrow."""
    source, target = list(call.tensors["self"].shape), list(call.result.shape)
    asked = call.arguments.get("size", call.arguments.get("shape"))
    if asked is not None and -1 in asked:
        target[asked.index(-1)] = -1
    for axis in range(min(len(source), len(target))):
        if source[axis] != target[axis]:
            break
        target[axis] = 0
    return Translated("reshape", {"x": call["self"]}, {"shape": target})


def _expand(call: Call) -> Translated:
    source, target = list(call.tensors["self"].shape), list(call.result.shape)
    before = len(target) - len(source)
    own = [None] * before + source
    return Translated(
        "expand", {"x": call["self"]}, {"shape": [-1 if a == b else b for a, b in zip(own, target, strict=True)]}
    )


def _slice(call: Call) -> Translated:
    begin, end = call["start"], call["end"]
    end = EVERYTHING if end is None else min(int(end), EVERYTHING)
    if begin in (None, 0) and end == EVERYTHING and call["step"] == 1:
        return Translated(None, {"x": call["self"]}, {})
    return _part(call, int(begin or 0), end, int(call["step"]))


def _part(call: Call, begin: int, end: int, step: int = 1) -> Translated:
    attributes = {"axis": int(call["dim"]), "begin": begin, "end": end, "step": step}
    return Translated("slice", {"x": call["self"]}, attributes)


def _cat(call: Call) -> Translated:
    return Translated("concatenate", {f"x{i}": name for i, name in enumerate(call["tensors"])}, {"axis": call["dim"]})


def _pad(call: Call) -> Translated:
    if call.arguments.get("mode", "constant") != "constant":
        raise UnsupportedError(f"padding of mode {call['mode']!r}")
    pad = [int(one) for one in call["pad"]]
    pad += [0] * (2 * len(call.tensors["self"].shape) - len(pad))  # torch says the last axis first
    attributes = {"before": pad[-2::-2], "behind": pad[::-2], "value": float(call["value"] or 0)}
    return Translated("pad", {"x": call["self"]}, attributes)


def _reduce(operator: str) -> Translate:
    def translate(call: Call) -> Translated:
        if call.arguments.get("dtype") is not None:
            raise UnsupportedError(f"{operator} in a dtype of its own")
        axes = call.arguments.get("dim")
        every = list(range(len(call.tensors["self"].shape)))
        chosen = every if axes is None or axes == [] else [axes] if isinstance(axes, int) else list(axes)
        keep = bool(call.arguments.get("keepdim", False))
        return Translated(operator, {"x": call["self"]}, {"axes": chosen, "keep": keep})

    return translate


def _index(call: Call) -> Translated:
    """Ranges of whole axes, each along an axis of its own, are another shape of the same tensor."""
    source, indices = call.tensors["self"], call.tensors["indices"]
    shape = list(call.result.shape)
    if len(indices) != len(source.shape) or len(shape) < len(indices):
        raise UnsupportedError("an index that is not one for each axis")
    lies = []
    for size, index in zip(source.shape, indices, strict=True):
        values = index.values
        axes = [axis for axis, length in enumerate(index.shape) if length != 1]
        whole = values is not None and values.reshape(-1).tolist() == list(range(size))
        if not whole or len(axes) > 1:
            raise UnsupportedError("an index that is not a range of a whole axis")
        lies.append(axes[0] + len(shape) - len(index.shape) if axes else None)
    found = [axis for axis in lies if axis is not None]
    if found != sorted(set(found)):
        raise UnsupportedError("indices that turn axes")
    return _reshape(call)


def _squeeze(call: Call) -> Translated:
    axes = call.arguments.get("dim")
    every = list(range(len(call.tensors["self"].shape)))
    return Translated(
        "squeeze",
        {"x": call["self"]},
        {"axes": every if axes is None else [axes] if isinstance(axes, int) else list(axes)},
    )


def _names(operators: str, translate: Any) -> dict[str, Translate]:
    return {f"aten.{name}": translate for name in operators.split()}


TRANSLATIONS: dict[str, Translate] = {
    **_names("view.default reshape.default _unsafe_view.default unflatten.int", _reshape),
    **_names("unsqueeze.default", _of("unsqueeze", axis="dim")),
    **_names("squeeze.default squeeze.dim squeeze.dims", _squeeze),
    **_names("permute.default", _of("permute", order="dims")),
    **_names("transpose.int", lambda call: Translated(
        "transpose", {"x": call["self"]}, {"axes": [call["dim0"], call["dim1"]]})),
    **_names("t.default", lambda call: Translated("permute", {"x": call["self"]}, {"order": [1, 0]})),
    **_names("expand.default expand_as.default", _expand),
    **_names("slice.Tensor", _slice),
    **_names("select.int", _of("select", axis="dim", index="index")),
    **_names("cat.default", _cat),
    **_names("pad.default constant_pad_nd.default", _pad),
    **_names("mean.dim mean.default", _reduce("mean")),
    **_names("sum.dim_IntList sum.default", _reduce("sum")),
    **_names("amax.default", _reduce("max")),
    **_names("index.Tensor", _index),
}  # fmt: skip
