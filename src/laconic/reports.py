"""What the long operations tell: plain data for people and for `--json`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Progress = Callable[[int, int, str], None]
"""Called with (bytes done, bytes in all, name of the tensor at work)."""


@dataclass(frozen=True)
class TensorReport:
    """One tensor of a file.

    bytes_before: as a plain tensor; bytes_after: components and description, or the plain bytes.
    reason: why a tensor stayed dense, empty for coded ones.
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
        """The formulation in a few characters: 'split layered(3)', 'split packed(4)', 'dense'."""
        code = self.parameters.get("code")
        if code == "layered":
            return f"{self.formulation} layered({','.join(map(str, self.parameters['widths']))})"
        if code is None:
            return f"{self.formulation} {self.parameters.get('positions', self.parameters.get('entries', ''))}".strip()
        return f"{self.formulation} {code}{'(4)' if code == 'packed' else ''}" if code else self.formulation

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
            "reason": self.reason,
        }


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
    """Result of `verify`. first_difference: name of the first tensor that differs, None where all agree."""

    path: str
    against: str | None
    tensors: int
    first_difference: str | None
    message: str

    @property
    def ok(self) -> bool:
        return self.first_difference is None

    def to_json(self) -> dict[str, Any]:
        return {
            "path": self.path,
            "against": self.against,
            "tensors": self.tensors,
            "ok": self.ok,
            "first_difference": self.first_difference,
            "message": self.message,
        }
