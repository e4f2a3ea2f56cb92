"""Plans as data: what every tensor of a file or folder would become and why, to look at, to edit, to compress by.

{"tersely_plan": 1, "objective": ..., "profile": ..., "batch": ..., "tensors": {NAME: {"formulation": ..., "parameters":
 {...}, "view": "folded" where it is, and for people: "stored_bytes", "predicted_us", "reason"}}}
"""

from __future__ import annotations

import fnmatch
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from tersely.codes.protocol import Candidate, Request
from tersely.core.choices import Objective
from tersely.core.dtypes import BY_NAME, BY_TAG
from tersely.core.errors import ArgumentError, TerselyError
from tersely.files import folder, plan_source, results
from tersely.files.container import alias
from tersely.files.container.header import Entry
from tersely.files.container.writer import dense_cost_bytes
from tersely.files.duplicates import Duplicates, reason_duplicate
from tersely.files.encode_tensor import (
    Options,
    TensorFile,
    decide,
    duplicates_of,
    max_cost_bytes,
    order_of,
    plain_bytes,
    pooled_names,
    pooled_sizes,
    reason_unplanned,
    request_of,
)
from tersely.planner import choose, knapsack
from tersely.planner.choose import Verdict
from tersely.planner.cost_model import predict_ns
from tersely.planner.profiles import CALIBRATED, Profile, resolve
from tersely.planner.profiles import NAMES as PROFILES

VERSION = 1
BALANCED: Objective = "balanced"
"""The objective where nobody names one."""
TARGET_BITS = "target_bits"
"""What a plan has for an objective that was made within a number of bits."""
BITS_OR_OBJECTIVE = "`target_bits` takes the place of `objective`: give one of them"
_METADATA_BYTES = 1024
"""At most what a file says of itself beside the original header."""
_HELD = "the file has these weights once already"
_HEAD = {"tersely_plan", "objective", "profile", "batch", "target_bits", "bits_per_weight", "tensors"}
_ENTRY = {"formulation", "parameters", "view", "stored_bytes", "predicted_us", "reason", "shape", "dtype", "label"}


def label(candidate: Candidate) -> str:
    """A candidate in a few characters: 'split layered(2,2)', 'integer fields, smallest', 'sparse bitmap, folded'."""
    wanted = [name for name, value in candidate.options.items() if value is True]
    folded = ["folded"] * (candidate.geometry.view == "folded" and bool(candidate.options))
    return ", ".join([results.label(candidate.node.to_json()), *wanted, *folded])


def check_objective(objective: object) -> Objective:
    """Raises ArgumentError."""
    if not isinstance(objective, str) or objective not in choose.OBJECTIVES:
        raise ArgumentError(f"unknown objective {objective!r}: use one of {', '.join(choose.OBJECTIVES)}")
    return cast(Objective, objective)


def patterns(given: str | Sequence[str] | None) -> tuple[str, ...]:
    """Glob patterns of names, one or several."""
    return () if given is None else (given,) if isinstance(given, str) else tuple(given)


def unmatched(source: folder.InputTree, include: Sequence[str], exclude: Sequence[str]) -> list[str]:
    """A sentence for each pattern that matches no tensor of a source: most likely it was meant to."""
    if not (include or exclude):
        return []
    names = [name for shard in source.weights for name in plan_source.open_tensors(source.root / shard).names()]
    return [
        f"`{word}` {pattern!r} matches no tensor"
        for word, given in (("include", include), ("exclude", exclude))
        for pattern in given
        if not any(fnmatch.fnmatchcase(name, pattern) for name in names)
    ]


