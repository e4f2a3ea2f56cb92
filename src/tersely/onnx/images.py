"""Operators on images: convolutions, pools, norms of channels, resizing. Signals of one dimension are images of height 1."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tersely.core.errors import ArgumentError, UnsupportedError
from tersely.onnx.call import Call, Translate
from tersely.onnx.lengths import Length, Unknown, roots_of
from tersely.onnx.shapes import axis_of
from tersely.onnx.values import Value, constant

HALF = 0.5


def _pixels(call: Call, dims: int) -> None:
    """Raises UnsupportedError for volumes, and for what are no images."""
    if dims not in (3, 4):
        raise UnsupportedError(f"{call.node.operator} on {max(dims - 2, 0)} dimensions: images have two, signals one")
    if call.node.operator != "MaxPool" or call[0].name not in call.builder.quantised:
        call.floats(call[0])


def spatial(call: Call, name: str, otherwise: int, count: int = 2) -> list[int]:
    """Numbers of an attribute for rows and columns; of signals the rows have `otherwise`."""
    signal = len(call[0].shape) == 3
    found = call.integers(name) or [otherwise] * (count // 2 if signal else count)
    if signal and len(found) == count // 2:
        found = [otherwise, *found] if count == 2 else [0, found[0], 0, found[1]]
    if len(found) != count or min(found) < (0 if name == "pads" else 1):
        raise ArgumentError(f"attribute {name} is {found}")
    return found


def padding(call: Call, taps: list[int], stride: list[int], dilation: list[int]) -> list[int]:
    """Top, left, bottom, right."""
    auto = call.attribute("auto_pad", "NOTSET")
    if auto in ("NOTSET", ""):
        return spatial(call, "pads", 0, 4)
    if auto == "VALID":
        return [0] * 4
    if auto not in ("SAME_UPPER", "SAME_LOWER"):
        raise ArgumentError(f"attribute auto_pad is {auto!r}")
    lengths = [1, *call[0].shape[2:]][-2:]
    first, second = [], []
    for length, tap, step, spread in zip(lengths, taps, stride, dilation, strict=True):
        reach = spread * (tap - 1) + 1
        if isinstance(length, Length) and step != 1:
            raise Unknown(length.roots, "padding to a size")
        room = reach - 1 if isinstance(length, Length) else max(_rest(length, step, reach), 0)
        if call.node.operator.endswith("Pool") and isinstance(length, int) and _rest(length, step, reach) < 0:
            raise UnsupportedError(f"auto_pad {auto} of windows that leave pixels out, on which engines differ")
        less, more = room // 2, room - room // 2
        first.append(less if auto == "SAME_UPPER" else more)
        second.append(more if auto == "SAME_UPPER" else less)
    return first + second


def _rest(length: int, step: int, reach: int) -> int:
    """How many pixels are missing for one window at each step."""
    return (-(-length // step) - 1) * step + reach - length


def _as_images(call: Call, work: Callable[[Value], Value]) -> Value:
    """Work on images that are signals outside."""
    if len(call[0].shape) == 4:
        return work(call[0])
    images = call.emit("unsqueeze", {"x": call[0]}, axis=2)
    return call.emit("squeeze", {"x": work(images)}, axes=[2])


def _convolution(call: Call) -> Value:
    weight = call[1]
    _pixels(call, len(call[0].shape))
    if not weight.known:
        raise UnsupportedError("a convolution whose weight depends on data")
    call.floats(weight)
    numbers = np.asarray(weight.numbers)
    if numbers.ndim != len(call[0].shape) or not numbers.size:
        raise ArgumentError(f"a weight of shape {list(numbers.shape)}")
    if numbers.ndim == 3:
        numbers = numbers[:, :, None]
        weight = constant(numbers)
    taps = call.integers("kernel_shape")
    if taps is not None and taps != list(numbers.shape[-len(taps) :]):
        raise ArgumentError(f"attribute kernel_shape is {taps}, the weight has {list(numbers.shape)}")
    stride, dilation = spatial(call, "strides", 1), spatial(call, "dilations", 1)
    attributes = {
        "stride": stride,
        "padding": padding(call, list(numbers.shape[2:]), stride, dilation),
        "dilation": dilation,
        "groups": call.attribute("group", 1),
    }
    if attributes["groups"] < 1:
        raise ArgumentError(f"attribute group is {attributes['groups']}")
    inputs = {"weight": weight}
    added = None
    if call.has(2):
        if call[2].known:
            inputs["bias"] = _channels(call[2], numbers.shape[0], "bias")
        else:
            raise UnsupportedError("a bias that depends on data")
    del added
    return _as_images(call, lambda x: call.emit("convolution", {"x": x, **inputs}, **attributes))


def _channels(value: Value, channels: int, role: str) -> Value:
    if value.shape != (channels,):
        raise ArgumentError(f"a {role} of shape {list(value.shape)} for {channels} channels")
    return value


def _batch_norm(call: Call) -> list[Value]:
    x = call[0]
    if call.attribute("training_mode", 0) or any(call.node.outputs[1:]):
        raise UnsupportedError("batch norm in training: export the model in eval mode")
    call.floats(*(call[index] for index in range(5)))
    channels = x.shape[1] if len(x.shape) > 1 else 0
    if isinstance(channels, Length):
        raise Unknown(channels.roots, "how many channels there are")
    roles = {role: call[index] for index, role in enumerate(("x", "weight", "bias", "mean", "variance"))}
    for role, value in roles.items():
        if role != "x":
            _channels(value, channels, role)
            if not value.known:
                raise UnsupportedError(f"batch norm whose {role} depends on data")
    if not 2 <= len(x.shape) <= 4:
        raise UnsupportedError(f"batch norm on {len(x.shape)} dimensions")
    value = x
    for axis in range(len(x.shape), 4):
        value = call.emit("unsqueeze", {"x": value}, axis=axis)
    found = call.emit("batch_norm", {**roles, "x": value}, eps=call.attribute("epsilon", 1e-5))
    if len(x.shape) < 4:
        found = call.emit("squeeze", {"x": found}, axes=list(range(len(x.shape), 4)))
    return [found]


def _pool(operator: str) -> Translate:
    def translate(call: Call) -> list[Value]:
        _pixels(call, len(call[0].shape))
        if any(call.node.outputs[1:]):
            raise UnsupportedError("places of greatest numbers as a second output")
        if call.node.attributes.get("kernel_shape") is None:
            raise ArgumentError("attribute kernel_shape is missing")
        kernel = spatial(call, "kernel_shape", 1)
        stride, dilation = spatial(call, "strides", 1), spatial(call, "dilations", 1)
        attributes: dict[str, Any] = {
            "kernel": kernel,
            "stride": stride,
            "padding": padding(call, kernel, stride, dilation),
            "ceil": bool(call.attribute("ceil_mode", 0)),
        }
        if operator == "max_pool":
            attributes["dilation"] = dilation
        else:
            if dilation != [1, 1]:
                raise UnsupportedError("average pooling with dilation")
            attributes["count_padding"] = bool(call.attribute("count_include_pad", 0))
        return [_as_images(call, lambda x: call.emit(operator, {"x": x}, x.dtype, **attributes))]

    return translate


def _of_all_pixels(operator: str) -> Translate:
    def translate(call: Call) -> Value:
        call.floats(call[0])
        rank = len(call[0].shape)
        if rank < 3:
            raise ArgumentError(f"images of {rank} dimensions")
        return call.emit(operator, {"x": call[0]}, axes=list(range(2, rank)), keep=True)

    return translate


def _resize(call: Call) -> Value:
    x = call[0]
    if len(x.shape) != 4:
        raise UnsupportedError(f"resizing of {len(x.shape)} dimensions")
    call.floats(x)
    axes = [axis_of(axis, 4) for axis in call.integers("axes", range(4)) or []]
    for name, plain in (("antialias", 0), ("exclude_outside", 0)):
        if call.attribute(name, plain) != plain:
            raise UnsupportedError(f"resizing with {name}")
    if call.attribute("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise UnsupportedError(f"resizing with {call.attribute('keep_aspect_ratio_policy')}")
    mode, where = call.attribute("mode", "nearest"), call.attribute("coordinate_transformation_mode", "half_pixel")
    size: list[Any] | None = None
    factors: list[float] | None = None
    if call.has(3) and call[3].shape != (0,):
        wanted = dict(zip(axes, call.lengths(3, "sizes"), strict=True))
        if any(x.shape[axis] != wanted.get(axis, x.shape[axis]) for axis in (0, 1)):
            raise UnsupportedError("resizing of images and channels")
        size = [wanted.get(axis, x.shape[axis]) for axis in (2, 3)]
        if roots := roots_of(size):
            raise Unknown(roots, "a size")
    elif call.has(2):
        scales = dict(zip(axes, (float(one) for one in call.known(2, "scales").reshape(-1)), strict=True))
        if any(scales.get(axis, 1.0) != 1.0 for axis in (0, 1)):
            raise UnsupportedError("resizing of images and channels")
        factors = [scales.get(axis, 1.0) for axis in (2, 3)]
        if not all(math.isfinite(one) and one > 0 for one in factors):
            raise ArgumentError(f"scales of {factors}")
    else:
        raise ArgumentError("neither scales nor sizes")
    if mode == "nearest":
        _nearest(call, x, size, factors, where)
    elif mode != "linear" or where not in ("half_pixel", "pytorch_half_pixel", "align_corners"):
        raise UnsupportedError(f"resizing by {mode}, {where}")
    elif where == "pytorch_half_pixel" and (size is None or min(size) < 2):
        raise UnsupportedError("resizing by pytorch_half_pixel without sizes of at least 2")
    attributes = {"mode": "nearest" if mode == "nearest" else "bilinear", "corners": where == "align_corners"}
    if factors is not None and roots_of(x.shape[2:]):
        if any(one != int(one) for one in factors):
            raise Unknown(roots_of(x.shape[2:]), "a size of a length times what is no integer")
        shape = (*x.shape[:2], *(length * int(factor) for length, factor in zip(x.shape[2:], factors, strict=True)))
        return call.shaped("resize", x, shape, {"size": None, "factors": factors, **attributes})
    return call.emit("resize", {"x": x}, size=size, factors=factors, **attributes)


def _nearest(call: Call, x: Value, size: list[Any] | None, factors: list[float] | None, where: str) -> None:
    """Raises UnsupportedError for what is not the pixel that lies above and to the left."""
    rounded = call.attribute("nearest_mode", "round_prefer_floor")
    if where == "asymmetric" and rounded == "floor":
        return
    if size is not None and (roots := roots_of(x.shape[2:])):
        raise Unknown(roots, "factors of a size")
    times = factors or [b / int(a) for a, b in zip(x.shape[2:], size or [], strict=True)]
    whole = all(one >= 1 and one == int(one) for one in times)
    if where in ("half_pixel", "pytorch_half_pixel") and rounded == "round_prefer_floor" and whole:
        return
    raise UnsupportedError(f"resizing by nearest, {where}, {rounded}")


TRANSLATIONS: dict[str, Translate] = {
    "Conv": _convolution,
    "BatchNormalization": _batch_norm,
    "MaxPool": _pool("max_pool"),
    "AveragePool": _pool("average_pool"),
    "GlobalAveragePool": _of_all_pixels("mean"),
    "GlobalMaxPool": _of_all_pixels("max"),
    "Resize": _resize,
}
