"""Sections of the page on whole networks: times, answers, memory, first answers, tokens, predictions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks.evidence.cells import short
from benchmarks.evidence.rows import Run
from benchmarks.tables import grid

BOUND, COLD_BOUND = 5e-4, 1e-2
"""Those of benchmarks.networks, which needs torch: of the largest output."""


def networks(
    ran: list[Run], narrow: list[Run], tokens: list[dict[str, Any]], names: dict[str, str], pictures: dict[str, str]
) -> Iterator[str]:
    yield "## Whole networks"
    yield ""
    yield "Pipelines on coded weights against the fastest other engine of the row; *dense* is our executor on weights that are"
    yield "not coded. `balanced` decodes every weight at every run, `speed` keeps what decodes too slowly as it is. Networks that run"
    yield "have the published shapes and weights as they are initialised, whose exponents are about as regular as trained ones."
    yield ""
    yield f"![Speed against size of whole networks]({pictures['networks']})"
    yield ""
    yield from _table(ran, names)
    if narrow:
        yield "With AVX2, which is what most machines have: every engine that can be held to it, told that the processor has no more."
        yield ""
        yield from _table(narrow, names)
    yield from _tokens(tokens)
    yield from _held([run for run in ran if run.weight_bytes], names)
    yield from _cold([run for run in ran if run.cold], names)


def _table(ran: list[Run], names: dict[str, str]) -> Iterator[str]:
    engines = sorted({name for run in ran for name in run.ms if not name.startswith("tersely")})
    head = ("network", "weights", "batch", "balanced", "speed", "dense", *engines, "balanced x fastest", "smaller", "")
    yield from grid(head, (_network_row(run, names, engines) for run in ran))
    yield ""


def _held(ran: list[Run], names: dict[str, str]) -> Iterator[str]:
    if not ran:
        return
    yield "Resident megabytes of weights, and the largest difference of an answer from PyTorch's in float32 (of int8 networks: from"
    yield f"the exact sums), as a share of the largest output. An engine that differs by {BOUND:.0e} or more is left out (of bfloat16"
    yield f"networks, whose engines round after each operator: 0.25; of first answers from a file: {COLD_BOUND:.0e})."
    yield ""
    body = []
    for run in ran:
        held = [
            f"{run.weight_bytes[name] / 1e6:.1f}" if name in run.weight_bytes else ""
            for name in ("dense", "balanced", "speed")
        ]
        others = {name: run.error[name] for name in run.ms if not name.startswith("tersely")}
        told = ", ".join(f"{name} {value:.0e}" for name, value in sorted(others.items()))
        body.append(
            [names[run.network], run.state, str(run.batch), *held, f"{run.error['tersely balanced']:.0e}", told]
        )
    yield from grid(
        ("network", "weights", "batch", "dense", "balanced", "speed", "balanced differs by", "others"), body
    )
    yield ""


def _cold(cold: list[Run], names: dict[str, str]) -> Iterator[str]:
    if not cold:
        return
    yield "From a file to the first answer, and the most memory a process had (before it opened the file); bytes of that file:"
    yield ""
    columns = sorted({engine for run in cold for engine in run.cold}, key=lambda one: (one != "tersely", one))
    body = [[names[run.network], *(_cold_cell(run.cold.get(engine)) for engine in columns)] for run in cold]
    yield from grid(("network, float32", *columns), body)
    yield ""


def _cold_cell(one: dict[str, float] | None) -> str:
    if one is None:
        return ""
    file = f"; {one['file_mb']:.1f} MB on disk" if "file_mb" in one else ""
    return f"{one['first_ms']:.0f} ms, {one['most_mb']:.0f} MB ({one['before_mb']:.0f}){file}"


def _tokens(found: list[dict[str, Any]]) -> Iterator[str]:
    for one in found:
        unit, ms, nbytes = one["unit"], one["ms"], one["bytes"]
        others = {name: value for name, value in ms.items() if name not in ("balanced", "size")}
        fastest = min(others, key=others.__getitem__)
        yield f"A token of a Llama shape ({unit['layers']} layers, {unit['hidden']} wide, bfloat16, drawn weights, batch 1): "
        yield (
            "; ".join(
                f"{name} {ms[name]:.1f} ms, {others[fastest] / ms[name]:.2f} x {fastest.replace('dense', 'PyTorch')}, "
                f"{nbytes['dense'] / nbytes[name]:.2f} x smaller"
                for name in ("balanced", "size")
            )
            + f"{' (void)' if one['busy'] else ''}. Others: {', '.join(f'{name} {value:.1f} ms' for name, value in others.items())}."
        )
        yield ""


def _network_row(run: Run, names: dict[str, str], engines: list[str]) -> list[str]:
    ratio = run.ratio()
    verdict = "" if ratio is None else "won" if ratio >= 1 else "**lost**"
    cells = [
        f"{run.ms[name]:.1f}" if name in run.ms else ""
        for name in ("tersely balanced", "tersely speed", "tersely dense")
    ]
    others = [f"{run.ms[name]:.1f}" if name in run.ms else short(run.left_out.get(name, "")) for name in engines]
    void = " (void)" if run.busy else ""
    figure = "" if ratio is None else f"{ratio:.2f} x{void}"
    return [
        names[run.network],
        run.state,
        str(run.batch),
        *cells,
        *others,
        figure,
        f"{run.smaller['balanced']:.2f} x",
        verdict,
    ]


def predictions(found: list[dict[str, Any]], names: dict[str, str]) -> Iterator[str]:
    for one in found:
        same = ", ".join(
            f"{one[key]['equal']:,} of {one['images']:,} under `{key}` (outputs differ by {one[key]['difference']:.0e})"
            for key in ("size", "balanced", "speed")
        )
        yield f"{names[one['unit']['network']]} on labelled test images: accuracy {one['accuracy']:.1%} by PyTorch; equal"
        yield f"predictions from coded weights: {same}."
        yield ""
