"""A mutation driver for blocks of the storage tier: whatever the bytes, an error of ours or bytes of exactly the right number.

    python -m fuzz.blocks --seconds 60

Blocks go to the coders as they are, behind no checksum. `fuzz/run` runs it under the sanitizers.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import ml_dtypes
import numpy as np

from tersely.backends.cpu import isa
from tersely.core import dtypes
from tersely.core.errors import FormatError
from tersely.storage import codec
from tersely.storage.ans import coder as ans
from tersely.storage.codec import Item, Spec

LONGEST = 1 << 21
"""Bytes that a mutant's items may claim: more would only take the driver's time."""


@dataclass(frozen=True)
class Sample:
    """A block and what it holds. reference: what it has differences from."""

    block: bytes
    specs: tuple[Spec, ...]
    reference: np.ndarray | None = None


def corpus() -> list[Sample]:
    """Blocks of every coder, of tensors as networks have them and of small ones together."""
    rng = np.random.default_rng(8)
    dense = (rng.standard_normal((48, 70)) * np.exp(rng.standard_normal((48, 1)))).astype(np.float32)
    arrays = [
        dense,
        dense.astype(ml_dtypes.bfloat16),
        np.where(np.abs(dense) < 0.7, np.float16(0), dense.astype(np.float16)),
        np.round(dense * 20).clip(-128, 127).astype(np.int8),
        np.unique(dense)[:600][rng.integers(0, 600, (50, 60))],
        (dense.view(np.uint32) & np.uint32(0xFFFFFF00) | rng.integers(0, 3, dense.shape).astype(np.uint32)).view(
            np.float32
        ),
        rng.integers(-(1 << 60), 1 << 60, 200),
    ]
    found = []
    for group in [*([one] for one in arrays), [arrays[0][0], arrays[3][0], arrays[4][0], arrays[2][0]]]:
        items = [Item(dtypes.raw_bytes(one), dtypes.of_array(one), one.shape) for one in group]
        specs = tuple(item.spec for item in items)
        found.append(Sample(codec.encode(items, "max"), specs))
        given = [(item.raw, item.dtype, item.shape) for item in items]
        found.append(Sample(bytes([codec.ANS]) + ans.encode(given, 1), specs))
    bias = [Item(dtypes.raw_bytes(row), dtypes.of_array(row), row.shape) for row in 1 + dense[:20] / np.float32(9)]
    found.append(Sample(codec.encode(bias, "max"), tuple(item.spec for item in bias)))
    for dtype in (np.float32, ml_dtypes.bfloat16, np.float16, np.float64):
        near, other = ((dense + step).astype(dtype) for step in (np.float32(1e-3), 0))
        item, raw = Item(dtypes.raw_bytes(near), dtypes.of_array(near), near.shape), dtypes.raw_bytes(other)
        found.append(Sample(codec.encode_near(item, 1, raw, "max"), (item.spec,), raw))
    return found


def mutant(sample: Sample, others: list[Sample], dice: random.Random) -> Sample:
    """A block with some bytes changed, cut, or mixed with another's; or other items for the same block."""
    data, specs = bytearray(sample.block), sample.specs
    for _ in range(dice.choice((1, 1, 2, 4, 16))):
        at = dice.randrange(len(data))
        if dice.random() < 0.6:
            at = min(at, dice.randrange(80))  # what a block says of itself stands first
        kind = dice.random()
        if kind < 0.7:
            data[at] = dice.choice((0, 255, data[at] ^ 1 << dice.randrange(8), dice.randrange(256)))
        elif kind < 0.8:
            del data[at : at + dice.choice((1, 4, 100))]
        elif kind < 0.9:
            data[at:at] = bytes(dice.randrange(256) for _ in range(dice.choice((1, 4, 100))))
        else:
            other = dice.choice(others).block
            data[at : at + 40] = other[at : at + 40]
        if not data:
            data = bytearray(b"\x01")
    if dice.random() < 0.2:
        specs = dice.choice(others).specs
    if dice.random() < 0.1:
        grown = tuple(length * dice.choice((1, 2, 9)) for length in specs[0].shape) or (dice.randrange(1, 9),)
        specs = (Spec(specs[0].dtype, grown), *specs[1:])
    return Sample(bytes(data), specs, sample.reference)


def use(sample: Sample) -> str:
    """Decode it; returns how that ended. Raises AssertionError for bytes of another number."""
    try:
        found = codec.decode(sample.block, sample.specs, 1, sample.reference)
    except FormatError as error:
        return type(error).__name__
    assert [one.size for one in found] == [spec.size for spec in sample.specs]
    return "decoded"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=None, help="for the same mutants again")
    arguments = parser.parse_args()
    seed = arguments.seed if arguments.seed is not None else time.time_ns() % 2**32
    dice, endings, number, samples = random.Random(seed), Counter[str](), 0, corpus()
    print(f"seed {seed}, {len(samples)} blocks, {', '.join(isa.available())}", flush=True)
    stop = time.monotonic() + arguments.seconds
    while time.monotonic() < stop:
        made = mutant(dice.choice(samples), samples, dice)
        if sum(spec.size for spec in made.specs) > LONGEST:
            continue
        number += 1
        try:
            with isa.using(dice.choice(isa.available())):
                endings[use(made)] += 1
        except Exception as error:
            kept = Path(f"fuzz-{seed}-{number}.block")
            kept.write_bytes(made.block)
            print(f"mutant {number} of {made.specs}, kept as {kept}: {type(error).__name__}: {error}", file=sys.stderr)
            raise
    print(f"{number} mutants: " + ", ".join(f"{name} {count}" for name, count in endings.most_common()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
