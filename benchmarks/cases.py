"""The cases of cases.toml, and the weights that they speak of: made from one seed, so that every machine has the same.

Weights are normal with sigma 0.02, whose exponents have an entropy of 2.55 bits, as those of trained layers have; then they
are pruned, rounded or replaced as the kind says.
"""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tersely.core.dtypes import by_name

_FILE = tomllib.loads((Path(__file__).parent / "cases.toml").read_text())
SHAPE: tuple[int, int] = tuple(_FILE["shape"])
FORMS: dict[str, dict[str, Any]] = _FILE["forms"]
OBJECTIVES = ("size", "speed", "balanced")


@dataclass(frozen=True)
class Case:
    """One matrix to measure. what: for the table. own: what the kind of weights asks for."""

    group: str
    what: str
    kind: str
    own: dict[str, Any]
    dtype: str
    batches: tuple[int, ...]
    forms: tuple[str, ...]

    def array(self, shape: tuple[int, int] = SHAPE) -> np.ndarray:
        """The weights."""
        numpy = by_name(self.dtype).numpy
        assert numpy is not None
        found = KINDS[self.kind](shape, **self.own)
        return found if found.dtype == numpy else found.astype(numpy)


def cases(groups: tuple[str, ...] = ()) -> Iterator[Case]:
    """Every case of these groups, or of all; lists in the file are one case for each of their values."""
    for row in _FILE["case"]:
        if groups and row["group"] not in groups:
            continue
        own = {key: value if isinstance(value, list) else [value] for key, value in row["weights"].items()}
        (kind,) = own.pop("kind")
        dtypes = row["dtype"] if isinstance(row["dtype"], list) else [row["dtype"]]
        for dtype, *values in itertools.product(dtypes, *own.values()):
            chosen = dict(zip(own, values, strict=True))
            what = f"{dtype} {LABELS[kind](**chosen)}".strip()
            yield Case(row["group"], what, kind, chosen, dtype, tuple(row["batches"]), tuple(row["forms"]))


def groups() -> tuple[str, ...]:
    """Names of groups, in the order of the file."""
    return tuple(dict.fromkeys(row["group"] for row in _FILE["case"]))


def normal(shape: tuple[int, int]) -> np.ndarray:
    """float32, normal with sigma 0.02."""
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32) * np.float32(0.02)


def pruned(shape: tuple[int, int], zeros: float) -> np.ndarray:
    """Zeros at random places."""
    rng = np.random.default_rng(0)
    array = rng.standard_normal(shape, dtype=np.float32) * np.float32(0.02)
    return np.where(rng.random(shape, dtype=np.float32) < zeros, np.float32(0), array)


def n_of_m(shape: tuple[int, int], n: int, m: int) -> np.ndarray:
    """The n largest of each m weights of a row; the others are zero."""
    array = normal(shape).reshape(-1, m)
    order = np.argsort(np.abs(array), axis=1)
    np.put_along_axis(array, order[:, : m - n], np.float32(0), axis=1)
    return array.reshape(shape)


def channels(shape: tuple[int, int]) -> np.ndarray:
    """Half of the rows and a quarter of the columns are zero."""
    rng = np.random.default_rng(0)
    array = rng.standard_normal(shape, dtype=np.float32) * np.float32(0.02)
    array[rng.permutation(shape[0])[: shape[0] // 2]] = 0
    array[:, rng.permutation(shape[1])[: shape[1] // 4]] = 0
    return array


def values(shape: tuple[int, int], count: int) -> np.ndarray:
    """Each weight replaced by the nearest of a few values.

    Lloyd's algorithm on a sample, from quantiles on; ten rounds are enough for the share of each value to settle.
    """
    array = normal(shape)
    sample = np.sort(array.reshape(-1)[:: max(1, array.size >> 20)]).astype(np.float64)
    centres = np.quantile(sample, (np.arange(count) + 0.5) / count)
    for _ in range(10):
        ranges = np.split(sample, np.searchsorted(sample, (centres[1:] + centres[:-1]) / 2))
        centres = np.array([part.mean() if part.size else old for part, old in zip(ranges, centres, strict=True)])
    nearest = np.searchsorted(((centres[1:] + centres[:-1]) / 2).astype(np.float32), array)
    return centres.astype(np.float32)[nearest]


def grid(shape: tuple[int, int], bits: int) -> np.ndarray:
    """One scale times numbers of so many bits, to about 4 sigma, as fake quantisation leaves floats; no -0.0."""
    half = 1 << (bits - 1)
    scale = np.float32(0.08 / half)
    return (np.clip(np.rint(normal(shape) / scale), -half, half - 1) + np.float32(0)) * scale


def scaled(shape: tuple[int, int], bits: int, columns: int) -> np.ndarray:
    """Numbers of so many bits with a scale for each row, or each group of so many of its columns."""
    groups = normal(shape).reshape(shape[0], -1, min(columns, shape[1]))
    scales = np.abs(groups).max(axis=2, keepdims=True) / np.float32((1 << (bits - 1)) - 1)
    return (np.rint(groups / scales) * scales + np.float32(0)).reshape(shape)  # + 0: no -0.0


def tables(shape: tuple[int, int], words: int, columns: int) -> np.ndarray:
    """A few words for each row, or each group of its columns, at no regular distances."""
    columns = min(columns, shape[1])
    rng, groups = np.random.default_rng(0), (shape[0], shape[1] // columns)
    every = np.sort(rng.standard_normal((*groups, words), dtype=np.float32)) * np.float32(0.02)
    chosen = rng.integers(words, size=(*groups, columns))
    return np.take_along_axis(every, chosen, axis=2).reshape(shape)


def int8(shape: tuple[int, int], spread: int) -> np.ndarray:
    """Normal int8 numbers with a standard deviation of so many steps."""
    steps = np.random.default_rng(0).standard_normal(shape, dtype=np.float32) * spread
    return np.clip(np.rint(steps), -127, 127).astype(np.int8)


def int4(shape: tuple[int, int]) -> np.ndarray:
    """Normal numbers from -8 to 7, two a byte: half as many columns of uint8."""
    steps = np.random.default_rng(0).standard_normal(shape, dtype=np.float32) * 2.5
    halves = np.clip(np.rint(steps), -8, 7).astype(np.int8).view(np.uint8) & 15
    return halves[:, ::2] | halves[:, 1::2] << 4


def _by(columns: int) -> str:
    return "rows" if columns >= SHAPE[1] else f"{columns} columns"


KINDS: dict[str, Callable[..., np.ndarray]] = {
    "normal": normal,
    "pruned": pruned,
    "n_of_m": n_of_m,
    "channels": channels,
    "values": values,
    "grid": grid,
    "scaled": scaled,
    "tables": tables,
    "int8": int8,
    "int4": int4,
}
LABELS: dict[str, Callable[..., str]] = {
    "normal": lambda: "",
    "pruned": lambda zeros: f"{zeros:.0%} zeros",
    "n_of_m": lambda n, m: f"{n}:{m}",
    "channels": lambda: "1/2 rows, 1/4 columns empty",
    "values": lambda count: f"{count} values",
    "grid": lambda bits: f"{bits} bits, one scale",
    "scaled": lambda bits, columns: f"{bits} bits by {_by(columns)}",
    "tables": lambda words, columns: f"{words} words by {_by(columns)}",
    "int8": lambda spread: f"sigma {spread}",
    "int4": lambda: "of 4-bit pairs",
}
