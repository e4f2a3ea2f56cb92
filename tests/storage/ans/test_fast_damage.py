"""Damaged blocks: a CorruptError, or other bytes of exactly the size that was asked for; never anything else."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from storage_samples import fast_block, item, tensors
from support.arrays import needs_native

from tersely.backends.cpu import native
from tersely.core.errors import CorruptError, FormatError
from tersely.storage.ans import coder, plan, reference
from tersely.storage.codec import Spec, decode

SMALL = {name: array.reshape(-1)[:1200].copy() for name, array in tensors().items() if array.size}


def attempt(block: bytes, spec: Spec) -> bool:
    """Whether it was decoded, to the right number of bytes."""
    try:
        (back,) = decode(block, [spec])
    except FormatError as error:
        assert str(error)
        return False
    assert back.size == spec.size
    return True


@pytest.mark.parametrize("name", SMALL)
def test_every_prefix_is_refused(name: str) -> None:
    one = item(SMALL[name])
    block = fast_block(one)
    step = max(len(block) // 120, 1)
    for end in {*range(0, min(len(block), 60)), *range(0, len(block), step), len(block) - 1}:
        assert not attempt(block[:end], one.spec), end
    assert not attempt(block + b"\0", one.spec)


@needs_native
@pytest.mark.parametrize("name", SMALL)
def test_every_byte_changed(name: str) -> None:
    one = item(SMALL[name])
    block = fast_block(one)
    rng = np.random.default_rng(1)
    for at in range(1, len(block)):
        for change in (1, 128, int(rng.integers(1, 256))):
            attempt(block[:at] + bytes([block[at] ^ change]) + block[at + 1 :], one.spec)


def _tried(decoding: Callable[[], np.ndarray]) -> bytes | None:
    try:
        return decoding().tobytes()
    except CorruptError:
        return None


@needs_native
def test_native_and_reference_refuse_the_same_blocks() -> None:
    rng = np.random.default_rng(2)
    for name in (
        "float32",
        "pruned float16",
        "palette of 700",
        "rare values",
        "int8",
        "three",
        "lowest bits of pruned",
    ):
        words, tag, shape = coder.words_of(item(SMALL[name]).raw, [(item(SMALL[name]).dtype, SMALL[name].shape)])
        rotated = tag in plan.MANTISSAS
        block = reference.encode(words, plan.choose(words, tag, shape).description, rotated)
        side = 4 + int.from_bytes(block[:4], "little")
        for _ in range(60):
            changed = bytearray(block)
            at = int(rng.integers(0, side if rng.random() < 0.7 else len(block)))
            changed[at] ^= int(rng.integers(1, 256))
            expected = _tried(lambda: reference.decode(bytes(changed), len(words), rotated, words.dtype))  # noqa: B023
            found = _tried(lambda: coder.decode_words(memoryview(bytes(changed)), len(words), words.dtype, rotated, 1))  # noqa: B023
            assert found == expected, (name, at)


@needs_native
def test_noise_is_refused() -> None:
    rng = np.random.default_rng(3)
    out = np.empty(4096, np.uint8)
    for size in (0, 3, 4, 5, 60, 600):
        for _ in range(60):
            data = np.frombuffer(rng.bytes(size), np.uint8).copy()
            if size > 4:
                data[:4] = np.frombuffer(int(rng.integers(0, size - 3)).to_bytes(4, "little"), np.uint8)
            assert isinstance(native.module.ans_decode(data, 4, True, out, 1), str)


def test_a_few_bytes_do_not_claim_much() -> None:
    """A block of nothing but ones in its description ends at once."""
    for byte in (0, 255, 85):
        block = bytes([1, 0, 40, 0, 0, 0]) + bytes([byte]) * 40
        assert not attempt(block, Spec(item(SMALL["float32"]).dtype, (1 << 20,)))
    for way in (1, 2):
        assert not attempt(bytes([1, way]) + bytes(20), Spec(item(SMALL["int8"]).dtype, (1 << 16,)))


@needs_native
def test_damage_to_pooled_items() -> None:
    items = [item(SMALL[name]) for name in ("float32", "int8", "three", "float16", "int64")]
    specs = [one.spec for one in items]
    block = fast_block(*items)
    assert block[1] == coder.GROUPS
    rng = np.random.default_rng(4)
    for at in range(1, len(block), 7):
        changed = block[:at] + bytes([block[at] ^ int(rng.integers(1, 256))]) + block[at + 1 :]
        for damaged in (changed, block[:at]):
            try:
                backs = decode(damaged, specs)
            except CorruptError:
                continue
            assert [back.size for back in backs] == [spec.size for spec in specs]
