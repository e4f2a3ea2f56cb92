"""Translations of aten's operators that say where numbers lie, join tensors or sum along axes."""

from __future__ import annotations

from typing import Any

from tersely.core.errors import UnsupportedError
from tersely.torch.networks.calls import Call, Translate, Translated


def _of(operator: str, argument: str = "self", **attributes: str) -> Translate:
    """attributes: by the argument that they are."""
    return lambda call: Translated(
        operator, {"x": call[argument]}, {name: call[value] for name, value in attributes.items()}
    )


def _reshape(call: Call) -> Translated:
    """The first axis stays what it is where it is one: it may be another batch tomorrow."""
    source, target = list(call.tensors["self"].shape), list(call.result.shape)
    if source and target and source[0] == target[0]:
        target[0] = 0
    return Translated("reshape", {"x": call["self"]}, {"shape": target})


def _expand(call: Call) -> Translated:
    source, target = list(call.tensors["self"].shape), list(call.result.shape)
    before = len(target) - len(source)
    own = [None] * before + source
    return Translated(
        "expand", {"x": call["self"]}, {"shape": [-1 if a == b else b for a, b in zip(own, target, strict=True)]}
    )


def _slice(call: Call) -> Translated:
    attributes = {"axis": call["dim"], "start": call["start"], "stop": call["end"], "step": call["step"]}
    return Translated("slice", {"x": call["self"]}, attributes)


def _unbind(call: Call) -> list[Translated]:
    axis = call["dim"]
    count = call.tensors["self"].shape[axis]
    return [Translated("select", {"x": call["self"]}, {"axis": axis, "index": i}) for i in range(count)]


def _split(call: Call) -> list[Translated]:
    """As long as torch's parts are."""
    axis, start, found = call["dim"], 0, []
    for part in call.result:
        stop = start + part.shape[axis]
        attributes = {"axis": axis, "start": start, "stop": stop, "step": 1}
        found.append(Translated("slice", {"x": call["self"]}, attributes))
        start = stop
    return found


def _cat(call: Call) -> Translated:
    return Translated("concatenate", {f"x{i}": name for i, name in enumerate(call["tensors"])}, {"axis": call["dim"]})


def _pad(call: Call) -> Translated:
    if call.arguments.get("mode", "constant") != "constant" or call["value"] not in (None, 0):
        raise UnsupportedError("padding with anything but zeros")
    rank, pads = len(call.tensors["self"].shape), call["pad"]
    pairs = [[pads[i], pads[i + 1]] for i in range(0, len(pads), 2)]
    if any(one < 0 for pair in pairs for one in pair):
        raise UnsupportedError("negative padding")
    return Translated("pad", {"x": call["self"]}, {"pads": [[0, 0]] * (rank - len(pairs)) + pairs[::-1]})


def _reduce(operator: str) -> Translate:
    def translate(call: Call) -> Translated:
        if call["dtype"] is not None:
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
        values = getattr(index, "values_of_constant", None)
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
    **_names("unbind.int", _unbind),
    **_names("split.Tensor split_with_sizes.default chunk.default", _split),
    **_names("cat.default", _cat),
    **_names("pad.default constant_pad_nd.default", _pad),
    **_names("mean.dim mean.default", _reduce("mean")),
    **_names("sum.dim_IntList sum.default", _reduce("sum")),
    **_names("index.Tensor", _index),
}  # fmt: skip
