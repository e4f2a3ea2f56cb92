"""`compress_(target_bits=)`: the fastest choice of codes for a module that fits a number of bits per weight."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tersely.codes.protocol import Candidate
from tersely.core.errors import ArgumentError, TerselyError
from tersely.files.plan_file import every_candidate
from tersely.planner import choose, knapsack
from tersely.planner.cost_model import predict_ns
from tersely.torch.modules.settings import Settings, Use, candidate_for, request_of
from tersely.torch.weight.dtypes import NAMES


def check(target_bits: object) -> float:
    """Raises ArgumentError for anything but a number above 0."""
    if isinstance(target_bits, bool) or not isinstance(target_bits, (int, float)) or not 0 < target_bits < math.inf:
        raise ArgumentError(f"`target_bits` must be a number above 0, not {target_bits!r}")
    return float(target_bits)


def within(
    uses: Sequence[Use], settings: Mapping[str, Settings | None], default: Settings, target_bits: float
) -> dict[str, Settings | None]:
    """Returns settings under which what stays in memory of all parameters takes at most so many bits per weight.

    A parameter with a formulation or an objective of its own keeps them. Raises TerselyError, naming the fewest bits
    that can be had, where that is impossible.
    """
    names: list[str] = []
    offers: list[list[tuple[Candidate, float]]] = []
    weights = fixed = 0
    for use in uses:
        own = settings[use.name]
        weights += use.parameter.numel()
        if use.reason or own is None:
            fixed += use.parameter.nbytes
            continue
        offered = _offers(use, own, own.objective == default.objective)
        names.append(use.name)
        # Without what would keep words, which may be copies, until all are planned.
        offers.append([(replace(one, components=lambda threads: {}), ns) for one, ns in offered])
    choices = [[(float(one.nbytes), ns) for one, ns in offered] for offered in offers]
    picked = knapsack.choose(choices, target_bits * weights / 8 - fixed)
    if picked is None:
        fewest = (fixed + knapsack.lightest(choices)) * 8 / max(1, weights)
        raise TerselyError(
            f"{target_bits:g} bits per weight cannot be reached: the smallest codes take {math.ceil(fewest * 1e3) / 1e3:.3f}, "
            "parameters that stay dense among them"
        )
    found = dict(settings)
    for name, offered, k in zip(names, offers, picked, strict=True):
        chosen, own = offered[k][0], settings[name]
        assert own is not None
        options: dict[str, Any] = {"formulation": chosen.node.formulation, **chosen.options}
        if chosen.options and chosen.geometry.view == "folded":
            options["view"] = "folded"
        found[name] = own if own.options else replace(own, options=options)
    return found


def _offers(use: Use, own: Settings, shares: bool) -> list[tuple[Candidate, float]]:
    if own.options:
        one = candidate_for(use, own)
        name = NAMES[use.parameter.dtype]
        return [(one, predict_ns(one, name, own.profile.machine, own.batch, own.profile.costs))]
    request = request_of(use, own)
    if shares and use.is_convolution:  # codes are decoded at every call, and dense weights used as they are
        (dense, dense_ns), *coded = every_candidate(request)
        return [(dense, dense_ns), *((one, ns + dense_ns) for one, ns in coded)]
    return every_candidate(request) if shares else [(one.candidate, one.ns) for one in choose.decide(request)[:1]]