def make_plan(
    src: str | os.PathLike[str],
    *,
    objective: Objective | None = None,
    profile: str | os.PathLike[str] | Profile = "portable",
    batch: int = 1,
    target_bits: float | None = None,
    include: str | Sequence[str] | None = None,
    exclude: str | Sequence[str] | None = None,
    threads: int | None = None,
) -> dict[str, Any]:
    """Makes the plan that `compress` with the same arguments would follow; writes nothing.

    Args:
        src: the file or folder, as in `compress`.
        objective: 'size', 'speed' or 'balanced', which None means.
        profile: the machine to plan for: 'portable', 'native', or the file of a measured one.
        batch: rows of x to plan for.
        target_bits: instead of an objective, the fastest plan by predicted times under which everything that is
            written, headers and descriptions too, takes at most so many bits per weight.
        include: glob patterns of the names of tensors to compress; None for all.
        exclude: glob patterns of names to leave dense, which go before `include`.
        threads: workers; None for as many as products use.

    Returns:
        The plan, which `json.dump` writes and `compress(plan=...)` takes.

    Raises:
        ArgumentError: for arguments that mean nothing or do not go together.
        FormatError: for a damaged or unknown source, naming file, tensor and byte.
        TerselyError: where `target_bits` cannot be reached, naming the fewest that can be had.
    """
    if objective is not None and target_bits is not None:
        raise ArgumentError(BITS_OR_OBJECTIVE)
    objective = check_objective(objective or BALANCED)
    source = plan_source.find(Path(src))
    names = (patterns(include), patterns(exclude))
    pool = not source.folder and target_bits is None
    batch = choose.check_batch(batch)
    options = Options(objective, resolve(profile), *names, threads, source.orientation, batch=batch, pool=pool)
    if target_bits is not None:
        return {**_head(TARGET_BITS, options), **within(source, target_bits, options)}
    tensors: dict[str, Any] = {}
    for shard in source.weights:
        reader = plan_source.open_tensors(source.root / shard)
        duplicates, found = duplicates_of(reader, options), {}
        shares = pooled_sizes(reader, options)[1]
        for name in order_of(reader):
            found[name] = _entry(reader, name, options, duplicates)
            found[name]["stored_bytes"] = shares.get(name, found[name]["stored_bytes"])
            reader.forget(name)
        tensors |= {name: found[name] for name in reader.names()}
    return {**_head(objective, options), "tensors": tensors}


def _head(objective: str, options: Options) -> dict[str, Any]:
    return {
        "tersely_plan": VERSION,
        "objective": objective,
        "profile": options.profile.name,
        "batch": options.batch,
    }


def explain(
    src: str | os.PathLike[str],
    name: str,
    *,
    objective: Objective = "balanced",
    profile: str | os.PathLike[str] | Profile = "portable",
    batch: int = 1,
    threads: int | None = None,
) -> list[Verdict]:
    """Every candidate of one tensor, the chosen one first, dense alone where nothing else is tried.

    Raises TerselyError for names that the source lacks.
    """
    source = plan_source.find(Path(src))
    objective, target = check_objective(objective), resolve(profile)
    batch, pool = choose.check_batch(batch), not source.folder
    options = Options(objective, target, (), (), threads, source.orientation, batch=batch, pool=pool)
    for shard in source.weights:
        reader = plan_source.open_tensors(source.root / shard)
        if name in reader.dense:
            duplicates = duplicates_of(reader, options)
            for one in (*duplicates.before(name), name):
                verdicts = decide(reader, one, options, duplicates)
            if name in pooled_names(reader, options):
                dense = verdicts[0]
                return [
                    replace(dense, candidate=replace(dense.candidate, nbytes=pooled_sizes(reader, options)[1][name]))
                ]
            if alias.is_alias(verdicts[0].candidate.node):
                others = decide(reader, name, options)
                verdicts += [replace(one, reason_rejected=one.reason_rejected or _HELD, note="") for one in others]
            return verdicts
    raise TerselyError(f"{src} has no tensor {name!r}")


def _entry(reader: TensorFile, name: str, options: Options, duplicates: Duplicates) -> dict[str, Any]:
    entry = reader.dense[name]
    found: dict[str, Any] = {"shape": list(entry.array_shape), "dtype": BY_TAG[entry.tag].name}
    if reason := reason_unplanned(reader, name, options):
        return {
            "formulation": "dense",
            "parameters": {},
            "label": "dense",
            "stored_bytes": entry.nbytes,
            "reason": reason,
            **found,
        }
    chosen, *others = decide(reader, name, options, duplicates)
    rejected = "; ".join(f"{label(one.candidate)}: {one.reason_rejected}" for one in others)
    return _chosen(chosen.candidate, chosen.ns, chosen.note or rejected or "no other candidate") | found


def _chosen(candidate: Candidate, ns: float, reason: str) -> dict[str, Any]:
    """The entry of a tensor: what `compress` obeys, and what people want to know."""
    document: dict[str, Any] = {"formulation": candidate.node.formulation, "parameters": dict(candidate.options)}
    if document["parameters"] and candidate.geometry.view == "folded" and not alias.is_alias(candidate.node):
        document["view"] = "folded"
    measures = {"stored_bytes": candidate.nbytes, "predicted_us": round(ns / 1000, 1)}
    return document | {"label": label(candidate), **measures, "reason": reason}


