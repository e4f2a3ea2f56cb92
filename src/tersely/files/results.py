"""What the long operations tell: plain data for people and for `--json`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tersely.codes import anatomy, registry
from tersely.core.dtypes import BY_TAG
from tersely.core.encoded import Encoded
from tersely.files.container import alias, description
from tersely.files.container.header import Entry

Progress = Callable[[int, int, str], None]
"""Called with (bytes done, bytes in all, name of the tensor at work)."""


class Meter:
    """Adds up bytes over all files of a job and passes them on."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self._total, self._done, self._progress = total, 0, progress

    def __call__(self, advance: int, name: str) -> None:
        self._done += advance
        if self._progress is not None:
            self._progress(min(self._done, self._total), self._total, name)


@dataclass(frozen=True)
class TensorReport:
    """One tensor of a file.

    bytes_before: as a plain tensor; bytes_after: components and description, or the plain bytes.
    reason: why a tensor stayed dense, empty for coded ones. tree: its nodes, as `info` has them.
    predicted_us, dense_us: a product with one batch row by the cost model, and of the plain tensor; None where unknown.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    formulation: str
    parameters: dict[str, Any]
    bytes_before: int
    bytes_after: int
    components: dict[str, int] = field(default_factory=dict)
    reason: str = ""
    file: str = ""
    tree: dict[str, Any] = field(default_factory=dict)
    predicted_us: float | None = None
    dense_us: float | None = None

    @property
    def weights(self) -> int:
        total = 1
        for length in self.shape:
            total *= length
        return total

    @property
    def bits_per_weight(self) -> float | None:
        """Stored bits per weight; None for a tensor without weights."""
        return self.bytes_after * 8 / self.weights if self.weights else None

    @property
    def code(self) -> str:
        """Its formulations in a few characters: 'split layered(3)', 'sparse bitmap (palette 16)', 'dense'."""
        return label(self.tree or {"formulation": self.formulation, "parameters": self.parameters})

    @property
    def anatomy(self) -> anatomy.SizeNode:
        """Its nodes with the bytes of each."""
        components = self.components or {"bytes": self.bytes_after}
        found = anatomy.sizes(self.tree or {"formulation": self.formulation}, components)
        return replace(found, label=self.code) if self.formulation in (alias.FORMULATION, STORED) else found

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "file": self.file,
            "shape": list(self.shape),
            "dtype": self.dtype,
            "formulation": self.formulation,
            "parameters": self.parameters,
            "bytes_before": self.bytes_before,
            "bytes_after": self.bytes_after,
            "bits_per_weight": self.bits_per_weight,
            "components": self.components,
            "tree": self.tree,
            "predicted_us": self.predicted_us,
            "dense_us": self.dense_us,
            "reason": self.reason,
        }


STORED = "stored"
"""Takes the place of a formulation where a tensor is in a stored file: its parameters say which coder it has."""


def label(tree: Mapping[str, Any]) -> str:
    """A tree of nodes in a few characters, as `registry.label`; a duplicate by the tensor that it is one of."""
    if tree["formulation"] == STORED:
        parameters = tree.get("parameters", {})
        if "tensor" in parameters:
            return f"same as {parameters['tensor']}"
        if "reference" in parameters:
            return f"{STORED} {parameters.get('coder', '')}, near {parameters['reference']}"
        return f"{STORED} {parameters.get('coder', '')}{', pooled' * bool(parameters.get('pooled'))}"
    if tree["formulation"] == alias.FORMULATION:
        return f"same as {tree.get('parameters', {}).get(alias.TENSOR)}"
    return registry.label(tree)


def tensor_report(entry: Entry, encoded: Encoded | None, reason: str, file: str) -> TensorReport:
    """A plain tensor and what it becomes. encoded: None for one that stays dense, for that reason."""
    dtype, shape, plain = BY_TAG[entry.tag].name, entry.array_shape, entry.nbytes
    if encoded is None:
        return TensorReport(entry.name, shape, dtype, "dense", {}, plain, plain, {}, reason, file)
    components = {component: data.nbytes for component, data in encoded.components.items()}
    if alias.is_alias(encoded.node):  # all that the file has of it is a description
        components = {}
    blank = dict.fromkeys(components, "0" * 8)
    components = {description.INFO: len(description.to_bytes(encoded, blank, "0" * 8)), **components}
    return TensorReport(
        entry.name,
        shape,
        dtype,
        encoded.node.formulation,
        dict(encoded.node.parameters),
        plain,
        sum(components.values()),
        components,
        "",
        file,
        encoded.node.to_json(),
    )


@dataclass(frozen=True)
class FileReport:
    """What compress, decompress or inspect did or found. Bytes count whole files, headers included."""

    source: str
    destination: str | None
    bytes_before: int
    bytes_after: int
    tensors: tuple[TensorReport, ...]
    objective: str = ""
    profile: str = ""
    dry_run: bool = False
    notes: tuple[str, ...] = ()

    @property
    def ratio(self) -> float:
        """Bytes before / bytes after."""
        return self.bytes_before / self.bytes_after if self.bytes_after else 1.0

    def to_json(self) -> dict[str, Any]:
        return {
            "source": self.source,
            "destination": self.destination,
            "objective": self.objective,
            "profile": self.profile,
            "dry_run": self.dry_run,
            "bytes_before": self.bytes_before,
            "bytes_after": self.bytes_after,
            "ratio": self.ratio,
            "notes": list(self.notes),
            "tensors": [tensor.to_json() for tensor in self.tensors],
        }


@dataclass(frozen=True)
class VerifyReport:
    """Result of `verify`.

    first_difference: name of the first tensor that differs, None where all agree. unchecked: how many of the tensors
    have no checksum in their file; only an original to compare with can vouch for them.
    """

    path: str
    against: str | None
    tensors: int
    first_difference: str | None
    message: str
    unchecked: int = 0

    @property
    def ok(self) -> bool:
        """Whether every tensor is known to be what it was."""
        return self.first_difference is None and (self.against is not None or not self.unchecked)

    def to_json(self) -> dict[str, Any]:
        return {
            "path": self.path,
            "against": self.against,
            "tensors": self.tensors,
            "unchecked": self.unchecked,
            "ok": self.ok,
            "first_difference": self.first_difference,
            "message": self.message,
        }


class Avoidable:
    """What tensors take only because of how they were made, for notes to the user."""

    def __init__(self) -> None:
        self._found: dict[str, list[int]] = {}

    def see(self, encoded: Encoded | None) -> None:
        """Take one tensor into account; None is one that stays dense."""
        row = None if encoded is None else registry.BY_NAME.get(encoded.node.formulation)
        if row is not None and encoded is not None and (avoidable := row.avoidable_bytes(encoded)):
            self._found.setdefault(row.ADVICE, []).append(avoidable)

    def notes(self) -> tuple[str, ...]:
        """Return a sentence for each kind."""
        return tuple(
            f"{len(found):,} tensor{'s have' if len(found) > 1 else ' has'} {advice} the file would be at "
            f"least {sum(found):,} bytes smaller"
            for advice, found in self._found.items()
        )
