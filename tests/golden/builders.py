"""What the golden files hold, by arithmetic alone.

A builder never changes once its files are in the repository: a new format version gets new builders and a new folder.
`python -m golden.builders` in `tests` writes files that are missing, and only those.
"""

from __future__ import annotations

import json
from pathlib import Path

import ml_dtypes
import numpy as np

import tersely
from golden.arithmetic import DTYPES, holed, n_of_m, noise, pruned, repeated, shared, weights
from golden.copies import copies_1_0
from golden.left_out import integers_left_out_1_0
from golden.nibbles import integer_nibbles_1_0
from golden.pools import pooled_2_0
from golden.rows import affine_1_0, gap_numbers_1_0, row_palettes_1_0, sparse_numbers_1_0
from golden.signs import signed_zeros_1_0
from golden.submatrices import submatrices_1_0
from golden.whole import sparse_whole_1_0

HERE = Path(__file__).parent


def tensors_1_0() -> dict[str, tersely.Tensor]:
    """Every dtype under every code, and every view; format 1.0."""
    found = {}
    codes = {
        "packed": {"code": "packed"},
        "layered_3": {"code": "layered", "widths": (3,)},
        "layered_2_1_0": {"code": "layered", "widths": (2, 1, 1)},
    }
    for seed, dtype in enumerate(DTYPES):
        for name, parameters in codes.items():
            array = weights((47, 70), dtype, 10 * seed)
            found[f"{dtype}.{name}"] = tersely.encode(array, formulation="split", profile="portable", **parameters)
    mixed = weights((48, 64), "float32", 60)
    mixed[:16] = mixed[:16].astype(ml_dtypes.bfloat16)  # one panel of hidden bfloat16, one of float16
    mixed[16:32] = mixed[16:32].astype(np.float16)
    special = weights((16, 2100), "bfloat16", 70)
    special[3, ::50] = [np.nan, np.inf, -np.inf, -0.0, 0.0, 1e-40] * 7
    arrays = {
        "view.stack": weights((3, 31, 40), "bfloat16", 80),
        "view.convolution_blocked": weights((16, 32, 3, 3), "float32", 90),
        "view.convolution_taps": weights((47, 17, 5), "float16", 100),
        "view.folded": weights((7, 310), "bfloat16", 110),
        "view.scalar": weights((1,), "float32", 120).reshape(()),
        "tails.hidden": mixed,
        "escapes.special": special,
        "constant": np.full((16, 16), 0.5, np.float32),
        "dense.int8": noise(30, 130).astype(np.uint8).view(np.int8).reshape(5, 6),
        "dense.empty": np.zeros((0, 4), np.float32),
    }
    for name, array in arrays.items():
        if name in ("view.stack", "view.convolution_blocked", "view.convolution_taps"):
            forced = {"formulation": "split", "code": "layered", "widths": (2, 2)}
            found[name] = tersely.encode(array, profile="portable", **forced)
        else:
            found[name] = tersely.encode(array, objective="size", profile="portable")
    found["view.in_out"] = tersely.encode(
        weights((64, 48), "bfloat16", 140), formulation="split", profile="portable", orientation="in_out"
    )
    return found


def example_1_0() -> dict[str, tersely.Tensor]:
    """The file that docs/FORMAT.md takes apart byte by byte: 16 x 4 bfloat16 under layered(2), with one escape."""
    array = weights((16, 4), "bfloat16", 1)
    return {"w": tersely.encode(array, formulation="split", code="layered", widths=(2,), profile="portable")}


def original_1_0() -> dict[str, np.ndarray]:
    """What `compressed.safetensors` was made from."""
    return {
        "layer.weight": weights((64, 48), "bfloat16", 150),
        "layer.bias": weights((64,), "float32", 160),
        "step": np.array(7, np.int64),
    }


