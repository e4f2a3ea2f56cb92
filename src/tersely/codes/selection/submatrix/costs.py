"""What products of `submatrix` take by shipped figures: what is kept, and rows of x x (what is picked of x + the result)."""

from __future__ import annotations

from dataclasses import dataclass

from tersely.codes.protocol import KernelKey

# MEASURED on Ice Lake, one thread, 256 x 256 and 1024 x 1024, half of the rows and columns kept: 0.2 to 0.95.
MOVED_NS = 0.4
"""An element of x or of the result, which one worker picks or fills."""


@dataclass(frozen=True)
class Kernel(KernelKey):
    """kept: the kernel of what is kept."""

    formulation = "submatrix"
    kept: KernelKey

    def words(self) -> tuple[object, ...]:
        return (self.kept,)
