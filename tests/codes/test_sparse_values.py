"""`palette` as the coding of values of `sparse`: what test_sparse.py, which takes it as one form more, does not ask."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from support.arrays import ISAS, same_bits
from support.references import reference_words, slower_than_dense
from support.sparse_forms import FORMS, SPARSE, code, fit, pruned, words_of

import tersely
from tersely.backends.cpu import isa
from tersely.codes.protocol import Request
from tersely.codes.selection.sparse import candidates
from tersely.core.encoded import Encoded, Node
from tersely.core.errors import ArgumentError, CorruptError, UnsupportedError
from tersely.planner import choose
from tersely.tensors.tensor import Tensor

pytestmark = pytest.mark.kernels

LOW = "bitmap_low"
FLOAT = np.dtype(np.float32)


def shared(rng: np.random.Generator, words: int, zeros: float, dtype: np.dtype = FLOAT) -> np.ndarray:
    """Few distinct words, finite, the first ones more often."""
    table = rng.standard_normal(words).astype(dtype)
    array = table[np.minimum(np.abs(rng.standard_normal((512, 1024))) * words / 4, words - 1).astype(int)]
    array[rng.random(array.shape) < zeros] = 0
    return array


def with_values(encoded: Encoded, child: Node) -> Encoded:
    return dataclasses.replace(encoded, node=dataclasses.replace(encoded.node, children={"values": child}))


@pytest.mark.parametrize("dtype", SPARSE, ids=str)
@pytest.mark.parametrize("packed_bits", range(8))
def test_every_number_of_packed_bits(packed_bits: int, dtype: np.dtype, rng: np.random.Generator) -> None:
    words = pruned(rng, (256,), dtype, 0.0)
    array = rng.choice(words, (40, 170))
    array.view(f"u{dtype.itemsize}")[rng.random(array.shape) < 0.6] = 0
    for options in ({"code": "layered", "widths": (2, 1)}, {"code": "packed"}):
        tensor = tersely.encode(
            array, formulation="sparse", positions="bitmap", values="palette", packed_bits=packed_bits, **options
        )
        assert tensor.encoded.node.children["values"].parameters.get("packed_bits", 0) == packed_bits
        for name in ISAS:
            with isa.using(name):
                assert same_bits(tensor.decode(), array), name
                for index in ((0, 0), (39, 169), (17, 80), (33, 5), (8, 8)):
                    assert np.asarray(tensor[index]).tobytes() == array[index].tobytes()


def test_coded_high_bits_are_smaller_where_words_are_many(rng: np.random.Generator) -> None:
    """What the form is for: hundreds of words, of which none is frequent, but some are twice as frequent as others."""
    array = shared(rng, 250, 0.7)
    sizes = {
        low: tersely.encode(
            array, formulation="sparse", values="palette", code="layered", widths=(3, 2, 2), packed_bits=low
        ).nbytes_stored
        for low in (0, 4)
    }
    packed = tersely.encode(array, formulation="sparse", values="palette").nbytes_stored
    chosen = choose.encode(array, objective="size")
    assert sizes[4] < 0.97 * packed < sizes[0]
    assert chosen.nbytes_stored <= sizes[4]
    assert chosen.node.children["values"].parameters["packed_bits"] in (3, 4, 5)


def test_more_words_than_a_palette_holds_are_refused_and_no_candidate(rng: np.random.Generator) -> None:
    array = pruned(rng, (64, 64), FLOAT, 0.5)
    with pytest.raises(ArgumentError, match="at most 256 distinct words"):
        choose.encode(array, formulation="sparse", values="palette")
    found = candidates.candidates(Request(words_of(array), "float32", objective="size"))
    assert all(one.node.children["values"].formulation != "palette" for one in found)


def test_rows_with_more_entries_than_a_segment_are_refused(rng: np.random.Generator) -> None:
    array = np.where(rng.random((16, 4096)) < 0.9, np.float32(0.5), np.float32(0))
    with pytest.raises(ArgumentError, match="more values than gaps can code"):
        choose.encode(array, formulation="sparse", positions="gaps", values="palette")
    plain = choose.encode(array, formulation="sparse", positions="gaps")
    nested = Node("sparse", 1, plain.node.parameters, {"values": Node("palette", 1, {"entries": 1})})
    components = {name: data for name, data in plain.components.items() if name != "values.bytes"}
    blocks = int(plain.components["directory"].view("<u8")[1])
    components |= {"values.table": np.zeros(64, np.uint8), "values.indices": np.zeros((blocks + 8) * 8, np.uint8)}
    with pytest.raises(CorruptError, match="impossible number of blocks") as refused:
        Tensor(dataclasses.replace(plain, node=nested, components=components))
    assert (refused.value.component, refused.value.byte) == ("directory", 8)


def test_bad_nodes_of_values_are_refused(rng: np.random.Generator) -> None:
    encoded = code(fit(pruned(rng, (32, 64), FLOAT, 0.5), LOW), LOW)
    child = encoded.node.children["values"]
    indices, entries = child.children["indices"], child.parameters["entries"]
    Tensor(with_values(encoded, Node("palette", 1, dict(child.parameters), {"indices": indices})))
    for parameters, children in (
        ({"entries": entries, "packed_bits": 3}, {}),
        ({"entries": entries, "packed_bits": 0}, {"indices": indices}),
        ({"entries": entries, "packed_bits": 8}, {"indices": indices}),
        ({"entries": entries, "packed_bits": True}, {"indices": indices}),
        ({"entries": entries, "packed_bits": "3"}, {"indices": indices}),
        ({"entries": 4, "packed_bits": 2}, {"indices": indices}),
        ({"entries": 0, "packed_bits": 3}, {"indices": indices}),
        ({"entries": 257, "packed_bits": 3}, {"indices": indices}),
        ({"packed_bits": 3}, {"indices": indices}),
        ({"entries": entries, "packed_bits": 3, "colour": 1}, {"indices": indices}),
        ({"entries": entries, "packed_bits": 3}, {"indices": indices, "more": indices}),
        ({"entries": entries, "packed_bits": 3}, {"indices": Node("dense", 1)}),
        ({"entries": entries, "packed_bits": 3}, {"indices": dataclasses.replace(indices, version=2)}),
    ):
        with pytest.raises(UnsupportedError):
            Tensor(with_values(encoded, Node("palette", 1, parameters, children)))


def test_damage_names_the_component_and_its_byte(rng: np.random.Generator) -> None:
    encoded = code(fit(pruned(rng, (64, 256), FLOAT, 0.5), LOW), LOW)
    for name in ("values.table", "values.low", "values.indices.tiles", "values.indices.escapes"):
        with pytest.raises(CorruptError) as refused:
            Tensor(dataclasses.replace(encoded, components=encoded.components | {name: encoded.components[name][:-64]}))
        assert refused.value.component == name
        assert refused.value.byte == encoded.components[name].nbytes - 64


@pytest.mark.parametrize("form", ["bitmap_palette", LOW, "gaps_palette", "elias_fano_low"])
def test_indices_beyond_the_table_are_zeros_everywhere(form: str, each_isa: str, rng: np.random.Generator) -> None:
    """A damaged table or index: the same bits under every instruction set, in rows and in single weights too."""
    encoded = code(fit(pruned(rng, (40, 60), FLOAT, 0.5), form), form)
    child = encoded.node.children["values"]
    fewer = int(child.parameters["entries"]) - 3
    fewer = max(fewer, (1 << (fewer - 1).bit_length()) // 2 + 1)
    components = dict(encoded.components)
    size = -(-fewer * 4 // 64) * 64
    components["values.table"] = components["values.table"][:size]
    for name in ("values.low", "values.indices"):
        if name in components:
            noise = components[name].copy()
            noise[: noise.size - 64] = rng.integers(256, size=noise.size - 64)
            components[name] = noise
    node = dataclasses.replace(child, parameters=dict(child.parameters) | {"entries": fewer})
    damaged = dataclasses.replace(with_values(encoded, node), components=components)
    expected = reference_words(damaged)
    tensor = Tensor(damaged)
    assert same_bits(tensor.decode().view("<u4"), expected)
    assert same_bits(tensor.rows(3, 21).view("<u4"), expected[3:21])
    for row, column in ((0, 0), (39, 59), (17, 33), (25, 4), (8, 41)):
        assert np.asarray(tensor[row, column]).view("<u4") == expected[row, column]


def test_many_coded_indices_are_called_slow_without_avx512(rng: np.random.Generator) -> None:
    options = {"formulation": "sparse", "values": "palette", "code": "layered", "widths": (2, 2), "packed_bits": 3}
    for zeros, slow in ((0.4, True), (0.95, False)):
        for positions in ("bitmap", "elias_fano", "gaps"):
            coded = choose.encode(shared(rng, 100, zeros), positions=positions, **options)
            assert slower_than_dense(coded, "portable") is slow, positions
    bitmap = choose.encode(shared(rng, 100, 0.4), positions="bitmap", **options)
    assert not slower_than_dense(bitmap, "avx512")
    assert FORMS[LOW]["values"] == "palette"