def bitmaps_1_0() -> dict[str, tersely.Tensor]:
    """`sparse` with a bitmap: every dtype, several segments, views, nothing but zeros."""
    arrays = {dtype: pruned((47, 70), dtype, 200 + seed, 3) for seed, dtype in enumerate(list(DTYPES)[:3])}
    arrays["segments"] = pruned((17, 4099), "bfloat16", 210, 9)
    arrays["convolution"] = pruned((16, 17, 3, 3), "float32", 220, 5)
    arrays["folded"] = pruned((7, 310), "float16", 230, 5)
    arrays["zeros"] = np.zeros((32, 32), np.float32)
    arrays["full"] = weights((16, 36), "float32", 240)
    options = {"formulation": "sparse", "positions": "bitmap", "profile": "portable"}
    found = {name: tersely.encode(array, **options) for name, array in arrays.items()}
    found["in_out"] = tersely.encode(pruned((64, 48), "bfloat16", 250, 4), orientation="in_out", **options)
    return found


def gaps_1_0() -> dict[str, tersely.Tensor]:
    """`sparse` with gaps: every dtype, several windows and matrices, fillers, nothing but zeros."""
    arrays = {dtype: pruned((47, 70), dtype, 300 + seed, 5) for seed, dtype in enumerate(list(DTYPES)[:3])}
    arrays["windows"] = pruned((275, 40), "bfloat16", 310, 6)
    arrays["fillers"] = pruned((17, 4099), "float32", 320, 301)
    arrays["stack"] = pruned((3, 31, 40), "float16", 330, 5)
    arrays["folded"] = pruned((7, 310), "float32", 340, 5)
    arrays["zeros"] = np.zeros((32, 32), np.float32)
    options = {"formulation": "sparse", "positions": "gaps", "profile": "portable"}
    found = {name: tersely.encode(array, **options) for name, array in arrays.items()}
    found["in_out"] = tersely.encode(pruned((64, 48), "bfloat16", 350, 4), orientation="in_out", **options)
    return found


def sparse_values_1_0() -> dict[str, tersely.Tensor]:
    """`sparse` with a bitmap whose values `split` codes: every dtype and code, several segments, views, no values at all."""
    options = {"formulation": "sparse", "positions": "bitmap", "values": "split", "profile": "portable"}
    codes = {
        "packed": {"code": "packed"},
        "layered_3": {"code": "layered", "widths": (3,)},
        "layered_2_1_0": {"code": "layered", "widths": (2, 1, 1)},
    }
    found = {}
    for seed, dtype in enumerate(list(DTYPES)[:3]):
        for name, code in codes.items():
            found[f"{dtype}.{name}"] = tersely.encode(pruned((47, 70), dtype, 400 + seed, 3), **options, **code)
    layered = options | codes["layered_3"]
    found["segments"] = tersely.encode(pruned((17, 4099), "bfloat16", 410, 9), **layered)
    found["convolution"] = tersely.encode(pruned((16, 17, 3, 3), "float32", 420, 5), **layered)
    found["folded"] = tersely.encode(pruned((7, 310), "float16", 430, 5), **layered)
    found["in_out"] = tersely.encode(pruned((64, 48), "bfloat16", 440, 4), orientation="in_out", **layered)
    found["zeros"] = tersely.encode(np.zeros((32, 32), np.float32), **layered)
    found["constant"] = tersely.encode(np.full((32, 32), 0.5, np.float32), **options, code="constant")
    hidden = pruned((48, 64), "float16", 450, 3).astype(np.float32)
    found["tail"] = tersely.encode(hidden, **layered)
    return found


