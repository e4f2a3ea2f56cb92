"""Kernels of every code against memory that ends, with payload from an enemy."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from contract.samples import BYTES, Sample, each_coded_cell
from support.arrays import needs_native, same_bits, without_native
from support.guarded import GuardedBytes, run_everything
from support.profile import spread

import tersely
from tersely.codes import registry
from tersely.core.encoded import Node
from tersely.tensors.tensor import Tensor

pytestmark = [needs_native, pytest.mark.kernels, pytest.mark.exhaustive]
MATRICES = ((48, 100), (32, 2304), (304, 48), (64, 128))
OTHERS = ((48, 100), (32, 2100), (280, 32), (5,))


def shapes_of(sample: Sample) -> tuple[tuple[int, ...], ...]:
    if sample.in_one_matrix:
        return ((48, 300), (96, 2352))
    return MATRICES if not sample.folds else OTHERS


def is_defined(node: Node) -> bool:
    """Whether the reference says what any payload stands for: not where symbols of `split` may escape to what is not there."""
    return node.formulation != "split" and all(map(is_defined, node.children.values()))


@each_coded_cell
@pytest.mark.parametrize("fill", ["honest", "ones", "zeros", "random"])
def test_no_kernel_reads_past_a_component(
    fill: str, sample: Sample, dtype: np.dtype, each_isa: str, rng: np.random.Generator
) -> None:
    """And all of them read a payload as the reference does, where what it stands for is defined."""
    for number, shape in spread(list(enumerate(shapes_of(sample))), 2, sample.name, dtype, each_isa, fill):
        kind = number % sample.kinds
        encoded = sample.encode(sample.bits(rng, shape, dtype, "out_in", kind))
        guards = {name: GuardedBytes(data) for name, data in encoded.components.items()}
        for name, guard in guards.items():
            if fill != "honest" and sample.is_payload(name):
                noise = rng.integers(256, size=guard.array.size) if fill == "random" else 255 * (fill == "ones")
                guard.array[:] = noise
        tensor = Tensor(dataclasses.replace(encoded, components={name: guard.array for name, guard in guards.items()}))
        decoded = tensor.decode()
        if is_defined(encoded.node) or fill == "honest":
            with without_native():
                assert same_bits(registry.decode(tensor.encoded), decoded)
            for _ in range(5 if fill == "honest" or "sparse" not in f"{sample.code} {sample.name}" else 0):  # by rank
                place = tuple(int(rng.integers(length)) for length in shape)
                assert np.asarray(tensor[place]).tobytes() == decoded[place].tobytes()
        if dtype.kind not in "iu":
            run_everything(tensor, rng)
        elif len(shape) == 2 and dtype in BYTES and sample.products != "none":
            for batch in (3, 9):
                tersely.linear(np.ones((batch, shape[1]), np.int8), tensor)
                tersely.linear(np.ones((batch, shape[1]), np.float32), tensor, scale=0.1)
