"""Views: what they say of memory is what NumPy's strides say, and what no view can say is None."""

from __future__ import annotations

import numpy as np
import pytest

from tersely.graph.lowering.program import Layout
from tersely.graph.lowering.views import View, image_axes, plain_axes, refined, token_axes


def numbers(view: View, memory: np.ndarray) -> np.ndarray:
    """What a view sees of a row of numbers."""
    sizes = [size for axis in view.axes for size, _ in axis]
    strides = [stride * memory.itemsize for axis in view.axes for _, stride in axis]
    seen = np.lib.stride_tricks.as_strided(memory[view.offset :], sizes, strides, writeable=False)
    return seen.reshape(view.shape)


def plain(*shape: int) -> tuple[View, np.ndarray]:
    memory = np.arange(int(np.prod(shape)), dtype=np.float32)
    return View(0, None, 0, plain_axes(shape)), memory


def blocked(tokens: tuple[int, ...], channels: int) -> tuple[View, np.ndarray, np.ndarray]:
    """Tokens in blocks of channels, the memory they lie in, and the same as NumPy has them."""
    rows = int(np.prod(tokens))
    array = np.arange(rows * channels, dtype=np.float32).reshape(rows, channels)
    memory = array.reshape(rows, channels // 16, 16).transpose(1, 0, 2).copy().reshape(-1)
    axes = token_axes(tokens, channels, Layout(1, channels, 1, rows))
    return View(0, None, 0, axes), memory, array.reshape(*tokens, channels)


def test_heads_of_tokens_are_a_view() -> None:
    view, memory, array = blocked((2, 5), 96)
    parts, expected = view.reshaped((2, 5, 3, 2, 16)), array.reshape(2, 5, 3, 2, 16)
    assert parts is not None
    turned, expected = parts.permuted((2, 0, 3, 1, 4)), expected.transpose(2, 0, 3, 1, 4)
    np.testing.assert_array_equal(numbers(turned, memory), expected)
    np.testing.assert_array_equal(numbers(turned.at(0, 1), memory), expected[1])
    back = turned.at(0, 2).permuted((0, 2, 1, 3)).reshaped((2, 5, 32))
    assert back is not None
    np.testing.assert_array_equal(numbers(back, memory), array[..., 64:])


def test_images_are_tokens() -> None:
    layout = Layout(2, 32, 3, 5)
    array = np.arange(2 * 32 * 15, dtype=np.float32).reshape(2, 32, 3, 5)
    memory = array.reshape(2, 2, 16, 3, 5).transpose(0, 1, 3, 4, 2).copy().reshape(-1)
    tokens = View(0, None, *image_axes(layout)).reshaped((2, 32, 15))
    assert tokens is not None
    np.testing.assert_array_equal(
        numbers(tokens.permuted((0, 2, 1)), memory), array.reshape(2, 32, 15).transpose(0, 2, 1)
    )


def test_a_halo_lies_around_images() -> None:
    layout = Layout(1, 16, 2, 3, halo=1)
    memory = np.zeros(layout.floats, np.float32)
    memory.reshape(4, 5, 16)[1:-1, 1:-1] = 1
    offset, axes = image_axes(layout)
    assert numbers(View(0, None, offset, axes), memory).all()
    pixels = View(0, None, offset, axes).reshaped((16, 6))
    assert pixels is not None
    assert pixels.axes[1] == ((2, 80), (3, 16))  # rows are not side by side
    assert pixels.reshaped((16, 2, 3)) is not None
    assert pixels.reshaped((16, 3, 2)) is None


@pytest.mark.parametrize("cut", [(0, 16, 1), (16, 32, 1), (3, 5, 1), (1, 1, 1), (18, 6, 2)])
def test_slices_of_blocks(cut: tuple[int, int, int]) -> None:
    view, memory, array = blocked((4,), 64)
    start, count, step = cut
    found = view.sliced(1, start, count, step)
    assert found is not None
    np.testing.assert_array_equal(numbers(found, memory), array[:, start : start + (count - 1) * step + 1 : step])


def test_slices_that_end_within_blocks_are_no_view() -> None:
    view, _, _ = blocked((4,), 64)
    assert view.sliced(1, 10, 12, 1) is None
    assert view.reshaped((4, 4, 16)) is not None
    assert view.reshaped((4, 8, 8)) is not None
    assert view.reshaped((256,)) is not None


def test_random_reshapes_say_what_numpy_says(rng: np.random.Generator) -> None:
    shapes = [(4, 6, 8), (2, 2, 6, 8), (24, 8), (4, 48), (192,), (8, 24), (3, 64), (2, 96)]
    made = 0
    for _ in range(300):
        view, memory = plain(4, 6, 8)
        expected = memory.reshape(4, 6, 8)
        for _ in range(3):
            order = rng.permutation(expected.ndim)
            view, expected = view.permuted(order.tolist()), expected.transpose(order)
            shape = shapes[rng.integers(len(shapes))]
            found = view.reshaped(shape)
            if found is None:
                break
            view, expected, made = found, expected.reshape(shape), made + 1
            np.testing.assert_array_equal(numbers(view, memory), expected)
    assert made > 300


def test_operands_get_axes_in_common() -> None:
    tokens, _, _ = blocked((5,), 48)
    rows, _ = plain(5, 48)
    found = refined([rows, tokens])
    assert found == ([3, 5, 16], [[16, 48, 1], [80, 16, 1]])
    assert refined([rows, rows]) == ([240], [[1], [1]])
    one, _ = plain(1, 48)
    assert refined([one.expanded((5, 48)), rows]) == ([5, 48], [[0, 1], [48, 1]])


def test_what_does_not_divide_is_refused() -> None:
    a = View(0, None, 0, (((3, 100), (4, 1)),))
    b = View(0, None, 0, (((4, 100), (3, 1)),))
    assert refined([a, b]) is None


def test_dense() -> None:
    tokens, _, _ = blocked((2, 5), 48)
    assert tokens.dense()
    assert tokens.permuted((2, 0, 1)).dense()
    part = tokens.sliced(1, 0, 3, 1)
    assert part is not None
    assert not part.dense()
    one = tokens.at(1, 0, keep=True)
    assert not one.expanded((2, 5, 48)).dense()
