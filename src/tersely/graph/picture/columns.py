"""A tall picture cut into columns side by side, where one value alone goes from one layer to the next."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tersely.graph.picture.layered import Edge

ASPECT = 1.5
"""Width of a whole picture over its height, about."""


def cuts(layers: Sequence[int], edges: Sequence[Edge], heights: Sequence[float], width: float) -> list[int]:
    """The layers that columns begin with, the first of them 0.

    heights: of each layer. width: of a column.
    """
    total = sum(heights)
    count = max(1, round(math.sqrt(ASPECT * total / max(width, 1.0))))
    if count == 1:
        return [0]
    crossing: list[set[int]] = [set() for _ in heights]
    for start, end in edges:
        for layer in range(layers[start] + 1, layers[end] + 1):
            crossing[layer].add(start)
    found, filled = [0], 0.0
    for layer in range(1, len(heights)):
        filled += heights[layer - 1]
        rest = sum(heights[layer:])
        if filled >= total / count and len(crossing[layer]) == 1 and rest > total / count / 3:
            found.append(layer)
            filled = 0.0
    return found
