"""One tensor of a plain source: whether it is coded, how, and the coded form. Plans, explanations and files obey it alike."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tersely.backends.cpu.threads import workers_of
from tersely.codes import registry
from tersely.codes.protocol import Candidate, Request
from tersely.core.dtypes import BY_NAME, BY_TAG, DType, raw_bytes
from tersely.core.encoded import Encoded
from tersely.core.errors import ArgumentError
from tersely.files import pooled
from tersely.files.container import alias, writer
from tersely.files.container.packing import pack_verbatim
from tersely.files.container.pieces import OriginalFiles
from tersely.files.container.reader import Reader
from tersely.files.container.writer import alias_cost_bytes, cost_bytes, dense_cost_bytes, min_cost_bytes
from tersely.files.decoded_source import DecodedSource
from tersely.files.duplicates import Duplicates, reason_duplicate
from tersely.files.foreign.source import SlicedSource
from tersely.planner import choose as plan
from tersely.planner.cost_model import predict_ns
from tersely.planner.profiles import Profile, resolve

_MAX_COMPONENTS = 6
"""More than this no node of a form has that is worth having."""

_MAX_DESCRIBED = 1 << 17
"""No description, its entries' names apart, takes so many bytes."""

TensorFile = Reader | SlicedSource | DecodedSource
"""Plain tensors by name: a safetensors file, ranges of files of another format, or what is decoded from a file of ours."""


@dataclass(frozen=True)
class Options:
    """How to compress. include, exclude: glob patterns of tensor names; orientation: 'in_out' for the names it says.

    plan: formulation, parameters and view of the tensors it names. pool: whether small tensors may be coded together
    (`files.pooled`). reasons: whether somebody will read why a tensor stays dense; to find out takes a second look at small
    ones.
    """

    objective: str = "balanced"
    profile: Profile = field(default_factory=lambda: resolve("portable"))
    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    threads: int | None = None
    orientation: Callable[[str], str] = lambda name: "out_in"
    plan: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    batch: int = 1
    reasons: bool = field(default=True, kw_only=True)
    pool: bool = field(default=False, kw_only=True)

    def wants(self, name: str) -> bool:
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in self.exclude):
            return False
        return not self.include or any(fnmatch.fnmatchcase(name, pattern) for pattern in self.include)


def array_of(raw: np.ndarray, dtype: DType, shape: tuple[int, ...]) -> np.ndarray:
    """Bytes of a file as an array, aligned: a view where the bytes already are, else a copy."""
    if raw.ctypes.data % dtype.numpy.itemsize:
        raw = raw.copy()
    return raw.view(dtype.numpy).reshape(shape)


def reason_dense_already(reader: TensorFile, name: str, options: Options) -> str:
    """Why a tensor stays dense whatever its weights, or ''."""
    entry = reader.dense[name]
    dtype = BY_TAG[entry.tag]
    if not options.wants(name):
        return "excluded"
    if not registry.codes(dtype.name):
        return f"dtype {dtype.name} is stored as it is in this version"
    return "" if entry.nbytes else "empty"


def pooled_names(reader: TensorFile, options: Options) -> frozenset[str]:
    """The tensors that a file made of a source keeps coded together."""
    if not options.pool:
        return frozenset()
    return pooled.names(reader, options.objective, options.include, options.exclude)


def pooled_sizes(reader: TensorFile, options: Options) -> tuple[int, dict[str, int]]:
    """What those tensors take together, and the share of each. Codes them, which takes up to a second for `size`."""
    small = []
    for name in sorted(pooled_names(reader, options)):
        entry = reader.dense[name]
        small.append((name, entry.tag, entry.shape, reader.raw(entry).copy()))
        reader.forget(name)
    return writer.pooled_sizes(small, options.objective == "size")


def cannot_win(reader: TensorFile, name: str) -> bool:
    """Whether a tensor is too small for any code to pay for its description: nothing is planned."""
    entry = reader.dense[name]
    return dense_cost_bytes(name, entry.tag, entry.shape) <= min_cost_bytes(name)


