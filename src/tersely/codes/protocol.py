"""What a formulation is to the rest of the package: the names that its module has.

A formulation is a folder with a module `formulation` that has everything in `Formulation`, and one row in `registry`.
Nothing above the registry knows a formulation by name: planner, tensors, products and files ask the row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from tersely.core.encoded import Encoded, Node
from tersely.core.geometry import Geometry, choose, folded


@dataclass(frozen=True)
class Request:
    """One tensor to code.

    words: C-contiguous unsigned words of the tensor's shape. dtype: as in `tersely.core.dtypes`.
    orientation: of two- and three-dimensional weights. objective: see `tersely.planner.choose`; profile: a class of machines.
    view: 'folded', or '' for the view that the shape suggests. batch: rows of x that products will have. costs: times
    that were measured (`tersely.planner.cost_model`), empty for the shipped ones.
    """

    words: np.ndarray
    dtype: str
    orientation: str = "out_in"
    objective: str = "balanced"
    profile: str = "portable"
    threads: int = 1
    view: str = ""
    batch: int = 1
    costs: Mapping[str, Any] = field(default_factory=dict, repr=False)
    int4_columns: int | None = None

    def geometry(self) -> Geometry:
        """The tensor as matrices: folded where `view` asks for it, else as its shape suggests."""
        shape = self.words.shape
        return folded(shape) if self.view == "folded" else choose(shape, self.orientation)


@dataclass(frozen=True)
class Candidate:
    """One way to code a tensor, sized to the byte and not yet done.

    nbytes: of all components, slack included. components: codes the words with that many threads.
    options: what `forced` must be given to make this candidate. kernel: the row of the cost model (`tersely.planner.cost_model`) that predicts its product; places and entries: weights that
    kernel goes through, padding included, and how many of them it visits one by one (0 for dense loops). allowance: bytes
    more than dense that its product may cost where size is not the objective. inner: of a form that holds another matrix,
    that one's: its product is most of the time.
    """

    node: Node
    geometry: Geometry
    nbytes: int
    components: Callable[[int], dict[str, np.ndarray]] = field(repr=False)
    kernel: str
    options: Mapping[str, Any] = field(default_factory=dict)
    places: int = 0
    entries: int = 0
    allowance: int = 0
    inner: Candidate | None = None


@dataclass(frozen=True)
class Work:
    """What the cost model must know of a tensor that is coded already; fields as in `Candidate`."""

    kernel: str
    geometry: Geometry
    nbytes: int
    places: int = 0
    entries: int = 0
    inner: Work | None = None


@dataclass(frozen=True)
class Values:
    """The values of a sparse tensor: a sequence of words in segments of whole groups of 64.

    words: unsigned [64 * sum of groups]; each segment is filled up to whole groups by repeating its last word.
    groups: int64 [segments], at most 512 each.
    """

    words: np.ndarray
    groups: np.ndarray
    dtype: str

    @property
    def starts(self) -> np.ndarray:
        """uint64 [segments + 1]: groups before each segment."""
        return np.concatenate([[0], np.cumsum(self.groups)]).astype(np.uint64)


@dataclass(frozen=True)
class ValueCandidate:
    """One way to code values, sized to the byte and not yet done; fields as in `Candidate`.

    kernel: the row of the cost model that predicts decoding a group.
    """

    node: Node
    nbytes: int
    components: Callable[[int], dict[str, np.ndarray]] = field(repr=False)
    kernel: str
    options: Mapping[str, Any] = field(default_factory=dict)


class ValueCoding(Protocol):
    """An element-wise formulation as the coding of values: its module `values`, and a row in `sparse.values`.

    Components carry their own names here, without the prefix that they have in the tensor.
    """

    NAME: str
    VERSION: int
    DTYPES: tuple[str, ...]

    def candidates(self, values: Values, objective: str, profile: str, threads: int) -> list[ValueCandidate]:
        """What is worth considering, as `Formulation.candidates`."""

    def forced(self, values: Values, options: dict[str, Any], threads: int) -> ValueCandidate:
        """The form that the caller's options name. Raises ArgumentError."""

    def kernel(self, node: Node) -> str:
        """The row of the cost model for values under a valid node, as `ValueCandidate.kernel`."""

    def validate(self, node: Node, dtype: str, components: Mapping[str, np.ndarray], groups: np.ndarray) -> None:
        """Structure check of a node and its components for segments of so many groups, as `Formulation.validate`."""

    def encode(self, node: Node, values: Values) -> dict[str, np.ndarray]:
        """The NumPy reference: components under a node's parameters."""

    def decode(self, node: Node, dtype: str, components: Mapping[str, np.ndarray], groups: np.ndarray) -> np.ndarray:
        """The NumPy reference: words [64 * groups] of valid components."""

    def cut(
        self,
        node: Node,
        dtype: str,
        components: Mapping[str, np.ndarray],
        groups: tuple[int, int],
        segments: tuple[int, int],
    ) -> Any:
        """A run of whole segments [first, last), which are groups [first, last), of valid components."""

    def pack(self, node: Node, dtype: str, runs: Sequence[Any]) -> dict[str, np.ndarray] | None:
        """The components of runs one after another; None where they do not fit under one node."""


class Formulation(Protocol):
    """The module `formulation` of a formulation's folder.

    It may also have `work(encoded, geometry) -> Work`, from which reports predict the time of a stored tensor's product.
    """

    NAME: str
    VERSION: int
    DTYPES: tuple[str, ...]

    def candidates(self, request: Request) -> list[Candidate]:
        """What is worth considering under the request's objective; may be empty. No candidate codes anything yet."""

    def forced(self, request: Request, parameters: dict[str, Any]) -> Candidate:
        """The form that the caller's parameters name. Raises ArgumentError where they do not fit the tensor."""

    def why_not(self, dtype: str, objective: str, profile: str) -> str:
        """Why `candidates` has none for any tensor of this dtype under objective and (resolved) profile, or ''."""

    def slow_under(self, encoded: Encoded, profile: str) -> bool:
        """Whether products of this tensor, valid, are slower than dense ones on machines of a (resolved) profile."""

    def validate(self, encoded: Encoded, geometry: Geometry) -> object:
        """Structure check: after it no payload can make a kernel read outside its component.

        Raises CorruptError or UnsupportedError with the component and the byte.
        """

    def decode(self, encoded: Encoded, geometry: Geometry, threads: int) -> np.ndarray:
        """The tensor in its own shape and dtype, from components that have passed `validate`."""
