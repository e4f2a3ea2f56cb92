"""What planner and formulations say to each other: what is to be coded, the ways to code it, and what they would cost.

The word *formulation* and the idea of multiplying from succinct codes are those of Y. Duan and X. Peng, "Succinct
Compression: Near-Optimal and Lossless Compression of Deep Neural Networks during Inference Runtime", 2021.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from tersely.core.encoded import Encoded, Node
from tersely.core.geometry import Geometry, choose, folded


@dataclass(frozen=True)
class Request:
    """One tensor to code, and what for.

    words: C-contiguous unsigned words of the tensor's shape. dtype: as in `tersely.core.dtypes`. orientation: of two-
    and three-dimensional weights. objective: see `tersely.planner.choose`; profile: a class of machines. view:
    'folded', or '' for the view that the shape suggests. batch: rows of x that products will have. costs: times that
    were measured (`tersely.planner.cost_model`), empty for the shipped ones. int4_columns: 4-bit values of a row, where
    the bytes of a uint8 tensor hold two each. formulation, parameters: the form that the caller names; None where the
    planner has the choice. pixels: that a whole network multiplies every decoded panel by; 0 for products of their own.
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
    formulation: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    pixels: int = 0

    def geometry(self) -> Geometry:
        """The tensor as matrices: folded where `view` asks for it, else as its shape suggests."""
        shape = self.words.shape
        return folded(shape) if self.view == "folded" else choose(shape, self.orientation)

    @cached_property
    def zeros(self) -> int:
        """How many words are 0: several formulations ask first."""
        return int(self.words.size - np.count_nonzero(self.words))

    @property
    def wide(self) -> bool:
        """Whether the machines planned for have AVX-512."""
        return is_wide(self.profile)


def is_kernel(dtype: str, shape: tuple[int, ...], view: str) -> bool:
    """Whether a tensor is a kernel of 8-bit integers, of three dimensions or more: networks alone multiply it. One that lies
    so that it has no panels ([outputs, 1, 1, inputs], one channel a group) is decoded when a network is made."""
    return dtype in ("int8", "uint8") and len(shape) > 2 and view in ("convolution", "folded")


def is_wide(profile: str) -> bool:
    """Whether a (resolved) profile is of machines with AVX-512."""
    return profile in ("avx512", "amx")


@dataclass(frozen=True)
class KernelKey:
    """Which kernel a product goes by: a row of the cost model. Each formulation derives its own, with what tells its
    kernels apart. Its text is the kernel's name in a measured profile.
    """

    formulation: ClassVar[str] = ""

    def words(self) -> tuple[object, ...]:
        """What follows the formulation in the name; empty words are left out."""
        return ()

    def __str__(self) -> str:
        return " ".join(str(word) for word in (self.formulation, *self.words()) if word not in ("", None))


@dataclass(frozen=True)
class Work:
    """What the cost model must know of a product.

    kernel: predicts its time. nbytes: of all components, slack included. padded_weights and entries: weights that the
    kernel goes through, padding included, and how many of them it visits one by one (0 for dense loops). inner: of a
    form that holds another matrix, that one's: its product is most of the time.
    """

    kernel: KernelKey
    geometry: Geometry
    nbytes: int
    padded_weights: int = 0
    entries: int = 0
    inner: Work | None = None


@dataclass(frozen=True)
class Candidate(Work):
    """One way to code a tensor, sized to the byte and not yet done.

    components: codes the words with that many threads. options: the parameters that name this form in a request.
    allowance: bytes more than dense that its product may cost where size is not the objective.
    """

    node: Node = field(kw_only=True)
    components: Callable[[int], dict[str, np.ndarray]] = field(repr=False, kw_only=True)
    options: Mapping[str, Any] = field(default_factory=dict, kw_only=True)
    allowance: int = field(default=0, kw_only=True)

    def encoded(self, shape: tuple[int, ...], dtype: str, profile: str = "portable", threads: int = 1) -> Encoded:
        """A tensor of that shape and dtype, coded now. profile: the name to record."""
        return replace(self.blank(shape, dtype, profile), components=self.components(threads))

    def blank(self, shape: tuple[int, ...], dtype: str, profile: str = "portable") -> Encoded:
        """Returns what `encoded` does without its components: nothing is coded."""
        seen = self.geometry
        return Encoded(shape, dtype, seen.view, seen.orientation, seen.column_order, self.node, {}, profile)


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
    kernel: KernelKey
    options: Mapping[str, Any] = field(default_factory=dict)
