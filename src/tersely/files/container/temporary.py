"""Temporary files beside a destination: private as their source, locked in use, swept where their writer died.

`.NAME.12345678.partial` becomes NAME, as the folder `NAME.partial` does; `.NAME.12345678.spool` holds components until
their number is known. A writer keeps an exclusive lock (flock) on its own, which the system takes back when the process
ends, however it ends: one that can be locked is abandoned. The same lock tells a second writer of one new output that
somebody is at work on it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from tersely.core.errors import DestinationError

PARTIAL, SPOOL = "partial", "spool"
SPOOL_MARK = b"tersely: components of a file that is not whole yet\n".ljust(64)
"""Begins every spool: only what begins so is swept under any name, the other temporary files by the name they are
for."""
_OURS = re.compile(r"\.(.+)\.[0-9a-f]{8}\.(partial|spool)")
_BUSY = {errno.EAGAIN, errno.EACCES, errno.EWOULDBLOCK}
_PRIVATE = 0o600
_COPY_BYTES = 1 << 22


def mode_like(sources: Iterable[Path], ordinary: int = 0o666) -> int:
    """At most this mode a file (or, with 0o777, a folder) made from those sources may have.

    Nobody but the owner may do with it what he may not do with each of them; the umask still takes away from it. What a
    source's group may do is nobody's right where new files belong to another group.
    """
    mode = ordinary
    for source in sources:
        try:
            found = source.stat()
        except OSError:
            continue  # gone meanwhile: what needs it says so
        allowed = stat.S_IMODE(found.st_mode) | (0o700 & ordinary)
        if found.st_gid != os.getegid():
            allowed &= ~0o070 | (allowed & 0o007) << 3
        mode &= allowed
    return mode


def lock(descriptor: int) -> bool | None:
    """Take the lock of an open temporary file; False: somebody has it; None: this file system has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in _BUSY else None
    return True


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether the path still leads to the open file: another process may have swept it before it was locked."""
    try:
        return os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def make(path: Path, kind: str, mode: int = _PRIVATE) -> tuple[IO[bytes], Path]:
    """A new temporary file for a destination, open and locked. Raises OSError."""
    while True:
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.{kind}")
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        if lock(descriptor) is not False and _is_at(temporary, descriptor):
            return os.fdopen(descriptor, "r+b"), temporary
        os.close(descriptor)


def sweep(path: Path) -> bool:
    """Remove what writers that died left beside a destination; returns whether a living one is at work on it."""
    living = False
    with contextlib.suppress(OSError), os.scandir(path.parent) as entries:
        for entry in entries:
            match = _OURS.fullmatch(entry.name)
            if match is None or not (match[1] == path.name or match[2] == SPOOL):
                continue
            living |= _is_in_use(Path(entry.path), match[1] == path.name) and match[1] == path.name
    return living


def _is_in_use(temporary: Path, certain: bool) -> bool:
    """Remove one that nobody has locked. certain: by its name it is ours; otherwise its beginning must say so."""
    try:
        descriptor = os.open(temporary, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return False
        locked = lock(descriptor)
        if locked and (certain or os.pread(descriptor, len(SPOOL_MARK), 0) == SPOOL_MARK):
            with contextlib.suppress(OSError):
                temporary.unlink()
        return locked is False
    finally:
        os.close(descriptor)


def refuse_second(path: Path) -> None:
    """Sweep, and raise DestinationError where another writer is at work on a destination."""
    if sweep(path):
        raise DestinationError(
            f"{path}: another process is writing it at this moment; wait, or choose another destination"
        )


@contextlib.contextmanager
def atomic_file(path: Path, like: Iterable[Path] = (), *, replace: bool = True) -> Iterator[tuple[IO[bytes], Path]]:
    """A temporary file beside `path`, renamed to it when the block ends well, removed otherwise.

    Args:
        like: what the content comes from; the file is readable for nobody who cannot read all of that.
        replace: whether a file that is there by then is replaced; if not, the first of two writers keeps the name.

    Raises DestinationError where the folder cannot be written or the disk is full, or where another was first.
    """
    temporary = None
    try:
        sweep(path)
        file, temporary = make(path, PARTIAL, mode_like(like))
        with file:
            yield file, temporary
            file.flush()
            os.fsync(file.fileno())
            # Renamed while it is locked: until then nobody takes it for abandoned.
            if replace:
                os.replace(temporary, path)
            else:
                _rename_to_new(temporary, path)
    except OSError as error:
        raise DestinationError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def copy_part(source: IO[bytes], part: slice, destination: IO[bytes]) -> None:
    """Copy bytes of an open file, which has them, to where another one stands, inside the kernel where it can."""
    source.flush()
    destination.flush()
    at, copied = destination.tell(), part.start
    with contextlib.suppress(OSError):  # two file systems, or one that cannot: the loop below takes over
        while done := os.copy_file_range(
            source.fileno(), destination.fileno(), min(_COPY_BYTES, part.stop - copied), copied, at
        ):
            copied, at = copied + done, at + done
    source.seek(copied)
    destination.seek(at)
    while data := source.read(min(_COPY_BYTES, part.stop - copied)):
        destination.write(data)
        copied += len(data)


def _rename_to_new(temporary: Path, path: Path) -> None:
    """Give a file its name where nothing has it. Raises DestinationError, OSError."""
    try:
        try:
            os.link(temporary, path)
        except FileExistsError:
            raise
        except OSError:  # no second names on this file system: claim the name, then put the file there
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE))
            os.replace(temporary, path)
    except FileExistsError:
        raise DestinationError(
            f"{path} was written by another process meanwhile; choose another destination or pass `force=True`"
        ) from None


@contextlib.contextmanager
def own_folder(path: Path) -> Iterator[Path]:
    """The folder `NAME.partial`, empty and this writer's alone; what is left of it when the block ends is removed.

    Raises DestinationError where another writer is at work on it, OSError where it cannot be made.
    """
    partial = path.with_name(path.name + ".partial")
    descriptor = _make_folder(partial)
    if descriptor is None:
        raise DestinationError(
            f"{path}: another process is writing it at this moment; wait, or choose another destination"
        )
    try:
        yield partial
    finally:
        if _is_at(partial, descriptor):  # not renamed: then it may be another writer's by now
            shutil.rmtree(partial, ignore_errors=True)
        os.close(descriptor)


def _make_folder(partial: Path) -> int | None:
    """Make and lock a folder, in the place of one that was abandoned; None where another writer lives there."""
    for _ in range(5):  # each time another writer may be a moment earlier
        with contextlib.suppress(FileExistsError):
            partial.mkdir(0o700, parents=True)
            descriptor = os.open(partial, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            if lock(descriptor) is not False and _is_at(partial, descriptor):
                return descriptor
            os.close(descriptor)
            continue
        if not partial.is_dir() or partial.is_symlink():
            partial.unlink(missing_ok=True)
            continue
        descriptor = os.open(partial, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if lock(descriptor) is False:
                return None
            shutil.rmtree(partial, ignore_errors=True)
        finally:
            os.close(descriptor)
    return None


def make_as_private(folder: Path, like: Path) -> None:
    """Take from everybody but the owner what the folder `like` does not let them do, file by file.

    A file that `like` has not is as private as the most private one there. Folders get what new ones may have.
    """
    everything = [path for path in like.rglob("*") if path.is_file()]
    strictest = mode_like(everything)
    for path in (folder, *folder.rglob("*")):
        source = like / path.relative_to(folder)
        if path.is_dir():
            ordinary = 0o777 & ~_umask(folder)
            path.chmod(mode_like([source if source.is_dir() else like], ordinary))
        elif not path.is_symlink():
            own = mode_like([source]) if source.is_file() else strictest
            path.chmod(stat.S_IMODE(path.stat().st_mode) & (own | 0o700))


def _umask(folder: Path) -> int:
    """The umask of this process, found by making a file: to ask for it is to change it for all threads."""
    probe = folder / f".{secrets.token_hex(4)}.{PARTIAL}"
    os.close(os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o777))
    try:
        return 0o777 & ~stat.S_IMODE(probe.stat().st_mode)
    finally:
        probe.unlink()
