"""Writing a stored file: blocks are coded by workers, spooled in order, and put behind their index; whole or not there.

What was written is opened again, every block decoded, and the original put together and compared by its SHA-256 before
the file gets its name.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO

import numpy as np

from tersely.core.choices import StorageLevel
from tersely.core.errors import DestinationError
from tersely.files.container import stored, temporary
from tersely.storage import codec
from tersely.storage.archive import layout, references
from tersely.storage.archive.index import Index
from tersely.storage.archive.layout import Block
from tersely.storage.archive.reader import Archive, block_sum
from tersely.storage.archive.references import Reference
from tersely.storage.archive.texts import Text

_IN_FLIGHT = 1 << 26
"""Most bytes of blocks that wait to be coded or spooled, beside one: a part of the bound of memory."""

_MIXED_BYTES, _MIXED_LESS, _MIXED_SHARE = 1 << 19, 80, 1 << 13
"""Of a file of level 'fast' so many bytes may be mixed, one less for so many of the file's, and one in so many of a large
one: each takes up to half a microsecond, and the others a nanosecond."""

Progress = Callable[[int, str], None]


class Source:
    """What is stored. text: what is no tensor; raw(number): the bytes of a tensor; forget(number): no more are wanted."""

    def __init__(self, text: Text, raw: Callable[[int], np.ndarray], forget: Callable[[int], None]) -> None:
        self.text, self.raw, self.forget = text, raw, forget


def write(
    destination: Path,
    source: Source,
    copies: Mapping[int, int],
    sha256: Callable[[], bytes],
    *,
    level: StorageLevel,
    threads: int,
    progress: Progress,
    like: Iterable[Path] = (),
    replace: bool = False,
) -> int:
    """Write a stored file; returns its bytes.

    copies: tensors that have the bytes of an earlier one, by number. sha256: called when all is coded, for that of a safetensors
    original. like, replace: as of `temporary.atomic_file`. progress: called with the bytes and the name of each part that is coded, then of each
    tensor, with no bytes, that is verified. Raises DestinationError; VerificationError, keeping nothing.
    """
    kind, sections = source.text.sections()
    whole = np.frombuffer(b"".join(sections), np.uint8)
    entries = source.text.entries
    blocks = layout.text_blocks(whole.size) + layout.tensor_blocks(entries, copies, 1 << 62)
    sizes: list[int] = []
    sums: list[int] = []
    with _spool(destination, replace) as spool:
        for block, coded, crc in _coded(blocks, whole, source, level, threads):
            try:
                spool.write(coded)
            except OSError as error:
                raise DestinationError(f"{destination}: cannot be written: {error.strerror or error}") from error
            sizes.append(len(coded))
            sums.append(crc)
            if block.parts[0].tensor >= 0:
                progress(block.nbytes, entries[block.parts[-1].tensor].name)
        index = Index(kind, tuple(map(len, sections)), copies, sizes, sums, sha256()).pack()
        with temporary.atomic_file(destination, like, replace=replace) as (file, unnamed):
            file.write(stored.header(len(index) + sum(sizes)))
            file.write(index)
            begin = len(temporary.SPOOL_MARK)
            temporary.copy_part(spool, slice(begin, begin + sum(sizes)), file)
            file.flush()
            size = file.tell()
            written = Archive(unnamed, threads=threads)
            written.check_original(lambda _, name: progress(0, name))
        return size


@contextlib.contextmanager
def _spool(destination: Path, replace: bool) -> Iterator[IO[bytes]]:
    try:
        if replace:
            temporary.sweep(destination)
        else:
            temporary.refuse_second(destination)
        spool, path = temporary.make(destination, temporary.SPOOL)
    except OSError as error:
        raise DestinationError(
            f"{destination}: its folder cannot be written: {error.strerror or error}; choose another destination"
        ) from error
    try:
        with spool:
            spool.write(temporary.SPOOL_MARK)
            spool.flush()
            yield spool
    finally:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def _coded(
    blocks: Sequence[Block], text: np.ndarray, source: Source, level: StorageLevel, threads: int
) -> Iterator[tuple[Block, bytes, int]]:
    """Blocks, coded, with their checksums, in order; several at a time where there are several workers."""
    refers = references.find(source, blocks)
    last = {part.tensor: number for number, block in enumerate(blocks) for part in block.parts}
    waiting: deque[tuple[int, Future[tuple[bytes, int]]]] = deque()
    weights: deque[int] = deque()
    held = 0
    mixed = mixed_blocks(blocks, level)
    alone = 1 if threads > 1 and len(blocks) > 1 else threads

    def first() -> tuple[Block, bytes, int]:
        number, future = waiting.popleft()
        done, (coded, crc) = blocks[number], future.result()
        for part in done.parts:  # not before it is coded: what is read of a mapped file would stay
            if part.tensor >= 0 and last[part.tensor] == number:
                source.forget(part.tensor)
                if part.tensor in refers:
                    source.forget(refers[part.tensor])
        return done, coded, crc

    with ThreadPoolExecutor(threads, "tersely-blocks") as workers:
        for number, block in enumerate(blocks):
            weight = block.nbytes * (3 if block.parts[0].tensor in refers else 1)  # with the reference and differences
            while waiting and (held + weight > _IN_FLIGHT or len(waiting) > threads):
                held -= weights.popleft()
                yield first()
            items = items_of(block, lambda tensor: text if tensor < 0 else source.raw(tensor))
            near = references.of(block, refers, source.raw)
            waiting.append((number, workers.submit(_encode, items, level, alone, mixed[number], near)))
            weights.append(weight)
            held += weight
            del items, near
        while waiting:
            yield first()


def mixed_blocks(blocks: Sequence[Block], level: StorageLevel) -> list[bool]:
    """Whether each of a file's blocks is mixed."""
    total = sum(block.nbytes for block in blocks)
    room = max(_MIXED_BYTES - total // _MIXED_LESS, total // _MIXED_SHARE)
    found = []
    for block in blocks:
        found.append(codec.mixes(level, len(block.parts), block.nbytes, room))
        room -= block.nbytes if found[-1] else 0
    return found


def items_of(block: Block, raw: Callable[[int], np.ndarray]) -> list[codec.Item]:
    """What is coded as one block. raw: the bytes of a tensor, by number, -1 for the text."""
    parts = [(raw(part.tensor)[part.begin : part.end], part.spec) for part in block.parts]
    return [codec.Item(piece, spec.dtype, spec.shape) for piece, spec in parts]


def _encode(
    items: Sequence[codec.Item], level: StorageLevel, threads: int, mixed: bool, near: Reference | None
) -> tuple[bytes, int]:
    block = codec.encode(items, level, threads, mixed=mixed)
    if near is not None:
        block = min(block, codec.encode_near(items[0], near.back, near.raw, level, threads), key=len)
    return block, block_sum([item.raw for item in items], block)
