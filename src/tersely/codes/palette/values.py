"""`palette` as the coding of a sequence of values: what `protocol.ValueCoding` asks for.

Their indices are packed; or cut into low bits, packed, and a high part under a code of `split`. The table is sorted by
count, so the high parts of hundreds of words are few symbols of unlike counts, and each code of them is tried with
each number of low bits: what is nearly uniform is packed, what is skewed is coded.
FORMAT: docs/FORMAT.md, "Values".
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from tersely.backends.cpu import native
from tersely.codes import checks
from tersely.codes.palette import codec, layout, reference
from tersely.codes.palette.layout import INDEX_DTYPE, INDICES, TABLE, index_bits
from tersely.codes.protocol import ValueCandidate, Values
from tersely.codes.split import parts
from tersely.codes.split import values as split
from tersely.codes.split.candidates import check_code
from tersely.codes.split.codec import node as split_node
from tersely.codes.split.layout import Parameters
from tersely.codes.split.sizes import PLANNED_LEVELS, SizeModel, Statistics
from tersely.core.dtypes import by_name
from tersely.core.encoded import Node, index_bytes, stored, stream_bytes
from tersely.core.errors import ArgumentError, FormatError, UnsupportedError
from tersely.core.geometry import CHUNK_WEIGHTS

NAME = layout.NAME
VERSION = layout.VERSION
DTYPES = layout.DTYPES

LOW = "low"
"""The component of packed low bits under coded high parts."""
PACKED_BITS = "packed_bits"
"""The parameter: how many bits of an index are packed where a child codes the others."""
MOST_BITS = index_bits(layout.MOST_ENTRIES)


def node(entries: int, low_bits: int, indices: Node | None) -> Node:
    """low_bits: packed below the child's symbols, 0 for none."""
    parameters = {"entries": entries} | ({PACKED_BITS: low_bits} if low_bits else {})
    return Node(NAME, VERSION, parameters, {} if indices is None else {INDICES: indices})


