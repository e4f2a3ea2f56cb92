"""Arguments with few values, as types: what a checker of types knows and what is checked when it runs are the same."""

from __future__ import annotations

from typing import Literal, get_args

Objective = Literal["size", "speed", "balanced"]
StorageLevel = Literal["fast", "max"]
Check = Literal["structure", "checksums", "full"]
Orientation = Literal["out_in", "in_out"]
Packed = Literal["int4", "uint4"]
Mode = Literal["fused", "identical"]
OnSlow = Literal["keep", "transcode", "decode"]
Store = Literal["smallest"]
Isa = Literal["scalar", "avx2", "avx2_vnni", "avx512", "avx512_bf16", "amx", "reference"]

OBJECTIVES: tuple[str, ...] = get_args(Objective)
CHECKS: tuple[str, ...] = get_args(Check)
ORIENTATIONS: tuple[str, ...] = get_args(Orientation)
MODES: tuple[str, ...] = get_args(Mode)
ON_SLOW: tuple[str, ...] = get_args(OnSlow)
STORES: tuple[str, ...] = get_args(Store)
LEVELS: tuple[str, ...] = get_args(StorageLevel)

BY_ARGUMENT = {
    "objective": Objective,
    "check": Check,
    "orientation": Orientation,
    "packed": Packed,
    "mode": Mode,
    "on_slow": OnSlow,
    "store": Store,
    "level": StorageLevel,
}
"""What an argument of that name has as its type in every public signature, perhaps beside None."""
