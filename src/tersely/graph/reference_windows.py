"""Sliding windows over images in NumPy, of whatever numbers, and convolutions by them."""

from __future__ import annotations

import numpy as np

from tersely.graph.graph import Node
from tersely.graph.operators import paddings


def windows(x: np.ndarray, node: Node, taps: tuple[int, int], fill: float, ceil: bool = False) -> np.ndarray:
    """[images, channels, rows, columns, taps_y, taps_x] of images padded with `fill`."""
    stride, padding = node.attributes["stride"], paddings(node)
    dilation = node.attributes.get("dilation", [1, 1])
    more = [step - 1 if ceil else 0 for step in stride]
    edges = [(0, 0), (0, 0), *((pad, behind + extra) for (pad, behind), extra in zip(padding, more, strict=True))]
    wide = np.pad(x, edges, constant_values=fill)
    reach = tuple(spread * (tap - 1) + 1 for spread, tap in zip(dilation, taps, strict=True))
    found = np.lib.stride_tricks.sliding_window_view(wide, reach, axis=(2, 3))
    found = found[:, :, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]
    if ceil:  # a window may not begin beyond the image and its first padding
        counts = [-(-(n + pad) // step) for n, (pad, _), step in zip(x.shape[2:], padding, stride, strict=True)]
        found = found[:, :, : counts[0], : counts[1]]
    return found


def convolved(node: Node, x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Sums of products, in the dtype of both."""
    groups = node.attributes["groups"]
    found = windows(x, node, weight.shape[2:], 0)
    images, channels, rows, columns, *taps = found.shape
    parts = found.reshape(images, groups, channels // groups, rows, columns, *taps)
    filters = weight.reshape(groups, -1, channels // groups, *taps)
    return np.einsum("igcrsyx,gocyx->igors", parts, filters).reshape(images, -1, rows, columns)
