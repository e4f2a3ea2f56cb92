"""`row_palette`: hostile components under every kernel, bad nodes, what the planner takes of it, names."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from support.arrays import needs_native, same_bits
from support.guarded import GuardedBytes, run_everything
from support.references import reference_words, slower_than_dense
from support.row_palette_weights import BFLOAT16, CODES, FLOAT16, FLOAT32, coded, shared

import tersely
from tersely.codes import anatomy, registry
from tersely.codes.row_palette.layout import INDICES, TABLES
from tersely.core.encoded import Node
from tersely.core.errors import CorruptError, UnsupportedError
from tersely.planner import choose
from tersely.tensors.tensor import Tensor

pytestmark = pytest.mark.kernels


@needs_native
@pytest.mark.parametrize("hostile", [False, True], ids=["honest", "hostile"])
def test_no_kernel_reads_past_a_component(hostile: bool, each_isa: str, rng: np.random.Generator) -> None:
    for (shape, entries, columns), code in (
        (((48, 100), 13, 0), CODES[0]),
        (((32, 2304), 3, 64), CODES[0]),
        (((304, 48), 4, 16), CODES[0]),
        (((64, 128), 30, 0), CODES[0]),
        (((64, 128), 2, 16), CODES[1]),
        (((64, 64), 5, 0), CODES[2]),
    ):
        encoded = coded(shared(rng, shape, entries=entries, columns=columns), columns=columns, **code).encoded
        guards = {name: GuardedBytes(data) for name, data in encoded.components.items()}
        payload = {TABLES, INDICES, f"{INDICES}.tiles", f"{INDICES}.escapes"}
        for fill in (None, 0xFF, 0x00, "random") if hostile else (None,):
            for name, guard in guards.items():
                if fill is not None and name in payload:
                    guard.array[:] = rng.integers(256, size=guard.array.size) if fill == "random" else fill
            components = {name: guard.array for name, guard in guards.items()}
            tensor = Tensor(dataclasses.replace(encoded, components=components))
            if not code or fill is None:  # what escapes that there are not stand for is anybody's choice
                expected = reference_words(tensor.encoded)
                assert same_bits(tensor.decode().view("<u4"), expected)
                place = tuple(length // 2 for length in shape)
                assert np.uint32(tensor[place].view(np.uint32)) == expected[place]
            run_everything(tensor, rng)


def test_bad_nodes_are_refused(rng: np.random.Generator) -> None:
    encoded = coded(shared(rng, (32, 64))).encoded
    parameters = dict(encoded.node.parameters)
    assert parameters == {"columns": 0, "entries": 16, "bits": 4}
    packed = coded(shared(rng, (32, 64)), code="packed").encoded.node
    wrong: list[tuple[str, Any]] = [
        *(("columns", value) for value in (1, 8, 48, 2048, True, "0", None)),
        *(("entries", value) for value in (0, -1, 17, 257, True, "4", None)),
        *(("bits", value) for value in (0, 1, 2, 3, 5, 16, True, None)),
        ("colour", 1),
    ]
    nodes = [Node("row_palette", 1, parameters | {name: value}) for name, value in wrong]
    nodes += [
        Node("row_palette", 1, {name: value for name, value in parameters.items() if name != gone})
        for gone in parameters
    ]
    nodes += [
        Node("row_palette", 2, parameters),
        Node("row_palette", 1, parameters, dict(packed.children)),  # lines and a child
        Node("row_palette", 1, packed.parameters, {"words": packed.children[INDICES]}),
        Node("row_palette", 1, packed.parameters, {INDICES: Node("integer", 1)}),
    ]
    for node in nodes:
        with pytest.raises(UnsupportedError):
            Tensor(dataclasses.replace(encoded, node=node))


def test_bad_components_are_refused(rng: np.random.Generator) -> None:
    array = shared(rng, (32, 512), entries=9, columns=64)
    for code, name in ((CODES[0], INDICES), (CODES[1], f"{INDICES}.tiles")):
        encoded = coded(array, columns=64, **code).encoded
        for own in (TABLES, name):
            shorter = {**encoded.components, own: encoded.components[own][:-64]}
            with pytest.raises(CorruptError, match=f"component '{own}', byte .* bytes where"):
                Tensor(dataclasses.replace(encoded, components=shorter))
            missing = {key: data for key, data in encoded.components.items() if key != own}
            with pytest.raises(CorruptError, match=f"component '{own}': the component is missing"):
                Tensor(dataclasses.replace(encoded, components=missing))
        with pytest.raises(CorruptError, match="does not have"):
            Tensor(dataclasses.replace(encoded, components={**encoded.components, "extra": np.zeros(64, np.uint8)}))
    with pytest.raises(CorruptError, match="folded"):
        Tensor(dataclasses.replace(encoded, view="folded"))


@pytest.mark.parametrize(
    ("dtype", "entries", "columns", "objective", "profile", "batch", "expected"),
    [
        (FLOAT32, 16, 0, "balanced", "portable", 1, "row_palette 4 rows"),
        (FLOAT32, 16, 0, "speed", "avx512", 4, "row_palette 4 rows"),
        (BFLOAT16, 16, 0, "balanced", "portable", 1, "row_palette 4 rows"),
        (FLOAT16, 12, 0, "balanced", "avx512", 1, "row_palette 4 rows"),
        (FLOAT32, 16, 128, "balanced", "avx512", 1, "row_palette 4 groups 128"),
        (FLOAT32, 7, 0, "size", "portable", 1, "row_palette coded rows"),
        (BFLOAT16, 40, 0, "size", "portable", 1, "row_palette coded rows"),
    ],
)
def test_the_planner_takes_it(
    dtype: np.dtype, entries: int, columns: int, objective: str, profile: str, batch: int, expected: str
) -> None:
    array = shared(np.random.default_rng(3), (512, 1024), dtype, entries, columns)
    encoded = choose.encode(array, objective=objective, profile=profile, batch=batch)
    work = registry.work(encoded)
    assert work is not None
    assert str(work.kernel) == expected
    assert slower_than_dense(encoded, profile) == ("coded" in expected)
    assert same_bits(Tensor(encoded).decode(), array)


def test_what_is_slow_is_not_taken_for_speed(rng: np.random.Generator) -> None:
    """More words than registers hold are looked up one by one."""
    array = shared(rng, (512, 1024), FLOAT32, 100)
    for objective in ("balanced", "speed"):
        assert choose.encode(array, objective=objective).node.formulation != "row_palette"


def test_what_it_is_called(rng: np.random.Generator) -> None:
    for options, label, children in (
        ({}, "row_palette 4-bit by rows", []),
        ({"columns": 64}, "row_palette 4-bit by 64", []),
        ({"code": "packed"}, "row_palette by rows", ["split packed(4)"]),
    ):
        encoded = coded(shared(rng, (3, 64, 80)), **options).encoded
        found = anatomy.sizes(encoded.node.to_json(), {name: data.nbytes for name, data in encoded.components.items()})
        assert (found.label, [child.label for child in found.children]) == (label, children)


def test_files_keep_it(tmp_path: Any, rng: np.random.Generator) -> None:
    arrays = {
        f"{entries}.{columns}": shared(rng, (64, 256), entries=entries, columns=columns)
        for entries in (3, 12)
        for columns in (0, 64)
    }
    tensors = {
        f"{name}{index}": coded(array, **code) for name, array in arrays.items() for index, code in enumerate(CODES)
    }
    tersely.save_file(tensors, tmp_path / "model.tersely.safetensors")
    for name, tensor in tersely.load_file(tmp_path / "model.tersely.safetensors").items():
        assert tensor.formulation == "row_palette"
        assert same_bits(tensor.decode(), arrays[name[:-1]])


@needs_native
def test_a_longer_last_line_reads_nothing_of_other_tensors(each_isa: str, rng: np.random.Generator) -> None:
    """Its x is zero, but zero times an infinity is no number."""
    before = tersely.get_num_threads()
    tersely.set_num_threads(1)
    for entries in (2, 4):
        large = np.where(rng.random((16, 512)) < 0.5, np.float32(np.inf), np.float32(1))
        small = shared(rng, (16, 48), FLOAT16, entries, 16)
        tensor = coded(small, columns=16)
        alone = tersely.linear(np.ones((1, 48), np.float32), tensor)
        tersely.linear(np.ones((1, 512), np.float32), coded(large, columns=16))
        assert np.isfinite(alone).all()
        assert np.array_equal(tersely.linear(np.ones((1, 48), np.float32), tensor), alone)
    tersely.set_num_threads(before)
