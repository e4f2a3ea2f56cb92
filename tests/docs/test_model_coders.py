"""Peers that are ours and plain, of other methods of model coding: every bit comes back, products are those of the matrix,
and sizes are what the formats take."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ml_dtypes
import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler")
NAMES = ("deep_compression", "csr", "csc", "bitmap", "hac", "shac", "cer", "cser", "fixed12", "wavelet")
MULTIPLY = {
    "csr": ("float32", "int8"), "csc": ("float32", "int8"), "bitmap": ("float32", "int8"),
    "hac": ("float32", "int8", "float16", "bfloat16"), "shac": ("float32", "int8", "float16", "bfloat16"),
    "cer": ("float32", "int8", "float16", "bfloat16"), "cser": ("float32", "int8", "float16", "bfloat16"),
    "fixed12": ("float32", "bfloat16"), "wavelet": ("float32", "int8", "bfloat16"),
}  # fmt: skip
"""Dtypes that a peer must have a product for."""


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Imports a module of `benchmarks`, which is no part of the package."""
    monkeypatch.syspath_prepend(str(ROOT))
    return lambda name: importlib.import_module(f"benchmarks.{name}")


def _odd_values(weights: np.ndarray) -> np.ndarray:
    """With zeros, a row of them, zeros of the other sign, NaNs of two payloads, infinity and a subnormal."""
    found = weights.copy()
    found.reshape(-1)[::3] = 0
    found[4] = 0
    found[1, :6] = np.array([0x80000000, 0x7FA00001, 0xFFC00000, 0x7F800000, 1, 0xFF800000], np.uint32).view(np.float32)
    return found


def _dense(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return np.asarray(rng.standard_normal(shape) * 0.02, np.float32)


def _pruned(rng: np.random.Generator, zeros: float, *shape: int) -> np.ndarray:
    return np.where(rng.random(shape) < zeros, np.float32(0), _dense(rng, *shape))


MADE: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "dense": lambda rng: _dense(rng, 19, 53),
    "pruned": lambda rng: _pruned(rng, 0.8, 37, 53),
    "hardly pruned": lambda rng: _pruned(rng, 0.3, 9, 131),
    "k-means": lambda rng: np.asarray(np.round(_dense(rng, 37, 53) * 200) / 200, np.float32),
    "pruned k-means": lambda rng: np.asarray(np.round(_pruned(rng, 0.9, 37, 53) * 200) / 200, np.float32),
    "odd values": lambda rng: _odd_values(_dense(rng, 9, 64)),
    "convolution": lambda rng: _pruned(rng, 0.995, 16, 40, 3, 3),
    "long runs": lambda rng: np.where(rng.random((3, 70_000)) < 0.999, np.float32(0), np.float32(1.25)),
    "int8": lambda rng: rng.integers(-128, 128, (31, 45), np.int8),
    "pruned int8": lambda rng: np.asarray(np.round(_pruned(rng, 0.8, 31, 45) * 2000), np.int8),
    "uint8": lambda rng: rng.integers(120, 136, (31, 45), np.uint8),
    "int16": lambda rng: rng.integers(-300, 300, (31, 45), np.int16),
    "bfloat16": lambda rng: _dense(rng, 37, 53).astype(ml_dtypes.bfloat16),
    "pruned bfloat16": lambda rng: _pruned(rng, 0.8, 37, 53).astype(ml_dtypes.bfloat16),
    "float16": lambda rng: _pruned(rng, 0.6, 37, 53).astype(np.float16),
    "float64": lambda rng: np.round(_dense(rng, 12, 13).astype(np.float64), 2),
    "zeros": lambda rng: np.zeros((9, 70), np.float32),
    "one value": lambda rng: np.full((9, 70), 2.5, np.float32),
    "one column": lambda rng: _pruned(rng, 0.5, 50, 1),
    "one row": lambda rng: _pruned(rng, 0.5, 1, 50),
    "one dimension": lambda rng: _dense(rng, 33),
    "no dimension": lambda rng: np.array(3.5, np.float32),
    "no rows": lambda rng: np.zeros((0, 4), np.float32),
    "no columns": lambda rng: np.zeros((4, 0), np.float32),
}