def reason_unplanned(reader: TensorFile, name: str, options: Options) -> str:
    """Why a tensor stays dense without a look at its weights, or ''. A plan can still code what is only small."""
    reason = reason_dense_already(reader, name, options)
    if name in pooled_names(reader, options):
        return pooled.REASON
    return reason or (f"too small: {plan.TOO_SMALL}" if cannot_win(reader, name) else "")


def plain_bytes(reader: TensorFile) -> int:
    """What a compressed file would have if every tensor stayed dense, but for a few words about itself."""
    pieces = pieces_of(reader)
    if pieces is not None:
        entries = reader.dense.items()
        return sum(dense_cost_bytes(name, one.tag, one.shape) for name, one in entries) + len(pieces.pack())
    return reader.file_bytes + len(pack_verbatim(reader.header.raw))


def pieces_of(reader: TensorFile) -> OriginalFiles | None:
    """What is between the tensors of an original of another format; None for one of safetensors."""
    return None if isinstance(reader, Reader) else reader.pieces()


def orientation_of(reader: TensorFile, name: str, options: Options) -> str:
    """How a matrix lies in its file: as the source knows it, or as the options say."""
    if len(reader.dense[name].shape) not in (2, 3):
        return "out_in"
    known = () if isinstance(reader, Reader) else reader.in_out
    return "in_out" if name in known else options.orientation(name)


def order_of(reader: TensorFile) -> list[str]:
    """The names of a source's tensors in the order in which they are coded and written."""
    return [entry.name for entry in reader.header.by_offset()]


def duplicates_of(reader: TensorFile, options: Options) -> Duplicates:
    """The equal tensors among those that may be coded; matrices that lie otherwise are coded otherwise."""
    reasons = {name: reason_dense_already if name in options.plan else reason_unplanned for name in order_of(reader)}
    names = [name for name, why in reasons.items() if not why(reader, name, options)]
    groups = {name: orientation_of(reader, name, options) for name in names}
    return Duplicates(reader, groups, options.profile.name)


def request_of(reader: TensorFile, name: str, options: Options) -> Request:
    """What the formulations are asked about a tensor of a file."""
    entry = reader.dense[name]
    dtype = BY_TAG[entry.tag]
    array = array_of(reader.raw(entry), dtype, entry.shape)
    words = raw_bytes(array).view(dtype.word).reshape(entry.shape)
    orientation = orientation_of(reader, name, options)
    return Request(
        words,
        dtype.name,
        orientation,
        options.objective,
        options.profile.machine,
        workers_of(options.threads),
        batch=options.batch,
        costs=options.profile.costs,
    )


def max_cost_bytes(name: str, candidate: Candidate, request: Request) -> int:
    """At most what a candidate takes in a file: its components, and a description and entries for many of them."""
    if alias.is_alias(candidate.node):
        return alias_cost_bytes(name, candidate.nbytes)
    if candidate.node.formulation == "dense":
        return dense_cost_bytes(name, BY_NAME[request.dtype].tag, request.words.shape)
    prefixes = [prefix for prefix, _ in candidate.node.walk()]
    blank = {f"{prefix}component{k}": np.empty(0, np.uint8) for prefix in prefixes for k in range(_MAX_COMPONENTS)}
    encoded = replace(candidate.blank(request.words.shape, request.dtype), components=blank)
    return candidate.nbytes + cost_bytes(name, encoded) + len(blank) * 10  # their lengths have up to 11 digits


def decide(reader: TensorFile, name: str, options: Options, duplicates: Duplicates | None = None) -> list[plan.Verdict]:
    """Every candidate of a tensor of a file, the chosen one first: plans, explanations and files obey it alike.

    Dense where `reason_dense_already` says so, or where a description in the file costs more than the chosen code
    saves. duplicates: what became of the tensors before; one that is equal and coded leaves an alias of it as the only
    candidate.
    """
    if duplicates is None:
        return _decide(reader, name, options)
    found = duplicates.alias(name)
    if found is None:
        verdicts = _decide(reader, name, options)
    else:
        candidate, ns, other = found
        verdicts = [plan.Verdict(candidate, ns, "", reason_duplicate(other))]
    duplicates.note(name, verdicts[0].candidate, verdicts[0].ns)
    return verdicts


