"""What `compress_` and `decompress_` tell: plain data that prints as a table."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ParameterReport:
    """One parameter. formulation: 'split packed(4)' ... or 'dense'. reason: why it stayed dense, else empty.

    note: 'memory only' of one whose operators decode it at every call, so that it takes less memory and more time.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    formulation: str
    bytes_before: int
    bytes_after: int
    reason: str = ""
    note: str = ""

    @property
    def ratio(self) -> float:
        """Bytes before / bytes after."""
        return self.bytes_before / self.bytes_after if self.bytes_after else 1.0


@dataclass(frozen=True)
class Summary:
    """What became of a module. Tied parameters are counted once, under their first name.

    frozen: names of parameters that were trainable and are frozen now. folded: names of weights whose pruning masks are
    folded into them now.
    """

    parameters: tuple[ParameterReport, ...]
    frozen: tuple[str, ...] = ()
    folded: tuple[str, ...] = ()

    @property
    def bytes_before(self) -> int:
        return sum(report.bytes_before for report in self.parameters)

    @property
    def bytes_after(self) -> int:
        return sum(report.bytes_after for report in self.parameters)

    @property
    def ratio(self) -> float:
        """Bytes before / bytes after, of all parameters."""
        return self.bytes_before / self.bytes_after if self.bytes_after else 1.0

    @property
    def compressed(self) -> tuple[str, ...]:
        """Names of the compressed parameters."""
        return tuple(report.name for report in self.parameters if not report.reason)

    @property
    def skipped(self) -> dict[str, str]:
        """Names that stayed dense, and why."""
        return {report.name: report.reason for report in self.parameters if report.reason}

    def __str__(self) -> str:
        width = max([len(report.name) for report in self.parameters] + [9])
        lines = [
            f"{report.name:<{width}}  {report.formulation:<22} {report.ratio:6.3f}x  {report.reason or report.note}".rstrip()
            for report in self.parameters
        ]
        lines.append(
            f"{len(self.compressed)} of {len(self.parameters)} parameters compressed: "
            f"{self.bytes_before:,} -> {self.bytes_after:,} bytes, {self.ratio:.3f}x smaller"
        )
        if self.folded:
            lines.append(f"{len(self.folded)} pruning masks are folded into their weights")
        if self.frozen:
            lines.append(
                f"{len(self.frozen)} trainable parameters are frozen now; decompress_ makes them trainable again"
            )
        return "\n".join(lines)
