"""What operators of aten, as torch.export leaves them, are in our graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tersely.core.errors import UnsupportedError


@dataclass(frozen=True)
class Call:
    """One call: names of tensors and constants where a tensor was meant, all else as it is. Defaults are filled in."""

    arguments: dict[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]


@dataclass(frozen=True)
class Translated:
    """operator None: the output is the input `x`."""

    operator: str | None
    inputs: dict[str, str]
    attributes: dict[str, Any]


Translate = Callable[[Call], Translated]


def _pair(value: Any, otherwise: Any = None) -> list[int]:
    numbers = list(value) if isinstance(value, (list, tuple)) else [value]
    if not numbers:
        return list(otherwise)
    return [int(one) for one in (numbers * 2 if len(numbers) == 1 else numbers)]


def _inputs(call: Call, **roles: str) -> dict[str, str]:
    """Roles by the argument that fills them, those left out that are None."""
    return {role: call[name] for role, name in roles.items() if call[name] is not None}


def _convolution(call: Call) -> Translated:
    if isinstance(call["padding"], str):
        raise UnsupportedError(f"padding {call['padding']!r} of a convolution")
    attributes = {
        "stride": _pair(call["stride"]),
        "padding": _pair(call["padding"]),
        "dilation": _pair(call["dilation"]),
        "groups": int(call["groups"]),
    }
    return Translated("convolution", _inputs(call, x="input", weight="weight", bias="bias"), attributes)


def _batch_norm(call: Call) -> Translated:
    if call["training"]:
        raise UnsupportedError("batch norm in training: call model.eval() first")
    roles = _inputs(call, x="input", weight="weight", bias="bias", mean="running_mean", variance="running_var")
    return Translated("batch_norm", roles, {"eps": float(call["eps"])})


def _max_pool(call: Call) -> Translated:
    attributes = {
        "kernel": _pair(call["kernel_size"]),
        "stride": _pair(call["stride"], _pair(call["kernel_size"])),
        "padding": _pair(call["padding"]),
        "dilation": _pair(call["dilation"]),
        "ceil": bool(call["ceil_mode"]),
    }
    return Translated("max_pool", _inputs(call, x="self"), attributes)


def _average_pool(call: Call) -> Translated:
    if call["divisor_override"] is not None:
        raise UnsupportedError("average pooling with a divisor of its own")
    attributes = {
        "kernel": _pair(call["kernel_size"]),
        "stride": _pair(call["stride"], _pair(call["kernel_size"])),
        "padding": _pair(call["padding"]),
        "ceil": bool(call["ceil_mode"]),
        "count_padding": bool(call["count_include_pad"]),
    }
    return Translated("average_pool", _inputs(call, x="self"), attributes)


def _arithmetic(operator: str) -> Translate:
    def translate(call: Call) -> Translated:
        if call.arguments.get("alpha", 1) != 1 or not isinstance(call["other"], str):
            raise UnsupportedError(f"{operator} with a number or a factor")
        return Translated(operator, {"x": call["self"], "z": call["other"]}, {})

    return translate


def _activation(operator: str, argument: str = "self") -> Translate:
    return lambda call: Translated(operator, {"x": call[argument]}, {})


def _gelu(call: Call) -> Translated:
    return Translated("gelu_tanh" if call["approximate"] == "tanh" else "gelu", {"x": call["self"]}, {})


def _concatenate(call: Call) -> Translated:
    inputs = {f"x{index}": name for index, name in enumerate(call["tensors"])}
    return Translated("concatenate", inputs, {"axis": int(call["dim"])})


def _mean(call: Call) -> Translated:
    axes = call["dim"]
    if axes is None or call["dtype"] is not None:
        raise UnsupportedError("a mean of all numbers, or in another dtype")
    return Translated("mean", {"x": call["self"]}, {"axes": _pair(axes)[: len(axes)], "keep": bool(call["keepdim"])})


def _pad(call: Call) -> Translated:
    if call.arguments.get("mode", "constant") != "constant":
        raise UnsupportedError(f"padding of mode {call['mode']!r}")
    pad, value = [int(one) for one in call["pad"]], call["value"]
    if len(pad) > 8:
        raise UnsupportedError("padding of more than four axes")
    pad += [0] * (8 - len(pad))  # torch says the last axis first
    attributes = {"before": pad[-2::-2], "behind": pad[::-2], "value": float(value or 0)}
    return Translated("pad", {"x": call["self"]}, attributes)


def _slice(call: Call) -> Translated:
    begin, end = call["start"], call["end"]
    if begin in (None, 0) and end in (None, 2**63 - 1) and call["step"] == 1:
        return Translated(None, {"x": call["self"]}, {})
    attributes = {"axis": int(call["dim"]), "begin": int(begin or 0), "step": int(call["step"])}
    return Translated("slice", {"x": call["self"]}, {**attributes, "end": 2**63 - 1 if end is None else int(end)})


def _resize(mode: str) -> Translate:
    def translate(call: Call) -> Translated:
        size, factors = call["output_size"], call["scale_factors"]
        attributes = {
            "mode": mode,
            "size": None if size is None else [int(one) for one in size],
            "factors": None if factors is None else [float(one) for one in factors],
            "corners": bool(call.arguments.get("align_corners", False)),
        }
        return Translated("resize", {"x": call["input"]}, attributes)

    return translate


def _view(call: Call) -> Translated:
    """Of images to rows: `x.view(x.size(0), -1)`."""
    size = call["size"] if "size" in call.arguments else call["shape"]
    if len(size) != 2 or size[1] != -1 or not isinstance(size[0], int):
        raise UnsupportedError(f"a view of shape {list(size)}")
    images = {} if size[0] == -1 else {"images": size[0]}
    return Translated("flatten", {"x": call["self"]}, {"first": 1, "last": -1, **images})


def _hardtanh(call: Call) -> Translated:
    if (call["min_val"], call["max_val"]) != (0, 6):
        raise UnsupportedError("hardtanh of other bounds than 0 and 6")
    return Translated("relu6", {"x": call["self"]}, {})


def _unchanged(call: Call) -> Translated:
    return Translated(None, {"x": next(iter(call.arguments.values()))}, {})


def _dropout(call: Call) -> Translated:
    if call["train"] and call["p"]:
        raise UnsupportedError("dropout in training: call model.eval() first")
    return Translated(None, {"x": call["input"]}, {})


TRANSLATIONS: dict[str, Translate] = {
    "aten.conv2d.default": _convolution,
    "aten.batch_norm.default": _batch_norm,
    "aten.linear.default": lambda call: Translated(
        "linear", _inputs(call, x="input", weight="weight", bias="bias"), {}
    ),
    "aten.max_pool2d.default": _max_pool,
    "aten.avg_pool2d.default": _average_pool,
    "aten.adaptive_avg_pool2d.default": lambda call: Translated(
        "adaptive_average_pool", {"x": call["self"]}, {"size": _pair(call["output_size"])}
    ),
    "aten.flatten.using_ints": lambda call: Translated(
        "flatten", {"x": call["self"]}, {"first": call["start_dim"], "last": call["end_dim"]}
    ),
    "aten.view.default": _view,
    "aten.reshape.default": _view,
    "aten.cat.default": _concatenate,
    "aten.mean.dim": _mean,
    "aten.pad.default": _pad,
    "aten.constant_pad_nd.default": _pad,
    "aten.slice.Tensor": _slice,
    "aten.upsample_nearest2d.vec": _resize("nearest"),
    "aten.upsample_bilinear2d.vec": _resize("bilinear"),
    "aten.add.Tensor": _arithmetic("add"),
    "aten.add_.Tensor": _arithmetic("add"),
    "aten.sub.Tensor": _arithmetic("subtract"),
    "aten.mul.Tensor": _arithmetic("multiply"),
    "aten.mul_.Tensor": _arithmetic("multiply"),
    "aten.relu.default": _activation("relu"),
    "aten.relu_.default": _activation("relu"),
    "aten.relu6.default": _activation("relu6"),
    "aten.relu6_.default": _activation("relu6"),
    "aten.hardtanh.default": _hardtanh,
    "aten.hardtanh_.default": _hardtanh,
    "aten.sigmoid.default": _activation("sigmoid"),
    "aten.silu.default": _activation("silu"),
    "aten.silu_.default": _activation("silu"),
    "aten.sigmoid_.default": _activation("sigmoid"),
    "aten.tanh.default": _activation("tanh"),
    "aten.hardsigmoid.default": _activation("hard_sigmoid"),
    "aten.hardsigmoid_.default": _activation("hard_sigmoid"),
    "aten.hardswish.default": _activation("hard_swish"),
    "aten.hardswish_.default": _activation("hard_swish"),
    "aten.gelu.default": _gelu,
    "aten.dropout.default": _dropout,
    "aten.dropout_.default": _dropout,
    "aten.contiguous.default": _unchanged,
    "aten.clone.default": _unchanged,
    "aten.detach.default": _unchanged,
    "aten.alias.default": _unchanged,
}
"""Places are written once in an exported graph, so an operator in place computes a new value."""
