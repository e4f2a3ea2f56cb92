"""How long a product would take, without running it: by the times of a measured profile, else by shipped constants.

Shipped, by two threads, b rows of x:

    dense            the longer of stored bytes / bandwidth and weights x b x time per multiplication
    split            the longer of dense time at one row x a measured share and weights x (decoding + b multiplications)
    sparse bitmap    the longer of bytes / bandwidth and chunks x time per chunk + weights x further rows
    sparse deltas    the longer of bytes / bandwidth and entries x time per entry, which grows with b
    sparse integers  likewise in deltas; all others weights x (decoding + b multiplications)
    palette          the longer of bytes / bandwidth and chunks x time per chunk + weights x further rows; numbers of a grid
                     up to 8 rows likewise by whole numbers, above by words
    affine           likewise, each group of rows and columns adding its own; many rows by words
    integer          the longer of bytes / bandwidth and chunks x time per chunk, or weights x (decoding + b rows)
    blocks           the longer of bytes / bandwidth and weights of blocks that are there x time per weight
    submatrix        what is kept, and rows x (places of x that are picked + places of the result)

Shipped constants make the same plan on every machine. They are for choosing, not for promises: what counts is which
candidate is faster, on machines whose memory and cores differ by less than the candidates do. Measured
(`tersely calibrate`): call + weights visited x a + stored bytes x b + rows x c, by kernel, dtype and batch.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tersely.codes.protocol import Candidate, Work
from tersely.core.dtypes import by_name
from tersely.planner import shipped_costs
from tersely.tensors import handoff

Costs = Mapping[str, Mapping[str, Mapping[int, tuple[float, ...]]]]
"""By kernel, dtype and batch: ns of a call, ns per visited weight, per stored byte, per row of the weight."""


def predict_ns(
    candidate: Candidate | Work, dtype: str, profile: str, batch: int = 1, measured: Costs | None = None
) -> float:
    """Nanoseconds of a product with `batch` rows of x under a class of machines; `portable` is the slower one, AVX2.

    measured: the costs of a calibrated profile, which count where they have the kernel and the dtype.
    """
    if candidate.inner is not None:
        moved = candidate.geometry.rows + candidate.geometry.columns
        return predict_ns(candidate.inner, dtype, profile, batch, measured) + batch * moved * shipped_costs.MOVED_NS
    rows = (measured or {}).get(candidate.kernel, {}).get(dtype)
    if rows:
        return _interpolated(rows, candidate, batch)
    machine = "avx512" if profile in ("avx512", "amx") else "avx2"
    kernel, memory = candidate.kernel, candidate.nbytes / shipped_costs.BYTES_PER_NS
    multiply = shipped_costs.MULTIPLY_NS[machine] * batch
    if kernel == "dense":
        return shipped_costs.CALL_NS + max(memory, candidate.nbytes * 8 / by_name(dtype).bits * multiply)
    if kernel == "dense pairs":
        return shipped_costs.CALL_NS + max(memory, candidate.nbytes * 2 * (shipped_costs.PAIRS_NS + multiply))
    positions, _, values = kernel.partition(" + ")
    if positions.startswith("sparse") and by_name(dtype).bits == 8:
        return shipped_costs.CALL_NS + max(memory, _sparse_integer_ns(candidate, machine, batch))
    pattern = positions.partition(" n_of_m ")[2]
    if pattern or positions in ("sparse bitmap", "sparse elias_fano"):
        first = (shipped_costs.SELECT_NS[machine][pattern] if pattern else shipped_costs.CHUNK_NS[machine])[dtype]
        chunk = first + 64 * shipped_costs.MULTIPLY_NS[machine] * (batch - 1)
        compute = candidate.places / 64 * chunk
        if values:
            compute += candidate.entries / 64 * _value_ns(values, dtype, machine)
        if positions == "sparse elias_fano":
            compute += candidate.entries * shipped_costs.PLACE_NS
        return shipped_costs.CALL_NS + max(memory, compute)
    if positions == "sparse deltas":
        further: float = batch - 1 if batch <= 4 else 3 * -(-batch // 16)
        each = shipped_costs.ENTRY_NS[machine] + further * shipped_costs.ENTRY_ROW_NS[machine]
        if values:
            each += _value_ns(values, dtype, machine, shipped_costs.LANE_VALUE_NS) / 64
        return shipped_costs.CALL_NS + max(memory, candidate.entries * each)
    if kernel.startswith("palette grid"):
        return shipped_costs.CALL_NS + max(memory, candidate.places / 64 * _grid_ns(kernel, dtype, machine, batch))
    if kernel.startswith("palette"):
        _, bits, *code = kernel.split()
        chunk = _words_ns(int(bits), dtype, machine, batch) + (shipped_costs.INDEX_CODE_NS[machine] if code else 0.0)
        return shipped_costs.CALL_NS + max(memory, candidate.places / 64 * chunk)
    if kernel.startswith("row_palette"):
        return shipped_costs.CALL_NS + max(
            memory, candidate.places / 64 * _row_palette_ns(kernel, dtype, machine, batch)
        )
    if kernel.startswith("affine"):
        return shipped_costs.CALL_NS + max(memory, candidate.places / 64 * _affine_ns(kernel, dtype, machine, batch))
    if kernel == "integer":
        once = candidate.places / 64 * shipped_costs.INTEGER_CHUNK_NS
        return shipped_costs.CALL_NS + max(
            memory, once + candidate.places * shipped_costs.MULTIPLY_NS[machine] * (batch - 1)
        )
    if kernel == "integer decoded":
        return shipped_costs.CALL_NS + memory + candidate.places * shipped_costs.MULTIPLY_NS[machine] * (batch - 1)
    if kernel == "integer nibbles":
        return shipped_costs.CALL_NS + candidate.places * (shipped_costs.NIBBLES_NS + multiply)
    if kernel in shipped_costs.CODED_INTEGER_NS[machine]:
        decode, row = shipped_costs.CODED_INTEGER_NS[machine][kernel]
        return shipped_costs.CALL_NS + max(memory, candidate.places * (decode + batch * row))
    if kernel in shipped_costs.BLOCK_NS:
        visit = shipped_costs.BLOCK_NS[kernel] * shipped_costs.BLOCK_SHARE[machine]
        # Blocks of one row are read anew for every row of x, or decoded for all of them, which costs as much as several.
        anew = float(batch) if batch <= 4 else batch / 2
        one_high = kernel.startswith("blocks 1x")
        each = visit * anew if one_high else visit + shipped_costs.MULTIPLY_NS[machine] * (batch - 1)
        return shipped_costs.CALL_NS + max(memory, candidate.entries * each)
    dense = candidate.places * by_name(dtype).bits / 8 / shipped_costs.BYTES_PER_NS
    if kernel == "split constant":
        return shipped_costs.CALL_NS + max(dense * shipped_costs.CONSTANT_SHARE, candidate.places * multiply)
    shares = shipped_costs.SPLIT_SHARE[machine]
    share = shares.get(kernel) or (shares.get("split layered", {}) if kernel.startswith("split layered") else {})
    once = dense * share.get(dtype, shipped_costs.SLOW_SHARE)
    return shipped_costs.CALL_NS + max(once, candidate.places * (shipped_costs.DECODE_NS[machine] + multiply))


def _sparse_integer_ns(candidate: Candidate | Work, machine: str, batch: int) -> float:
    """Sparse whole numbers: gaps with dense values as they are, everything else decoded."""
    by_rows = candidate.geometry.view == "matrix" and candidate.geometry.orientation == "out_in"
    if candidate.kernel == "sparse deltas" and by_rows:
        blocks, left = divmod(batch, 8)
        return candidate.entries * (
            blocks * shipped_costs.GAP_INTEGER_NS[2] + (shipped_costs.GAP_INTEGER_NS[min(left, 3) - 1] if left else 0.0)
        )
    places = candidate.entries * shipped_costs.PLACE_NS if candidate.kernel.startswith("sparse elias_fano") else 0.0
    return places + candidate.places * (
        shipped_costs.SPARSE_INTEGER_NS[machine] + shipped_costs.MULTIPLY_NS[machine] * batch
    )


def _words_ns(bits: int, dtype: str, machine: str, batch: int) -> float:
    """A chunk of a palette whose words are looked up, all rows of x."""
    by_bytes = machine == "avx512" and dtype == "float32" and bits > 4
    row = shipped_costs.PLANES_ROW_NS if by_bytes else 64 * shipped_costs.MULTIPLY_NS[machine]
    return shipped_costs.PALETTE_CHUNK_NS[machine][dtype][bits - 1] + row * (batch - 1)


def _grid_ns(kernel: str, dtype: str, machine: str, batch: int) -> float:
    """A chunk of a palette's numbers, all rows of x."""
    bits = max(1, int(kernel.split()[2]))
    if batch <= handoff.GRID_ROWS:
        return shipped_costs.GRID_CHUNK_NS[machine][bits - 1] + shipped_costs.GRID_ROW_NS[machine][bits - 1] * (
            batch - 1
        )
    return shipped_costs.GRID_WORDS_NS + _words_ns(bits, dtype, machine, batch)


