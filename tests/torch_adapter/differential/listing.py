"""The list: every name, its calls, and which of the tried ones the dense twin takes. `python -m differential.listing FILE`.

Runs in a child of its own, because trying is what may crash.
"""

from __future__ import annotations

import itertools
import pickle
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from differential import exclusions, namespaces, recipes, signatures, subjects
from differential.calls import Call

MOST = 2
"""Tried calls that are kept of one name; those of recipes all are."""


def every_call() -> tuple[list[Call], list[str]]:
    """(the calls, each expression once; the names that no call fits and no exclusion names)."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    subjects.make_known(False)
    calls: list[Call] = []
    unknown: list[str] = []
    trials = {kind: subjects.make(kind, "dense", 0) for kind in ("float32", "transposed", "stack", "conv", "int8")}
    for name, text in namespaces.names().items():
        own = recipes.of(name)
        if own is None and exclusions.reason(name):
            continue
        found = own if own is not None else _fitting(signatures.calls(name, text), trials)
        calls += found
        if not found:
            unknown.append(name)
    return list({call.expression: call for call in reversed(calls)}.values())[::-1], unknown


def _fitting(calls: Sequence[Call], trials: Mapping[str, subjects.Subject]) -> list[Call]:
    """The first of the calls that fit one kind of weight."""
    for kind, subject in trials.items():
        exact = subject.weight.detach().clone()
        found = list(itertools.islice((call for call in calls if _fits(call, subject, exact)), MOST))
        if found:
            return [replace(call, kind=kind) for call in found]
    return []


def _fits(call: Call, subject: subjects.Subject, exact: torch.Tensor) -> bool:
    """Whether the dense twin takes it. The twin is put right again afterwards."""
    w = subject.weight
    names = {**subject.names, "o": subject.names["o"].clone(), "x": subject.names["x"].clone()}
    try:
        with torch.no_grad():
            eval(call.expression, names)
    except Exception:
        fits = False
    else:
        fits = True
    if tuple(w.shape) != tuple(exact.shape) or w.dtype != exact.dtype or w.stride() != exact.stride():
        w.data = exact.clone(memory_format=torch.preserve_format)
    elif not torch.equal(w.detach(), exact):
        with torch.no_grad():
            w.copy_(exact)
    return fits


if __name__ == "__main__":
    made: Any = every_call()
    Path(sys.argv[1]).write_bytes(pickle.dumps(made))
