"""How long a product would take, without running it: by the times of a measured profile, else by shipped figures.

Shipped figures (the module `costs` of each formulation) make the same plan on every machine. They are for choosing, not
for promises: what counts is which candidate is faster, on machines whose memory and cores differ by less than the
candidates do. Measured (`tersely calibrate`): call + weights visited x a + stored bytes x b + rows x c, by kernel,
dtype and batch.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tersely.codes import registry
from tersely.codes.protocol import Work, is_wide

Costs = Mapping[str, Mapping[str, Mapping[int, tuple[float, ...]]]]
"""Times by name of the kernel, dtype and batch: ns of a call, ns per visited weight, per stored byte, per row of the
weight."""


def predict_ns(work: Work, dtype: str, profile: str, batch: int = 1, measured: Costs | None = None) -> float:
    """Nanoseconds of a product with `batch` rows of x under a class of machines; `portable` is the slower one, AVX2.

    work: a candidate's, or that of a tensor that is coded already. measured: the costs of a calibrated profile, which
    count where they have the kernel and the dtype.
    """
    row, machine = registry.BY_NAME[work.kernel.formulation], "avx512" if is_wide(profile) else "avx2"
    if work.inner is not None:
        inner = predict_ns(work.inner, dtype, profile, batch, measured)
        return inner + row.predict_ns(work, dtype, machine, batch)
    rows = (measured or {}).get(str(work.kernel), {}).get(dtype)
    return _interpolated(rows, work, batch) if rows else row.predict_ns(work, dtype, machine, batch)


def features(work: Work) -> tuple[float, float, float, float]:
    """What a measured time is a sum over: one call, visited weights, stored bytes, rows."""
    visited = work.entries or work.padded_weights
    return 1.0, float(visited), float(work.nbytes), float(work.geometry.rows * work.geometry.count)


def _interpolated(rows: Mapping[int, tuple[float, ...]], work: Work, batch: int) -> float:
    """Between the measured batches straight, beyond the last one on along the last line."""
    found = features(work)
    batches = sorted(rows)
    times = [sum(a * b for a, b in zip(rows[known], found, strict=True)) for known in batches]
    if batch <= batches[-1] or len(batches) == 1:
        return float(np.interp(batch, batches, times))
    slope = (times[-1] - times[-2]) / (batches[-1] - batches[-2])
    return times[-1] + max(0.0, slope) * (batch - batches[-1])
