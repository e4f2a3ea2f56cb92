"""Dense against compressed on this machine, by rules that leave little room for luck.

Copies of the weights rotate through a working set larger than the caches; the runs are interleaved; medians; every
answer is checked before it is timed. Dense is the fastest of our own dense kernel on the same layout (batch 1), torch's
F.linear and torch.mv; our own must reach 95 % of a read-stream test in the same run, and nobody else may have used the
processors meanwhile (`tersely.backends.cpu.busy`), else the row is void.
"""

from __future__ import annotations

import mmap
import os
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tersely.backends.cpu import isa, native
from tersely.backends.cpu.busy import Watch
from tersely.backends.cpu.threads import get_num_threads
from tersely.codes import registry
from tersely.codes.words.split import reference
from tersely.core.dtypes import by_name, raw_bytes
from tersely.core.errors import ArgumentError, TerselyError
from tersely.files.open import load_file
from tersely.planner import choose
from tersely.tensors.linear import linear
from tersely.tensors.tensor import Tensor

VOID_BELOW = 0.95
"""Share of the read stream that our dense kernel must reach."""

CODES: dict[str, tuple[tuple[str, dict[str, Any]], ...]] = {
    "default": (
        ("speed", {"code": "packed"}),
        ("speed, avx512", {"code": "layered", "widths": (3,)}),
        ("size", {"code": "layered", "widths": (2, 2, 2, 2)}),
    ),
    "float8": (("size", {"code": "layered", "widths": (1, 1, 1)}),),
}


@dataclass(frozen=True)
class Settings:
    """threads: None for `get_num_threads()`. working_set_bytes: of the compressed form's dense original."""

    threads: int | None = None
    working_set_bytes: int = 512_000_000
    seconds: float = 2.0
    minimum_rounds: int = 11


@dataclass(frozen=True)
class Row:
    """One comparison; times are medians in milliseconds, None where there is nothing to compare with.

    busy: what made threads wait meanwhile, '' for nothing.
    """

    what: str
    batch: int
    objective: str
    stored_as: str
    bits_per_weight: float
    ms: float
    dense_ms: float
    dense: str
    linear_ms: float | None
    stream_share: float | None
    isa: str
    threads: int
    busy: str = ""

    @property
    def void(self) -> bool:
        """The machine was busy, or our dense kernel fell short of the read stream."""
        return bool(self.busy) or (self.stream_share is not None and self.stream_share < VOID_BELOW)

    def to_json(self) -> dict[str, Any]:
        ratio = {"x_dense": self.dense_ms / self.ms, "x_linear": self.linear_ms / self.ms if self.linear_ms else None}
        return {**self.__dict__, **ratio, "void": self.void}

    def cells(self) -> tuple[str, ...]:
        return (
            self.what,
            str(self.batch),
            self.objective,
            self.stored_as,
            f"{self.bits_per_weight:.2f}",
            f"{self.ms:.3f}",
            f"{self.dense_ms:.3f}" + (" (void)" if self.void else ""),
            f"{self.dense_ms / self.ms:.2f}",
            "-" if self.linear_ms is None else f"{self.linear_ms:.3f}",
            "-" if self.linear_ms is None else f"{self.linear_ms / self.ms:.2f}",
        )


def notes(rows: Iterable[Row]) -> list[str]:
    """What a reader of the table must know."""
    rows = list(rows)
    if not rows:
        return ["no matrix to measure: only two-dimensional float tensors of at least 16 rows and columns are"]
    found = [f"{rows[0].threads} threads, {rows[0].isa}, medians of interleaved runs, answers checked"]
    found.append(f"dense is the fastest of: {', '.join(sorted({row.dense for row in rows}))}")
    if all(row.linear_ms is None for row in rows):
        found.append("torch is not installed: no F.linear to compare with")
    for busy in dict.fromkeys(row.busy for row in rows if row.busy):
        found.append(f"void: the machine was busy, run again: {busy}")
    if any(row.void and not row.busy for row in rows):
        found.append("void: our dense kernel fell below 95 % of the read stream; the machine was busy, run again")
    return found


