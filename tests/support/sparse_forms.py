"""Every form of `sparse` that tests take: positions with each coding of values, and tensors that fit them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import strategies as st
from support.arrays import DTYPES, ISAS, random_bits, same_bits
from support.references import reference_words

from tersely.backends.cpu import isa
from tersely.codes import registry
from tersely.codes.protocol import Request
from tersely.codes.selection.sparse import candidates, codec, reference
from tersely.core.dtypes import raw_bytes
from tersely.core.encoded import Encoded
from tersely.core.geometry import choose
from tersely.planner import choose as plan
from tersely.tensors.tensor import Tensor

SPARSE = DTYPES[:3]
WHOLE = (np.dtype(np.int8), np.dtype(np.uint8))
FORMS = {
    "bitmap": {"positions": "bitmap"},
    "gaps": {"positions": "gaps"},
    "bitmap_packed": {"positions": "bitmap", "values": "split", "code": "packed"},
    "bitmap_layered": {"positions": "bitmap", "values": "split", "code": "layered", "widths": (2, 1, 3)},
    "elias_fano": {"positions": "elias_fano"},
    "elias_fano_layered": {"positions": "elias_fano", "values": "split", "code": "layered", "widths": (2, 2)},
    "2:4": {"positions": "n_of_m", "n": 2, "m": 4},
    "2:4_layered": {"positions": "n_of_m", "n": 2, "m": 4, "values": "split", "code": "layered", "widths": (3,)},
    "1:4_packed": {"positions": "n_of_m", "n": 1, "m": 4, "values": "split", "code": "packed"},
    "4:8": {"positions": "n_of_m", "n": 4, "m": 8},
    "4:8_layered": {"positions": "n_of_m", "n": 4, "m": 8, "values": "split", "code": "layered", "widths": (2, 2)},
    "bitmap_palette": {"positions": "bitmap", "values": "palette"},
    "bitmap_indices": {"positions": "bitmap", "values": "palette", "code": "layered", "widths": (1, 2)},
    "bitmap_low": {"positions": "bitmap", "values": "palette", "code": "layered", "widths": (2, 2), "packed_bits": 3},
    "elias_fano_low": {"positions": "elias_fano", "values": "palette", "code": "packed", "packed_bits": 2},
    "gaps_layered": {"positions": "gaps", "values": "split", "code": "layered", "widths": (2, 2)},
    "gaps_palette": {"positions": "gaps", "values": "palette"},
    "gaps_low": {"positions": "gaps", "values": "palette", "code": "layered", "widths": (2, 1), "packed_bits": 1},
    "2:4_palette": {"positions": "n_of_m", "n": 2, "m": 4, "values": "palette"},
    "1:4_low": {
        "positions": "n_of_m",
        "n": 1,
        "m": 4,
        "values": "palette",
        "code": "layered",
        "widths": (2,),
        "packed_bits": 1,
    },
}
"""Every kind of positions with every kind of values."""
WHOLE_FORMS = {
    "whole_bitmap": {"positions": "bitmap"},
    "whole_gaps": {"positions": "gaps"},
    "whole_elias_fano": {"positions": "elias_fano"},
    "bitmap_folded": {"positions": "bitmap", "values": "integer"},
    "bitmap_index": {
        "positions": "bitmap",
        "values": "integer",
        "bit_layout": "index",
        "code": "layered",
        "widths": (2, 1, 3),
    },
    "gaps_cut": {
        "positions": "gaps",
        "values": "integer",
        "bit_layout": "float8_e4m3fn",
        "code": "layered",
        "widths": (1, 2),
    },
    "elias_fano_packed": {
        "positions": "elias_fano",
        "values": "integer",
        "bit_layout": "float8_e5m2",
        "code": "packed",
    },
}
"""Those of integers."""
ALL = FORMS | WHOLE_FORMS
WORDS = {
    "bitmap_palette": 16,
    "bitmap_indices": 9,
    "bitmap_low": 200,
    "elias_fano_low": 130,
    "2:4_palette": 33,
    "gaps_palette": 40,
}
WORDS |= {"1:4_low": 17, "gaps_low": 100}
"""Distinct words that are not zero, of forms with palettes."""


def pruned(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype, zeros: float) -> np.ndarray:
    """Random bits, NaN payloads, -0.0 and subnormals among them, and a share of words of zero bits."""
    array = random_bits(rng, shape, dtype).copy()
    array[rng.random(shape) < zeros] = 0
    return array


def words_of(array: np.ndarray) -> np.ndarray:
    return raw_bytes(array).view(f"<u{array.itemsize}").reshape(array.shape)


def fit(array: np.ndarray, form: str, orientation: str = "out_in") -> np.ndarray:
    """The array with few distinct words for palettes, and with what n_of_m or coded gaps do not take set to zero."""
    if form in WORDS and array.size:
        words = words_of(array)
        few = np.unique(words[words != 0])[: WORDS[form]]
        array = (few[words % max(1, few.size)] * (words != 0) if few.size else words).view(array.dtype)
    n, m = ALL[form].get("n", 0), ALL[form].get("m", 0)
    geometry = choose(array.shape, orientation)
    if form.startswith("gaps_") and geometry.columns > 2048:
        n, m = 2000, geometry.columns  # of a row: what 512 blocks hold, fillers among them
    if not m or not array.size:
        return array
    cube, _ = geometry.matrices(words_of(array))
    count, rows, columns = cube.shape
    padded = np.zeros((count, rows, -(-columns // m), m), cube.dtype)
    padded.reshape(count, rows, -1)[:, :, :columns] = cube
    padded[np.cumsum(padded != 0, axis=-1) > n] = 0
    kept = np.ascontiguousarray(padded.reshape(count, rows, -1)[:, :, :columns])
    return np.ascontiguousarray(geometry.tensor(kept)).view(array.dtype)


def code(array: np.ndarray, form: str, orientation: str = "out_in", threads: int | None = None) -> Encoded:
    return plan.encode(array, formulation="sparse", orientation=orientation, threads=threads, **ALL[form])


def quantised(
    rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype, zeros: float, spread: float = 20.0
) -> np.ndarray:
    """Values as quantising leaves them, with a share of zero bytes and both ends of the dtype."""
    limits = np.iinfo(dtype)
    middle = 100 if dtype.kind == "u" else 0
    found = np.array(np.clip(np.rint(rng.standard_normal(shape) * spread + middle), limits.min, limits.max), dtype)
    found[rng.random(shape) < zeros] = 0
    if found.size > 1:
        found.reshape(-1)[0], found.reshape(-1)[-1] = limits.min, limits.max
    return found


SHAPES = ((48, 100), (17, 2300), (3, 40, 33), (32, 32, 3, 3), (20, 6, 5, 5), (7,), (), (100, 2051), (300, 40), (16, 4))
shapes = st.one_of(
    st.lists(st.integers(0, 40), max_size=4).map(tuple),
    st.tuples(st.integers(1, 300), st.integers(1, 90)),
    st.tuples(st.integers(16, 33), st.sampled_from((255, 256, 257, 511, 2048, 2049, 4097))),
)


def check(array: np.ndarray, form: str, orientation: str = "out_in") -> None:
    """Native bytes equal reference bytes, the size is the promised one, every ISA and the reference decode them."""
    array = fit(array, form, orientation)
    encoded = code(array, form, orientation)
    geometry, words = registry.check(encoded).geometry, words_of(array)
    expected = reference.encode(words, geometry, encoded.dtype, encoded.node)
    assert {name: data.tobytes() for name, data in expected.items()} == {
        name: data.tobytes() for name, data in encoded.components.items()
    }
    request = Request(words, encoded.dtype, orientation)
    assert candidates.candidate_for(replace(request, parameters=ALL[form])).nbytes == encoded.nbytes_stored
    positions = form.removeprefix("whole_")
    if positions in ("bitmap", "gaps"):
        promised = codec.statistics(words, geometry, encoded.dtype).component_bytes(positions)
        assert promised == {name: data.nbytes for name, data in encoded.components.items()}
    assert same_bits(reference_words(encoded), words)
    for name in ISAS:
        with isa.using(name):
            assert same_bits(Tensor(encoded).decode(), array), name
