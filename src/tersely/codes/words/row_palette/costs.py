"""What products of `row_palette` take by shipped figures: as those of `affine`, with tables to look up."""

from __future__ import annotations

from dataclasses import dataclass

from tersely.codes.machine import call_ns
from tersely.codes.protocol import Work
from tersely.codes.selection.sparse.costs import numbers_ns
from tersely.codes.words.affine import row_fields
from tersely.codes.words.affine.row_fields import by_words_ns, fields_ns

FAST_BITS = 4
"""Bits of fields whose words kernels look up in registers."""
GROUP_NS = 66.0
"""What a group of 16 tables adds to fields, where rows have several (AVX2 on Zen 3)."""
WORDS_NS = 30.0
"""Looking 64 indices up in their tables, weight by weight."""


@dataclass(frozen=True)
class Kernel(row_fields.Kernel):
    formulation = "row_palette"


def predict_ns(work: Work, dtype: str, machine: str, batch: int) -> float:
    kernel = work.kernel
    assert isinstance(kernel, Kernel)
    if kernel.bits is None or kernel.bits > FAST_BITS or batch > kernel.rows:
        chunk = by_words_ns(kernel, machine, batch, WORDS_NS)
    else:
        group = GROUP_NS * 4 / kernel.columns if kernel.columns else 0.0
        chunk = fields_ns(kernel, dtype, machine, batch) + group
    return call_ns(work, work.padded_weights / 64 * chunk + numbers_ns(kernel.numbers, work.entries, machine))