def huge_copy(data: np.ndarray) -> np.ndarray:
    """A copy of bytes in memory of its own, on huge pages where the system has them."""
    size = -(-data.nbytes // (2 << 20)) * (2 << 20) + (2 << 20)
    block = mmap.mmap(-1, size)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        block.madvise(mmap.MADV_HUGEPAGE)
    whole = np.frombuffer(block, np.uint8)
    start = -whole.ctypes.data % (2 << 20)
    copy = whole[start : start + data.nbytes]
    copy[:] = data.reshape(-1).view(np.uint8)
    return copy


def medians_ms(runs: dict[str, Callable[[int], object]], settings: Settings) -> dict[str, float]:
    """Median time of each run in milliseconds; round by round, each run once, on a fresh copy."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(2):
        for run in runs.values():
            run(number)
    start, number = time.perf_counter(), 2
    while time.perf_counter() - start < settings.seconds * len(runs) or number < settings.minimum_rounds + 2:
        for offset, (name, run) in enumerate(runs.items()):
            begin = time.perf_counter()
            run(number * 5 + offset)
            times[name].append((time.perf_counter() - begin) * 1e3)
        number += 1
    return {name: statistics.median(values) for name, values in times.items()}


def _vector_order(array: np.ndarray) -> np.ndarray:
    """The bytes of a matrix in the order in which kernels decode it: the layout of our own dense kernel."""
    dtype = by_name(array.dtype.name)
    words: np.ndarray = raw_bytes(array).view(dtype.word).reshape(array.shape)
    rows, columns = -(-words.shape[0] // 16) * 16, -(-words.shape[1] // 4) * 4
    padded = np.zeros((rows, columns), words.dtype)
    padded[: words.shape[0], : words.shape[1]] = words
    if dtype.name == "bfloat16":
        ordered = padded.reshape(rows // 16, 16, columns // 4, 2, 2).transpose(0, 2, 3, 1, 4)
    else:
        ordered = padded.reshape(rows // 16, 16, columns // 4, 4).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(ordered).reshape(-1).view(np.uint8)


def _torch() -> Any:
    try:
        import torch
    except ImportError:
        return None
    return torch if hasattr(torch, "set_num_threads") else None  # a folder named torch is none


def torch_runs(
    array: np.ndarray, x: np.ndarray, copies: list[np.ndarray], threads: int
) -> dict[str, Callable[[int], object]]:
    torch = _torch()
    names = {"float32": "float32", "bfloat16": "bfloat16", "float16": "float16"}
    if torch is None or array.dtype.name not in names:
        return {}
    torch.set_num_threads(threads)
    dtype = getattr(torch, names[array.dtype.name])
    weights = [torch.from_numpy(copy).view(dtype).reshape(array.shape) for copy in copies]
    rows = torch.from_numpy(x.view(np.uint8).copy()).view(dtype).reshape(x.shape)
    runs: dict[str, Callable[[int], Any]] = {
        "F.linear": lambda k: torch.nn.functional.linear(rows, weights[k % len(weights)])
    }
    if len(x) == 1:
        runs["torch.mv"] = lambda k: torch.mv(weights[k % len(weights)], rows[0])
    return runs


def _check(y: np.ndarray, x: np.ndarray, array: np.ndarray, what: str) -> None:
    exact = reference.linear(x, array)
    scale = np.abs(exact).max() + 1e-30
    allowed = 1e-4 if y.dtype == np.float32 else 2e-2
    if not (np.abs(y.astype(np.float64) - exact).max() <= allowed * scale):
        raise TerselyError(f"{what}: the product is wrong; nothing was timed, please report this")


def coded_run(x: np.ndarray, out: np.ndarray, forms: list[Tensor], threads: int) -> Callable[[int], object]:
    word = by_name(x.dtype.name).word
    x_words, out_words, matrices = x.view(word), out.view(word), [form.matrix for form in forms]
    return lambda k: matrices[k % len(matrices)].linear(x_words, x.dtype.name, None, out_words, threads)


def own_dense_run(
    array: np.ndarray, x: np.ndarray, copies: int, threads: int
) -> tuple[list[np.ndarray], Callable[[int], object], np.ndarray]:
    """Our own dense kernel on one row of x: its copies of the weights, the run, and where the run leaves y."""
    ordered = [huge_copy(_vector_order(array)) for _ in range(copies)]
    padded = np.zeros(-(-array.shape[1] // 4) * 4, np.float32)
    padded[: array.shape[1]] = x[0].astype(np.float32)
    y = np.zeros(-(-array.shape[0] // 16) * 16, np.float32)
    product, dtype = native.module.bench_dense_product, array.dtype.name
    return ordered, lambda k: product(ordered[k % copies], dtype, padded, y, threads), y


def compare(
    what: str,
    array: np.ndarray,
    tensors: dict[tuple[str, str], list[Tensor]],
    batch: int,
    settings: Settings,
) -> list[Row]:
    """Rows for one matrix: tensors maps (objective, name) to copies of one coded form."""
    if not native.available():
        raise TerselyError("benchmarks need the native module, which is not installed")
    threads = settings.threads or get_num_threads()
    rng = np.random.default_rng(1)
    x_dtype = array.dtype if array.dtype.itemsize > 1 else np.dtype(np.float32)
    x = rng.standard_normal((batch, array.shape[1])).astype(x_dtype)
    copies = max(2, -(-settings.working_set_bytes // array.nbytes))
    dense_copies = [huge_copy(raw_bytes(array)) for _ in range(copies)]
    runs = torch_runs(array, x, dense_copies, threads)
    own: dict[str, Callable[[int], object]] = {}
    if batch == 1:
        ordered, own["own dense kernel"], y = own_dense_run(array, x, copies, threads)
        own["own dense kernel"](0)
        _check(y[None, : array.shape[0]], x, array, f"{what}, own dense kernel")
        own["read stream"] = lambda k: native.module.bench_read_stream(ordered[k % copies], threads)
    coded: dict[str, Callable[[int], object]] = {}
    for key, forms in tensors.items():
        out = np.empty((batch, array.shape[0]), x.dtype)
        _check(linear(x, forms[0], out=out), x, array, f"{what}, {key[1]}")
        coded["\0".join(key)] = coded_run(x, out, forms, threads)
    watch = Watch()
    found = medians_ms({**runs, **own, **coded}, settings)
    busy = watch.troubles(threads)
    stream = found.pop("read stream", None)
    dense = min((name for name in (*runs, *own) if name in found), key=lambda name: found[name], default=None)
    if dense is None:
        raise ArgumentError(f"{what}: nothing dense to compare with at batch {batch}; install torch")
    share = stream / found["own dense kernel"] if stream is not None else None
    return [
        Row(
            what,
            batch,
            key[0],
            key[1],
            forms[0].bits_per_weight,
            found["\0".join(key)],
            found[dense],
            dense,
            found.get("F.linear"),
            share,
            isa.active(),
            threads,
            busy,
        )
        for key, forms in tensors.items()
    ]


def copies_of(tensor: Tensor, count: int) -> list[Tensor]:
    """The tensor `count` times, each with its tiles in memory of its own."""
    found = []
    for _ in range(count):
        components = {
            name: huge_copy(data) if name == "tiles" else data.copy() for name, data in tensor.components.items()
        }
        found.append(Tensor(replace(tensor.encoded, components=components)))
    return found


def bench_shape(
    rows: int, columns: int, dtype: str, batches: Iterable[int], settings: Settings, codes: Any = None
) -> list[Row]:
    """Normal weights (sigma 0.02) of one shape under packed and layered codes.

    Raises ArgumentError for unknown dtypes.
    """
    known = registry.named("split").DTYPES
    if dtype not in known:
        raise ArgumentError(f"dtype {dtype!r} has no code: use one of {', '.join(known)}")
    kind = by_name(dtype).numpy
    assert kind is not None
    array = (np.random.default_rng(0).standard_normal((rows, columns), dtype=np.float32) * 0.02).astype(kind)
    copies = max(2, -(-settings.working_set_bytes // array.nbytes))
    tensors = {}
    for objective, parameters in codes or CODES["float8" if kind.itemsize == 1 else "default"]:
        tensor = Tensor(choose.encode(array, formulation="split", **parameters))
        tensors[objective, _name(tensor)] = copies_of(tensor, copies)
    what = f"{dtype} {rows} x {columns}"
    return [row for batch in batches for row in compare(what, array, tensors, batch, settings)]


def _name(tensor: Tensor) -> str:
    return registry.label(tensor.encoded.node.to_json())


@dataclass(frozen=True)
class Coverage:
    """How much of a file its rows stand for: a matrix stands for all of its shape, dtype and form.

    matrices, weights: that the rows stand for. left_out: weights of tensors that are no such matrix, by why.
    """

    measured: int
    matrices: int
    weights: int
    all_weights: int
    left_out: Mapping[str, int]

    @property
    def note(self) -> str:
        """What a reader of the table must know."""
        share = 100 * self.weights / max(1, self.all_weights)
        found = (
            f"measured {self.measured} matrices, which stand for {self.matrices} of the same shape and form: "
            f"{self.weights:,} of {self.all_weights:,} weights ({share:.1f} %)"
        )
        rest = ", ".join(f"{reason} ({count:,})" for reason, count in self.left_out.items())
        return found + (f"; not measured: {rest}" if rest else "")


def bench_file(path: str | os.PathLike[str], batches: Iterable[int], settings: Settings) -> tuple[list[Row], Coverage]:
    """Every matrix shape of a file once, mapped where it is compressed, else coded as planned for here."""
    found: list[Row] = []
    seen: dict[Any, int] = {}
    left_out: dict[str, int] = {}
    matrices = weights = total = 0
    batches = list(batches)
    for name, tensor in load_file(Path(path)).items():
        total += tensor.size
        reason = _reason_unmeasured(tensor)
        coded = None
        if not reason:
            coded = tensor if tensor.matrix is not None else Tensor(choose.encode(tensor.decode(), profile="native"))
            if coded.matrix is None:
                reason = "matrices that stay dense"
            elif coded.geometry.view == "folded":
                reason = "matrices coded as a sequence"
        if reason or coded is None:
            left_out[reason] = left_out.get(reason, 0) + tensor.size
            continue
        matrices, weights = matrices + 1, weights + tensor.size
        key = (tensor.shape, tensor.dtype, _name(coded))
        if key in seen:
            continue
        seen[key] = 1
        array = tensor.decode()
        copies = max(2, -(-settings.working_set_bytes // array.nbytes))
        forms = [coded, *copies_of(coded, copies - 1)]
        what = f"{name} {tensor.dtype} {' x '.join(map(str, tensor.shape))}"
        for batch in batches:
            found += compare(what, array, {("as planned", _name(coded)): forms}, batch, settings)
    return found, Coverage(len(seen), matrices, weights, total, left_out)


def _reason_unmeasured(tensor: Tensor) -> str:
    """Why there is nothing to compare for a tensor, or ''."""
    if not by_name(tensor.encoded.dtype).floating:
        return "other dtypes"
    if tensor.ndim > 2:
        return "convolutions and stacks"
    if tensor.ndim < 2:
        return "vectors"
    return "matrices of fewer than 16 rows or columns" if min(tensor.shape) < 16 else ""