@pytest.fixture(params=[*NAMES, "wavelet by elements"])
def peer(request: pytest.FixtureRequest, programs: Any) -> Any:
    if request.param in NAMES:
        found = programs(f"peers.{request.param}")
        assert found.version() == "ours"
        return found
    wavelet = programs("peers.wavelet")
    return SimpleNamespace(
        __name__="wavelet", encode=lambda array: wavelet.encode_as(array, True), decode=wavelet.decode,
        product=wavelet.product,
    )  # fmt: skip


def _name(peer: Any) -> str:
    return str(peer.__name__).rpartition(".")[2]


@pytest.mark.parametrize("made", MADE)
def test_every_bit_comes_back_and_products_are_of_the_matrix(
    programs: Any, peer: Any, made: str, rng: np.random.Generator
) -> None:
    peers, array = programs("peers"), MADE[made](rng)
    if not peers.takes(peer, array):
        assert _name(peer) == "fixed12", "all others take every array of these"
        assert array.dtype.name not in peer.TAKES
        return
    stored = peer.encode(array)
    assert (stored.shape, stored.dtype) == (array.shape, array.dtype)
    assert peers.same_bits(peer, stored, array)
    matrix = array.reshape(array.shape[0] if array.ndim > 1 else 1, -1) if array.size else array
    x = rng.standard_normal((1, matrix.shape[1]), dtype=np.float32)
    product = peer.product(stored, x)
    if product is None:
        assert array.dtype.name not in MULTIPLY.get(_name(peer), ()) or not array.size, "it must have a product"
        return
    assert peer.product(stored, np.ones((2, matrix.shape[1]), np.float32)) is None, "one row of x"
    with np.errstate(invalid="ignore"):
        terms = matrix.astype(np.float64) * x[0]
        exact = terms.sum(axis=1)
    for _ in range(2):  # nothing is left of the first one
        y = product()
        finite = np.isfinite(exact)
        assert np.array_equal(np.isfinite(y), finite)
        bound = 1e-6 * (np.abs(terms[finite]).sum(axis=1) + np.abs(x).sum() * 1e-2)
        assert (np.abs(y[finite] - exact[finite]) <= bound).all()


def test_what_a_peer_does_not_take_is_said(programs: Any, rng: np.random.Generator) -> None:
    peers, many = programs("peers"), np.arange(70_000, dtype=np.float32).reshape(70, 1000)
    for name in NAMES:
        one = programs(f"peers.{name}")
        if name in ("deep_compression", "hac", "shac", "cer", "cser"):
            assert not peers.takes(one, many)
            with pytest.raises(ValueError, match="distinct values are taken, and the tensor has more"):
                one.encode(many)
        else:
            assert peers.takes(one, many)
            assert peers.same_bits(one, one.encode(many), many)
    arrangements, variants = programs("arrangements"), programs("variants")
    halves = {"a": many[:35], "b": many[35:]}
    found = arrangements.of(variants.write(halves), "hac", programs("peers.hac"))
    assert list(found) == ["tensors"], "as one they have too many values"


def test_huffman_codes_are_the_shortest(programs: Any, rng: np.random.Generator) -> None:
    codes = programs("peers.codes")
    assert codes.code_lengths(np.array([0, 8, 4, 2, 1, 1])).tolist() == [0, 1, 2, 3, 4, 4]
    assert codes.code_lengths(np.array([0, 5, 0])).tolist() == [0, 0, 0], "one symbol alone needs no bits"
    steep = np.array([1 << k for k in range(30)])
    assert codes.code_lengths(steep).max() == 29, "no limit"
    fibonacci = [1, 1]
    while len(fibonacci) < 22:
        fibonacci.append(sum(fibonacci[-2:]))
    symbols = rng.permutation(np.repeat(np.arange(22), fibonacci))
    coded = codes.encode(symbols, 22)
    assert coded.lengths.max() > 12, "codes longer than the table of the decoder"
    assert np.array_equal(codes.decode(coded), symbols)
    assert coded.nbytes == codes.size_of(np.bincount(symbols))