def elias_fano_1_0() -> dict[str, tersely.Tensor]:
    """`sparse` with Elias-Fano positions: every dtype, several segments, few and many values, no values at all."""
    options = {"formulation": "sparse", "positions": "elias_fano", "profile": "portable"}
    found = {}
    for seed, dtype in enumerate(list(DTYPES)[:3]):
        array = pruned((47, 70), dtype, 600 + seed, 5)
        found[dtype] = tersely.encode(array, **options)
        found[f"{dtype}.layered"] = tersely.encode(array, **options, values="split", code="layered", widths=(2, 2))
    found["segments"] = tersely.encode(pruned((17, 4099), "bfloat16", 610, 29), **options, values="split")
    found["many"] = tersely.encode(weights((16, 36), "float32", 620), **options)
    found["zeros"] = tersely.encode(np.zeros((32, 32), np.float32), **options)
    return found


def sparse_palette_1_0() -> dict[str, tersely.Tensor]:
    """`sparse` whose values are a palette's: every kind of positions and dtype; indices packed, coded, and cut in two."""
    options = {"formulation": "sparse", "values": "palette", "profile": "portable"}
    forms: dict[str, dict[str, object]] = {"fixed": {}, "coded": {"code": "layered", "widths": (1, 2)}}
    forms["low"] = {"code": "layered", "widths": (2, 1), "packed_bits": 2}
    found = {}
    for seed, dtype in enumerate(list(DTYPES)[:3]):
        array = holed(shared((47, 70), dtype, 800 + 40 * seed, 23, 3), 810 + 40 * seed, 5)
        for positions in ("bitmap", "gaps", "elias_fano"):
            for name, form in forms.items():
                found[f"{positions}.{dtype}.{name}"] = tersely.encode(array, positions=positions, **options, **form)
        array = n_of_m((47, 70), dtype, 815 + 40 * seed, 2, 4)
        word = array.view(f"u{array.itemsize}")
        array = (word & word.dtype.type(1 << (8 * array.itemsize - 1) | 3 << (8 * array.itemsize - 7))).view(
            array.dtype
        )
        found[f"2_4.{dtype}"] = tersely.encode(array, positions="n_of_m", n=2, m=4, **options)
    for bits in range(1, 9):
        array = holed(shared((20, 90), "float32", 920 + 10 * bits, 1 << bits), 921 + 10 * bits, 3)
        found[f"bits.{bits}"] = tersely.encode(array, **options)
        found[f"bits.{bits}.low"] = tersely.encode(array, **options, code="packed", packed_bits=bits - 1)
    segments = holed(shared((17, 4099), "bfloat16", 1010, 200, 2), 1011, 9)
    for positions in ("bitmap", "gaps"):
        found[f"segments.{positions}"] = tersely.encode(segments, positions=positions, **options, **forms["low"])
    found["zeros"] = tersely.encode(np.zeros((32, 32), np.float32), **options)
    return found


def n_of_m_1_0() -> dict[str, tersely.Tensor]:
    """`sparse` with n_of_m: every pattern and dtype, values as they are and coded, columns that fill no block."""
    found = {}
    for k, (n, m) in enumerate(((1, 4), (2, 4), (4, 8))):
        options = {"formulation": "sparse", "positions": "n_of_m", "n": n, "m": m, "profile": "portable"}
        for seed, dtype in enumerate(list(DTYPES)[:3]):
            array = n_of_m((47, 70), dtype, 500 + 10 * k + seed, n, m)
            found[f"{n}_{m}.{dtype}"] = tersely.encode(array, **options)
            found[f"{n}_{m}.{dtype}.packed"] = tersely.encode(array, **options, values="split", code="packed")
        array = n_of_m((16, 2099), "bfloat16", 505 + 10 * k, n, m)
        found[f"{n}_{m}.segments"] = tersely.encode(array, **options, values="split", code="layered", widths=(2, 2))
    return found


