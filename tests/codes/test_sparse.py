"""`sparse`: the native encoder against the reference, every kernel against the original bits and float64, bad files."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.arrays import needs_native, normal, same_bits
from support.guarded import GuardedBytes, run_everything
from support.products import check_batches
from support.references import reference_words, slower_than_dense
from support.sparse_forms import FORMS, SHAPES, SPARSE, check, code, fit, pruned, shapes

import tersely
from tersely.backends.cpu import threads
from tersely.core.dtypes import by_name
from tersely.core.encoded import Node
from tersely.core.errors import ArgumentError, CorruptError, UnsupportedError
from tersely.core.geometry import choose
from tersely.planner import choose as plan
from tersely.tensors.tensor import Tensor

pytestmark = pytest.mark.kernels

SHORT_TAIL = {"tail": "word", "short_tail": "none"}


@pytest.mark.parametrize("dtype", SPARSE, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("form", FORMS)
def test_every_isa_decodes_what_reference_and_native_encode_alike(
    form: str, shape: tuple[int, ...], dtype: np.dtype, rng: np.random.Generator
) -> None:
    large = int(np.prod(shape)) > 100_000  # the reference takes its time
    for zeros in (0.5, 0.999) if large else (0.0, 0.5, 0.95, 0.999, 1.0):
        for orientation in ("out_in", "in_out") if len(shape) in (2, 3) else ("out_in",):
            check(pruned(rng, shape, dtype, zeros), form, orientation)


@given(
    st.sampled_from(sorted(FORMS)),
    st.sampled_from(SPARSE),
    shapes,
    st.sampled_from((0.0, 0.3, 0.9, 0.99, 1.0)),
    st.integers(0, 2**32 - 1),
)
def test_whatever_the_shape_and_bits(
    form: str, dtype: np.dtype, shape: tuple[int, ...], zeros: float, seed: int
) -> None:
    check(pruned(np.random.default_rng(seed), shape, dtype, zeros), form)


@pytest.mark.parametrize("form", FORMS)
def test_tensors_without_weights(form: str) -> None:
    for shape in ((0,), (0, 16, 16), (16, 0), (3, 0, 4)):
        check(np.zeros(shape, np.float32), form)


def test_minus_zero_is_a_value(rng: np.random.Generator) -> None:
    array = np.zeros((32, 64), np.float32)
    array[::3, ::5] = -0.0
    for form in FORMS:
        tensor = Tensor(code(array, form))
        assert same_bits(tensor.decode(), array)
        assert np.signbit(tensor[3, 5])
        assert not np.signbit(tensor[3, 6])


@pytest.mark.parametrize("dtype", SPARSE, ids=str)
@pytest.mark.parametrize("shape", [s for s in SHAPES if s], ids=str)
@pytest.mark.parametrize("form", FORMS)
def test_rows_and_single_weights_are_exact(
    form: str, shape: tuple[int, ...], dtype: np.dtype, rng: np.random.Generator
) -> None:
    for zeros in (0.3, 0.9):
        plain = pruned(rng, shape, dtype, zeros)
        for orientation in ("out_in", "in_out") if len(shape) in (2, 3) else ("out_in",):
            array = fit(plain, form, orientation)
            tensor = Tensor(code(array, form, orientation))
            for first, last in ((0, 1), (1, shape[0]), (shape[0] // 2, shape[0] // 2), (-2, shape[0])):
                assert same_bits(tensor.rows(first, last), np.ascontiguousarray(array[first:last]))
            for _ in range(10):
                index = tuple(int(rng.integers(-length, length)) for length in shape)
                assert np.asarray(tensor[index]).tobytes() == array[index].tobytes()


@pytest.mark.parametrize("dtype", SPARSE, ids=str)
@pytest.mark.parametrize("shape", [(48, 100), (64, 4100), (300, 30), (17, 2051)], ids=str)
@pytest.mark.parametrize("form", FORMS)
def test_products_are_within_the_bound(
    form: str, shape: tuple[int, int], dtype: np.dtype, each_isa: str, rng: np.random.Generator
) -> None:
    bias = rng.standard_normal(shape[0]).astype(np.float32)
    batches = (1, 5) if each_isa in ("scalar", "reference") else (1, 2, 3, 4, 5, 9, 16, 17, 40)
    for zeros in (0.5, 0.93):
        plain = normal(rng, shape, dtype)
        plain[rng.random(shape) < zeros] = 0
        for orientation in ("out_in", "in_out"):
            weight = fit(plain, form, orientation)
            tensor = Tensor(code(weight, form, orientation))
            for x_dtype in (np.dtype(np.float32), SPARSE[1]):
                check_batches(tensor, weight, bias, x_dtype, batches, rng)


@pytest.mark.parametrize("batch", [1, 4, 16, 33])
@pytest.mark.parametrize("form", FORMS)
def test_bits_do_not_depend_on_threads(form: str, batch: int, each_isa: str, rng: np.random.Generator) -> None:
    weight = normal(rng, (600, 2500), np.dtype(np.float32))
    weight[rng.random(weight.shape) < 0.9] = 0
    before = threads.get_num_threads()
    weight = fit(weight, form)
    tensor = Tensor(code(weight, form))
    x, back = normal(rng, (batch, 2500), SPARSE[0]), normal(rng, (batch, 600), SPARSE[0])
    results, components = set(), set()
    for count in (1, 2, 7):
        tersely.set_num_threads(count)
        results.add((tersely.linear(x, tensor).tobytes(), tersely.linear_transposed(back, tensor).tobytes()))
        again = code(weight, form, threads=count).components
        components.add(tuple(data.tobytes() for data in again.values()))
    tersely.set_num_threads(before)
    assert len(results) == 1
    assert len(components) == 1


@pytest.mark.parametrize("form", [form for form in FORMS if ":" not in form])
def test_padding_never_enters_a_product(form: str, each_isa: str, rng: np.random.Generator) -> None:
    """Rows and columns that fill no chunk, entries that fill no lane, x of infinities: only real weights may count."""
    weight = (np.abs(normal(rng, (50, 37), np.dtype(np.float32))) + 0.01).astype(np.float32)
    tensor = Tensor(code(fit(weight, form), form))
    for batch in (1, 3, 4, 7, 13, 20):
        x = np.full((batch, 37), np.inf, np.float32)
        assert np.isposinf(tersely.linear(x, tensor)).all()


@needs_native
@pytest.mark.parametrize("dtype", SPARSE, ids=str)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("hostile", [False, True], ids=["honest", "hostile"])
def test_no_kernel_reads_past_a_component(
    form: str, dtype: np.dtype, hostile: bool, each_isa: str, rng: np.random.Generator
) -> None:
    for shape in ((48, 100), (32, 2100), (280, 32), (5,)):
        for zeros in (0.1, 0.9):
            encoded = code(fit(pruned(rng, shape, dtype, zeros), form), form)
            guards = {name: GuardedBytes(data) for name, data in encoded.components.items()}
            for fill in (None, 0xFF, 0x00, "random") if hostile else (None,):
                for name, guard in guards.items():
                    if name.endswith(("directory", "rows")) or fill is None:
                        continue  # checked when a file is opened; payload is not
                    guard.array[:] = rng.integers(256, size=guard.array.size) if fill == "random" else fill
                components = {name: guard.array for name, guard in guards.items()}
                run_everything(Tensor(dataclasses.replace(encoded, components=components)), rng)


@pytest.mark.parametrize("form", FORMS)
def test_impossible_directories_are_refused(form: str, rng: np.random.Generator) -> None:
    array = pruned(rng, (64, 4096), np.dtype(np.float32), 0.9)
    encoded = code(fit(array, form), form)
    for name in encoded.components:
        if not name.endswith("directory"):
            continue
        used = encoded.components[name].view("<u8").nonzero()[0][-1] + 1
        for word in range(int(used)):
            for value in (1, 2**20, 2**31, 2**63, 2**64 - 2**20):
                directory = encoded.components[name].copy()
                directory.view("<u8")[word] += np.uint64(value)
                components = {**encoded.components, name: directory}
                if value == 1 and (
                    name != "directory" or form in ("bitmap", "elias_fano") or form.startswith("deltas")
                ):
                    continue  # may be what the shape allows; what comes of it is another test
                with pytest.raises(CorruptError, match=r"component"):
                    Tensor(dataclasses.replace(encoded, components=components))


@pytest.mark.parametrize("form", [form for form in FORMS if form.startswith("bitmap_")])
def test_values_that_are_not_whole_groups_are_refused(form: str, rng: np.random.Generator) -> None:
    encoded = code(fit(pruned(rng, (64, 4096), np.dtype(np.float32), 0.9), form), form)
    directory = encoded.components["directory"].copy()
    last = int(directory.view("<u8").nonzero()[0][-1])
    directory.view("<u8")[last] -= 1  # as many groups as before
    with pytest.raises(CorruptError, match="not whole groups") as refused:
        Tensor(dataclasses.replace(encoded, components={**encoded.components, "directory": directory}))
    assert (refused.value.component, refused.value.byte) == ("directory", last * 8)


@needs_native
@pytest.mark.parametrize("form", FORMS)
def test_values_that_are_missing_read_as_the_reference_says(form: str, each_isa: str, rng: np.random.Generator) -> None:
    """Masks and gaps at odds with the directory: the same bits everywhere, none from another segment."""
    for shape in ((48, 100), (33, 4100)):
        array = pruned(rng, shape, np.dtype(np.float32), 0.9)
        encoded = code(fit(array, form), form)
        name = next(name for name in ("masks", "gaps", "codes", "upper") if name in encoded.components)
        component = encoded.components[name].copy()
        component[:-128] = rng.integers(256, size=component.size - 128)
        damaged = dataclasses.replace(encoded, components={**encoded.components, name: component})
        assert same_bits(Tensor(damaged).decode().view("<u4"), reference_words(damaged))


def test_bad_nodes_are_refused(rng: np.random.Generator) -> None:
    encoded = tersely.encode(pruned(rng, (32, 64), np.dtype(np.float32), 0.5), formulation="sparse").encoded
    values = encoded.node.children["values"]
    for node in (
        Node("sparse", 2, encoded.node.parameters, encoded.node.children),
        Node("sparse", 3, encoded.node.parameters, encoded.node.children),
        Node("sparse", 2, {"positions": "n_of_m"}, encoded.node.children),
        Node("sparse", 2, {"positions": "n_of_m", "n": 3, "m": 4}, encoded.node.children),
        Node("sparse", 2, {"positions": "bitmap", "n": 2, "m": 4}, encoded.node.children),
        Node("sparse", 1, {"positions": "n_of_m", "n": 2, "m": 4}, encoded.node.children),
        Node("sparse", 1, {"positions": "tree"}, encoded.node.children),
        Node("sparse", 1, {"positions": ["bitmap"]}, encoded.node.children),
        Node("sparse", 1, {"positions": "bitmap", "colour": 1}, encoded.node.children),
        Node("sparse", 1, {}, encoded.node.children),
        Node("sparse", 1, encoded.node.parameters, {}),
        Node("sparse", 1, encoded.node.parameters, {"values": values, "more": values}),
        Node("sparse", 1, encoded.node.parameters, {"values": Node("split", 1)}),
        Node("sparse", 1, encoded.node.parameters, {"values": Node("dense", 2)}),
        Node("sparse", 1, encoded.node.parameters, {"values": Node("dense", 1, {}, {"x": values})}),
    ):
        with pytest.raises(UnsupportedError):
            Tensor(dataclasses.replace(encoded, node=node))
    nested = code(pruned(rng, (32, 64), np.dtype(np.float32), 0.5), "bitmap_layered")
    inside = nested.node.children["values"]
    for version, positions, child in (
        (1, {"positions": "bitmap"}, inside),
        (1, {"positions": "deltas"}, inside),
        (2, {"positions": "bitmap"}, dataclasses.replace(inside, version=2)),
        (2, {"positions": "bitmap"}, dataclasses.replace(inside, formulation="sparse")),
        (2, {"positions": "bitmap"}, dataclasses.replace(inside, parameters=dict(inside.parameters) | {"x": 1})),
        (2, {"positions": "bitmap"}, dataclasses.replace(inside, children={"values": values})),
        (2, {"positions": "bitmap"}, dataclasses.replace(inside, parameters=dict(inside.parameters) | SHORT_TAIL)),
    ):
        with pytest.raises(UnsupportedError):
            Tensor(dataclasses.replace(nested, node=Node("sparse", version, positions, {"values": child})))


@pytest.mark.parametrize("form", FORMS)
def test_components_of_another_length_are_refused(form: str, rng: np.random.Generator) -> None:
    encoded = code(fit(pruned(rng, (32, 64), np.dtype(np.float32), 0.5), form), form)
    for name in encoded.components:
        shorter = {**encoded.components, name: encoded.components[name][:-64]}
        with pytest.raises(CorruptError, match=f"component '{name}'.*bytes where"):
            Tensor(dataclasses.replace(encoded, components=shorter))
        missing = {key: data for key, data in encoded.components.items() if key != name}
        with pytest.raises(CorruptError, match="missing"):
            Tensor(dataclasses.replace(encoded, components=missing))
    with pytest.raises(CorruptError, match="does not have"):
        Tensor(dataclasses.replace(encoded, components={**encoded.components, "extra": np.zeros(64, np.uint8)}))


@pytest.mark.parametrize(
    ("dtype", "options", "sentence"),
    [
        (np.float32, {"positions": "tree"}, "unknown positions 'tree'"),
        (np.float32, {"positions": []}, "unknown positions"),
        (np.float32, {"colour": 1}, "no parameter 'colour'"),
        (np.float32, {"values": "tree"}, "unknown values 'tree'"),
        (np.float32, {"values": "split", "code": "tree"}, "unknown code 'tree'"),
        (np.float32, {"values": "split", "colour": 1}, "no parameter 'colour'"),
        (np.float32, {"values": "palette", "colour": 1}, "no parameter 'colour'"),
        (np.float32, {"values": "palette", "code": "tree"}, "unknown code 'tree'"),
        (np.float32, {"values": "palette", "code": "layered", "widths": (2,), "packed_bits": 8}, "packed_bits must be"),
        (np.float32, {"positions": "n_of_m", "n": 3, "m": 4}, "3:4 is no pattern"),
        (np.float64, {}, "codes float32, bfloat16, float16, int8, uint8, not float64"),
    ],
)
def test_wrong_arguments_are_refused_with_a_sentence(dtype: type, options: dict, sentence: str) -> None:
    with pytest.raises(ArgumentError, match=sentence):
        plan.encode(np.zeros((16, 16), dtype), formulation="sparse", **options)


@pytest.mark.parametrize("form", ["bitmap", "deltas", "bitmap_layered", "2:4_layered", "elias_fano_layered"])
def test_files_find_every_changed_byte(form: str, rng: np.random.Generator, tmp_path: Path) -> None:
    array = pruned(rng, (20, 40), np.dtype(np.float32), 0.8)
    path = tmp_path / "w.safetensors"
    array = fit(array, form)
    tersely.save_file({"w": Tensor(code(array, form))}, path)
    assert same_bits(tersely.load_file(path, check="full")["w"].decode(), array)
    raw = path.read_bytes()
    for at in range(len(raw)):
        path.write_bytes(raw[:at] + bytes([raw[at] ^ 1 << at % 8]) + raw[at + 1 :])
        with pytest.raises(tersely.TerselyError):
            tersely.load_file(path, check="full")["w"].decode()
    for cut in (*range(0, len(raw), 37), len(raw) - 1):
        path.write_bytes(raw[:cut])
        with pytest.raises(tersely.TerselyError):
            tersely.load_file(path, check="full")["w"].decode()


def test_what_is_not_n_of_m_is_refused(rng: np.random.Generator) -> None:
    array = fit(pruned(rng, (64, 80), np.dtype(np.float32), 0.2), "2:4").copy()
    code(array, "2:4")
    array[33, 40:43] = 1
    for form in ("2:4", "2:4_layered", "1:4_packed"):
        with pytest.raises(ArgumentError, match="neighbouring columns of a row have more than"):
            code(array, form)


def test_the_geometry_is_the_tensors_own(rng: np.random.Generator) -> None:
    array = pruned(rng, (64, 48), np.dtype(np.float32), 0.9)
    tensor = tersely.encode(array, formulation="sparse", orientation="in_out")
    assert tensor.geometry == choose((64, 48), "in_out")
    assert by_name(tensor.encoded.dtype).numpy == array.dtype


def test_gaps_with_many_entries_are_called_slow(rng: np.random.Generator) -> None:
    for zeros, slow in ((0.1, True), (0.9, False)):
        coded = tersely.encode(pruned(rng, (256, 512), SPARSE[0], zeros), formulation="sparse", positions="deltas")
        assert slower_than_dense(coded.encoded, "portable") is slow
    coded = tersely.encode(pruned(rng, (256, 512), SPARSE[0], 0.1), formulation="sparse", positions="bitmap")
    assert not slower_than_dense(coded.encoded, "portable")
