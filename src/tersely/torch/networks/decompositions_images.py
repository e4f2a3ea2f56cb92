"""Operators on images and signals as those that our graph has: signals are images of height 1."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from tersely.torch.networks.decomposing import Rule, Writer

aten: Any = torch.ops.aten


def _as_image(write: Writer, x: Any, work: Callable[[Any], Any]) -> Any:
    """Work on an image that is a signal outside."""
    return write(aten.squeeze.dim, work(write(aten.unsqueeze.default, x, -2)), -2)


def _convolution(write: Writer) -> Any:
    found = write.arguments
    weight = write(aten.unsqueeze.default, found["weight"], -2)
    padding = found["padding"]
    if isinstance(padding, str):
        taps, dilation = write.shape(weight)[-1], found["dilation"][0]
        room = dilation * (taps - 1) if padding != "valid" else 0
        pads = [room // 2, room - room // 2]  # one more behind where an even one does not halve
    else:
        pads = [padding[0], padding[0]]

    def work(x: Any) -> Any:
        if pads[0] != pads[1]:
            x = write(aten.constant_pad_nd.default, x, [*pads, 0, 0])
        around = [0, pads[0]] if pads[0] == pads[1] else [0, 0]
        return write(
            aten.conv2d.default, x, weight, found["bias"], [1, found["stride"][0]], around,
            [1, found["dilation"][0]], found["groups"],
        )  # fmt: skip

    return _as_image(write, found["input"], work)


def _adaptive(write: Writer) -> Any:
    found = write.arguments
    size = found["output_size"][0]
    return _as_image(write, found["self"], lambda x: write(aten.adaptive_avg_pool2d.default, x, [1, size]))


def _pool(operator: Any, *names: str) -> Rule:
    """A pool of signals. names: of the arguments after kernel, stride and padding."""

    def rule(write: Writer) -> Any:
        found = write.arguments
        if len(write.shape(found["self"])) != 3:
            return None
        kernel = found["kernel_size"][0]
        stride = found["stride"][0] if found["stride"] else kernel
        rest = [[1, found[name][0]] if name == "dilation" else found[name] for name in names]
        window = [[1, kernel], [1, stride], [0, found["padding"][0]]]
        return _as_image(write, found["self"], lambda x: write(operator, x, *window, *rest))

    return rule


def _batch_norm(write: Writer) -> Any:
    """Of rows and signals: of images of one pixel, or of one row."""
    found = write.arguments
    x = found["input"]
    shape = write.shape(x)
    if len(shape) not in (2, 3) or found["training"]:
        return None
    rest = [value for name, value in found.items() if name != "input"]
    images = write(aten.reshape.default, x, [*shape, *[1] * (4 - len(shape))])
    return write(aten.reshape.default, write(aten.batch_norm.default, images, *rest), shape)


def _affine(write: Writer, x: Any, weight: Any, bias: Any, rank: int) -> Any:
    """A factor and a summand for each channel."""
    for operator, one in ((aten.mul.Tensor, weight), (aten.add.Tensor, bias)):
        if one is not None:
            x = write(operator, x, write(aten.view.default, one, [-1, *[1] * (rank - 2)]))
    return x


def _normalised(write: Writer, x: Any, groups: int, eps: float) -> Any:
    """Less the mean and through the deviation of each group of channels of each image."""
    shape = write.shape(x)
    rows = write(aten.reshape.default, x, [shape[0], groups, math.prod(shape[1:]) // groups])
    norm = write(aten.layer_norm.default, rows, [write.shape(rows)[-1]], None, None, eps)
    return write(aten.reshape.default, norm, shape)


def _group_norm(write: Writer) -> Any:
    found = write.arguments
    norm = _normalised(write, found["input"], found["num_groups"], found["eps"])
    return _affine(write, norm, found["weight"], found["bias"], write.result.dim())


def _instance_norm(write: Writer) -> Any:
    found = write.arguments
    x = found["input"]
    if not found["use_input_stats"]:
        rest = (found["weight"], found["bias"], found["running_mean"], found["running_var"])
        return write(aten.batch_norm.default, x, *rest, False, found["momentum"], found["eps"], False)
    if found["running_mean"] is not None:
        return None
    norm = _normalised(write, x, write.shape(x)[1], found["eps"])
    return _affine(write, norm, found["weight"], found["bias"], write.result.dim())


def _layer_norm(write: Writer) -> Any:
    """Over several axes: over one that they are together."""
    found = write.arguments
    count = len(found["normalized_shape"])
    if count == 1:
        return None
    shape = write.shape(found["input"])
    rows = write(aten.reshape.default, found["input"], [*shape[:-count], math.prod(shape[-count:])])
    both = [one if one is None else write(aten.reshape.default, one, [-1]) for one in (found["weight"], found["bias"])]
    norm = write(aten.layer_norm.default, rows, [write.shape(rows)[-1]], *both, found["eps"])
    return write(aten.reshape.default, norm, shape)


def _shuffle(write: Writer) -> Any:
    """Channels [c, f, f] become pixels f x f."""
    x, factor = write.arguments["self"], write.arguments["upscale_factor"]
    *first, channels, height, width = write.shape(x)
    if len(first) != 1:
        return None
    x = write(aten.reshape.default, x, [*first, channels // factor**2, factor, factor, height, width])
    x = write(aten.permute.default, x, [0, 1, 4, 2, 5, 3])
    return write(aten.reshape.default, x, list(write.result.shape))


def _unshuffle(write: Writer) -> Any:
    x, factor = write.arguments["self"], write.arguments["downscale_factor"]
    *first, channels, height, width = write.shape(x)
    if len(first) != 1:
        return None
    x = write(aten.reshape.default, x, [*first, channels, height // factor, factor, width // factor, factor])
    x = write(aten.permute.default, x, [0, 1, 3, 5, 2, 4])
    return write(aten.reshape.default, x, list(write.result.shape))


def _channel_shuffle(write: Writer) -> Any:
    x, groups = write.arguments["self"], write.arguments["groups"]
    shape = write.shape(x)
    parts = write(aten.reshape.default, x, [shape[0], groups, shape[1] // groups, *shape[2:]])
    return write(aten.reshape.default, write(aten.transpose.int, parts, 1, 2), shape)


def _tiles(write: Writer, shape: list[int]) -> tuple[int, int] | None:
    """Height and width of windows that lie side by side and cover images; None where they do not."""
    found = write.arguments
    taps = list(found["kernel_size"])
    plain = taps == list(found["stride"]) and not any(found["padding"]) and all(one == 1 for one in found["dilation"])
    if len(shape) != 4 or not plain or shape[2] % taps[0] or shape[3] % taps[1]:
        return None
    return taps[0], taps[1]


def _to_columns(write: Writer) -> Any:
    x = write.arguments["self"]
    shape = write.shape(x)
    tiles = _tiles(write, shape)
    if tiles is None:
        return None
    images, channels, height, width = shape
    x = write(aten.reshape.default, x, [images, channels, height // tiles[0], tiles[0], width // tiles[1], tiles[1]])
    x = write(aten.permute.default, x, [0, 1, 3, 5, 2, 4])
    return write(aten.reshape.default, x, list(write.result.shape))


def _from_columns(write: Writer) -> Any:
    shape = list(write.result.shape)
    tiles = _tiles(write, shape)
    if tiles is None:
        return None
    images, channels, height, width = shape
    x = write(aten.reshape.default, write.arguments["self"],
              [images, channels, *tiles, height // tiles[0], width // tiles[1]])  # fmt: skip
    return write(aten.reshape.default, write(aten.permute.default, x, [0, 1, 4, 2, 5, 3]), shape)


def _names(operators: str, rule: Rule) -> dict[str, Rule]:
    return {f"aten.{name}": rule for name in operators.split()}


RULES: dict[str, Rule] = {
    **_names("conv1d.default conv1d.padding", _convolution),
    **_names("adaptive_avg_pool1d.default", _adaptive),
    **_names("avg_pool1d.default", _pool(aten.avg_pool2d.default, "ceil_mode", "count_include_pad")),
    **_names("max_pool1d.default", _pool(aten.max_pool2d.default, "dilation", "ceil_mode")),
    **_names("batch_norm.default", _batch_norm),
    **_names("group_norm.default", _group_norm),
    **_names("instance_norm.default", _instance_norm),
    **_names("layer_norm.default", _layer_norm),
    **_names("pixel_shuffle.default", _shuffle),
    **_names("pixel_unshuffle.default", _unshuffle),
    **_names("channel_shuffle.default native_channel_shuffle.default", _channel_shuffle),
    **_names("im2col.default", _to_columns),
    **_names("col2im.default", _from_columns),
}
