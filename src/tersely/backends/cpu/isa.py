"""Which instruction set the kernels use: detected when the package is imported, forced by TERSELY_ISA or `use`.

An unknown or unsupported name is an error, never a silent fallback: one in the environment is raised by whatever needs
the kernels, until `use` names another.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

from tersely.backends.cpu import native
from tersely.core.choices import Isa
from tersely.core.errors import ArgumentError

NAMES = native.ISAS
REFERENCE = native.REFERENCE
"""Reported where the native module is missing: NumPy does the work."""


def available() -> tuple[Isa, ...]:
    """Returns the names that this processor and this build can run, slowest first."""
    missing = native.loaded is None or not native.available()
    return cast(tuple[Isa, ...], (REFERENCE,) if missing else tuple(native.loaded.isa_available()))


def active() -> Isa:
    """Returns the name in use. Raises ArgumentError where the environment forces one that cannot be had."""
    return cast(Isa, REFERENCE if not native.available() else native.module.isa_active())


def multiplies_pairs() -> bool:
    """Returns whether the kernels in use multiply pairs of bfloat16."""
    return active() in ("avx512_bf16", "amx")


def is_wide() -> bool:
    """Returns whether the kernels in use are those of AVX-512."""
    return active() in ("avx512", "avx512_bf16", "amx")


def reason_unavailable(name: Isa) -> str | None:
    """Returns why `name` cannot be used here; None where it can."""
    return native.reason_unavailable(name)


def use(name: Isa) -> None:
    """Forces one instruction set for all further work.

    Args:
        name: one of `available()`.

    Raises:
        ArgumentError: where it cannot be had.
    """
    reason = reason_unavailable(name)
    if reason is not None:
        raise ArgumentError(f"instruction set {name!r} cannot be used: {reason}")
    native.use(name)


@contextmanager
def using(name: Isa) -> Iterator[None]:
    """Forces one instruction set inside a with-block, and the earlier one again afterwards.

    Args:
        name: one of `available()`.

    Raises:
        ArgumentError: where it cannot be had.
    """
    before = active()
    use(name)
    try:
        yield
    finally:
        use(before)