def test_sizes_are_those_of_the_formats(programs: Any, rng: np.random.Generator) -> None:
    size = {name: programs(f"peers.{name}").encode for name in NAMES}
    array = np.zeros((4, 1000), np.float32)
    array[0, :10] = array[3, 5] = 1.5
    assert size["csr"](array).nbytes == 11 * (4 + 2) + 5 * 4
    assert size["csc"](array).nbytes == 11 * (4 + 2) + 1001 * 4
    assert size["bitmap"](array).nbytes == 4000 // 8 + 11 * 4
    assert size["hac"](array).nbytes == 4000 // 8 + 2 * (4 + 1)
    assert size["shac"](array).nbytes == 11 * 2 + 5 * 4 + 4 + 1
    # Values, columns, pointers to two lists and their end, and to four rows and their end, all of 16 bits.
    assert size["cer"](array).nbytes == 2 * 4 + 11 * 2 + 3 * 2 + 5 * 2
    assert size["cser"](array).nbytes == size["cer"](array).nbytes + 2
    assert size["csr"](np.ones((1, 70_000), np.int8)).nbytes == 70_000 * (1 + 4) + 2 * 4
    exponents = np.arange(120, 135, dtype=np.uint32)
    words = np.repeat(exponents, 100)[None] << 7
    known = words.astype(np.uint16).view(ml_dtypes.bfloat16)
    assert size["fixed12"](known).nbytes == 1500 * 3 // 2 + 15
    other = np.concatenate([known, np.full((1, 1500), 0, ml_dtypes.bfloat16)], axis=1)
    assert size["fixed12"](other).nbytes == 3000 * 3 // 2 + 15 + 100, "the least frequent exponent is escaped"


def test_deep_compression_cuts_long_gaps(programs: Any) -> None:
    deep = programs("peers.deep_compression")
    array = np.zeros((1, 200), np.float32)
    array[0, [0, 31, 64, 199]] = 1, 2, 3, 4
    gaps, symbols, codebook = deep.encode(array).data
    codes = programs("peers.codes")
    found = codebook[codes.decode(symbols)].view(np.float32).tolist()
    assert codes.decode(gaps).tolist() == [0, 30, 31, 0, 31, 31, 31, 31, 6], "5 bits in a fully connected layer"
    assert found == [1, 2, 0, 3, 0, 0, 0, 0, 4]
    convolution = deep.encode(array.reshape(1, 200, 1, 1)).data[0]
    assert codes.decode(convolution).tolist() == [0, 30, 32, 134], "8 bits in a convolution"


def test_wavelet_trees_take_what_is_said_of_them(programs: Any, rng: np.random.Generator) -> None:
    wavelet, tree = programs("peers.wavelet"), programs("peers.wavelet_tree")
    symbols = rng.permutation(np.repeat(np.arange(255, 257), 5120)).astype(np.uint16)
    built = tree.build(symbols)
    assert np.array_equal(tree.decode(built), symbols)
    assert built.nbytes == 10240 // 8 + 10240 // 512 * 4 + 4 + 257, "a bit a symbol, and a count for each 512 of them"
    for array in (_dense(rng, 20, 300), _pruned(rng, 0.9, 20, 300), np.round(_pruned(rng, 0.7, 20, 300) * 300)):
        shares = wavelet.shares(array)
        for name, by_elements in (("E", True), ("B", False)):
            stored = wavelet.encode_as(array, by_elements)
            assert shares[name] == pytest.approx(100 * stored.nbytes / array.nbytes)
        assert shares["HF"] < shares["B"] < shares["E"], "delimiters and counts cost, and a row has fewer of them"
    sparse = _pruned(rng, 0.9, 20, 300)
    operands = wavelet.sequence_of(sparse, False)
    assert operands.pruned
    assert operands.symbols().tolist().count(tree.DELIMITER) == 20
    assert wavelet.sequence_of(sparse, True).symbols().tolist().count(tree.DELIMITER) == np.count_nonzero(sparse)
