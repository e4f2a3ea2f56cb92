"""`integer` as the coding of a sequence of values: what `protocol.ValueCoding` asks for.

Distances from a centre, folded and cut as those of a matrix (`distances`), under a code of `split`; there are no fields:
values of sparse tensors are decoded for every product, and then the smallest code is the one to take.
FORMAT: docs/FORMAT.md, "Values".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tersely.codes import checks
from tersely.codes.integer import distances, layout
from tersely.codes.integer.distances import CHILD, NARROW, Choice
from tersely.codes.protocol import ValueCandidate, Values
from tersely.codes.split import values as split
from tersely.codes.split.candidates import check_code
from tersely.codes.split.sizes import PLANNED_LEVELS, SizeModel, Statistics
from tersely.core.encoded import Encoded, Node
from tersely.core.errors import ArgumentError, FormatError, UnsupportedError

NAME = layout.NAME
VERSION = layout.VERSION
DTYPES = layout.BYTES


def candidates(values: Values, objective: str, profile: str, threads: int) -> list[ValueCandidate]:
    """The smallest code. No product is faster for it, so other objectives have none."""
    if objective != "size":
        return []
    return [min((_smallest(values, cut) for cut in _models(values, threads)), key=lambda one: one.nbytes)]


def forced(values: Values, options: dict[str, Any], threads: int) -> ValueCandidate:
    """The caller's code of words that are cut like `like`; what the caller leaves open is the smallest. Raises ArgumentError."""
    like = options.pop("like", None)
    if like is not None and like not in NARROW:
        raise ArgumentError(f"like is one of {', '.join(NARROW)}, not {like!r}")
    models = [cut for cut in _models(values, threads) if like in (None, cut[0])]
    if "code" not in options:
        if options:
            raise ArgumentError(f"distances without code take no parameter {next(iter(options))!r}")
        return min((_smallest(values, cut) for cut in models), key=lambda one: one.nbytes)
    like, centre, model = models[0]
    code, widths = check_code(like, options)
    if code == "constant" and np.count_nonzero(model.statistics.histograms.sum(axis=0)) > 1:
        raise ArgumentError("code 'constant' needs values whose symbols are all the same")
    return _candidate(values, Choice(like, centre, model, model.parameters(code, widths)))


def _models(values: Values, threads: int) -> list[tuple[str, int, SizeModel]]:
    """(like, centre, sizes) of every cut, from one pass over the values."""
    words = split.statistics(Values(values.words, values.groups, "index"), threads).histograms
    tail = np.zeros(1, np.uint8)
    return [
        (like, centre, split.size_model(Statistics(histograms, tail, None), values.groups, like))
        for like, centre, histograms in distances.cuts_of_bytes(words)
    ]


def _smallest(values: Values, cut: tuple[str, int, SizeModel]) -> ValueCandidate:
    like, centre, model = cut
    return _candidate(values, Choice(like, centre, model, model.parameters(*model.codes(PLANNED_LEVELS)[0])))


def _candidate(values: Values, choice: Choice) -> ValueCandidate:
    found, parameters = choice.node(values.dtype), choice.parameters
    options = {"like": choice.like, "code": parameters.code}

    def components(threads: int) -> dict[str, np.ndarray]:
        folded = Values(distances.fold(values.words, choice.centre), values.groups, choice.like)
        return _prefixed(split.write(folded, choice.model, parameters, threads))

    return ValueCandidate(
        found,
        choice.nbytes,
        components,
        kernel(found),
        options | ({"widths": list(parameters.widths)} if parameters.widths else {}),
    )


def kernel(node: Node) -> str:
    """The row of the cost model that predicts decoding a group."""
    return "integer distances"


def _prefixed(components: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {f"{CHILD}.{name}": data for name, data in components.items()}


def _inner(node: Node, dtype: str, components: Mapping[str, np.ndarray]) -> tuple[Encoded, int]:
    """The folded words as a sequence under `split`, and the centre. Raises UnsupportedError."""
    if layout.check_node(node, dtype) != CHILD:
        raise UnsupportedError("values under 'integer' are distances; the file is damaged or needs a newer tersely")
    return distances.inner(Encoded((), dtype, "folded", "out_in", "as_is", node, dict(components)))


def validate(node: Node, dtype: str, components: Mapping[str, np.ndarray], groups: np.ndarray) -> None:
    """Structure check: the parameters, and the child's streams; never payload."""
    child, _ = _inner(node, dtype, components)
    checks.expect_components({name for name in components if not name.startswith(f"{CHILD}.")}, (), NAME)
    try:
        split.validate(child.node, child.dtype, child.components, groups)
    except FormatError as error:
        if error.component is not None:
            error.component = f"{CHILD}.{error.component}"
        raise


def encode(node: Node, values: Values) -> dict[str, np.ndarray]:
    """The NumPy reference: components of values under a node's parameters."""
    child, centre = _inner(node, values.dtype, {})
    folded = Values(distances.fold(values.words, centre), values.groups, child.dtype)
    return _prefixed(split.encode(child.node, folded))


def decode(node: Node, dtype: str, components: Mapping[str, np.ndarray], groups: np.ndarray) -> np.ndarray:
    """Inverse of `encode`: words [64 * groups]. Components must have passed `validate`."""
    child, centre = _inner(node, dtype, components)
    folded = split.decode(child.node, child.dtype, child.components, groups)
    words = np.empty(folded.size, np.uint8)
    distances.unfold(folded, centre, words)
    return words


def cut(
    node: Node,
    dtype: str,
    components: Mapping[str, np.ndarray],
    groups: tuple[int, int],
    segments: tuple[int, int],
) -> Any:
    child, _ = _inner(node, dtype, components)
    return split.cut(child.node, child.dtype, child.components, groups, segments)


def pack(node: Node, dtype: str, runs: Sequence[Any]) -> dict[str, np.ndarray] | None:
    child, _ = _inner(node, dtype, {})
    return _prefixed(split.pack(child.node, child.dtype, runs))
