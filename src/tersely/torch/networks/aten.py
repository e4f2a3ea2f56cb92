"""What operators of aten, as torch.export leaves them, are in our graph."""

from __future__ import annotations

from typing import Any

from tersely.core.errors import UnsupportedError
from tersely.torch.networks import aten_shapes, aten_tokens
from tersely.torch.networks.calls import Call, Translate, Translated, inputs_of


def _pair(value: Any, otherwise: Any = None) -> list[int]:
    numbers = list(value) if isinstance(value, (list, tuple)) else [value]
    if not numbers:
        return list(otherwise)
    return [int(one) for one in (numbers * 2 if len(numbers) == 1 else numbers)]


def _convolution(call: Call) -> Translated:
    dilation = _pair(call["dilation"])
    padding = call["padding"]
    if padding == "valid":
        padding = 0
    elif isinstance(padding, str):  # an output as large as the input: one more behind where an even one does not halve
        room = [spread * (tap - 1) for spread, tap in zip(dilation, call.tensors["weight"].shape[2:], strict=True)]
        padding = [length // 2 for length in room] + [length - length // 2 for length in room]
    attributes = {
        "stride": _pair(call["stride"]),
        "padding": _pair(padding),
        "dilation": dilation,
        "groups": int(call["groups"]),
    }
    return Translated("convolution", inputs_of(call, x="input", weight="weight", bias="bias"), attributes)


def _batch_norm(call: Call) -> Translated:
    if call["training"]:
        raise UnsupportedError("batch norm in training: call model.eval() first")
    roles = inputs_of(call, x="input", weight="weight", bias="bias", mean="running_mean", variance="running_var")
    return Translated("batch_norm", roles, {"eps": float(call["eps"])})


def _max_pool(call: Call) -> Translated:
    attributes = {
        "kernel": _pair(call["kernel_size"]),
        "stride": _pair(call["stride"], _pair(call["kernel_size"])),
        "padding": _pair(call["padding"]),
        "dilation": _pair(call["dilation"]),
        "ceil": bool(call["ceil_mode"]),
    }
    return Translated("max_pool", inputs_of(call, x="self"), attributes)


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
    return Translated("average_pool", inputs_of(call, x="self"), attributes)


def _arithmetic(operator: str) -> Translate:
    def translate(call: Call) -> Translated:
        if call.arguments.get("alpha", 1) != 1:
            raise UnsupportedError(f"{operator} with a factor")
        other = call["other"] if isinstance(call["other"], str) else call.number(call["other"])
        return Translated(operator, {"x": call["self"], "z": other}, {})

    return translate


def _activation(operator: str, argument: str = "self") -> Translate:
    return lambda call: Translated(operator, {"x": call[argument]}, {})


def _gelu(call: Call) -> Translated:
    return Translated("gelu_tanh" if call["approximate"] == "tanh" else "gelu", {"x": call["self"]}, {})


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


def _unchanged(call: Call) -> Translated:
    return Translated(None, {"x": next(iter(call.arguments.values()))}, {})


def _dropout(call: Call) -> Translated:
    if call["train"] and call["p"]:
        raise UnsupportedError("dropout in training: call model.eval() first")
    return Translated(None, {"x": call.arguments.get("input") or call["self"]}, {})


TRANSLATIONS: dict[str, Translate] = {
    "aten.conv2d.default": _convolution,
    "aten.conv2d.padding": _convolution,
    "aten.batch_norm.default": _batch_norm,
    "aten.linear.default": lambda call: Translated(
        "linear", inputs_of(call, x="input", weight="weight", bias="bias"), {}
    ),
    "aten.max_pool2d.default": _max_pool,
    "aten.avg_pool2d.default": _average_pool,
    "aten.adaptive_avg_pool2d.default": lambda call: Translated(
        "adaptive_average_pool", {"x": call["self"]}, {"size": _pair(call["output_size"])}
    ),
    "aten.flatten.using_ints": lambda call: Translated(
        "flatten", {"x": call["self"]}, {"first": call["start_dim"], "last": call["end_dim"]}
    ),
    "aten.upsample_nearest2d.vec": _resize("nearest"),
    "aten.upsample_bilinear2d.vec": _resize("bilinear"),
    **aten_shapes.TRANSLATIONS,
    **aten_tokens.TRANSLATIONS,
    "aten.add.Tensor": _arithmetic("add"),
    "aten.sub.Tensor": _arithmetic("subtract"),
    "aten.mul.Tensor": _arithmetic("multiply"),
    "aten.relu.default": _activation("relu"),
    "aten.relu6.default": _activation("relu6"),
    "aten.sigmoid.default": _activation("sigmoid"),
    "aten.silu.default": _activation("silu"),
    "aten.tanh.default": _activation("tanh"),
    "aten.hardsigmoid.default": _activation("hard_sigmoid"),
    "aten.hardswish.default": _activation("hard_swish"),
    "aten.gelu.default": _gelu,
    "aten.dropout.default": _dropout,
    "aten.contiguous.default": _unchanged,
    "aten.clone.default": _unchanged,
    "aten.detach.default": _unchanged,
    "aten.alias.default": _unchanged,
    "aten.lift_fresh_copy.default": _unchanged,
}
