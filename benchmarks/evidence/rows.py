"""A record of the evidence as rows that tables, pictures and claims are made of: who won, and by how much."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from benchmarks.evidence.coding import RUNNABLE, STORED
from benchmarks.record import Record

PAPER = ("resnet50", "resnet101", "vgg16", "mobilenet_v2", "deit_b")
"""The five networks of the paper."""
FASTER, SMALLER = 1.07, 1.17
"""What the paper reaches at once on uncompressed networks."""
NARROW_SMALLER = 1.13
"""What AVX2, which decodes fewer weights at a time, is to reach."""


@dataclass(frozen=True)
class Run:
    """A network on every engine. ms: medians by engine; ours begin with 'tersely'. held: to which instruction set, in words."""

    network: str
    state: str
    batch: int
    ms: dict[str, float]
    smaller: dict[str, float]
    busy: str
    left_out: dict[str, str]
    cold: dict[str, dict[str, float]]
    error: dict[str, float]
    weight_bytes: dict[str, int] = field(default_factory=dict)
    cold_left_out: dict[str, str] = field(default_factory=dict)
    held: str = ""

    @property
    def fastest(self) -> str:
        """The fastest other engine, '' where none ran."""
        others = [name for name in self.ms if not name.startswith("tersely")]
        return min(others, key=self.ms.__getitem__, default="")

    def ratio(self, name: str = "tersely balanced") -> float | None:
        """How many times as fast as the fastest other engine; None where either did not run."""
        return self.ms[self.fastest] / self.ms[name] if self.fastest and name in self.ms else None

    @property
    def against_dense(self) -> float | None:
        """`balanced` against our executor on dense weights."""
        if "tersely dense" not in self.ms or "tersely balanced" not in self.ms:
            return None
        return self.ms["tersely dense"] / self.ms["tersely balanced"]


@dataclass
class Coded:
    """A network in a state by every coder: ratios by coder, encoding and decoding in MB/s."""

    network: str
    state: str
    original_bytes: int = 0
    order_0: float = 0.0
    ratio: dict[str, float] = field(default_factory=dict)
    encode: dict[str, float] = field(default_factory=dict)
    decode: dict[str, float] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    product: dict[str, Any] = field(default_factory=dict)

    def best_rival(self, without: tuple[str, ...] = ()) -> str:
        """The rival that makes it smallest, '' where there is none. without: rivals that do not count."""
        rivals = [name for name in self.ratio if name not in (*STORED, *RUNNABLE, *without)]
        return max(rivals, key=self.ratio.__getitem__, default="")

    def best_multiplying(self) -> dict[str, float]:
        """Of rivals that multiply from their coded form, how many times smaller than dense each makes the matrix."""
        nbytes = self.product.get("bytes", {})
        rivals = [name for name in self.product.get("ms", {}) if name != "dense" and name not in RUNNABLE]
        return {name: nbytes["dense"] / nbytes[name] for name in rivals}


def runs(record: Record, kind: str = "running") -> list[Run]:
    """Whole networks that ran. kind: 'narrow' for those with AVX2."""
    found = []
    for one in _of(record, kind):
        unit = one["unit"]
        smaller = one["smaller"] if isinstance(one["smaller"], dict) else {"balanced": one["smaller"]}
        ms = {_engine(name): value for name, value in one["ms"].items()}
        found.append(
            Run(
                unit["network"],
                unit["state"],
                unit["batch"],
                ms,
                smaller,
                one["busy"],
                one.get("left_out", {}),
                one.get("cold", {}),
                {_engine(name): value for name, value in one["error"].items()},
                one.get("weight_bytes", {}),
                one.get("cold_left_out", {}),
                " with AVX2" if kind == "narrow" else "",
            )
        )
    return found


_ISA = {f"tersely {isa}" for isa in ("avx2", "avx2_vnni", "avx512", "avx512_bf16", "amx", "scalar")}
"""What ours are called where networks are quantised: they have one plan."""


def _engine(name: str) -> str:
    return "tersely balanced" if name in _ISA else name


def coded(record: Record) -> list[Coded]:
    """Networks and states that were coded, in the order of the record."""
    found: dict[tuple[str, str], Coded] = {}

    def row(unit: dict[str, Any]) -> Coded:
        return found.setdefault((unit["network"], unit["state"]), Coded(unit["network"], unit["state"]))

    for one in record["units"].values():
        unit = one["unit"]
        if unit["kind"] == "coding":
            if "failed" in one:
                row(unit).failed[unit["coder"]] = one["failed"]
                continue
            here = row(unit)
            here.original_bytes = one["original_bytes"]
            here.order_0 = one["original_bytes"] / one["order_0_bytes"]
            here.ratio[unit["coder"]] = one["original_bytes"] / one["bytes"]
            here.encode[unit["coder"]] = one["encode_mb_per_s"]
            here.decode[unit["coder"]] = one["decode_mb_per_s"]
        elif unit["kind"] == "products" and "failed" not in one:
            row(unit).product = one
    return list(found.values())


def mixed(record: Record) -> list[dict[str, Any]]:
    """Plans against single formulations."""
    return list(_of(record, "mixing"))


def tokens_of(record: Record) -> list[dict[str, Any]]:
    """Tokens of language models."""
    return list(_of(record, "tokens"))


def shares(record: Record) -> list[dict[str, Any]]:
    """The paper's table by layer."""
    return list(_of(record, "shares"))


def predictions(record: Record) -> list[dict[str, Any]]:
    """Trained networks on labelled images."""
    return list(_of(record, "predictions"))


def failures(record: Record) -> Iterator[tuple[dict[str, Any], str]]:
    """Units that failed, with why; a coder that does not take a dtype is none."""
    for one in record["units"].values():
        if "failed" in one and "takes none" not in one["failed"]:
            yield one["unit"], one["failed"]


def _of(record: Record, kind: str) -> Iterator[dict[str, Any]]:
    return (one for one in record["units"].values() if one["unit"]["kind"] == kind and "failed" not in one)
