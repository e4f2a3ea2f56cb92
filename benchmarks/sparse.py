"""Pruned weights: sparse forms against dense, scipy's CSR and torch's CSR. `python -m benchmarks.sparse`.

Rules as in README.md: 4096 x 4096, normal weights of which a share is set to zero at random places, by a pattern, or by
whole rows and columns as structured pruning does, copies that rotate through the working set, interleaved medians, answers checked before they are timed.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import ml_dtypes
import numpy as np
import torch  # first, so that both share its thread pool

import tersely
from benchmarks.common import SHAPE, begin, parser_of, print_machine, save
from tersely.report import bench
from tersely.report.bench import Settings, huge_copy
from tersely.tensors.tensor import Tensor

ZEROS = (0.5, 0.8, 0.9, 0.95)
PATTERNS = ((2, 4),)
CHANNELS = "1/2 rows, 1/4 columns empty"
Pruning = float | tuple[int, int] | str


def pruned(zeros: float, dtype: np.dtype, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    rng = np.random.default_rng(0)
    array = rng.standard_normal(shape, dtype=np.float32) * np.float32(0.02)
    return np.where(rng.random(shape, dtype=np.float32) < zeros, np.float32(0), array).astype(dtype)


def pattern(of: tuple[int, int], dtype: np.dtype) -> np.ndarray:
    """Of each m weights of a row, the n largest."""
    n, m = of
    array = np.random.default_rng(0).standard_normal(SHAPE, dtype=np.float32).reshape(-1, m) * np.float32(0.02)
    order = np.argsort(np.abs(array), axis=1)
    np.put_along_axis(array, order[:, : m - n], np.float32(0), axis=1)
    return array.reshape(SHAPE).astype(dtype)


def without_channels(dtype: np.dtype) -> np.ndarray:
    """Half of the outputs and a quarter of the inputs pruned."""
    rng = np.random.default_rng(0)
    array = rng.standard_normal(SHAPE, dtype=np.float32) * np.float32(0.02)
    array[rng.permutation(SHAPE[0])[: SHAPE[0] // 2]] = 0
    array[:, rng.permutation(SHAPE[1])[: SHAPE[1] // 4]] = 0
    return array.astype(dtype)


def weights(zeros: Pruning, dtype: np.dtype) -> np.ndarray:
    if isinstance(zeros, str):
        return without_channels(dtype)
    return pruned(zeros, dtype) if isinstance(zeros, float) else pattern(zeros, dtype)


def label(zeros: Pruning) -> str:
    if isinstance(zeros, str):
        return zeros
    return f"{zeros:.0%} zeros" if isinstance(zeros, float) else "{}:{}".format(*zeros)


def forms(zeros: Pruning) -> dict[str, dict[str, Any]]:
    """What is measured, by name: values as they are and coded."""
    codes: dict[str, dict[str, Any]] = {
        "packed(4)": {"code": "packed"},
        "layered(3)": {"code": "layered", "widths": (3,)},
        "layered(2,2,2)": {"code": "layered", "widths": (2, 2, 2)},
    }
    if isinstance(zeros, str):
        rows = {"block_sparse row": {"formulation": "block_sparse", "block": "row"}}
        return rows | {f"submatrix {name}": {"formulation": "submatrix"} | code for name, code in codes.items()}
    if isinstance(zeros, float):
        kinds = {"sparse bitmap": {"positions": "bitmap"}, "sparse deltas": {"positions": "deltas"}}
        base = "sparse bitmap"
    else:
        kinds = {"sparse n_of_m": {"positions": "n_of_m", "n": zeros[0], "m": zeros[1]}}
        base = "sparse n_of_m"
    nested = {f"{base}, {name}": kinds[base] | {"values": "split"} | code for name, code in codes.items()}
    return {name: {"formulation": "sparse"} | options for name, options in (kinds | nested).items()}


def copies_of(tensor: Tensor, count: int) -> list[Tensor]:
    """The tensor `count` times, every large component in memory of its own."""
    found = []
    for _ in range(count):
        components = {
            name: huge_copy(data) if data.nbytes > 1 << 16 else data.copy() for name, data in tensor.components.items()
        }
        found.append(Tensor(replace(tensor.encoded, components=components)))
    return found


def csr_runs(array: np.ndarray, x: np.ndarray, copies: int) -> dict[str, Callable[[int], Any]]:
    """scipy's and torch's CSR product, float32, on rotating copies; scipy uses one thread."""
    runs: dict[str, Callable[[int], Any]] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's CSR is in beta
        one = torch.from_numpy(array).to_sparse_csr()
        forms = [
            torch.sparse_csr_tensor(one.crow_indices(), one.col_indices().clone(), one.values().clone(), one.shape)
            for _ in range(copies)
        ]
    column = torch.from_numpy(x[0].copy())
    runs["torch CSR"] = lambda k: torch.mv(forms[k % copies], column)
    try:
        import scipy.sparse
    except ImportError:
        return runs
    matrices = [scipy.sparse.csr_matrix(array) for _ in range(copies)]
    runs["scipy CSR"] = lambda k: matrices[k % copies] @ x[0]
    return runs


def measure(settings: Settings, batches: tuple[int, ...]) -> list[dict[str, Any]]:
    rows = []
    for dtype in (np.dtype(np.float32), np.dtype(ml_dtypes.bfloat16)):
        for zeros in (*ZEROS, *PATTERNS, CHANNELS):
            array = weights(zeros, dtype)
            copies = max(2, -(-settings.working_set_bytes // array.nbytes))
            planned = tersely.encode(array, objective="speed", profile="native").encoded.node
            tensors = {}
            for name, options in forms(zeros).items():
                coded = tersely.encode(array, **options)
                shown = name + (" (planned)" if coded.encoded.node == planned else "")
                tensors["speed", shown] = copies_of(coded, copies)
            csr = {}
            if dtype == np.float32 and isinstance(zeros, float):
                x = np.random.default_rng(1).standard_normal((1, SHAPE[1])).astype(np.float32)
                csr = bench.medians_ms(csr_runs(array, x, max(2, copies // 2)), settings)
            for batch in batches:
                for row in bench.compare(f"{dtype} {label(zeros)}", array, tensors, batch, settings):
                    found = row.to_json() | {"zeros": label(zeros), "csr_ms": csr if batch == 1 else {}}
                    print("  ".join(row.cells()), row.dense, found["csr_ms"], flush=True)
                    rows.append(found)
    return rows


def print_rows(record: dict[str, Any]) -> None:
    print_machine(record)
    print("| weights | batch | stored as | bits/weight | ms | x dense | x best CSR |\n|---|---|---|---|---|---|---|")
    for row in record["sparse"]:
        csr = min(row["csr_ms"].values(), default=None)
        ratio = "-" if csr is None else f"{csr / row['ms']:.1f}"
        void = " (void)" if row["void"] else ""
        print(
            f"| {row['what']} | {row['batch']} | {row['stored_as']} | {row['bits_per_weight']:.2f} | {row['ms']:.3f} "
            f"| {row['x_dense']:.2f}{void} | {ratio} |"
        )


def main() -> None:
    parser = parser_of(__doc__, 2.0)
    parser.add_argument("--batch", type=int, action="append", help="rows of x; may be given again; default 1 and 16")
    arguments = parser.parse_args()
    settings, record = begin(arguments)
    record["sparse"] = measure(settings, tuple(arguments.batch or (1, 16)))
    save(record, "sparse", arguments.output)
    print_rows(record)


if __name__ == "__main__":
    main()