def _decide(reader: TensorFile, name: str, options: Options) -> list[plan.Verdict]:
    entry = reader.dense[name]
    if reason := reason_unplanned(reader, name, options):
        raw = Request(reader.raw(entry), BY_TAG[entry.tag].name)
        dense = registry.DENSE.candidates(raw)[0]
        ns = predict_ns(dense, raw.dtype, options.profile.machine, options.batch, options.profile.costs)
        return [plan.Verdict(dense, ns, "", reason)]
    request = request_of(reader, name, options)
    verdicts = plan.decide(request)
    chosen = verdicts[0]
    if chosen.candidate.node.formulation == "dense":
        if not options.reasons:
            return verdicts
        why = plan.reason_dense(verdicts, request, lambda one: max_cost_bytes(name, one, request))
        return [replace(chosen, note=why), *verdicts[1:]]
    limit = dense_cost_bytes(name, entry.tag, entry.shape)
    # What it costs is known when it is coded: only near the limit is that worth while here.
    if chosen.candidate.nbytes + 2 * (_MAX_COMPONENTS + 1) * len(name) + _MAX_DESCRIBED < limit:
        return verdicts
    if max_cost_bytes(name, chosen.candidate, request) < limit:
        return verdicts
    if cost_bytes(name, _encoded(reader, name, chosen.candidate, options)) < limit:
        return verdicts
    first = next(one for one in verdicts if one.candidate.node.formulation == "dense")
    others = [replace(chosen, reason_rejected=plan.TOO_SMALL)]
    for one in verdicts[1:]:
        if one is not first:  # larger than the chosen one was: not worth its description either
            others.append(
                replace(one, reason_rejected=plan.TOO_SMALL) if one.reason_rejected.endswith(plan.LARGER) else one
            )
    return [replace(first, reason_rejected="", note=f"too small: {plan.TOO_SMALL}"), *others]


def encode_tensor(
    reader: TensorFile, name: str, options: Options, duplicates: Duplicates
) -> tuple[Encoded | None, str]:
    """The coded form of a dense tensor, or None and the reason why it stays dense. duplicates: as of `decide`."""
    planned = options.plan.get(name)
    if planned is None:
        if reason := reason_unplanned(reader, name, options):
            return None, reason
        chosen = decide(reader, name, options, duplicates)[0]
        if chosen.candidate.node.formulation == "dense":
            return None, chosen.note
        return _encoded(reader, name, chosen.candidate, options), ""
    if reason := reason_dense_already(reader, name, options):
        if planned["formulation"] != "dense":
            raise ArgumentError(f"the plan for {name!r}: the tensor stays dense: {reason}")
        return None, reason
    formulation, parameters = planned["formulation"], planned.get("parameters", {})
    try:
        if formulation == alias.FORMULATION:
            candidate = duplicates.alias_for(name, parameters, planned.get("view", ""))
        else:
            request = request_of(reader, name, options)
            candidate = plan.candidate_for(
                replace(request, view=planned.get("view", ""), formulation=formulation, parameters=parameters)
            )
    except ArgumentError as error:
        raise ArgumentError(f"the plan for {name!r}: {error}") from None
    duplicates.note(name, candidate)
    if candidate.node.formulation == "dense":
        return None, "dense by plan"
    return _encoded(reader, name, candidate, options), ""


def _encoded(reader: TensorFile, name: str, candidate: Candidate, options: Options) -> Encoded:
    entry, profile = reader.dense[name], options.profile.name
    return plan.encoded(candidate, entry.shape, BY_TAG[entry.tag].name, profile, workers_of(options.threads))
