"""The README's table: a few lines of the newest record of the evidence."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path

from benchmarks import record
from benchmarks.evidence import claims, kernels
from benchmarks.evidence.rows import PAPER, Run, coded, runs, tokens_of
from benchmarks.record import Record

SHOWN = (
    *((name, "float32") for name in PAPER),
    ("minilm", "float32"),
    ("resnet50", "90 % pruned"),
    ("resnet50", "Deep Compression: 80 % pruned, 5-bit k-means"),
)
HEAD = ("", "fastest other", "tersely", "faster", "smaller")


def rows(found: Record) -> Iterator[tuple[str, ...]]:
    """Whole networks, a token, and stored files."""
    names, ran = claims.titles(found), runs(found)
    for network, state in SHOWN:
        run = next((one for one in ran if (one.network, one.state, one.batch) == (network, state, 1)), None)
        if run is not None and run.ratio() is not None:
            yield _network(f"{names[network]}, {state}", run)
    for one in tokens_of(found):
        ms, nbytes = one["ms"], one["bytes"]
        others = {name: value for name, value in ms.items() if name not in ("balanced", "size")}
        fastest = min(others, key=others.__getitem__)
        called = {"dense": "PyTorch", "llama_cpp": "llama.cpp"}.get(fastest, fastest)
        count = f"{nbytes['dense'] / 2e9:.1f} G"
        yield (
            f"a token of a language model, {count} weights, bfloat16",
            f"{called} {short(others[fastest])}",
            short(ms["balanced"]),
            f"{others[fastest] / ms['balanced']:.2f} x" + _void(one["busy"]),
            f"{nbytes['dense'] / nbytes['balanced']:.2f} x",
        )
    compared = [row for row in coded(found) if "tersely max" in row.ratio and row.best_rival()]
    if compared:
        won = sum(row.ratio["tersely max"] >= row.ratio[row.best_rival()] for row in compared)
        yield (
            f"files to keep or send: samples of {len({row.network for row in compared})} networks",
            "every other coder",
            "level max",
            "",
            f"smallest in {won} of {len(compared)}",
        )


def _network(title: str, run: Run) -> tuple[str, ...]:
    ratio = run.ratio() or 0
    return (
        title,
        f"{run.fastest} {short(run.ms[run.fastest])}",
        short(run.ms["tersely balanced"]),
        f"{ratio:.2f} x" + _void(run.busy),
        f"{run.smaller['balanced']:.2f} x",
    )


def _void(busy: str) -> str:
    return " (void)" if busy else ""


def short(ms: float) -> str:
    """Milliseconds in two or three digits."""
    return f"{ms:.{0 if ms >= 100 else 1 if ms >= 1 else 2}f} ms"


def line(found: Record, path: str) -> list[str]:
    """Where and of what it was measured, wrapped. path: of the record."""
    machine = found["machine"]
    commits = {one["commit"] for one in found["units"].values()}
    at = f"commit {min(commits)}" if len(commits) == 1 else f"{len(commits)} commits up to {found['commit']}"
    old = any(kernels.changed(one) for one in found["units"].values())
    changed = "; kernels have changed since" if old else ""
    told = (
        f"{machine['model']}, {found['protocol']['threads']} threads, kernels {machine['isa']}, {at}{changed}; every "
        f"weight decoded at every run; published shapes, drawn weights ([record]({path})). "
        "[All of it, and where we lose](docs/EVIDENCE.md)."
    )
    return textwrap.wrap(told, 119, break_long_words=False, break_on_hyphens=False)


def newest() -> tuple[Path, Record] | None:
    """The record of the evidence that has most figures, and where it is; None where there is none."""
    return max(record.of_kind("evidence"), key=lambda one: len(one[1]["units"]), default=None)