def _affine_ns(kernel: str, dtype: str, machine: str, batch: int) -> float:
    """64 places of scaled numbers, all rows of x."""
    _, bits, _, *columns = kernel.split()
    if bits == "coded" and batch <= 4:
        return shipped_costs.AFFINE_CODED_NS[machine][dtype] + shipped_costs.AFFINE_ROW_NS[machine][0] * (batch - 1)
    if batch > handoff.ROW_FIELD_ROWS[bits]:
        code = shipped_costs.INDEX_CODE_NS[machine] if bits == "coded" else 0.0
        return shipped_costs.AFFINE_WORDS_NS[machine] + code + 64 * shipped_costs.MULTIPLY_NS[machine] * (batch - 1)
    # Four rows of x share what is looked up.
    group = shipped_costs.AFFINE_GROUP_NS[machine][_is_short(columns)] * 4 / int(columns[0]) if columns else 0.0
    return _lines_ns(bits, columns, dtype, machine, batch) + group


def _is_short(columns: list[str]) -> bool:
    """Whether groups are shorter than a line of 4-bit numbers. columns: of a group, none for all."""
    return bool(columns) and int(columns[0]) < 128


def _lines_ns(bits: str, columns: list[str], dtype: str, machine: str, batch: int) -> float:
    """64 places of lines, what groups add left out."""
    blocks, of_bytes = -(-batch // 4), bits == "8"
    short = machine == "avx2" and _is_short(columns) and not of_bytes
    once = shipped_costs.AFFINE_SHORT_NS[dtype] if short else shipped_costs.AFFINE_NS[machine][dtype][of_bytes]
    return blocks * once + shipped_costs.AFFINE_ROW_NS[machine][of_bytes] * (batch - blocks)


def _row_palette_ns(kernel: str, dtype: str, machine: str, batch: int) -> float:
    """64 places of indices into tables of rows, all rows of x."""
    _, bits, _, *columns = kernel.split()
    if bits in ("8", "coded") or batch > handoff.ROW_FIELD_ROWS[bits]:
        code = shipped_costs.INDEX_CODE_NS[machine] if bits == "coded" else 0.0
        return (
            shipped_costs.ROW_PALETTE_WORDS_NS[machine] + code + 64 * shipped_costs.MULTIPLY_NS[machine] * (batch - 1)
        )
    group = shipped_costs.ROW_PALETTE_GROUP_NS * 4 / int(columns[0]) if columns else 0.0
    return _lines_ns(bits, columns, dtype, machine, batch) + group


def _value_ns(
    kernel: str, dtype: str, machine: str, of_palette: shipped_costs.PaletteCosts = shipped_costs.PALETTE_VALUE_NS
) -> float:
    """Decoding a group of 64 values."""
    if kernel.startswith("palette"):
        _, bits, *code = kernel.split()
        return of_palette[machine][dtype][int(bits) - 1] + (shipped_costs.INDEX_VALUE_NS[machine] if code else 0.0)
    name = "split layered" if kernel.startswith("split layered") else kernel
    return shipped_costs.VALUE_NS[machine].get(name, {}).get(dtype, shipped_costs.SLOW_VALUE_NS)


def features(candidate: Candidate | Work) -> tuple[float, float, float, float]:
    """What a measured time is a sum over: one call, visited weights, stored bytes, rows."""
    visited = candidate.entries or candidate.places
    return 1.0, float(visited), float(candidate.nbytes), float(candidate.geometry.rows * candidate.geometry.count)


def _interpolated(rows: Mapping[int, tuple[float, ...]], candidate: Candidate | Work, batch: int) -> float:
    """Between the measured batches straight, beyond the last one on along the last line."""
    found = features(candidate)
    batches = sorted(rows)
    times = [sum(a * b for a, b in zip(rows[known], found, strict=True)) for known in batches]
    if batch <= batches[-1] or len(batches) == 1:
        return float(np.interp(batch, batches, times))
    slope = (times[-1] - times[-2]) / (batches[-1] - batches[-2])
    return times[-1] + max(0.0, slope) * (batch - batches[-1])
