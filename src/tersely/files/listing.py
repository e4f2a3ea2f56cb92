"""What lies in a folder: its files, its links and its empty folders, each once.

A link that leads to another place of the same folder stays a link. One that leads out of it is followed, as the caches
of model hubs want it, and its copy is a file of its own. What could loop, or cannot be read, is refused by name before
any work.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tersely.core.errors import TerselyError


@dataclass(frozen=True)
class Listing:
    """All relative, in order. files: plain files, or links to some outside. links: what each link inside leads to, as a
    link from its place says it. empty: folders without anything."""

    files: tuple[Path, ...]
    links: Mapping[Path, str]
    empty: tuple[Path, ...]

    def targets(self) -> set[Path]:
        """What the links lead to."""
        return {Path(os.path.normpath(relative.parent / text)) for relative, text in self.links.items()}


def listing(root: Path) -> Listing:
    """Everything in a folder. Raises TerselyError for what cannot be read, loops, or is neither a file nor a folder."""
    walk = _Walk(root)
    walk.enter(Path(), (), None)
    return Listing(tuple(sorted(walk.files)), dict(sorted(walk.links.items())), tuple(sorted(walk.empty)))


def weight_files(root: Path) -> list[Path]:
    """The .safetensors files of a folder, relative. Raises TerselyError where it has none."""
    found = [path for path in listing(root).files if path.name.endswith(".safetensors")]
    if not found:
        raise TerselyError(f"{root} holds no .safetensors file")
    return found


def recreate(found: Listing, out: Path) -> None:
    """Make the empty folders and the links of a listing in another folder."""
    for folder in found.empty:
        (out / folder).mkdir(parents=True, exist_ok=True)
    for relative, text in found.links.items():
        (out / relative).parent.mkdir(parents=True, exist_ok=True)
        (out / relative).symlink_to(text)


def replace_file(path: Path, content: bytes) -> None:
    """Write a file in the place of what is there; a link is replaced, never written through."""
    if path.is_symlink():
        path.unlink()
    path.write_bytes(content)


def copy_file(source: Path, destination: Path) -> None:
    """Copy contents, mode and times; symbolic links are followed. Raises TerselyError naming a source that fails."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copy2(source, destination)
    except OSError as error:
        if str(error.filename) == str(source):
            raise TerselyError(f"{source} cannot be read: {error.strerror or error}") from error
        raise


class _Walk:
    def __init__(self, root: Path) -> None:
        self.root, self.inside = root, root.resolve()
        self.files: list[Path] = []
        self.links: dict[Path, str] = {}
        self.empty: list[Path] = []

    def enter(self, folder: Path, chain: tuple[Path, ...], link: Path | None) -> None:
        """chain: the real folders that led here. link: the last link among them."""
        real = (self.root / folder).resolve()
        if real in chain:
            raise TerselyError(_loop(self.root / (link or folder)))
        try:
            with os.scandir(self.root / folder) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            raise TerselyError(f"{self.root / folder} cannot be read: {error.strerror or error}") from error
        if not found and folder != Path():
            self.empty.append(folder)
        for entry in found:
            relative = folder / entry.name
            if entry.is_symlink():
                self._link(relative, (*chain, real))
            elif entry.is_dir():
                self.enter(relative, (*chain, real), link)
            else:
                self._file(relative)

    def _link(self, relative: Path, chain: tuple[Path, ...]) -> None:
        path = self.root / relative
        try:
            target = path.resolve(strict=True)
        except (OSError, RuntimeError):  # RuntimeError: links that lead to each other, before Python 3.13
            raise TerselyError(
                f"{path} is a link that leads nowhere ({os.readlink(path)}): remove it, or bring back what it leads to"
            ) from None
        if target == self.inside or self.inside in target.parents:
            here = Path(os.path.normpath(relative))
            self.links[relative] = os.path.relpath(target.relative_to(self.inside), here.parent)
        elif target in self.inside.parents:
            raise TerselyError(_loop(path))
        elif target.is_dir():
            self.enter(relative, chain, relative)
        else:
            self._file(relative)

    def _file(self, relative: Path) -> None:
        path = self.root / relative
        if not path.is_file():
            raise TerselyError(f"{path} is neither a file nor a folder (a pipe, a socket?): move it away first")
        if not os.access(path, os.R_OK):
            raise TerselyError(f"{path} cannot be read: you have no right to")
        self.files.append(relative)


def _loop(link: Path) -> str:
    return f"{link} is a link to a folder that holds it ({os.readlink(link)}): remove the link, or give another folder"
