"""Which coders and ways are tried for a tensor of a stored file, with their exact sizes: what `write` chooses from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from tersely.core.choices import StorageLevel
from tersely.storage import codec
from tersely.storage.archive import layout, references
from tersely.storage.archive.texts import Text
from tersely.storage.archive.writer import Source, items_of, mixed_blocks


@dataclass(frozen=True)
class Way:
    """A coder and its way. nbytes: of the blocks that it was tried for. chosen_bytes: what those have in the file."""

    label: str
    nbytes: int
    chosen_bytes: int
    chosen: bool = False
    note: str = ""


def tried(
    text: Text,
    raw: Callable[[int], np.ndarray],
    copies: Mapping[int, int],
    number: int,
    level: StorageLevel,
    threads: int,
) -> list[Way]:
    """Every way for the blocks that a tensor is in, what was chosen first.

    Args:
        text: what a stored file has beside its tensors.
        raw: the bytes of a tensor, by number.
        copies: tensors that have the bytes of an earlier one, by number.
        number: the tensor, no copy and not empty.
        level: of storing.
        threads: workers.
    """
    texts = layout.text_blocks(sum(map(len, text.sections()[1])))
    blocks = texts + layout.tensor_blocks(text.entries, copies, 1 << 62)
    mixed = mixed_blocks(blocks, level)
    own = [k for k, block in enumerate(blocks) if any(part.tensor == number for part in block.parts)]
    sizes: dict[str, int] = {}
    least: dict[str, int] = {}
    often, won = Counter[str](), Counter[str]()
    total = 0
    refers = references.find(Source(text, raw, lambda number: None), blocks)
    for k in own:
        items = items_of(blocks[k], raw)
        found = dict(codec.ways(items, level, threads, mixed=mixed[k]))
        if (near := references.of(blocks[k], refers, raw)) is not None:
            name = f"differences from {text.entries[number - near.back].name}"
            found[name] = len(codec.encode_near(items[0], near.back, near.raw, level, threads))
        best = min(found, key=lambda name: found[name])
        total += found[best]
        won[best] += 1
        for name, size in found.items():
            often[name] += 1
            sizes[name] = sizes.get(name, 0) + size
            least[name] = least.get(name, 0) + found[best]
    shared = len(blocks[own[0]].parts)
    note = f"a block that {shared} small tensors share: its bytes" if shared > 1 else ""
    note = f"{len(own)} blocks" if len(own) > 1 else note
    several = ", ".join(f"{name} in {count}" for name, count in won.items())
    chosen = Way(several if len(won) > 1 else next(iter(won)), total, total, True, note)
    others = [
        Way(name if often[name] == len(own) else f"{name}, tried for {often[name]}", size, least[name])
        for name, size in sizes.items()
        if len(won) > 1 or name not in won
    ]
    return [chosen, *others]