def palettes_1_0() -> dict[str, tersely.Tensor]:
    """`palette`: every dtype, every number of index bits, views, coded indices, words that are not finite."""
    options = {"formulation": "palette", "profile": "portable"}
    found = {}
    for seed, dtype in enumerate(list(DTYPES)[:3]):
        found[dtype] = tersely.encode(shared((47, 70), dtype, 400 + 20 * seed, 16), **options)
        coded = shared((47, 70), dtype, 410 + 20 * seed, 23, 4)
        found[f"{dtype}.layered"] = tersely.encode(coded, code="layered", widths=(2, 2), **options)
    for bits in range(1, 9):
        found[f"bits.{bits}"] = tersely.encode(shared((20, 37), "float32", 480 + 10 * bits, 1 << bits), **options)
    found["packed"] = tersely.encode(shared((33, 40), "bfloat16", 580, 40, 3), code="packed", **options)
    found["constant"] = tersely.encode(np.full((16, 36), 0.5, np.float32), code="constant", **options)
    found["segments"] = tersely.encode(shared((17, 4099), "bfloat16", 590, 5), **options)
    found["convolution"] = tersely.encode(shared((16, 17, 3, 3), "float32", 600, 9), **options)
    found["folded"] = tersely.encode(shared((7, 310), "float16", 610, 3), **options)
    found["in_out"] = tersely.encode(shared((64, 48), "bfloat16", 620, 30), orientation="in_out", **options)
    special = np.array([np.inf, np.nan, -np.inf, -0.0, 0.0, 1e-40], np.float32)
    found["special"] = tersely.encode(special[noise(16 * 40, 630) % 6].reshape(16, 40), **options)
    found["endless"] = tersely.encode(np.full((16, 6), np.inf, np.float32), **options)
    return found


def blocks_of(formulation: str, blocks: tuple[str, ...], seed: int) -> dict[str, tersely.Tensor]:
    """Every shape of block: every dtype, several panels and matrices, views, one block, none but empty ones."""
    found = {}
    for block in blocks:
        arrays = {dtype: repeated((47, 70), dtype, seed + k) for k, dtype in enumerate(list(DTYPES)[:3])}
        arrays["stack"] = repeated((3, 31, 40), "float16", seed + 10)
        arrays["convolution"] = repeated((32, 17, 3, 3), "float32", seed + 20)
        arrays["folded"] = repeated((7, 310), "bfloat16", seed + 30)
        arrays["zeros"] = np.zeros((32, 32), np.float32)
        options = {"formulation": formulation, "block": block, "profile": "portable"}
        found |= {f"{block}.{name}": tersely.encode(array, **options) for name, array in arrays.items()}
        turned = repeated((64, 48), "bfloat16", seed + 40)
        found[f"{block}.in_out"] = tersely.encode(turned, orientation="in_out", **options)
    return found


def blocks_1_0() -> dict[str, tersely.Tensor]:
    return blocks_of("blocks", ("row", "1x4", "1x8", "16x1", "chunk"), 400)


def block_sparse_1_0() -> dict[str, tersely.Tensor]:
    return blocks_of("block_sparse", ("row", "16x1", "chunk"), 500)


def integer_1_0() -> dict[str, tersely.Tensor]:
    """`integer`: both dtypes, every number of bits, groups of their own, several segments, views, escapes."""

    def whole(shape: tuple[int, ...], seed: int, spread: int) -> np.ndarray:
        """Sums of four even distributions: int8, thinning out from -7 on both sides."""
        parts = sum(noise(int(np.prod(shape)), seed + k).astype(np.int64) % spread for k in range(4))
        return np.clip(parts - 2 * spread - 7, -128, 127).reshape(shape).astype(np.int8)

    options = {"formulation": "integer", "profile": "portable"}
    found = {
        f"bits{bits}": tersely.encode(whole((47, 70), 600 + 10 * bits, 9), bits=bits, **options) for bits in range(9)
    }
    groups = whole((64, 2100), 700, 20)
    groups[16:32] = groups[16:32] % 4
    groups[32:48] = 17
    found["groups"] = tersely.encode(groups, objective="size", **options)
    found["uint8"] = tersely.encode((whole((33, 64), 710, 12).astype(np.int64) + 128).astype(np.uint8), **options)
    found["convolution"] = tersely.encode(whole((32, 16, 3, 3), 720, 6), **options)
    found["stack"] = tersely.encode(whole((3, 31, 40), 730, 6), **options)
    found["folded"] = tersely.encode(whole((7, 310), 740, 6), **options)
    found["in_out"] = tersely.encode(whole((64, 48), 750, 6), orientation="in_out", **options)
    return found


