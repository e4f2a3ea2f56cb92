"""Every code, dtype and instruction set: there and back, by native code and by the NumPy references."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from contract.samples import CELLS, SAMPLES, Sample, each_cell, each_coded_cell
from hypothesis import given
from hypothesis import strategies as st
from support.arrays import ISAS, needs_native, same_bits, without_native
from support.profile import one as one_of
from support.profile import pick, spread

import tersely
from tersely.backends.cpu import isa
from tersely.codes import registry
from tersely.core.encoded import Encoded
from tersely.core.errors import ArgumentError
from tersely.core.geometry import choose as geometry_of
from tersely.planner import choose
from tersely.tensors.tensor import Tensor

pytestmark = [pytest.mark.kernels, pytest.mark.exhaustive]
LARGE = 100_000
"""Weights for which the references take their time."""


def bytes_of(encoded: Encoded) -> dict[str, bytes]:
    return {name: data.tobytes() for name, data in encoded.components.items()}


@contextmanager
def told(*case: object) -> Iterator[None]:
    """Errors say which case of a loop failed."""
    try:
        yield
    except Exception as error:
        error.add_note(f"case: {case}")
        raise


def check(sample: Sample, array: np.ndarray, orientation: str) -> None:
    """Native bytes equal reference bytes, every ISA writes and reads them, the size is the one that was promised."""
    encoded = sample.encode(array, orientation)
    assert encoded.node.formulation == sample.code
    with without_native():
        again = sample.encode(array, orientation)
        assert same_bits(registry.decode(encoded), array)
    assert again == Encoded(**{**vars(encoded), "components": again.components})
    assert bytes_of(again) == bytes_of(encoded)
    for name in ISAS:
        with isa.using(name):
            assert same_bits(Tensor(encoded).decode(), array), name
            if array.size <= LARGE:
                assert bytes_of(sample.encode(array, orientation)) == bytes_of(encoded), name
    options = sample.options_for(array)
    words = choose.raw_bytes(array).view(f"<u{array.itemsize}").reshape(array.shape)
    objective = options.pop("objective", "balanced")
    request = choose.Request(words, encoded.dtype, orientation, objective, formulation=sample.code, parameters=options)
    if array.dtype.itemsize <= 4:
        assert choose.candidate_for(request).nbytes == encoded.nbytes_stored


def test_every_code_has_samples() -> None:
    """A code that is added, or a dtype of one, is held to this contract, or this fails."""
    for row in registry.ROWS:
        own = [sample for sample in SAMPLES if sample.code == row.NAME]
        dtypes = {tersely.core.dtypes.by_name(name).numpy for name in row.DTYPES}
        assert {dtype for sample in own for dtype in sample.dtypes} == dtypes, row.NAME
    names = [(sample.code, sample.name, dtype) for sample in SAMPLES for dtype in sample.dtypes]
    assert len(names) == len(set(names))


@each_cell
def test_native_code_and_references_write_and_read_the_same(
    sample: Sample, dtype: np.dtype, rng: np.random.Generator
) -> None:
    for shape in spread(sample.shapes, 3, sample.name, dtype):
        large = int(np.prod(shape)) > LARGE
        kinds = spread(range(sample.kinds), 4, sample.name, shape, dtype)
        for kind in kinds[:2] if large else kinds:
            for orientation in pick(sample.orientations(shape), sample.name, shape, kind):
                with told(shape, kind, orientation):
                    check(sample, sample.bits(rng, shape, dtype, orientation, kind), orientation)


SMALL = st.one_of(
    st.lists(st.integers(0, 20), max_size=4).map(tuple),
    st.tuples(st.integers(1, 300), st.integers(1, 90)),
    st.tuples(st.integers(16, 33), st.sampled_from((255, 256, 257, 2048, 2049, 4097))),
)


MATRIX = st.tuples(
    st.integers(1, 5).map(lambda panels: 16 * panels),
    st.one_of(st.integers(16, 300), st.sampled_from((2048, 2052, 4096))),
)


@pytest.mark.parametrize(
    "code",
    [
        pytest.param(name, marks=pytest.mark.bfloat16_kernels) if name == "split" else name
        for name in registry.NAMES[1:]
    ],
)
@given(st.data(), st.integers(0, 2**32 - 1))
def test_whatever_the_shape_and_bits(code: str, data: st.DataObject, seed: int) -> None:
    """Tensors without weights among them."""
    sample = data.draw(st.sampled_from([sample for sample in SAMPLES if sample.code == code]))
    dtype, shape = data.draw(st.sampled_from(sample.dtypes)), data.draw(SMALL if sample.folds else MATRIX)
    rng = np.random.default_rng(seed)
    kind = int(rng.integers(sample.kinds))
    array = sample.bits(rng, shape, dtype, "out_in", kind) if np.prod(shape, dtype=np.int64) else np.zeros(shape, dtype)
    try:
        sample.encode(array)
    except ArgumentError:  # too few weights to tell their scale, too few columns for a group, nothing that is empty
        assert not sample.folds or ("nibble" in sample.name and not shape)
        return
    check(sample, array, "out_in")


@each_cell
def test_rows_and_single_weights_are_exact(sample: Sample, dtype: np.dtype, rng: np.random.Generator) -> None:
    for shape in filter(None, spread(sample.shapes, 2, sample.name, dtype, "rows")):
        for orientation in sample.orientations(shape):
            for kind in pick(range(sample.kinds), sample.name, shape, dtype, orientation):
                array = sample.bits(rng, shape, dtype, orientation, kind)
                tensor = Tensor(sample.encode(array, orientation))
                with told(shape, kind, orientation):
                    check_reading(tensor, array, rng)


def check_reading(tensor: Tensor, array: np.ndarray, rng: np.random.Generator) -> None:
    rows = len(array)
    for first, last in ((0, 1), (1, rows), (rows // 2, rows // 2), (-2, rows), (15, 17)):
        assert same_bits(tensor.rows(first, last), np.ascontiguousarray(array[first:last]))
    for _ in range(12):
        index = tuple(int(rng.integers(-length, length)) for length in array.shape)
        assert np.asarray(tensor[index]).tobytes() == array[index].tobytes()


@needs_native
@pytest.mark.parametrize(
    ("sample", "dtype"),
    [cell for cell in CELLS if cell.values[0].code != "dense" and "nibble" not in cell.id],  # nobody looks pairs up
)
def test_rows_are_picked_in_any_order(sample: Sample, dtype: np.dtype, each_isa: str, rng: np.random.Generator) -> None:
    """Into memory that was used before; a row that there is not is named."""
    shape = (96, 192) if sample.in_one_matrix else (80, 304)
    array = sample.bits(rng, shape, dtype, "out_in", 0)
    matrix = Tensor(sample.encode(array)).matrix
    wanted = rng.integers(shape[0], size=40)
    wanted[:4] = 0, shape[0] - 1, 1, 1
    out = np.ones((40, shape[1]), dtype)
    assert matrix.pick_at(wanted.ctypes.data, 40, out.ctypes.data, 2) == -1
    assert same_bits(out, array[wanted])
    for bad in (-1, shape[0]):
        wanted[7] = bad
        assert matrix.pick_at(wanted.ctypes.data, 40, out.ctypes.data, 2) == 7


@each_coded_cell
def test_encoding_does_not_depend_on_threads(sample: Sample, dtype: np.dtype, rng: np.random.Generator) -> None:
    shape = (96, 600) if sample.in_one_matrix else (112, 1264)
    array = sample.weights(rng, shape, dtype, "out_in", 0)
    one = sample.encode(array, threads=1)
    for count in one_of((2, 5), sample.name, dtype):
        other = sample.encode(array, threads=count)
        assert other.node == one.node
        assert bytes_of(other) == bytes_of(one)
        assert same_bits(Tensor(one).decode(threads=count), array)


@each_coded_cell
def test_one_matrix_of_a_stack_is_decodable_alone(sample: Sample, dtype: np.dtype, rng: np.random.Generator) -> None:
    if sample.in_one_matrix:
        pytest.skip("holds one matrix")
    array = sample.weights(rng, (4, 32, 64), dtype, "out_in", 0)
    tensor = Tensor(sample.encode(array))
    assert tensor.geometry == geometry_of((4, 32, 64))
    assert same_bits(tensor[2], array[2])


@each_cell
def test_decoding_into_given_memory(sample: Sample, dtype: np.dtype, rng: np.random.Generator) -> None:
    """At any address, nothing beside it."""
    shape = (96, 48)
    array = sample.bits(rng, shape, dtype, "out_in", 0)
    tensor, room = Tensor(sample.encode(array)), np.zeros(array.size + 64, dtype)
    for shift in (0, 1, 7, 31):
        room.view(np.uint8)[:] = 0
        out = room[shift : shift + array.size].reshape(shape)
        assert tensor.decode(out=out) is out
        assert same_bits(np.array(out), array)
        assert not room.view(np.uint8)[: shift * dtype.itemsize].any()
        assert not room.view(np.uint8)[(shift + array.size) * dtype.itemsize :].any()
