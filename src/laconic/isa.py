"""Which instruction set the kernels use: detected when the package is imported, forced by LACONIC_ISA or `use`.

An unknown or unsupported name is an error, never a silent fallback.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from laconic import native
from laconic.errors import ArgumentError

NAMES = ("scalar", "avx2", "avx512", "avx512_bf16", "amx")
REFERENCE = "reference"
"""Reported where the native module is missing: NumPy does the work."""


def available() -> tuple[str, ...]:
    """Names that this processor and this build can run, slowest first."""
    return (REFERENCE,) if not native.available() else tuple(native.module.isa_available())


def active() -> str:
    """The name in use."""
    return REFERENCE if not native.available() else str(native.module.isa_active())


def why_not(name: str) -> str | None:
    """Why `name` cannot be used here; None where it can."""
    if not native.available():
        return None if name == REFERENCE else "the native module is not installed"
    if name not in NAMES:
        return f"unknown name; laconic knows {', '.join(NAMES)}"
    reason = str(native.module.isa_why_not(name))
    return reason or None


def use(name: str) -> None:
    """Force one instruction set for all further work. Raises ArgumentError where it cannot be had."""
    reason = why_not(name)
    if reason is not None:
        raise ArgumentError(f"instruction set {name!r} cannot be used: {reason}")
    if native.available():
        native.module.isa_use(name)


@contextmanager
def using(name: str) -> Iterator[None]:
    """`use(name)` for the length of a with-block."""
    before = active()
    use(name)
    try:
        yield
    finally:
        use(before)


if native.available() and (_forced := os.environ.get("LACONIC_ISA")):
    use(_forced)