def every_candidate(request: Request) -> list[tuple[Candidate, float]]:
    """What the formulations offer under any objective, each once, with its predicted time; dense first."""
    found: dict[Any, Candidate] = {}
    for objective in choose.OBJECTIVES:
        for one in choose.candidates(replace(request, objective=objective)):
            found.setdefault((one.node.formulation, repr(one.options), one.geometry.view), one)
    costs = request.costs
    return [(one, predict_ns(one, request.dtype, request.profile, request.batch, costs)) for one in found.values()]


def within(source: folder.InputTree, target_bits: float, options: Options) -> dict[str, Any]:
    """The tensors of the fastest plan that takes at most `target_bits` per weight."""
    if not (isinstance(target_bits, (int, float)) and 0 < target_bits < float("inf")):
        raise ArgumentError(f"`target_bits` must be a number above 0, not {target_bits!r}")
    tensors: dict[str, dict[str, Any]] = {}
    offers: dict[str, list[tuple[Candidate, float]]] = {}
    groups: list[list[str]] = []
    choices: list[list[knapsack.Choice]] = []
    weights, fixed = 0, 0
    for shard in source.weights:
        reader = plan_source.open_tensors(source.root / shard)
        fixed += plain_bytes(reader) + _METADATA_BYTES
        duplicates = duplicates_of(reader, options)
        for name in reader.names():
            entry = reader.dense[name]
            weights += math.prod(entry.array_shape)
            if reason_unplanned(reader, name, options):
                tensors[name] = _entry(reader, name, options, duplicates)
                continue
            tensors[name] = {"shape": list(entry.array_shape), "dtype": BY_TAG[entry.tag].name}
            if duplicates.first(name) != name:
                continue  # one choice for all that are equal: one of them coded and aliases of it, or all dense
            request = request_of(reader, name, options)
            offered = [  # without the words: they would keep the file in memory
                (replace(one, components=lambda threads: {}), ns) for one, ns in every_candidate(request)
            ]
            groups.append(duplicates.equal_to(name))
            for one in groups[-1]:
                offers[one] = [(duplicates.best(one, name, candidate), ns) for candidate, ns in offered]
            choices.append([_choice(groups[-1], request, offers, k) for k in range(len(offered))])
            reader.forget(name)
    limit = target_bits * weights / 8
    picked = knapsack.choose(choices, limit - fixed)
    if picked is None:
        fewest = (fixed + knapsack.lightest(choices)) * 8 / max(1, weights)
        raise TerselyError(
            f"{target_bits:g} bits per weight cannot be reached: the smallest plan takes {math.ceil(fewest * 1e3) / 1e3:.3f}"
        )
    total = fixed + sum(options[k][0] for options, k in zip(choices, picked, strict=True))
    for group, k in zip(groups, picked, strict=True):
        for name in group:
            candidate, ns = offers[name][k]
            reason = f"of {len(offers[name])} candidates the one for {target_bits:g} bits per weight in all"
            if alias.is_alias(candidate.node):
                reason = reason_duplicate(group[0])
            tensors[name] = _chosen(candidate, ns, reason) | tensors[name]
    return {"target_bits": target_bits, "bits_per_weight": total * 8 / max(1, weights), "tensors": tensors}


def _choice(
    group: Sequence[str], request: Request, offers: Mapping[str, Sequence[tuple[Candidate, float]]], k: int
) -> knapsack.Choice:
    """What candidate k costs for equal tensors together: bytes more than dense ones, and the time of their products."""
    tag, shape = BY_NAME[request.dtype].tag, request.words.shape
    dense = sum(dense_cost_bytes(name, tag, shape) for name in group)
    return (
        sum(max_cost_bytes(name, offers[name][k][0], request) for name in group) - dense,
        sum(offers[name][k][1] for name in group),
    )


