"""A mutation driver for the reader: golden files, damaged in ways that get past checksums, loaded and used.

Whatever the bytes, loading may end in a TerselyError and nothing else, and whatever loads must decode and multiply
without a crash or a sanitizer report. Checksums are made to hold again after each mutation, or nearly every mutant
would end at the first one.
"""

from __future__ import annotations

import argparse
import random
import struct
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

import tersely
from tersely.backends.cpu import isa
from tersely.files.container import description
from tersely.files.container.header import parse_bytes

CORPUS = sorted((Path(__file__).parent.parent / "tests" / "golden").glob("v*/*.safetensors"))
LARGEST_DECODED_BYTES = 50_000_000
"""A tiny file may honestly describe a huge constant tensor; decoding it would only waste the driver's time."""

NUMBERS = (b"0", b"1", b"2", b"3", b"15", b"16", b"63", b"64", b"2048", b"4294967296", b"9223372036854775807", b"-1")


class Mutant:
    """A file in pieces that can be damaged one by one and put together with checksums that hold."""

    def __init__(self, raw: bytes, dice: random.Random) -> None:
        (length,) = struct.unpack("<Q", raw[:8])
        self.header, self.data, self.dice = bytearray(raw[8 : 8 + length]), bytearray(raw[8 + length :]), dice
        self.entries = parse_bytes(bytes(self.header), len(self.data), "corpus").entries

    def damage(self) -> None:
        for _ in range(self.dice.choice((1, 1, 1, 2, 3, 8))):
            self.dice.choice((self._payload, self._payload, self._directory, self._info, self._header, self._swap))()

    def bytes(self) -> bytes:
        header = bytes(self.header)
        mark = b'"tersely_header_crc32":"'
        at = header.find(mark)
        whole = struct.pack("<Q", len(header)) + header
        if at >= 0 and self.dice.random() < 0.95:
            at += 8 + len(mark)
            whole = description.seal(whole[:at] + b"0" * 8 + whole[at + 8 :], mark)
        whole += bytes(self.data)
        return whole[: self.dice.randrange(len(whole))] if self.dice.random() < 0.03 else whole

    def _random_byte(self, data: bytearray, begin: int, end: int) -> None:
        if begin < end:
            at = self.dice.randrange(begin, end)
            data[at] = self.dice.choice((0, 255, data[at] ^ 1 << self.dice.randrange(8), self.dice.randrange(256)))

    def _pick(self, ending: str = "") -> tuple[int, int]:
        found = [entry for name, entry in self.entries.items() if name.endswith(ending)]
        entry = self.dice.choice(found) if found else None
        return (entry.begin, min(entry.end, len(self.data))) if entry else (0, 0)

    def _payload(self) -> None:
        begin, end = self._pick()
        for _ in range(self.dice.choice((1, 4, 64))):
            self._random_byte(self.data, begin, end)

    def _directory(self) -> None:
        begin, end = self._pick(".directory")
        if end - begin >= 8:
            at = begin + self.dice.randrange((end - begin) // 8) * 8
            (value,) = struct.unpack("<Q", self.data[at : at + 8])
            value = self.dice.choice((value + 1, max(0, value - 1), value * 2, 0, 2**63, 2**64 - 1))
            self.data[at : at + 8] = struct.pack("<Q", value % 2**64)

    def _info(self) -> None:
        """A number or a letter of a description; its length stays, its own checksum is made to hold."""
        begin, end = self._pick(".info")
        info = bytearray(self.data[begin:end])
        self._edit(info)
        mark = b'"self_crc32":"'
        at = bytes(info).find(mark)
        if at >= 0:
            at += len(mark)
            sealed = description.seal(bytes(info[:at]) + b"0" * 8 + bytes(info[at + 8 :]), mark)
            self.data[begin:end] = sealed

    def _header(self) -> None:
        self._edit(self.header)

    def _edit(self, text: bytearray) -> None:
        digits = [at for at, byte in enumerate(text) if chr(byte).isdigit()]
        if digits and self.dice.random() < 0.8:
            number = self.dice.choice(NUMBERS)
            at = self.dice.choice(digits)
            stop = at
            while stop < len(text) and chr(text[stop]).isdigit():
                stop += 1
            spaces = len(text) - len(bytes(text).rstrip(b" "))
            grown = len(number) - (stop - at)
            if grown <= spaces:
                length = len(text)
                text[at:stop] = number
                del text[length:]
                text.extend(b" " * (length - len(text)))
        else:
            self._random_byte(text, 0, len(text))

    def _swap(self) -> None:
        """The bytes of one component over those of another."""
        (a, a_end), (b, b_end) = self._pick(), self._pick()
        count = min(a_end - a, b_end - b)
        self.data[a : a + count] = self.data[b : b + count]


def use(path: Path, dice: random.Random) -> str:
    """Load and use one file; returns how it ended."""
    try:
        tensors = tersely.load_file(
            path, check=dice.choice(("structure", "structure", "structure", "checksums", "full"))
        )
    except tersely.TerselyError as error:
        return type(error).__name__
    for tensor in tensors.values():
        if tensor.nbytes > LARGEST_DECODED_BYTES:
            continue
        try:
            tensor.decode()
            if tensor.ndim == 2 and tensor.shape[0] and tensor.formulation != "dense":
                tersely.linear(np.ones((dice.choice((1, 3, 7, 16, 20)), tensor.shape[1]), np.float32), tensor)
                tersely.linear_transposed(np.ones((1, tensor.shape[0]), np.float32), tensor)
                tensor.rows(tensor.shape[0] // 2, tensor.shape[0])
        except tersely.TerselyError as error:
            return f"late {type(error).__name__}"
    return "loaded"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=None, help="for the same mutants again")
    arguments = parser.parse_args()
    seed = arguments.seed if arguments.seed is not None else time.time_ns() % 2**32
    dice, endings, number = random.Random(seed), Counter[str](), 0
    np.seterr(all="ignore")
    print(f"seed {seed}, {len(CORPUS)} files, {', '.join(isa.available())}", flush=True)
    originals = [path.read_bytes() for path in CORPUS]
    stop = time.monotonic() + arguments.seconds
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mutant.safetensors"
        while time.monotonic() < stop:
            mutant = Mutant(dice.choice(originals), dice)
            mutant.damage()
            data = mutant.bytes()
            path.write_bytes(data)
            try:
                with isa.using(dice.choice(isa.available())):
                    endings[use(path, dice)] += 1
            except Exception as error:
                kept = Path(f"fuzz-{seed}-{number}.safetensors")
                kept.write_bytes(data)
                print(f"mutant {number}, kept as {kept}: {type(error).__name__}: {error}", file=sys.stderr)
                raise
            number += 1
    print(f"{number} mutants: " + ", ".join(f"{name} {count}" for name, count in endings.most_common()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
