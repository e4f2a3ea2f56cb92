"""What products of `signed_zeros` take: those of what it holds, for the sign of a zero changes no sum."""

from __future__ import annotations

from dataclasses import dataclass

from tersely.codes.protocol import KernelKey


@dataclass(frozen=True)
class Kernel(KernelKey):
    """child: the kernel of the weights with clean zeros, whose times are those of this formulation too."""

    formulation = "signed_zeros"
    child: KernelKey

    def words(self) -> tuple[object, ...]:
        return (self.child,)
