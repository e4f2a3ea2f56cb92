"""What each tensor of a file takes: its components and description, and of what is coded with others its share."""

from __future__ import annotations

from dataclasses import replace

from tersely.files.container.description import INFO, MARK
from tersely.files.container.reader import Reader
from tersely.files.results import TensorReport


def of(reader: Reader, name: str) -> tuple[int, dict[str, int]]:
    """Bytes of a tensor of a runnable file, and those of its components, the description first; none of a dense one."""
    stored = {entry.name: reader.stored_bytes(entry) for entry in reader.entries_of(name)}
    if name not in reader.descriptions:
        return stored[name], {}
    components = {part.removeprefix(f"{name}{MARK}"): size for part, size in stored.items()}
    components = {INFO: components.pop(INFO), **components}
    return sum(components.values()), components


def as_stored(report: TensorReport, reader: Reader) -> TensorReport:
    """A report of a tensor with what the file that was written has of it."""
    after, components = of(reader, report.name)
    return replace(report, bytes_after=after, components=components)
