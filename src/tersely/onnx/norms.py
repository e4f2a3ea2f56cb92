"""Norms of images, groups of channels and root mean squares, and sums one after another: made of operators that we have."""

from __future__ import annotations

import math

import numpy as np

from tersely.core.errors import ArgumentError, UnsupportedError
from tersely.onnx.call import Call, Translate
from tersely.onnx.lengths import Length, Unknown, roots_of
from tersely.onnx.pointwise import binary
from tersely.onnx.shapes import axis_of, reshaped
from tersely.onnx.values import Value, constant

PER_CHANNEL = 21
"""Since this opset a norm of groups has a scale for each channel; before, one for each group."""


def _normalised(call: Call, x: Value, groups: int | None, eps: float) -> Value:
    """Less the mean and through the deviation of each group of channels of each image; None: of each channel."""
    images, channels = x.shape[:2]
    count = channels if groups is None else groups
    rest = math.prod(x.shape[2:]) if groups is None else math.prod(x.shape[2:]) * _parts(channels, groups)
    rows = reshaped(call, x, [images, count, rest])
    return reshaped(call, call.emit("layer_norm", {"x": rows}, eps=eps), x.shape)


def _parts(channels: int | Length, groups: int) -> int:
    if isinstance(channels, Length):
        raise Unknown(channels.roots, "how many channels there are")
    if groups < 1 or channels % groups:
        raise ArgumentError(f"{channels} channels in {groups} groups")
    return channels // groups


def _affine(call: Call, x: Value, weight: Value, bias: Value, times: int = 1) -> Value:
    """A factor and a summand for each channel, or for `times` of them."""
    for operator, one, nothing in (("multiply", weight, 1.0), ("add", bias, 0.0)):
        call.floats(one)
        if not one.known:
            raise UnsupportedError("a norm whose weights depend on data")
        numbers = np.repeat(np.asarray(one.numbers).reshape(-1), times)
        if isinstance(x.shape[1], Length) or numbers.size != x.shape[1]:
            raise ArgumentError(f"weights of shape {list(one.shape)} for {x.shape[1]} channels")
        if np.any(numbers != nothing):
            x = binary(call, operator, x, constant(numbers.reshape(-1, *[1] * (len(x.shape) - 2))))
    return x


def _images(call: Call) -> Value:
    x = call[0]
    call.floats(x)
    if len(x.shape) < 3:
        raise ArgumentError(f"{call.node.operator} of a tensor of shape {list(x.shape)}")
    return x


def _instances(call: Call) -> Value:
    x = _images(call)
    return _affine(call, _normalised(call, x, None, call.attribute("epsilon", 1e-5)), call[1], call[2])


def _groups(call: Call) -> Value:
    x, groups = _images(call), call.attribute("num_groups", 0)
    found = _normalised(call, x, groups, call.attribute("epsilon", 1e-5))
    times = 1 if call.opset >= PER_CHANNEL else _parts(x.shape[1], groups)
    return _affine(call, found, call[1], call[2], times)


def _root_mean_square(call: Call) -> Value:
    x, weight = call[0], call[1]
    call.floats(x, weight)
    axes = list(range(axis_of(call.attribute("axis", -1), len(x.shape)), len(x.shape)))
    mean = call.emit("mean", {"x": binary(call, "multiply", x, x)}, axes=axes, keep=True)
    root = call.emit("sqrt", {"x": binary(call, "add", mean, call.number(call.attribute("epsilon", 1e-5)))})
    return binary(call, "multiply", binary(call, "divide", x, root), weight)


def _cumulative_sum(call: Call) -> Value:
    x = call[0]
    if call.attribute("exclusive", 0) or call.attribute("reverse", 0):
        raise UnsupportedError("sums from behind, or without a number's own")
    if x.dtype.kind not in "fiu" or (x.dtype.kind == "f" and x.dtype != np.float32):
        raise UnsupportedError(f"sums of {x.dtype}")
    axis = axis_of(int(call.known(1, "an axis").reshape(())), len(x.shape))
    return call.emit("cumulative_sum", {"x": x}, x.dtype, axis=axis)


def _blocks(call: Call, x: Value) -> tuple[int, tuple[int, int, int]]:
    """The side of blocks of pixels, and channels, height and width."""
    call.floats(x)
    if len(x.shape) != 4:
        raise ArgumentError(f"{call.node.operator} of a tensor of shape {list(x.shape)}")
    if roots := roots_of(x.shape[1:]):
        raise Unknown(roots, "how pixels are shared out")
    side = call.attribute("blocksize", 0)
    if side < 1:
        raise ArgumentError(f"squares of {side} pixels")
    _, channels, height, width = (one if isinstance(one, int) else 0 for one in x.shape)
    return side, (channels, height, width)


def _depth_to_space(call: Call) -> Value:
    x = call[0]
    side, (channels, height, width) = _blocks(call, x)
    mode = call.attribute("mode", "DCR")
    if mode not in ("DCR", "CRD") or channels % side**2:
        raise ArgumentError(f"{channels} channels to squares of {side} x {side} pixels, mode {mode!r}")
    depth = channels // side**2
    split = [side, side, depth] if mode == "DCR" else [depth, side, side]
    order = [0, 3, 4, 1, 5, 2] if mode == "DCR" else [0, 1, 4, 2, 5, 3]
    parts = reshaped(call, x, [x.shape[0], *split, height, width])
    return reshaped(
        call, call.emit("permute", {"x": parts}, order=order), [x.shape[0], depth, height * side, width * side]
    )


def _space_to_depth(call: Call) -> Value:
    x = call[0]
    side, (channels, height, width) = _blocks(call, x)
    if height % side or width % side:
        raise ArgumentError(f"{height} x {width} pixels in squares of {side} x {side}")
    parts = reshaped(call, x, [x.shape[0], channels, height // side, side, width // side, side])
    turned = call.emit("permute", {"x": parts}, order=[0, 3, 5, 1, 2, 4])
    return reshaped(call, turned, [x.shape[0], channels * side**2, height // side, width // side])


TRANSLATIONS: dict[str, Translate] = {
    "InstanceNormalization": _instances,
    "GroupNormalization": _groups,
    "RMSNormalization": _root_mean_square,
    "CumSum": _cumulative_sum,
    "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
}
