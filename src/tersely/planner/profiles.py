"""Profiles: the machine that a plan is for.

Classes of machines are shipped, so that every machine makes the same plan; `tersely calibrate` measures this one and
writes a profile of its own, which is named by its file.

{"tersely_profile": 1, "machine": "portable" | "avx512" | "amx", "threads": ..., "costs": {KERNEL: {DTYPE: {BATCH: [ns
 of a call, ns per weight that the kernel goes through, ns per stored byte, ns per row]}}}, and for people: "processor",
 ...}
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tersely.backends.cpu import isa
from tersely.core.errors import ArgumentError
from tersely.planner.cost_model import Costs

NAMES = ("portable", "avx2", "avx512", "amx", "native")
CALIBRATED = "calibrated"
"""What files record of a profile that was measured."""
VERSION = 1
MACHINES = ("portable", "avx2", "avx512", "amx")
COEFFICIENTS = 4


@dataclass(frozen=True)
class Profile:
    """name: what files record. machine: the class whose codes are worth considering. costs: what was measured."""

    name: str
    machine: str
    costs: Costs = field(default_factory=dict, compare=False, repr=False)


def native_machine() -> str:
    """The class of this machine under the instruction set in use."""
    active = isa.active()
    return "amx" if active == "amx" else "avx512" if active.startswith("avx512") else "portable"


def resolve(profile: str | os.PathLike[str] | Profile) -> Profile:
    """A shipped profile by its name, 'native' as the class of this machine, a measured one by its file.

    Raises ArgumentError for names that nobody knows and files that are no profile.
    """
    if isinstance(profile, Profile):
        return profile
    if profile == "native":
        return Profile(native_machine(), native_machine())
    if profile in NAMES:
        return Profile(str(profile), str(profile))
    if not isinstance(profile, (str, os.PathLike)) or not Path(profile).is_file():
        raise ArgumentError(
            f"unknown profile {profile!r}: use one of {', '.join(NAMES)}, or a file that 'tersely calibrate' made"
        )
    return read(Path(profile))


def read(path: Path) -> Profile:
    """A profile that `tersely calibrate` wrote. Raises ArgumentError with the entry that is wrong."""
    try:
        document = json.loads(path.read_text())
    except (ValueError, OSError, RecursionError) as error:
        raise ArgumentError(f"the profile {path} cannot be read: {error}") from None
    if not isinstance(document, dict) or document.get("tersely_profile") != VERSION:
        raise ArgumentError(
            f"{path} is not a profile: it needs 'tersely_profile': {VERSION}; make one with 'tersely calibrate'"
        )
    if document.get("machine") not in MACHINES:
        raise ArgumentError(f"the profile {path}: 'machine' must be one of {', '.join(MACHINES)}")
    if not isinstance(document.get("costs"), dict) or not document["costs"]:
        raise ArgumentError(f"the profile {path} has no 'costs'")
    costs = {kernel: _dtypes(path, kernel, found) for kernel, found in document["costs"].items()}
    return Profile(CALIBRATED, document["machine"], costs)


def _dtypes(path: Path, kernel: str, found: Any) -> Mapping[str, Mapping[int, tuple[float, ...]]]:
    wrong = ArgumentError(
        f"the profile {path}: the costs of {kernel!r} must be {COEFFICIENTS} times, at least 0, by dtype and batch"
    )
    if not isinstance(found, dict):
        raise wrong
    dtypes: dict[str, dict[int, tuple[float, ...]]] = {}
    for dtype, rows in found.items():
        if not isinstance(rows, dict) or not rows:
            raise wrong
        dtypes[dtype] = {}
        for batch, times in sorted(rows.items(), key=lambda item: len(item[0])):
            numbers = isinstance(times, list) and len(times) == COEFFICIENTS
            if not (batch.isascii() and batch.isdigit() and 0 < int(batch) <= 1 << 20 and numbers):
                raise wrong
            if not all(type(t) in (int, float) and math.isfinite(t) and t >= 0 for t in times):
                raise wrong
            dtypes[dtype][int(batch)] = tuple(map(float, times))
    return dtypes
