"""Plans as data: what every tensor of a file or folder would become and why, to look at, to edit, to compress by.

{"laconic_plan": 1, "objective": ..., "profile": ..., "tensors": {NAME: {"formulation": ..., "parameters": {...},
 "view": "folded" where it is, and for people: "stored_bytes", "predicted_us", "reason"}}}
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from laconic import checkpoint, plan
from laconic.compression import Options, Source, array_of, open_source, orientation_of, why_dense_already
from laconic.dtypes import BY_TAG
from laconic.errors import ArgumentError, LaconicError
from laconic.formulations.protocol import Candidate, Request
from laconic.plan import Verdict
from laconic.threads import get_num_threads

VERSION = 1
_ENTRY = {"formulation", "parameters", "view", "stored_bytes", "predicted_us", "reason", "shape", "dtype"}


def label(candidate: Candidate) -> str:
    """A candidate in a few characters: 'split layered(2,2)', 'sparse bitmap, folded'."""
    options = dict(candidate.options)
    widths = ",".join(map(str, options.pop("widths", ())))
    words = " ".join([candidate.node.formulation, *map(str, options.values())])
    folded = candidate.options and candidate.geometry.view == "folded"
    return words + (f"({widths})" if widths else "") + (", folded" if folded else "")


def make_plan(
    src: str | os.PathLike[str],
    *,
    objective: str = "balanced",
    profile: str = "portable",
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    threads: int | None = None,
) -> dict[str, Any]:
    """The plan of `compress` with the same arguments. Raises as `compress` does; writes nothing."""
    profile = plan.resolve_profile(profile)
    source = checkpoint.find_source(Path(src), False)
    options = Options(objective, profile, include, exclude, threads, source.orientation)
    tensors: dict[str, Any] = {}
    for shard in source.weights:
        reader = open_source(source.root / shard)
        for name in reader.names():
            tensors[name] = _entry(reader, name, options)
            reader.forget(name)
    return {"laconic_plan": VERSION, "objective": objective, "profile": profile, "tensors": tensors}


def explain(
    src: str | os.PathLike[str],
    name: str,
    *,
    objective: str = "balanced",
    profile: str = "portable",
    threads: int | None = None,
) -> list[Verdict]:
    """Every candidate of one tensor, the chosen one first. Raises LaconicError for names that the source lacks."""
    source = checkpoint.find_source(Path(src), False)
    options = Options(objective, plan.resolve_profile(profile), (), (), threads, source.orientation)
    for shard in source.weights:
        reader = open_source(source.root / shard)
        if name in reader.dense:
            if reason := why_dense_already(reader, name, options):
                raise LaconicError(f"{name!r} stays dense: {reason}")
            return plan.decide(_request(reader, name, options))
    raise LaconicError(f"{src} has no tensor {name!r}")


def _request(reader: Source, name: str, options: Options) -> Request:
    entry = reader.dense[name]
    dtype = BY_TAG[entry.tag]
    array = array_of(reader.raw(entry), dtype, entry.shape)
    words = plan.raw_bytes(array).view(dtype.word).reshape(entry.shape)
    orientation = orientation_of(reader, name, options)
    threads = options.threads or get_num_threads()
    return Request(words, dtype.name, orientation, options.objective, options.profile, threads)


def _entry(reader: Source, name: str, options: Options) -> dict[str, Any]:
    entry = reader.dense[name]
    found: dict[str, Any] = {"shape": list(entry.shape), "dtype": BY_TAG[entry.tag].name}
    if reason := why_dense_already(reader, name, options):
        return {"formulation": "dense", "parameters": {}, "stored_bytes": entry.nbytes, "reason": reason, **found}
    chosen, *others = plan.decide(_request(reader, name, options))
    document: dict[str, Any] = {"formulation": chosen.candidate.node.formulation}
    document["parameters"] = dict(chosen.candidate.options)
    if document["parameters"] and chosen.candidate.geometry.view == "folded":
        document["view"] = "folded"
    lost = "; ".join(f"{label(one.candidate)}: {one.lost}" for one in others)
    return document | {
        "stored_bytes": chosen.candidate.nbytes,
        "predicted_us": round(chosen.ns / 1000, 1),
        "reason": lost or "no other candidate",
        **found,
    }


def read_plan(given: str | os.PathLike[str] | Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The tensors of a plan, its shape checked. Raises ArgumentError with the tensor's name."""
    try:
        document = dict(given) if isinstance(given, Mapping) else json.loads(Path(given).read_text())
    except (ValueError, OSError) as error:
        raise ArgumentError(f"the plan {given} cannot be read: {error}") from None
    if not isinstance(document, dict) or document.get("laconic_plan") != VERSION:
        raise ArgumentError(f"not a plan: it needs 'laconic_plan': {VERSION}; make one with 'laconic plan'")
    tensors = document.get("tensors")
    if not isinstance(tensors, dict):
        raise ArgumentError("the plan has no 'tensors'")
    for name, entry in tensors.items():
        if not isinstance(entry, dict) or not isinstance(entry.get("formulation"), str):
            raise ArgumentError(f"the plan for {name!r} names no formulation")
        if unknown := sorted(set(entry) - _ENTRY):
            raise ArgumentError(f"the plan for {name!r} has an unknown field {unknown[0]!r}")
        if not isinstance(entry.get("parameters", {}), dict) or entry.get("view", "") not in ("", "folded"):
            raise ArgumentError(f"the plan for {name!r}: parameters are an object, view is 'folded' or left out")
    return tensors


def check_names(tensors: Mapping[str, Any], source: checkpoint.Source) -> None:
    """Raises ArgumentError where a plan names a tensor that the source lacks."""
    if not tensors:
        return
    names = {name for shard in source.weights for name in open_source(source.root / shard).names()}
    if unknown := sorted(set(tensors) - names):
        raise ArgumentError(f"the plan names {unknown[0]!r}, which the source does not have")
