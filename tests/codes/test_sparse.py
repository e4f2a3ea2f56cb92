"""`sparse`: the native encoder against the reference, every kernel against the original bits and float64, bad files."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from support.arrays import needs_native, normal, same_bits
from support.references import reference_words, slower_than_dense
from support.sparse_forms import FORMS, SPARSE, check, code, fit, pruned

import tersely
from tersely.core.dtypes import by_name
from tersely.core.encoded import Node
from tersely.core.errors import ArgumentError, CorruptError, UnsupportedError
from tersely.core.geometry import choose
from tersely.planner import choose as plan
from tersely.tensors.tensor import Tensor

pytestmark = pytest.mark.kernels

SHORT_TAIL = {"tail": "word", "short_tail": "none"}


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


@pytest.mark.parametrize("form", [form for form in FORMS if ":" not in form])
def test_padding_never_enters_a_product(form: str, each_isa: str, rng: np.random.Generator) -> None:
    """Rows and columns that fill no chunk, entries that fill no lane, x of infinities: only real weights may count."""
    weight = (np.abs(normal(rng, (50, 37), np.dtype(np.float32))) + 0.01).astype(np.float32)
    tensor = Tensor(code(fit(weight, form), form))
    for batch in (1, 3, 4, 7, 13, 20):
        x = np.full((batch, 37), np.inf, np.float32)
        assert np.isposinf(tersely.linear(x, tensor)).all()


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
        Node("sparse", 1, {"positions": "n_of_m"}, encoded.node.children),
        Node("sparse", 1, {"positions": "n_of_m", "n": 3, "m": 4}, encoded.node.children),
        Node("sparse", 1, {"positions": "bitmap", "n": 2, "m": 4}, encoded.node.children),
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
        with pytest.raises((UnsupportedError, CorruptError)):
            Tensor(dataclasses.replace(encoded, node=node))
    nested = code(pruned(rng, (32, 64), np.dtype(np.float32), 0.5), "bitmap_layered")
    inside = nested.node.children["values"]
    for version, positions, child in (
        (2, {"positions": "bitmap"}, inside),
        (1, {"positions": "bitmap"}, dataclasses.replace(inside, version=2)),
        (1, {"positions": "bitmap"}, dataclasses.replace(inside, formulation="sparse")),
        (1, {"positions": "bitmap"}, dataclasses.replace(inside, parameters=dict(inside.parameters) | {"x": 1})),
        (1, {"positions": "bitmap"}, dataclasses.replace(inside, children={"values": values})),
        (1, {"positions": "bitmap"}, dataclasses.replace(inside, parameters=dict(inside.parameters) | SHORT_TAIL)),
    ):
        with pytest.raises(UnsupportedError):
            Tensor(dataclasses.replace(nested, node=Node("sparse", version, positions, {"values": child})))


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
        coded = tersely.encode(pruned(rng, (256, 512), SPARSE[0], zeros), formulation="sparse", positions="gaps")
        assert slower_than_dense(coded.encoded, "portable") is slow
    coded = tersely.encode(pruned(rng, (256, 512), SPARSE[0], 0.1), formulation="sparse", positions="bitmap")
    assert not slower_than_dense(coded.encoded, "portable")
