"""One choice for each of many tensors, so that a sum stays within a limit and another sum is as small as can be.

The choices of a tensor that matter lie on the lower convex hull of (weight, value); from the lightest of each, steps
along the hulls are taken by falling gain per weight until the limit is full, and what room is left goes to single
steps that still fit. The last step apart this is the optimum: of a file with many tensors nothing that could be seen.
"""

from __future__ import annotations

from collections.abc import Sequence

Choice = tuple[float, float]
"""(weight, value): the sum of weights is limited, the sum of values is made small."""


def choose(tensors: Sequence[Sequence[Choice]], limit: float) -> list[int] | None:
    """The index of the choice of each tensor; None where even the lightest ones are over the limit."""
    hulls = [_hull(choices) for choices in tensors]
    at = [0] * len(hulls)
    weight = sum(tensors[t][hull[0]][0] for t, hull in enumerate(hulls))
    if weight > limit:
        return None
    steps = []
    for t, hull in enumerate(hulls):
        for k in range(1, len(hull)):
            (w0, v0), (w1, v1) = tensors[t][hull[k - 1]], tensors[t][hull[k]]
            steps.append(((v1 - v0) / (w1 - w0), t, k))
    for _, t, k in sorted(steps):  # the hull is convex: steps of one tensor come in their order
        more = tensors[t][hulls[t][k]][0] - tensors[t][hulls[t][at[t]]][0]
        if k == at[t] + 1 and weight + more <= limit:
            weight, at[t] = weight + more, k
    chosen = [hull[k] for hull, k in zip(hulls, at, strict=True)]
    for t, choices in enumerate(tensors):  # what fits beside it, off the hull too
        room = limit - weight + choices[chosen[t]][0]
        best = min(
            (k for k in range(len(choices)) if choices[k][0] <= room), key=lambda k: (choices[k][1], choices[k][0])
        )
        if choices[best][1] < choices[chosen[t]][1]:
            weight += choices[best][0] - choices[chosen[t]][0]
            chosen[t] = best
    return chosen


def lightest(tensors: Sequence[Sequence[Choice]]) -> float:
    """The smallest sum of weights there is."""
    return sum(min(choice[0] for choice in choices) for choices in tensors)


def _hull(choices: Sequence[Choice]) -> list[int]:
    """Indices of the lower convex hull from the lightest choice on, each next one heavier and of less value."""
    hull: list[int] = []
    for k in sorted(range(len(choices)), key=lambda k: choices[k]):
        weight, value = choices[k]
        if hull and (value >= choices[hull[-1]][1] or weight == choices[hull[-1]][0]):
            continue
        while len(hull) > 1:
            (w0, v0), (w1, v1) = choices[hull[-2]], choices[hull[-1]]
            if (v1 - v0) * (weight - w0) < (value - v0) * (w1 - w0):
                break
            hull.pop()
        hull.append(k)
    return hull