@dataclasses.dataclass(frozen=True)
class _Form:
    """A node, checked. coded: the child of high parts, or None; low_bits: of each index, packed."""

    entries: int
    low_bits: int
    coded: Node | None

    @staticmethod
    def of(found: Node) -> _Form:
        """Raises UnsupportedError."""
        parameters = dict(found.parameters)
        low_bits = parameters.pop(PACKED_BITS, 0)
        entries = layout.entries_of(dataclasses.replace(found, parameters=parameters))
        coded, bits = found.children.get(INDICES), index_bits(entries)
        if PACKED_BITS in found.parameters and (coded is None or type(low_bits) is not int or not 1 <= low_bits < bits):
            raise UnsupportedError(
                "values under 'palette' have packed_bits only beside coded indices, and fewer than an index has; "
                "the file is damaged or needs a newer tersely"
            )
        return _Form(entries, bits if coded is None else low_bits, coded)

    @property
    def packed(self) -> str:
        """The component of the packed bits."""
        return INDICES if self.coded is None else LOW

    def sizes(self, dtype: str, groups: int) -> dict[str, int]:
        """Stored bytes of the components, without those of the child."""
        found = {TABLE: index_bytes(self.entries * by_name(dtype).bits // 8)}
        return found | ({self.packed: stream_bytes(groups * 8 * self.low_bits)} if self.low_bits else {})


@dataclasses.dataclass(frozen=True)
class _Indexed:
    """Values of few distinct words."""

    values: Values
    table: np.ndarray
    threads: int

    @cached_property
    def places(self) -> Values:
        """The indices in the order of their places, as `split` codes them."""
        found = codec.Indexed(self.values.words, self.table, self.values.dtype, self.threads).indices
        return Values(_to_places(found, self.values.dtype), self.values.groups, INDEX_DTYPE)

    @cached_property
    def statistics(self) -> Statistics:
        return split.statistics(self.places, self.threads)

    def model(self, low_bits: int) -> SizeModel:
        """Sizes of what is above so many low bits."""
        own = self.statistics.histograms
        merged = np.zeros_like(own)
        merged[:, : 256 >> low_bits] = own.reshape(-1, 256 >> low_bits, 1 << low_bits).sum(axis=2)
        return split.size_model(
            dataclasses.replace(self.statistics, histograms=merged), self.values.groups, INDEX_DTYPE
        )

    def packed(self) -> ValueCandidate:
        form = _Form.of(node(self.table.size, 0, None))
        return self._candidate(form, None, None, {"code": "fixed"})

    def coded(self, low_bits: int, model: SizeModel, parameters: Parameters) -> ValueCandidate:
        child = split_node(parameters)
        options = {"code": parameters.code} | ({"widths": list(parameters.widths)} if parameters.widths else {})
        return self._candidate(
            _Form(self.table.size, low_bits, child), model, parameters, options | {PACKED_BITS: low_bits}
        )

    def _candidate(
        self, form: _Form, model: SizeModel | None, parameters: Parameters | None, options: dict[str, Any]
    ) -> ValueCandidate:
        own = form.sizes(self.values.dtype, int(self.values.groups.sum()))
        found = node(form.entries, 0 if form.coded is None else form.low_bits, form.coded)
        child = 0 if model is None or parameters is None else model.total(parameters)

        def components(threads: int) -> dict[str, np.ndarray]:
            written = {TABLE: stored(self.table, index_bytes)}
            if form.low_bits:
                written[form.packed] = _pack(self.places.words, form.low_bits, own[form.packed], threads)
            if model is not None and parameters is not None:
                coded = split.write(_above(self.places, form.low_bits), model, parameters, threads)
                written |= {f"{INDICES}.{name}": data for name, data in coded.items()}
            return written

        return ValueCandidate(found, sum(own.values()) + child, components, kernel(found), options)


def _indexed(values: Values, threads: int) -> _Indexed | None:
    table = codec.table_of(values.words, values.dtype, threads)
    return None if table is None else _Indexed(values, table, threads)


def candidates(values: Values, objective: str, profile: str, threads: int) -> list[ValueCandidate]:
    """Packed indices, and the smallest code with the low bits it is best with, where that is smaller."""
    indexed = _indexed(values, threads)
    if indexed is None or indexed.table.size > values.words.size:
        return []
    packed = indexed.packed()
    if objective != "size" and profile not in ("avx512", "amx"):  # coded indices are decoded symbol by symbol there
        return [packed]
    models = [indexed.model(low) for low in range(index_bits(indexed.table.size))]
    tried = [
        indexed.coded(low, model, model.parameters(*model.codes(PLANNED_LEVELS)[0])) for low, model in enumerate(models)
    ]
    coded = min(tried, key=lambda one: one.nbytes)
    return [packed, coded] if coded.nbytes < packed.nbytes else [packed]


def forced(values: Values, options: dict[str, Any], threads: int) -> ValueCandidate:
    """The caller's code and low bits, of which as many as leave the code one bit. Raises ArgumentError."""
    fixed = options.get("code", "fixed") == "fixed"
    if fixed:
        options.pop("code", None)
        if options:
            raise ArgumentError(f"fixed indices take no parameter {next(iter(options))!r}: use code='layered'")
    else:
        low_bits = options.pop(PACKED_BITS, 0)
        if not checks.is_whole(low_bits) or not 0 <= low_bits < MOST_BITS:
            raise ArgumentError(f"packed_bits must be a whole number from 0 to {MOST_BITS - 1}, not {low_bits!r}")
        code, widths = check_code(INDEX_DTYPE, options)
    indexed = _indexed(values, threads)
    if indexed is None:
        raise ArgumentError(f"palette holds at most {layout.MOST_ENTRIES} distinct words, and the values have more")
    if fixed:
        return indexed.packed()
    low_bits = min(int(low_bits), index_bits(indexed.table.size) - 1)
    model = indexed.model(low_bits)
    if code == "constant" and np.count_nonzero(model.statistics.histograms.sum(axis=0)) > 1:
        raise ArgumentError("code 'constant' needs indices that all have the same high bits")
    return indexed.coded(low_bits, model, model.parameters(code, widths))


def kernel(found: Node) -> str:
    """The row of the cost model that predicts decoding a group."""
    form = _Form.of(found)
    code = "" if form.coded is None else f" {form.coded.parameters['code']}"
    return f"palette {index_bits(form.entries)}{code}"


def validate(found: Node, dtype: str, components: Mapping[str, np.ndarray], groups: np.ndarray) -> None:
    """Structure check: sizes and the directory of coded indices; never table or indices."""
    form = _Form.of(found)
    own = {name for name in components if form.coded is None or not name.startswith(f"{INDICES}.")}
    sizes = form.sizes(dtype, int(groups.sum()))
    checks.expect_components(own, set(sizes), NAME)
    for name, size in sizes.items():
        checks.expect_bytes(components, name, size)
    if form.coded is None:
        return
    try:
        split.validate(form.coded, INDEX_DTYPE, _of_child(components), groups)
    except FormatError as error:
        if error.component is not None:
            error.component = f"{INDICES}.{error.component}"
        raise


def encode(found: Node, values: Values) -> dict[str, np.ndarray]:
    """The NumPy reference: components of values under a node's parameters."""
    form, words = _Form.of(found), values.words
    table = reference.table_of(words, values.dtype) if words.size else np.zeros(1, words.dtype)
    indices = _to_places(reference.indices_of(words, table), values.dtype)
    components = {TABLE: stored(table, index_bytes)}
    if form.low_bits:
        packed = reference.pack_places(indices.reshape(-1, CHUNK_WEIGHTS), form.low_bits)
        components[form.packed] = stored(packed, stream_bytes)
    if form.coded is None:
        return components
    coded = split.encode(form.coded, _above(Values(indices, values.groups, INDEX_DTYPE), form.low_bits))
    return components | {f"{INDICES}.{name}": data for name, data in coded.items()}


def decode(found: Node, dtype: str, components: Mapping[str, np.ndarray], groups: np.ndarray) -> np.ndarray:
    """Inverse of `encode`: words [64 * groups]. Components must have passed `validate`.

    Of an index the bits that the table needs count; where they lead beyond it (a damaged file), to zero bits.
    """
    form, count, word = _Form.of(found), int(groups.sum()), by_name(dtype).word
    bits = index_bits(form.entries)
    indices = np.zeros((count, CHUNK_WEIGHTS), np.uint8)
    if form.coded is not None:
        high = split.decode(form.coded, INDEX_DTYPE, _of_child(components), groups)
        indices = high.reshape(-1, CHUNK_WEIGHTS) << np.uint8(form.low_bits)
    if form.low_bits:
        indices = indices | reference.unpack_places(components[form.packed], count, form.low_bits)
    table = np.zeros(1 << bits, word)
    table[: form.entries] = components[TABLE][: form.entries * word.itemsize].view(word)
    return table[indices & ((1 << bits) - 1)][:, _places(dtype)].reshape(-1)


@dataclasses.dataclass(frozen=True)
class Run:
    """Neighbouring segments: the table, packed bits of each index, coded ones; None for what the node has not."""

    table: np.ndarray
    packed: np.ndarray | None
    coded: Any


def cut(
    found: Node,
    dtype: str,
    components: Mapping[str, np.ndarray],
    groups: tuple[int, int],
    segments: tuple[int, int],
) -> Run:
    form, packed, coded = _Form.of(found), None, None
    if form.low_bits:
        size = 8 * form.low_bits
        packed = components[form.packed][groups[0] * size : groups[1] * size]
    if form.coded is not None:
        coded = split.cut(form.coded, INDEX_DTYPE, _of_child(components), groups, segments)
    return Run(components[TABLE], packed, coded)


def pack(found: Node, dtype: str, runs: Sequence[Run]) -> dict[str, np.ndarray] | None:
    """None where tables differ."""
    form, table = _Form.of(found), runs[0].table
    if not all(np.array_equal(run.table, table) for run in runs[1:]):
        return None
    components = {TABLE: table}
    if form.low_bits:
        components[form.packed] = parts.stream([run.packed for run in runs if run.packed is not None])
    if form.coded is not None:
        coded = split.pack(form.coded, INDEX_DTYPE, [run.coded for run in runs])
        components |= {f"{INDICES}.{name}": data for name, data in coded.items()}
    return components


def _of_child(components: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    prefix = f"{INDICES}."
    return {name[len(prefix) :]: data for name, data in components.items() if name.startswith(prefix)}


def _places(dtype: str) -> np.ndarray:
    """int64 [64]: the place, column * 16 + row, of each value of a group."""
    order = split.vector_order(dtype).T.reshape(-1)  # by place
    return np.argsort(order)


def _to_places(indices: np.ndarray, dtype: str) -> np.ndarray:
    """Indices of values in the order of their places."""
    return np.ascontiguousarray(indices.reshape(-1, CHUNK_WEIGHTS)[:, np.argsort(_places(dtype))]).reshape(-1)


def _above(places: Values, low_bits: int) -> Values:
    return dataclasses.replace(places, words=places.words >> np.uint8(low_bits))


def _pack(places: np.ndarray, bits: int, stored_bytes: int, threads: int) -> np.ndarray:
    if not native.available():
        return stored(reference.pack_places(places.reshape(-1, CHUNK_WEIGHTS), bits), stream_bytes)
    packed = np.zeros(stored_bytes, np.uint8)
    native.module.palette_pack_groups(places, bits, packed, threads)
    return packed
