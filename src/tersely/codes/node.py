"""A node of the description tree: what a formulation is, what it nests, and how a coded tensor is checked, once.

A formulation is a folder whose module `formulation` has one object of a class derived from `Formulation`, and one row
in `registry`. Nothing above the registry knows a formulation by name: planner, tensors, products and files ask the row.

`check` is the only way to a `Checked` tensor. It walks the tree: versions, names and lengths of components,
directories; each node's parameters are parsed there and nowhere else. Components of a child carry its name as a prefix;
a child knows nothing of it, and an error below gets the prefix here.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np

from tersely.codes.checks import expect_bytes, expect_components
from tersely.codes.protocol import Candidate, KernelKey, Request, ValueCandidate, Values, Work
from tersely.core.dtypes import BY_NAME
from tersely.core.encoded import Encoded, Node
from tersely.core.errors import ArgumentError, CorruptError, FormatError, UnsupportedError
from tersely.core.geometry import CHUNK_WEIGHTS, Geometry
from tersely.core.once import once

INFO = "info"
"""The component that holds the description: what is wrong with it is wrong with the tensor, whatever the node."""
INDEX = "index"
"""The dtype of bytes that are all symbol, such as indices of a table: of no tensor, only of children."""


@dataclass(frozen=True)
class Part:
    """A node that has been checked, with what it codes. Made by `check` alone.

    dtype: of what the node codes, or `INDEX`. components: by the names that they have in this node, children's with
    their prefix. parameters: what the formulation made of the node's.
    """

    row: Formulation
    node: Node
    dtype: str
    layout: Any
    components: Mapping[str, np.ndarray]
    parameters: Any
    children: dict[str, Part] = field(default_factory=dict)

    @once
    def word(self) -> np.dtype:
        """The unsigned integer that holds what the node codes."""
        return np.dtype(np.uint8) if self.dtype == INDEX else BY_NAME[self.dtype].word

    @property
    def nbytes(self) -> int:
        """Stored bytes of all components, children's among them."""
        return sum(int(component.nbytes) for component in self.components.values())

    @property
    def padded_weights(self) -> int:
        """Weights in all chunks, padding among them."""
        return int(self.layout.panels * self.layout.chunks_per_panel * CHUNK_WEIGHTS)

    @property
    def only(self) -> Part | None:
        """The child of a node that has at most one."""
        return next(iter(self.children.values()), None)

    def directory(self, entries: int, name: str = "directory") -> np.ndarray:
        """int64 [entries + 1]: the counts of an index component."""
        return self.components[name][: (entries + 1) * 8].view("<u8").astype(np.int64)

    def span(self, first: int, last: int) -> Span:
        """The run of panels [first, last) of a tensor, which are whole segments."""
        before = self.layout.segments_before
        return Span((first, last), (before(first), before(last)))


@dataclass(frozen=True)
class Checked:
    """A coded tensor whose structure is known to be sound, with its geometry and its parsed tree. Made by `check`."""

    encoded: Encoded
    root: Part

    @property
    def geometry(self) -> Geometry:
        found: Geometry = self.root.layout
        return found

    @property
    def row(self) -> Formulation:
        return self.root.row


@dataclass(frozen=True)
class Span:
    """A run of whole segments, as panels [first, last) and segments [first, last)."""

    panels: tuple[int, int]
    segments: tuple[int, int]


@dataclass(frozen=True)
class Run:
    """What the components of a node have of a run of segments: `tersely.codes.slicing` puts runs one after another.

    streams: bytes by component. bits: the same of components whose runs begin between bytes, one for each bit. counts:
    by directory, how much it counts of each segment. shared: what must be the same in all runs, such as a table.
    """

    streams: Mapping[str, np.ndarray] = field(default_factory=dict)
    bits: Mapping[str, np.ndarray] = field(default_factory=dict)
    counts: Mapping[str, np.ndarray] = field(default_factory=dict)
    shared: Mapping[str, np.ndarray] = field(default_factory=dict)
    children: dict[str, Run] = field(default_factory=dict)


class Offers(Protocol):
    """The module `candidates` of a formulation."""

    def candidates(self, request: Request) -> list[Candidate]: ...
    def candidate_for(self, request: Request) -> Candidate: ...


class Costs(Protocol):
    """The module `costs` of a formulation."""

    def predict_ns(self, work: Work, dtype: str, machine: str, batch: int) -> float: ...


