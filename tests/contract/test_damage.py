"""Damage of every code: descriptions and components that cannot be are refused by name, changed bytes are found."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contract.samples import Sample, each_cell, each_coded_cell
from support import profile
from support.arrays import same_bits

import tersely
from tersely.core.encoded import Encoded, Node
from tersely.core.errors import ArgumentError, CorruptError, TerselyError, UnsupportedError
from tersely.tensors.tensor import Tensor

pytestmark = [pytest.mark.kernels, pytest.mark.exhaustive]


def small(sample: Sample, dtype: np.dtype, rng: np.random.Generator, shape: tuple[int, ...] = ()) -> Encoded:
    shape = shape or ((48, 96) if not sample.folds else (32, 64))
    return sample.encode(sample.bits(rng, shape, dtype, "out_in", 0))


@each_coded_cell
def test_components_of_another_length_are_refused(sample: Sample, dtype: np.dtype, rng: np.random.Generator) -> None:
    encoded = small(sample, dtype, rng)
    for name, data in encoded.components.items():
        longer = np.concatenate([data, np.zeros(64, np.uint8)])
        for changed in (data[:-64], longer) if data.size else (longer,):
            with pytest.raises(CorruptError, match="bytes where") as caught:
                Tensor(dataclasses.replace(encoded, components={**encoded.components, name: changed}))
            assert caught.value.component == name
            assert str(caught.value).startswith(f"byte {caught.value.byte} of component {name!r}: ")
        missing = {key: data for key, data in encoded.components.items() if key != name}
        with pytest.raises(CorruptError, match="missing") as caught:
            Tensor(dataclasses.replace(encoded, components=missing))
        assert caught.value.component == name
        for extra in ("extra", f"{name}.extra", f"{name.rpartition('.')[0]}.extra".lstrip(".")):
            with pytest.raises(CorruptError, match="does not have"):
                Tensor(dataclasses.replace(encoded, components={**encoded.components, extra: np.zeros(64, np.uint8)}))


@each_coded_cell
def test_impossible_directories_are_refused(sample: Sample, dtype: np.dtype, rng: np.random.Generator) -> None:
    encoded = small(sample, dtype, rng, (96, 2352) if sample.in_one_matrix else (64, 4096))
    for name in (name for name in encoded.components if name.endswith("directory")):
        used = encoded.components[name].view("<u8").nonzero()[0]
        for word in range(int(used[-1]) + 1 if used.size else 0):
            for value in (2**20, 2**31, 2**63, 2**64 - 2**20):
                directory = encoded.components[name].copy()
                directory.view("<u8")[word] += np.uint64(value)
                with pytest.raises(CorruptError) as caught:
                    Tensor(dataclasses.replace(encoded, components={**encoded.components, name: directory}))
                assert str(caught.value.component).rpartition(".")[0] == name.rpartition(".")[0]


def wrong_nodes(node: Node) -> Iterator[tuple[str, Node]]:
    """Every way in which one node of a tree can be wrong whatever its code."""
    yield "version", dataclasses.replace(node, version=node.version + 7)
    yield "formulation", dataclasses.replace(node, formulation="tree")
    yield "parameter more", dataclasses.replace(node, parameters={**node.parameters, "colour": 1})
    yield "child more", dataclasses.replace(node, children={**node.children, "more": Node("dense", 1)})
    for name, value in node.parameters.items():
        wrong: tuple[Any, ...] = (None, [value], {"x": value}, -(10**30))
        numbers = isinstance(value, int) and not isinstance(value, bool)
        wrong += (True, str(value), 0.5) if numbers else (0, "no such")
        for other in wrong:
            yield f"{name} {other!r}", dataclasses.replace(node, parameters={**node.parameters, name: other})
    for name, child in node.children.items():
        others = {key: value for key, value in node.children.items() if key != name}
        yield f"no child {name}", dataclasses.replace(node, children=others)
        yield f"child {name} by another name", dataclasses.replace(node, children={**others, "other": child})
        yield f"{name} is itself", dataclasses.replace(node, children={**others, name: node})
        for how, wrong_child in wrong_nodes(child):
            yield f"{name}: {how}", dataclasses.replace(node, children={**others, name: wrong_child})


@each_coded_cell
def test_impossible_descriptions_are_refused(sample: Sample, dtype: np.dtype, rng: np.random.Generator) -> None:
    encoded = small(sample, dtype, rng)
    Tensor(encoded)
    for how, node in wrong_nodes(encoded.node):
        try:
            Tensor(dataclasses.replace(encoded, node=node))
        except (UnsupportedError, CorruptError):
            continue
        pytest.fail(f"taken: {how}")
    with pytest.raises((CorruptError, UnsupportedError)):
        Tensor(dataclasses.replace(encoded, dtype="complex64" if dtype.itemsize != 8 else "int8"))


@each_cell
def test_options_that_there_are_not_are_refused(sample: Sample, dtype: np.dtype, rng: np.random.Generator) -> None:
    array = sample.bits(rng, (48, 96), dtype, "out_in", 0)
    options = sample.options_for(array)
    with pytest.raises(ArgumentError, match="no parameter 'colour'"):
        tersely.encode(array, formulation=sample.code, **options, colour=1)
    for name, value in options.items():
        with pytest.raises(ArgumentError):
            tersely.encode(array, formulation=sample.code, **{**options, name: [value]})


@each_coded_cell
def test_files_find_every_changed_byte(
    sample: Sample, dtype: np.dtype, rng: np.random.Generator, tmp_path: Path
) -> None:
    """Every byte, or in the quick profile one in 23, and a spread of places to be cut; of other dtypes of a form always so."""
    array = sample.weights(rng, (48, 12) if not sample.folds else (20, 24), dtype, "out_in", 0)
    if not sample.folds:
        array = sample.weights(rng, (16, 64) if not sample.in_one_matrix else (48, 96), dtype, "out_in", 0)
    path = tmp_path / "w.safetensors"
    tersely.save_file({"w": Tensor(sample.encode(array))}, path)
    loaded = tersely.load_file(path, check="full")["w"]
    assert loaded.formulation == sample.code
    assert same_bits(loaded.decode(), array)
    raw = path.read_bytes()
    step = 1 if profile.thorough and dtype == sample.dtypes[0] else 23
    for at in range(len(sample.name) % step, len(raw), step):
        path.write_bytes(raw[:at] + bytes([raw[at] ^ 1 << at % 8]) + raw[at + 1 :])
        with pytest.raises(TerselyError):
            tersely.load_file(path, check="full")["w"].decode()
    for cut in (*range(0, len(raw), 37 * (1 if profile.thorough else 10)), len(raw) - 1):
        path.write_bytes(raw[:cut])
        with pytest.raises(TerselyError):
            tersely.load_file(path, check="full")["w"].decode()
