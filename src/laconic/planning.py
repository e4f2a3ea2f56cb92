"""Plans as data: what every tensor of a file or folder would become and why, to look at, to edit, to compress by.

{"laconic_plan": 1, "objective": ..., "profile": ..., "batch": ..., "tensors": {NAME: {"formulation": ..., "parameters": {...},
 "view": "folded" where it is, and for people: "stored_bytes", "predicted_us", "reason"}}}
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from laconic import budget, checkpoint, plan
from laconic.compression import Options, Source, array_of, open_source, orientation_of, plain_bytes, why_dense_already
from laconic.container.writer import cost_bytes, dense_cost_bytes
from laconic.costs import predict_ns
from laconic.dtypes import BY_NAME, BY_TAG
from laconic.encoded import Encoded
from laconic.errors import ArgumentError, LaconicError
from laconic.formulations.protocol import Candidate, Request
from laconic.plan import Verdict
from laconic.profiles import Profile, resolve
from laconic.threads import get_num_threads

VERSION = 1
_MOST_COMPONENTS = 6
"""More than this no form has that is worth having."""
_METADATA_BYTES = 1024
"""At most what a file says of itself beside the original header."""
_ENTRY = {"formulation", "parameters", "view", "stored_bytes", "predicted_us", "reason", "shape", "dtype"}


def label(candidate: Candidate) -> str:
    """A candidate in a few characters: 'split layered(2,2)', 'affine by rows', 'sparse bitmap, folded'."""
    options = dict(candidate.options)
    widths = ",".join(map(str, options.pop("widths", ())))
    columns = options.pop("columns", None)
    by = [] if columns is None else [f"by {columns}" if columns else "by rows"]
    words = " ".join([candidate.node.formulation, *by, *map(str, options.values())])
    folded = candidate.options and candidate.geometry.view == "folded"
    return words + (f"({widths})" if widths else "") + (", folded" if folded else "")


def make_plan(
    src: str | os.PathLike[str],
    *,
    objective: str = "balanced",
    profile: str | os.PathLike[str] | Profile = "portable",
    batch: int = 1,
    target_bits: float | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    threads: int | None = None,
) -> dict[str, Any]:
    """The plan of `compress` with the same arguments. Raises as `compress` does; writes nothing.

    target_bits: instead of an objective, the fastest plan by predicted times under which everything that is written,
        headers and descriptions too, takes at most so many bits per weight. Raises LaconicError, naming the fewest
        that can be had, where that is impossible.
    """
    if objective not in plan.OBJECTIVES:
        raise ArgumentError(f"unknown objective {objective!r}: use one of {', '.join(plan.OBJECTIVES)}")
    target = resolve(profile)
    source = checkpoint.find_source(Path(src), False)
    options = Options(objective, target, include, exclude, threads, source.orientation, batch=plan.check_batch(batch))
    if target_bits is not None:
        return {**_head("target_bits", options), **within(source, target_bits, options)}
    tensors: dict[str, Any] = {}
    for shard in source.weights:
        reader = open_source(source.root / shard)
        for name in reader.names():
            tensors[name] = _entry(reader, name, options)
            reader.forget(name)
    return {**_head(objective, options), "tensors": tensors}


def _head(objective: str, options: Options) -> dict[str, Any]:
    return {
        "laconic_plan": VERSION,
        "objective": objective,
        "profile": options.profile.name,
        "batch": options.batch,
    }


def explain(
    src: str | os.PathLike[str],
    name: str,
    *,
    objective: str = "balanced",
    profile: str | os.PathLike[str] | Profile = "portable",
    batch: int = 1,
    threads: int | None = None,
) -> list[Verdict]:
    """Every candidate of one tensor, the chosen one first. Raises LaconicError for names that the source lacks."""
    source = checkpoint.find_source(Path(src), False)
    options = Options(objective, resolve(profile), (), (), threads, source.orientation, batch=plan.check_batch(batch))
    for shard in source.weights:
        reader = open_source(source.root / shard)
        if name in reader.dense:
            if reason := why_dense_already(reader, name, options):
                raise LaconicError(f"{name!r} stays dense: {reason}")
            return plan.decide(request_of(reader, name, options))
    raise LaconicError(f"{src} has no tensor {name!r}")


def request_of(reader: Source, name: str, options: Options) -> Request:
    """What the formulations are asked about a tensor of a file."""
    entry = reader.dense[name]
    dtype = BY_TAG[entry.tag]
    array = array_of(reader.raw(entry), dtype, entry.shape)
    words = plan.raw_bytes(array).view(dtype.word).reshape(entry.shape)
    orientation = orientation_of(reader, name, options)
    threads = options.threads or get_num_threads()
    return Request(
        words,
        dtype.name,
        orientation,
        options.objective,
        options.profile.machine,
        threads,
        batch=options.batch,
        costs=options.profile.costs,
    )


def _entry(reader: Source, name: str, options: Options) -> dict[str, Any]:
    entry = reader.dense[name]
    found: dict[str, Any] = {"shape": list(entry.shape), "dtype": BY_TAG[entry.tag].name}
    if reason := why_dense_already(reader, name, options):
        return {"formulation": "dense", "parameters": {}, "stored_bytes": entry.nbytes, "reason": reason, **found}
    chosen, *others = plan.decide(request_of(reader, name, options))
    lost = "; ".join(f"{label(one.candidate)}: {one.lost}" for one in others)
    return _chosen(chosen.candidate, chosen.ns, lost or "no other candidate") | found


def _chosen(candidate: Candidate, ns: float, reason: str) -> dict[str, Any]:
    """The entry of a tensor: what `compress` obeys, and what people want to know."""
    document: dict[str, Any] = {"formulation": candidate.node.formulation, "parameters": dict(candidate.options)}
    if document["parameters"] and candidate.geometry.view == "folded":
        document["view"] = "folded"
    return document | {"stored_bytes": candidate.nbytes, "predicted_us": round(ns / 1000, 1), "reason": reason}


def every_candidate(request: Request) -> list[tuple[Candidate, float]]:
    """What the formulations offer under any objective, each once, with its predicted time; dense first."""
    found: dict[Any, Candidate] = {}
    for objective in plan.OBJECTIVES:
        for one in plan.candidates(replace(request, objective=objective)):
            found.setdefault((one.node.formulation, repr(one.options), one.geometry.view), one)
    costs = request.costs
    return [(one, predict_ns(one, request.dtype, request.profile, request.batch, costs)) for one in found.values()]


def within(source: checkpoint.Source, target_bits: float, options: Options) -> dict[str, Any]:
    """The tensors of the fastest plan that takes at most `target_bits` per weight."""
    if not (isinstance(target_bits, (int, float)) and 0 < target_bits < float("inf")):
        raise ArgumentError(f"target_bits must be a number above 0, not {target_bits!r}")
    tensors: dict[str, dict[str, Any]] = {}
    offers: dict[str, list[tuple[Candidate, float]]] = {}
    choices: list[list[budget.Choice]] = []
    weights, fixed = 0, 0
    for shard in source.weights:
        reader = open_source(source.root / shard)
        fixed += plain_bytes(reader) + _METADATA_BYTES
        for name in reader.names():
            entry = reader.dense[name]
            weights += math.prod(entry.shape)
            if why_dense_already(reader, name, options):
                tensors[name] = _entry(reader, name, options)
            else:
                request = request_of(reader, name, options)
                offers[name] = [  # without the words: they would keep the file in memory
                    (replace(one, components=lambda threads: {}), ns) for one, ns in every_candidate(request)
                ]
                plain = dense_cost_bytes(name, entry.tag, entry.shape)
                choices.append([(_cost_bytes(name, one, request) - plain, ns) for one, ns in offers[name]])
                tensors[name] = {"shape": list(entry.shape), "dtype": request.dtype}
            reader.forget(name)
    limit = target_bits * weights / 8
    picked = budget.choose(choices, limit - fixed)
    if picked is None:
        fewest = (fixed + budget.lightest(choices)) * 8 / max(1, weights)
        raise LaconicError(
            f"{target_bits:g} bits per weight cannot be reached: the smallest plan takes {math.ceil(fewest * 1e3) / 1e3:.3f}"
        )
    total = fixed + sum(options[k][0] for options, k in zip(choices, picked, strict=True))
    for (name, offered), k in zip(offers.items(), picked, strict=True):
        reason = f"of {len(offered)} candidates the one for {target_bits:g} bits per weight in all"
        tensors[name] = _chosen(*offered[k], reason) | tensors[name]
    return {"target_bits": target_bits, "bits_per_weight": total * 8 / max(1, weights), "tensors": tensors}


def _cost_bytes(name: str, candidate: Candidate, request: Request) -> int:
    """At most what a candidate takes in a file: its components, and a description and entries for many of them."""
    geometry = candidate.geometry
    if candidate.node.formulation == "dense":
        return dense_cost_bytes(name, BY_NAME[request.dtype].tag, request.words.shape)
    blank = {f"component{k}": np.empty(0, np.uint8) for k in range(_MOST_COMPONENTS)}
    encoded = Encoded(
        request.words.shape,
        request.dtype,
        geometry.view,
        geometry.orientation,
        geometry.column_order,
        candidate.node,
        blank,
    )
    return candidate.nbytes + cost_bytes(name, encoded) + _MOST_COMPONENTS * 10  # their lengths have up to 11 digits


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
