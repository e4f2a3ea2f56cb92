"""`sparse` of int8 and uint8 in files and plans: refusals of damage and of what only floats have, sizes beside the entropy,
the planner on pruned networks that were quantised."""

from __future__ import annotations

import dataclasses
from dataclasses import replace

import numpy as np
import pytest
from support.arrays import same_bits
from support.references import slower_than_dense
from support.sparse_forms import ALL, WHOLE, WHOLE_FORMS, code, quantised

import tersely
from tersely.codes import registry
from tersely.codes.protocol import Request
from tersely.codes.selection.sparse import candidates
from tersely.core.encoded import Encoded, Node
from tersely.core.errors import ArgumentError, UnsupportedError
from tersely.planner import choose, cost_model
from tersely.tensors.tensor import Tensor

pytestmark = pytest.mark.kernels


def test_bad_nodes_are_refused(rng: np.random.Generator) -> None:
    array = quantised(rng, (32, 64), WHOLE[0], 0.5)
    dense, folded = code(array, "whole_bitmap"), code(array, "bitmap_index")
    floats = choose.encode(array.astype(np.float32), formulation="sparse")

    def refused(encoded: Encoded, version: int, child: Node | None = None, **changes: object) -> None:
        children = dict(encoded.node.children) if child is None else {"values": child}
        node = Node("sparse", version, dict(encoded.node.parameters) | changes, children)
        with pytest.raises(UnsupportedError):
            Tensor(dataclasses.replace(encoded, node=node))

    assert dense.node.version == folded.node.version == 1
    for version in (0, 2, 4):
        refused(dense, version)
        refused(folded, version)
    refused(floats, 3)
    refused(dense, 3, positions="n_of_m", n=2, m=4)
    refused(floats, 2, folded.node.children["values"])
    inner = folded.node.children["values"]
    split = inner.children["distances"]
    refused(folded, 3, split)
    refused(folded, 3, Node("palette", 1, {"entries": 4}))
    for child in (
        dataclasses.replace(inner, version=2),
        dataclasses.replace(inner, parameters={}),
        dataclasses.replace(inner, parameters={**inner.parameters, "centre": 128}),
        dataclasses.replace(inner, parameters={**inner.parameters, "centre": True}),
        dataclasses.replace(inner, parameters={**inner.parameters, "bit_layout": "bfloat16"}),
        dataclasses.replace(inner, parameters={**inner.parameters, "colour": 1}),
        dataclasses.replace(inner, children={}, parameters={}),
        dataclasses.replace(inner, children={"nibbles": split}),
        dataclasses.replace(inner, children={"distances": dataclasses.replace(split, version=2)}),
        dataclasses.replace(inner, children={"distances": dataclasses.replace(split, formulation="dense")}),
    ):
        refused(folded, 3, child)


@pytest.mark.parametrize(
    ("dtype", "options", "sentence"),
    [
        (np.int8, {"positions": "n_of_m"}, "n_of_m codes no int8"),
        (np.int8, {"values": "split"}, "values='split' codes no int8: use 'dense' or 'integer'"),
        (np.uint8, {"values": "palette"}, "values='palette' codes no uint8"),
        (np.float32, {"values": "integer"}, "values='integer' codes no float32: use 'dense' or 'split', 'palette'"),
        (np.int8, {"values": "integer", "bit_layout": "float16"}, "bit_layout is one of"),
        (np.int8, {"values": "integer", "bit_layout": "index", "colour": 1}, "no parameter 'colour'"),
        (np.int8, {"values": "integer", "code": "tree"}, "unknown code 'tree'"),
        (
            np.int8,
            {"values": "integer", "code": "layered", "widths": (4, 4), "bit_layout": "float8_e4m3fn"},
            "do not fit",
        ),
        (np.int16, {}, "codes float32, bfloat16, float16, int8, uint8, not int16"),
    ],
)
def test_wrong_arguments_are_refused_with_a_sentence(dtype: type, options: dict, sentence: str) -> None:
    with pytest.raises(ArgumentError, match=sentence):
        choose.encode(np.zeros((16, 16), dtype), formulation="sparse", **options)


def test_one_symbol_needs_no_bits(rng: np.random.Generator) -> None:
    array = np.where(rng.random((64, 300)) < 0.9, 0, 7).astype(np.int8)
    options = {"formulation": "sparse", "values": "integer", "bit_layout": "index", "code": "constant"}
    encoded = choose.encode(array, **options)
    assert same_bits(Tensor(encoded).decode(), array)
    array[5, 5] = 8
    with pytest.raises(ArgumentError, match="all the same"):
        choose.encode(array, **options)


def entropy(values: np.ndarray) -> float:
    share = np.unique(values, return_counts=True)[1] / values.size
    return float(-(share * np.log2(share)).sum())


@pytest.mark.parametrize("dtype", WHOLE, ids=str)
@pytest.mark.parametrize("zeros", [0.8, 0.9, 0.95])
def test_size_is_near_the_entropy_of_positions_and_values(
    zeros: float, dtype: np.dtype, rng: np.random.Generator
) -> None:
    array = quantised(rng, (512, 1024), dtype, zeros, 25)
    found = tersely.encode(array, objective="size", profile="portable")
    assert found.formulation == "sparse"
    assert same_bits(found.decode(), array)
    assert found.bits_per_weight <= 1.08 * entropy(array) + 0.06


def test_the_planner_takes_gaps_where_they_are_faster_than_dense_weights(rng: np.random.Generator) -> None:
    for zeros, fast in ((0.6, False), (0.8, False), (0.93, True), (0.99, True)):
        array = quantised(rng, (512, 2048), WHOLE[0], zeros)
        for objective in ("speed", "balanced"):
            found = tersely.encode(array, objective=objective, profile="avx2")
            assert (found.formulation == "sparse") is fast, (zeros, objective)
            if fast:
                assert found.parameters["positions"] == "gaps"
                assert not slower_than_dense(found.encoded, "avx2")
    for form in WHOLE_FORMS:
        encoded = code(array, form)
        assert slower_than_dense(encoded, "avx512") is (form not in ("whole_gaps", "whole_bitmap"))
        assert slower_than_dense(encoded, "avx2") is (form != "whole_gaps")
    for zeros, kernel in ((0.6, "sparse bitmap"), (0.8, "sparse bitmap"), (0.97, "sparse gaps")):
        request = Request(quantised(rng, (512, 2048), WHOLE[0], zeros).view(np.uint8), "int8", profile="avx512")
        assert str(choose.decide(request)[0].candidate.kernel) == kernel
    turned = tersely.encode(array, objective="speed", orientation="in_out", profile="avx2")
    assert turned.formulation != "sparse"  # decoded for every product


def test_predicted_times_are_in_the_order_of_what_is_done(rng: np.random.Generator) -> None:
    array = quantised(rng, (512, 2048), WHOLE[0], 0.95)
    request = Request(array.view(np.uint8), "int8")
    (dense,) = registry.BY_NAME["dense"].candidates(request)
    gaps, bitmap, places = (
        candidates.candidate_for(replace(request, parameters=dict(ALL[form])))
        for form in ("whole_gaps", "whole_bitmap", "elias_fano_packed")
    )
    for machine, order in (("avx2", (gaps, dense, bitmap, places)), ("avx512", (gaps, bitmap, dense, places))):
        times = [cost_model.predict_ns(one, "int8", machine) for one in order]
        assert times == sorted(times)
        growing = [cost_model.predict_ns(gaps, "int8", machine, batch) for batch in (1, 2, 8, 9, 16, 40)]
        assert growing == sorted(growing)