def read_plan(given: str | os.PathLike[str] | Mapping[str, Any]) -> dict[str, Any]:
    """A plan, its shape checked. Raises ArgumentError with the tensor's name."""
    try:
        document = dict(given) if isinstance(given, Mapping) else json.loads(Path(given).read_text())
    except (ValueError, OSError, RecursionError) as error:
        raise ArgumentError(f"the plan {given} cannot be read: {error}; make one with 'tersely plan'") from None
    version = document.get("tersely_plan") if isinstance(document, dict) else None
    if type(version) is not int or version != VERSION:
        raise ArgumentError(f"not a plan: it needs 'tersely_plan': {VERSION}; make one with 'tersely plan'")
    if unknown := sorted(set(document) - _HEAD, key=str):
        raise ArgumentError(f"the plan has an unknown field {unknown[0]!r}: take it out")
    tensors = document.get("tensors")
    if not isinstance(tensors, dict):
        raise ArgumentError("the plan has no 'tensors'")
    for name, entry in tensors.items():
        if not isinstance(entry, dict) or not isinstance(entry.get("formulation"), str):
            raise ArgumentError(f"the plan for {name!r} names no formulation")
        if unknown := sorted(set(entry) - _ENTRY):
            raise ArgumentError(f"the plan for {name!r} has an unknown field {unknown[0]!r}")
        if not isinstance(entry.get("parameters", {}), dict) or entry.get("view", "") not in choose.VIEWS:
            raise ArgumentError(f"the plan for {name!r}: parameters are an object, view is 'folded' or left out")
    return document


def carried(
    document: Mapping[str, Any],
    objective: str | None,
    profile: str | os.PathLike[str] | Profile | None,
    batch: int | None,
) -> dict[str, Any]:
    """The plan that a stored file carries: a document without what is there for people, or what else was asked for.

    A machine that nobody named is left out: then it is the one that loads. Raises ArgumentError, as `settings_of`.
    """
    wanted, target, rows = settings_of(document, objective, profile, batch)
    found: dict[str, Any] = {"tersely_plan": VERSION, "objective": wanted}
    if profile is not None or document.get("profile") is not None:
        found["profile"] = target.name
    if rows != 1:
        found["batch"] = rows
    keys = ("formulation", "parameters", "view")
    tensors = document.get("tensors", {})
    found["tensors"] = {name: {key: one[key] for key in keys if one.get(key)} for name, one in tensors.items()}
    return found


def settings_of(
    document: Mapping[str, Any],
    objective: str | None,
    profile: str | os.PathLike[str] | Profile | None,
    batch: int | None,
) -> tuple[Objective, Profile, int]:
    """What tensors are planned by that a plan does not name, and what the file records: what the plan was made for.

    document: a plan, empty for none. objective, profile, batch: the caller's; one that differs from the plan's would be
    of no effect on what the plan names. Raises ArgumentError.
    """
    made_for = document.get("objective")
    made_for = None if made_for == TARGET_BITS else made_for
    planned = None if made_for is None else check_objective(made_for)
    name, rows = document.get("profile"), document.get("batch")
    if name not in (None, CALIBRATED, *PROFILES):
        raise ArgumentError(f"the plan: unknown profile {name!r}: use one of {', '.join((*PROFILES, CALIBRATED))}")
    target = None if profile is None else resolve(profile)
    rows = None if rows is None else choose.check_batch(rows)
    for word, wanted, found in (
        ("objective", objective, planned),
        ("profile", None if target is None else target.name, None if name is None else _named(name).name),
        ("batch", batch, rows),
    ):
        if wanted is not None and found is not None and wanted != found:
            raise ArgumentError(
                f"the plan was made for {word} {found!r}, not {wanted!r}: leave it out, or make another plan"
            )
    return (
        check_objective(objective or planned or BALANCED),
        target or _named(name or "portable"),
        choose.check_batch(batch if batch is not None else rows or 1),
    )


def _named(profile: str) -> Profile:
    """A profile that a plan names. It does not say which file a measured one was: the plan holds what that decided."""
    return Profile(CALIBRATED, "portable") if profile == CALIBRATED else resolve(profile)


def check_source(tensors: Mapping[str, Any], source: folder.InputTree) -> None:
    """Raises ArgumentError where a plan is for other tensors than those of the source."""
    if tensors:
        check_entries(tensors, (plan_source.open_tensors(source.root / shard).dense for shard in source.weights))


def check_entries(tensors: Mapping[str, Any], files: Iterable[Mapping[str, Entry]]) -> None:
    """Raises ArgumentError where a plan is for other tensors than those of the files, each as its entries by name."""
    found = {
        name: {"shape": list(entry.array_shape), "dtype": BY_TAG[entry.tag].name}
        for entries in files
        for name, entry in entries.items()
    }
    if unknown := sorted(set(tensors) - set(found)):
        raise ArgumentError(f"the plan names {unknown[0]!r}, which the source does not have")
    for name, planned in tensors.items():
        for word, here in found[name].items():
            there = planned.get(word, here)
            if there != here:
                raise ArgumentError(
                    f"the plan for {name!r} is for {word} {there}, and the source has {here}: make a plan of this source"
                )
