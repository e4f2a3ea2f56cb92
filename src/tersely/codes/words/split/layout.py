"""How `split` splits a weight, where its pieces lie in a chunk, and how large its tiles are.

Each weight becomes a *symbol* (its exponent), *odd* bits, one *byte*, and for float32 a *tail* (low 16 bits):

    float32         s eeeeeeee mmmmmmm | tttttttttttttttt     symbol e, byte m << 1 | s, tail t
    bfloat16        s eeeeeeee mmmmmmm                        symbol e, byte m << 1 | s
    float16         s eeeee mm | bbbbbbbb                     symbol e, odd bits s mm, byte b
    float8_e4m3fn   s eeee mmm                                symbol e, odd bits s mmm, no byte
    float8_e5m2     s eeeee mm                                symbol e, odd bits s mm, no byte

A tile of c chunks (8, fewer at a panel's right end) is stored as

    [code words of c chunks][odd planes, c words each][c x 64 bytes][tail: planes or c x 64 little-endian u16]

Code planes and odd planes are plane-major: plane 0 of all c chunks, then plane 1. Layered codes are directly
addressable codes: N. R. Brisaboa, S. Ladra, G. Navarro, "DACs: Bringing direct access to variable-length codes", 2013,
doi:10.1016/j.ipm.2012.08.003.
FORMAT: docs/FORMAT.md, "Exponents".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tersely.codes.checks import is_integer
from tersely.core.errors import ArgumentError
from tersely.core.once import once

MAXIMUM_LEVELS = 6
MAXIMUM_WIDTH = 4

TAIL_KINDS = ("none", "bits3", "word")
TAIL_BYTES = {"none": 0, "bits3": 24, "word": 128}
"""Bytes per chunk of each kind of float32 tail: absent, its three highest bits as planes, or whole."""


def _positions(dtype: str) -> np.ndarray:
    """int64 [16, 4]: place in the chunk's 64 symbols and bytes of (row, column)."""
    row, column = np.mgrid[0:16, 0:4]
    if dtype == "bfloat16":  # unpacklo/hi leave rows x a column pair: what dpbf16 and AMX multiply
        return row // 4 * 16 + column // 2 * 8 + row % 4 * 2 + column % 2
    if dtype == "float16":  # unpacklo/hi leave 16 rows of one column in 256 bits: what vcvtph2ps reads
        return (column % 2 * 2 + row // 8) * 16 + column // 2 * 8 + row % 8
    if dtype == "float32":  # after a second unpack with the tail: 16 rows of one column
        return row // 4 * 16 + column * 4 + row % 4
    return column * 16 + row  # float8, indices: 16 rows of one column in 128 bits


def _tail_positions() -> np.ndarray:
    """int64 [16, 4]: place in the chunk's 64 tail words of (row, column)."""
    row, column = np.mgrid[0:16, 0:4]
    return column // 2 * 32 + row // 4 * 8 + column % 2 * 4 + row % 4


@dataclass(frozen=True)
class Fields:
    """Where the pieces of one dtype lie.

    symbol_shift, symbol_bits: the exponent inside the head (the top 16 bits of a float32, else the whole word).
    odd_values: value in the head of each odd bit, plane 0 first. has_byte, rotated: one byte per weight, and
    whether it is the head's low seven bits shifted left by one with the sign below (else its low eight bits).
    positions, tail_positions: int64 [16, 4], place in the chunk of (row, column).
    """

    symbol_shift: int
    symbol_bits: int
    odd_values: tuple[int, ...]
    has_byte: bool
    rotated: bool
    positions: np.ndarray
    tail_positions: np.ndarray | None = None


FIELDS = {
    "float32": Fields(7, 8, (), True, True, _positions("float32"), _tail_positions()),
    "bfloat16": Fields(7, 8, (), True, True, _positions("bfloat16")),
    "float16": Fields(10, 5, (0x100, 0x200, 0x8000), True, False, _positions("float16")),
    "float8_e4m3fn": Fields(3, 4, (1, 2, 4, 0x80), False, False, _positions("float8_e4m3fn")),
    "float8_e5m2": Fields(2, 5, (1, 2, 0x80), False, False, _positions("float8_e5m2")),
    "index": Fields(0, 8, (), False, False, _positions("index")),
}
"""The bits of each dtype; `index` is none of a weight: a byte that is all symbol, as formulations code the indices
of a table."""


def widths_of(given: object) -> tuple[int, ...]:
    """The widths that a caller asks `layered` for: integers in a list, nothing that merely looks like them.

    Raises ArgumentError.
    """
    if (
        not isinstance(given, (list, tuple))
        or not 1 <= len(given) <= MAXIMUM_LEVELS
        or not all(is_integer(width) and 1 <= width <= MAXIMUM_WIDTH for width in given)
    ):
        raise ArgumentError(
            f"widths must be a few integers such as (3,) or (2, 2), up to {MAXIMUM_LEVELS} from 1 to "
            f"{MAXIMUM_WIDTH}, not {given!r}"
        )
    return tuple(map(int, given))


@dataclass(frozen=True)
class Parameters:
    """Parameters of a `split` node.

    code: 'constant', 'packed' or 'layered'; widths: planes of each level of 'layered', else empty.
    table: symbols by field, most frequent first. byte: None, or the value of a byte plane that is constant.
    tail: kind of the float32 tail; short_tail: kind in the panels marked by component `short_panels`, or None.
    """

    code: str
    widths: tuple[int, ...]
    table: bytes
    byte: int | None = None
    tail: str = "none"
    short_tail: str | None = None

    def check(self, dtype: str) -> None:
        """Raises ArgumentError with a sentence where the parameters contradict each other or the dtype."""
        if self.code == "layered":
            if not 1 <= len(self.widths) <= MAXIMUM_LEVELS or not all(
                isinstance(width, int) and 1 <= width <= MAXIMUM_WIDTH for width in self.widths
            ):
                raise ArgumentError(
                    f"widths {list(self.widths)}: layered takes 1 to {MAXIMUM_LEVELS} levels of 1 to {MAXIMUM_WIDTH} planes"
                )
            symbols = sum((1 << width) - 1 for width in self.widths)
        elif self.code in ("constant", "packed"):
            if self.widths:
                raise ArgumentError(f"code {self.code!r} has no widths")
            symbols = 1 if self.code == "constant" else 15
        else:
            raise ArgumentError(f"unknown code {self.code!r}: use 'packed', 'layered' or 'constant'")
        if len(self.table) != symbols:
            raise ArgumentError(f"table of {len(self.table)} symbols where the code needs {symbols}")
        if max(self.table) >> FIELDS[dtype].symbol_bits:
            raise ArgumentError(f"table holds a symbol wider than {FIELDS[dtype].symbol_bits} bits")
        if self.byte is not None and (not FIELDS[dtype].has_byte or not 0 <= self.byte <= 255):
            raise ArgumentError(f"constant byte {self.byte} does not fit {dtype}")
        if self.tail not in TAIL_KINDS or (self.tail != "none" and dtype != "float32"):
            raise ArgumentError(f"tail {self.tail!r} does not fit {dtype}")
        if self.short_tail is not None and (
            self.short_tail not in TAIL_KINDS or TAIL_KINDS.index(self.short_tail) >= TAIL_KINDS.index(self.tail)
        ):
            raise ArgumentError(f"short tail {self.short_tail!r} is not shorter than tail {self.tail!r}")

    @property
    def code_bytes(self) -> int:
        """Bytes of code words per chunk inside the tiles."""
        return {"constant": 0, "packed": 32, "layered": 8 * (self.widths or (0,))[0]}[self.code]

    @once
    def streams(self) -> tuple[str, ...]:
        """Names of the components beside the tiles, in the order of the directory's columns."""
        deeper = tuple(f"level{level}" for level in range(2, len(self.widths) + 1))
        return () if self.code == "constant" else (*deeper, "escapes")

    def chunk_bytes(self, dtype: str, tail: str) -> int:
        """Bytes of one chunk inside the tiles of a panel whose tail is of kind `tail`."""
        fields = FIELDS[dtype]
        plane = 64 if fields.has_byte and self.byte is None else 0
        return self.code_bytes + 8 * len(fields.odd_values) + plane + TAIL_BYTES[tail]

    def to_json(self) -> dict[str, object]:
        json: dict[str, object] = {"code": self.code, "table": self.table.hex()}
        if self.code == "layered":
            json["widths"] = list(self.widths)
        if self.code == "packed":
            json["bits"] = 4
        if self.byte is not None:
            json["byte"] = self.byte
        if self.tail != "none":
            json["tail"] = self.tail
        if self.short_tail is not None:
            json["short_tail"] = self.short_tail
        return json

    @staticmethod
    def from_json(json: object) -> Parameters:
        """Strict inverse of `to_json`: unknown keys and wrong types are refused with ArgumentError."""
        if not isinstance(json, dict):
            raise ArgumentError("parameters of split are not an object")
        known = {"code", "table", "widths", "bits", "byte", "tail", "short_tail"}
        if unknown := sorted(set(json) - known):
            raise ArgumentError(f"unknown parameter {unknown[0]!r} of split")
        code, table, widths = json.get("code"), json.get("table"), json.get("widths", [])
        if not isinstance(code, str) or not isinstance(table, str) or not isinstance(widths, list):
            raise ArgumentError("split needs a code (a word), a table (hexadecimal) and widths (a list)")
        if not all(type(width) is int for width in widths):
            raise ArgumentError("widths are not integers")
        if json.get("bits", 4) != 4 or ("bits" in json) != (code == "packed"):
            raise ArgumentError("packed takes bits = 4 in this version; other codes take no bits")
        byte = json.get("byte")
        if byte is not None and type(byte) is not int:
            raise ArgumentError("the constant byte is not an integer")
        tail, short_tail = json.get("tail", "none"), json.get("short_tail")
        if not isinstance(tail, str) or not (short_tail is None or isinstance(short_tail, str)):
            raise ArgumentError("tail kinds are words")
        try:
            symbols = bytes.fromhex(table)
        except ValueError:
            raise ArgumentError("the table is not hexadecimal") from None
        return Parameters(code, tuple(widths), symbols, byte, tail, short_tail)