class Formulation(ABC):
    """One way to code a tensor, or the child of one. What most share is here; each says what is its own."""

    NAME: ClassVar[str]
    VERSIONS: ClassVar[tuple[int, ...]] = (1,)
    DTYPES: ClassVar[tuple[str, ...]] = ("float32", "bfloat16", "float16")
    HUE: ClassVar[int | None] = None
    """The colour of its bytes in reports, in degrees; None for grey."""
    PATTERNED: ClassVar[bool] = True
    """Whether it wants a pattern among the weights: `tersely calibrate` measures it on matrices that have one."""
    NEVER_NOISE: ClassVar[bool] = False
    """Whether it codes no tensor without zeros whose values repeat as seldom, in a row too, as mantissas that are noise."""
    EITHER_ORIENTATION: ClassVar[bool] = False
    """Whether components are also those of the transposed tensor under the other orientation."""
    TAKES_INT4: ClassVar[bool] = False
    """Whether it knows of bytes that hold two 4-bit values each."""
    ADVICE: ClassVar[str] = ""
    """What to do about bytes that a tensor takes only because of how it was made; see `avoidable_bytes`."""
    INDEXES: ClassVar[frozenset[str]] = frozenset({"directory"})
    """Components that are read word by word and have no slack."""

    @property
    def nests(self) -> Mapping[str, tuple[Formulation, ...]]:
        """What each child that a node may have can be under."""
        return {}

    # -- coding: what the module `candidates` has

    OFFERS: Offers

    def candidates(self, request: Request) -> list[Candidate]:
        """What is worth considering under the request's objective; may be empty. No candidate codes anything yet."""
        return self.OFFERS.candidates(request)

    def candidate_for(self, request: Request) -> Candidate:
        """The form that the request's parameters name. Raises ArgumentError where they do not fit the tensor."""
        return self.OFFERS.candidate_for(request)

    def reason_not_offered(self, dtype: str, objective: str, profile: str) -> str:
        """Why `candidates` has none for any tensor of this dtype under objective and (resolved) profile, or ''."""
        return ""

    # -- checking

    @abstractmethod
    def parse(self, node: Node, dtype: str, layout: Any) -> Any:
        """The node's parameters, checked down to what its children are called.

        Raises UnsupportedError, or CorruptError where they contradict the tensor.
        """

    @abstractmethod
    def sizes(self, parameters: Any, dtype: str, layout: Any) -> Mapping[str, int | None]:
        """Stored bytes of its own components; None for what only other components say, which `check` looks at."""

    def check(self, part: Part) -> None:
        """Structure check beyond `sizes`: after it no payload can make a kernel read outside its component.

        Raises CorruptError or UnsupportedError with the component and the byte.
        """
        return

    def child(self, part: Part, name: str) -> tuple[str, Any]:
        """dtype and layout of what a child codes. part: its own components are checked."""
        return part.dtype, part.layout

    # -- reading

    @abstractmethod
    def words(self, part: Part) -> np.ndarray:
        """The NumPy reference: what the node codes, in its own shape."""

    # -- costs: by the figures of the module `costs`

    COSTS: Costs

    @abstractmethod
    def work(self, part: Part) -> Work | None:
        """What the cost model must know of a coded tensor; None where the formulation does not say."""

    def predict_ns(self, work: Work, dtype: str, machine: str, batch: int) -> float:
        """Nanoseconds of a product by shipped figures. machine: 'avx2' or 'avx512'."""
        return self.COSTS.predict_ns(work, dtype, machine, batch)

    def slower_than_dense(self, part: Part, profile: str) -> bool:
        """Whether products are slower than dense ones on machines of a (resolved) profile."""
        return False

    def walks(self, node: Node) -> bool:
        """Whether products of whole networks can walk its words, panel by panel, whatever they multiply them by."""
        return False

    def lists(self, node: Node) -> bool:
        """Whether products of whole networks can list its float32 weights that are not zero, row by row."""
        return False

    def density(self, part: Part) -> float:
        """The share of weights that a list of them has."""
        return 1.0

    def samples(self, normal: np.ndarray, rng: np.random.Generator) -> Iterator[tuple[str, np.ndarray]]:
        """Matrices on which its kernels can be seen at work, float32 of the shape of `normal`, and what they are."""
        return iter(())

    def label(self, parameters: Mapping[str, Any], children: Collection[str] = ()) -> str:
        """A node in a few characters, by whatever a description says. children: their names; they have labels of their own."""
        return self.NAME

    def avoidable_bytes(self, encoded: Encoded) -> int:
        """Stored bytes that a harmless change of the tensor, which `ADVICE` names, would save."""
        return 0

    # -- slicing

    def step(self, part: Part) -> int:
        """Rows of a matrix can be taken from multiples of so many panels on."""
        return int(part.layout.panels_per_unit)

    def slice_panels(self, part: Part, span: Span) -> Run | None:
        """What its own components have of a run of panels; children's are added where they have the same. None:
        nothing.
        """
        return None

    def child_span(self, part: Part, name: str, span: Span) -> Span | None:
        """The run of a child that belongs to a run of its parent; None where the parent has taken out what it needs."""
        return span

    def pack(self, part: Part, runs: Sequence[Run]) -> Any:
        """The node and components of runs one after another, None where they do not fit; NotImplemented leaves it to
        `slicing.concatenated`."""
        return NotImplemented