def palette_grids_1_0() -> dict[str, tersely.Tensor]:
    """`palette` whose words are a grid: every dtype and number of bits, groups of their own, numbers that fields leave out."""

    def quantised(shape: tuple[int, ...], dtype: str, seed: int, size: int, scale: float = 0.0123) -> np.ndarray:
        """scale (number - 5), the numbers thinning out from their middle."""
        count = int(np.prod(shape))
        throws = sum(noise(count, seed + k).astype(np.int64) % size for k in range(3))
        return ((throws // 3 - 5).astype(np.float32) * np.float32(scale)).reshape(shape).astype(DTYPES[dtype])

    options = {"formulation": "palette", "code": "grid", "profile": "portable"}
    found = {}
    for bits in range(1, 9):
        found[f"bits.{bits}"] = tersely.encode(quantised((47, 70), "float32", 900 + 10 * bits, 1 << bits), **options)
    for seed, dtype in enumerate(("bfloat16", "float16")):
        found[dtype] = tersely.encode(quantised((47, 70), dtype, 1000 + 10 * seed, 100, 2.0**-7), **options)
    groups = quantised((64, 2100), "float32", 1020, 200)
    groups[16:32] = 0
    groups[16:32, 5] = np.float32(0.0123)
    found["groups"] = tersely.encode(groups, smallest=True, **options)
    found["constant"] = tersely.encode(np.full((16, 36), -0.5, np.float32), **options)
    found["stack"] = tersely.encode(quantised((3, 31, 40), "float32", 1030, 30), **options)
    found["convolution"] = tersely.encode(quantised((32, 17, 3, 3), "float32", 1040, 60), **options)
    found["folded"] = tersely.encode(quantised((7, 310), "float16", 1050, 20, 0.125), **options)
    found["in_out"] = tersely.encode(quantised((64, 48), "float32", 1060, 120), orientation="in_out", **options)
    return found


def recipes_1_0() -> tuple[dict[str, tersely.Tensor], dict[str, str]]:
    """(tensors, metadata): two matrices that a stack and a join of rows are made of, one of them in its own right."""
    options = {"formulation": "split", "code": "packed"}
    tensors = {
        "a": tersely.encode(weights((32, 24), "bfloat16", 800), **options),
        "both#0": tersely.encode(weights((32, 24), "bfloat16", 810) * np.asarray(64, "bfloat16"), **options),
    }
    recipes = {
        "both": ["stack", 0, ["a", "both#0"]],
        "rows": ["cat", 0, ["both#0", ["rows", 3, 7, "a"]]],
        "turned": ["transposed", ["cat", 0, [["rows", 3, 7, "a"], "both#0"]]],
    }
    note = json.dumps({"recipes": recipes, "pieces": ["both#0"]}, separators=(",", ":"))
    return tensors, {"made by": "tests/golden/builders.py", "tersely_recipes": note}


def integer_codes_1_0() -> dict[str, tersely.Tensor]:
    """`integer` under codes of `split`: every dtype and cut, views, bytes of two 4-bit values."""

    def whole(shape: tuple[int, ...], seed: int, spread: int, dtype: str = "int64") -> np.ndarray:
        """Sums of four even distributions about -7."""
        parts = sum(noise(int(np.prod(shape)), seed + k).astype(np.int64) % spread for k in range(4))
        return (parts - 2 * spread - 7).reshape(shape).astype(dtype)

    options = {"formulation": "integer", "profile": "portable"}
    found = {}
    for k, (dtype, spread) in enumerate({"int8": 20, "uint8": 20, "int16": 40, "uint16": 40}.items()):
        for bit_layout in ("index", "float8_e5m2", "float8_e4m3fn") + (("bfloat16", "float16") if spread == 40 else ()):
            array = (whole((47, 70), 800 + 10 * k, spread) + (100 if dtype[0] == "u" else 0)).astype(dtype)
            found[f"{dtype}.{bit_layout}"] = tersely.encode(array, code="distances", bit_layout=bit_layout, **options)
    wide = {"code": "distances", **options}
    found["wide"] = tersely.encode(whole((33, 2100), 850, 8000, "int16"), **wide)
    found["stack"] = tersely.encode(whole((3, 31, 40), 860, 30, "int8"), **wide)
    found["convolution"] = tersely.encode(whole((32, 17, 3, 3), 870, 300, "int16"), **wide)
    found["in_out"] = tersely.encode(whole((64, 48), 880, 300, "int16"), orientation="in_out", **wide)
    for name, shape in {"matrix": (47, 70), "stack": (3, 31, 40), "folded": (7, 5, 3, 3)}.items():
        pairs = (whole(shape, 890, 4) & 15 | (whole(shape, 895, 4) & 15) << 4).astype(np.uint8)
        found[f"nibbles.{name}"] = tersely.encode(pairs, code="nibbles", int4_columns=2 * shape[-1], **options)
    return found


FILES_1_0 = {
    "example": example_1_0,
    "tensors": tensors_1_0,
    "bitmaps": bitmaps_1_0,
    "gaps": gaps_1_0,
    "sparse_values": sparse_values_1_0,
    "sparse_n_of_m": n_of_m_1_0,
    "sparse_elias_fano": elias_fano_1_0,
    "sparse_palette": sparse_palette_1_0,
    "sparse_whole": sparse_whole_1_0,
    "signed_zeros": signed_zeros_1_0,
    "palettes": palettes_1_0,
    "palette_grids": palette_grids_1_0,
    "row_palettes": row_palettes_1_0,
    "affine": affine_1_0,
    "sparse_numbers": sparse_numbers_1_0,
    "gap_numbers": gap_numbers_1_0,
    "integer": integer_1_0,
    "integer_codes": integer_codes_1_0,
    "integer_nibbles": integer_nibbles_1_0,
    "blocks": blocks_1_0,
    "block_sparse": block_sparse_1_0,
    "submatrices": submatrices_1_0,
    "integers_left_out": integers_left_out_1_0,
    "copies": copies_1_0,
}
FILES = {f"v1.0/{name}": build for name, build in FILES_1_0.items()}


def write_missing() -> None:
    for name, build in FILES.items():
        path = HERE / f"{name}.safetensors"
        path.parent.mkdir(exist_ok=True)
        if not path.exists():
            tersely.save_file(build(), path, metadata={"made by": "tests/golden/builders.py"})
    folder = HERE / "v1.0"
    source, packed = folder / "original.safetensors", folder / "compressed.safetensors"
    if not packed.exists():
        from safetensors.numpy import save_file

        save_file(original_1_0(), source, metadata={"format": "pt"})
        tersely.compress(source, packed)
    if not (folder / "recipes.safetensors").exists():
        tensors, metadata = recipes_1_0()
        tersely.save_file(tensors, folder / "recipes.safetensors", metadata)
    pools = HERE / "v2.0"
    if not (pools / "pool.safetensors").exists():
        from safetensors.numpy import save_file

        pools.mkdir(exist_ok=True)
        save_file(pooled_2_0(), pools / "original.safetensors", metadata={"format": "pt"})
        tersely.compress(pools / "original.safetensors", pools / "pool.safetensors")
    source, packed = folder / "original.onnx", folder / "onnx.safetensors"
    if not packed.exists():
        from support import onnx_files

        folder.mkdir(exist_ok=True)
        source.write_bytes(onnx_files.everything()[0])
        tersely.compress(source, packed, objective="size", profile="portable")


if __name__ == "__main__":
    write_missing()
