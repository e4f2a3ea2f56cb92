"""What codes offer the planner: as large as they say, made again by their options, and known to the cost model."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from contract.samples import Sample, each_cell
from support.arrays import same_bits
from support.profile import one as one_of

from tersely.codes import registry
from tersely.core.dtypes import of_array
from tersely.planner import choose
from tersely.planner.cost_model import predict_ns
from tersely.tensors.tensor import Tensor

pytestmark = [pytest.mark.kernels, pytest.mark.exhaustive]
MACHINES = ("portable", "avx2", "avx512")


@each_cell
def test_candidates_are_what_they_say(sample: Sample, dtype: np.dtype, rng: np.random.Generator) -> None:
    own = ((96, 200), (96, 2352), (48, 32, 3, 3)) if not sample.folds else ((48, 100), (17, 2300), (7,), (20, 6, 5, 5))
    for shape in one_of(own, sample.name, dtype):
        array = sample.bits(rng, shape, dtype, "out_in", 0)
        words = choose.raw_bytes(array).view(of_array(array).word).reshape(array.shape)
        pairs = sample.options_for(array).get("int4_columns")
        for objective in choose.OBJECTIVES:
            request = choose.Request(words, of_array(array).name, objective=objective, int4_columns=pairs)
            for one in registry.BY_NAME[sample.code].candidates(request):
                components = one.components(1)
                assert sum(data.nbytes for data in components.values()) == one.nbytes
                seen = dataclasses.replace(
                    request,
                    view="folded" if one.geometry.view == "folded" else "",
                    formulation=sample.code,
                    parameters=one.options,
                    int4_columns=None,
                )
                again = choose.candidate_for(seen)
                assert (again.node, again.nbytes, again.kernel) == (one.node, one.nbytes, one.kernel)
                assert {name: data.tobytes() for name, data in again.components(1).items()} == {
                    name: data.tobytes() for name, data in components.items()
                }
                found = choose.encoded(again, array.shape, request.dtype, "portable", 1)
                assert same_bits(Tensor(found).decode(), array)
                work = registry.work(found)
                if work is not None:
                    assert work.nbytes == one.nbytes
                    if not one.inner:
                        assert (work.padded_weights, work.entries) == (one.padded_weights, one.entries)
                    assert work.kernel == one.kernel or "constant" in str(one.kernel)  # bytes that are all alike
                    for machine in MACHINES:
                        assert predict_ns(work, request.dtype, machine) > 0