class ValueCoding(Formulation):
    """A formulation that also codes the values of sparse tensors: a node whose layout is `Groups`."""

    VALUE_DTYPES: ClassVar[tuple[str, ...]]

    @abstractmethod
    def value_candidates(self, values: Values, request: Request) -> list[ValueCandidate]:
        """What is worth considering for values, as `candidates`."""

    @abstractmethod
    def value_candidate_for(self, values: Values, options: dict[str, Any], threads: int) -> ValueCandidate:
        """The form that the caller's options name. Raises ArgumentError."""

    @abstractmethod
    def value_kernel(self, part: Part) -> KernelKey:
        """The row of the cost model for decoding a group of values, as `ValueCandidate.kernel`."""

    @abstractmethod
    def value_ns(self, kernel: KernelKey, dtype: str, machine: str, positions: str) -> float:
        """Nanoseconds of decoding a group by shipped figures, for values under such positions of `sparse`."""

    @abstractmethod
    def encode_values(self, node: Node, values: Values) -> dict[str, np.ndarray]:
        """The NumPy reference: components under a node's parameters."""


def prefixed(child: str, components: Mapping[str, Any]) -> dict[str, Any]:
    """A child's components, or what is said of them, by the names that they have in its parent."""
    return {f"{child}.{name}": data for name, data in components.items()}


def split_components(names: Mapping[str, Any], children: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A node's own components, and those of each of its children by the names that they have there."""
    own: dict[str, Any] = {}
    inner: dict[str, dict[str, Any]] = {child: {} for child in children}
    for name, data in names.items():
        child, dot, rest = name.partition(".")
        if dot and child in inner:
            inner[child][rest] = data
        else:
            own[name] = data
    return own, inner


# A network has many layers of one shape: what is computed of it is computed for the first.
shared_geometry = functools.lru_cache(maxsize=64)(Geometry)


def geometry_of(encoded: Encoded) -> Geometry:
    """How a tensor is seen as matrices. Raises CorruptError where the description contradicts its shape."""
    try:
        return shared_geometry(encoded.shape, encoded.view, encoded.orientation, encoded.column_order)
    except ArgumentError as error:
        raise CorruptError(str(error), component=INFO) from error


def check(encoded: Encoded, row: Formulation) -> Checked:
    """Check everything but payload. Raises CorruptError or UnsupportedError naming component and byte."""
    _check_version(encoded.node, row)
    if encoded.dtype not in row.DTYPES:
        raise CorruptError(f"formulation {row.NAME!r} does not code dtype {encoded.dtype}")
    geometry = geometry_of(encoded)
    return Checked(encoded, check_part(row, encoded.node, encoded.dtype, geometry, encoded.components))


def check_part(row: Formulation, node: Node, dtype: str, layout: Any, components: Mapping[str, np.ndarray]) -> Part:
    """Check a node and what is below it; `check` for a node that is no tensor's root."""
    rows = _check_version(node, row)
    own, inner = split_components(components, node.children)
    part = Part(row, node, dtype, layout, components, row.parse(node, dtype, layout))
    sizes = row.sizes(part.parameters, dtype, layout)
    expect_components(own, sizes, row.NAME)
    for name, size in sizes.items():
        if size is not None:
            expect_bytes(own, name, size)
    row.check(part)
    for name, child in node.children.items():
        try:
            part.children[name] = check_part(rows[name], child, *row.child(part, name), inner[name])
        except FormatError as error:
            if error.component not in (None, INFO):
                error.component = f"{name}.{error.component}"
            raise
    return part


def _check_version(node: Node, row: Formulation) -> dict[str, Formulation]:
    """The rows of a node's children.

    Raises UnsupportedError for versions and children that this release does not know.
    """
    if node.version not in row.VERSIONS:
        known = f"version {row.VERSIONS[0]}" if len(row.VERSIONS) == 1 else f"versions 1 to {row.VERSIONS[-1]}"
        raise UnsupportedError(
            f"formulation {row.NAME!r} version {node.version}: this tersely reads {known}; use a newer release"
        )
    rows = {}
    for name, child in node.children.items():
        allowed = {one.NAME: one for one in row.nests.get(name, ())}
        if not allowed:
            which = f"the children {', '.join(row.nests)}" if row.nests else "no children"
            raise UnsupportedError(
                f"formulation {row.NAME!r} has {which}, not {name!r}; the file is damaged or needs a newer tersely"
            )
        if child.formulation not in allowed:
            raise UnsupportedError(
                f"{name} of {row.NAME} under formulation {child.formulation!r}: this tersely reads "
                f"{', '.join(map(repr, allowed))}; use a newer release"
            )
        rows[name] = allowed[child.formulation]
    return rows


def expect_child(node: Node, name: str) -> None:
    """Raises UnsupportedError where a node lacks its child."""
    if name not in node.children:
        raise UnsupportedError(
            f"{node.formulation} has one child, {name}; the file is damaged or needs a newer tersely"
        )
