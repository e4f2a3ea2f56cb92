"""The paper's sentences and our goals, each with our figure beside it: won or lost, by the record alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks.evidence.coding import RUNNABLE, STORED
from benchmarks.evidence.rows import FASTER, NARROW_SMALLER, PAPER, SMALLER, Coded, Run, coded, runs
from benchmarks.record import Record

BALANCED = "tersely balanced"
ALIKE = 1.005
"""Matrices whose sizes differ by less are as small as each other: one form of both, and ours has a directory and slack."""
SHOWN = 6
"""Of lost rows in a claim."""
PLAIN = ("float32", "bfloat16", "as it is")


@dataclass(frozen=True)
class Claim:
    """A sentence, whom it is of, our figure, and whether it holds; None where the record has nothing of it."""

    sentence: str
    figure: str
    won: bool | None


def titles(record: Record) -> dict[str, str]:
    """What networks are called."""
    import tomllib

    from benchmarks.evidence.__main__ import CASES

    return {name: one["title"] for name, one in tomllib.loads(CASES.read_text())["networks"].items()}


def claims(record: Record) -> Iterator[Claim]:
    """Everything that is claimed, in the order in which it is told."""
    ran, rows, names = runs(record), coded(record), titles(record)
    for network in PAPER:
        one = next((run for run in ran if (run.network, run.state, run.batch) == (network, "float32", 1)), None)
        yield _at_once(names[network], one)
    yield _narrow(runs(record, "narrow"), names)
    yield _states(rows)
    yield _dominated(rows)
    yield _model_coding(rows)
    yield _dense_plan(ran)


def _at_once(title: str, run: Run | None) -> Claim:
    sentence = f"{title}, uncompressed: {FASTER} x the fastest engine and {SMALLER} x smaller at once"
    ratio = run.ratio() if run else None
    if run is None or ratio is None:
        return Claim(sentence, "not in this record", None)
    smaller = run.smaller["balanced"]
    void = " (void: the machine was busy)" if run.busy else ""
    figure = f"{ratio:.2f} x {run.fastest}, {smaller:.2f} x smaller{void}"
    return Claim(sentence, figure, ratio >= FASTER and smaller >= SMALLER)


def _narrow(ran: list[Run], names: dict[str, str]) -> Claim:
    sentence = (
        f"The five, uncompressed, with AVX2: {FASTER} x the fastest engine that can be held to it, and {NARROW_SMALLER} x smaller"
        " at once"
    )
    ratios = {run.network: run.ratio() for run in ran}
    if any(ratios.get(network) is None for network in PAPER):
        return Claim(sentence, "not in this record", None)
    told, won = [], True
    for run in ran:
        ratio, smaller = run.ratio() or 0, run.smaller["balanced"]
        won &= ratio >= FASTER and smaller >= NARROW_SMALLER
        void = " (void)" if run.busy else ""
        told.append(f"{names[run.network]} {ratio:.2f} x {run.fastest}, {smaller:.3f} x smaller{void}")
    return Claim(sentence, "; ".join(told), won)


def _multiplied(rows: list[Coded]) -> list[Coded]:
    """Pruned or quantised rows whose matrix rivals multiply from its coded form."""
    return [row for row in rows if row.state not in PLAIN and row.best_multiplying() and BALANCED in row.product["ms"]]


def _unmatched(row: Coded, rival: str) -> bool:
    """Whether none of ours is at least as small as a rival, and as fast."""
    nbytes, ms = row.product["bytes"], row.product["ms"]
    return not any(mine in ms and nbytes[mine] <= ALIKE * nbytes[rival] and ms[mine] <= ms[rival] for mine in RUNNABLE)


def _ahead(row: Coded, rival: str) -> bool:
    """Whether a rival is both smaller and faster than `balanced`."""
    nbytes, ms = row.product["bytes"], row.product["ms"]
    return bool(ALIKE * nbytes[rival] < nbytes[BALANCED] and ms[rival] < ms[BALANCED])


def _states(rows: list[Coded]) -> Claim:
    sentence = (
        "for every rival that multiplies from its coded form, `balanced` or `size` is as small (to 0.5 %) and as fast"
    )
    return _products(sentence, rows, _unmatched)


def _dominated(rows: list[Coded]) -> Claim:
    sentence = "no rival that multiplies from its coded form is both smaller (by over 0.5 %) and faster than `balanced`"
    return _products(sentence, rows, _ahead)


def _products(sentence: str, rows: list[Coded], loses_to: Callable[[Coded, str], bool]) -> Claim:
    compared, lost = _multiplied(rows), []
    for row in compared:
        if winners := sorted(name for name in row.best_multiplying() if loses_to(row, name)):
            lost.append(f"{row.network}, {row.state} ({', '.join(winners)})")
    return _counted(f"Pruned or quantised: {sentence}", len(compared), lost)


def _model_coding(rows: list[Coded]) -> Claim:
    sentence = "Ahead of every other model coding in size (stored files, level max)"
    compared, lost = 0, []
    for row in rows:
        mine, rival = row.ratio.get("tersely max"), row.best_rival()
        if mine is None or not rival:
            continue
        compared += 1
        if row.ratio[rival] > mine:
            lost.append(f"{row.network}, {row.state} ({rival} {row.ratio[rival]:.3f}, ours {mine:.3f})")
    return _counted(sentence, compared, lost)


def _dense_plan(ran: list[Run]) -> Claim:
    sentence = (
        "No network is slower under `balanced` than with dense weights on the same executor (5 % allowed for noise)"
    )
    compared = [run for run in ran if run.against_dense is not None and not run.busy]
    lost = [
        f"{run.network}, {run.state}, batch {run.batch} ({run.against_dense:.2f} x)"
        for run in compared
        if run.against_dense is not None and run.against_dense < 0.95
    ]
    return _counted(sentence, len(compared), lost)


def _counted(sentence: str, compared: int, lost: list[str]) -> Claim:
    if not compared:
        return Claim(sentence, "not in this record", None)
    shown = "; ".join(lost[:SHOWN]) + (f" and {len(lost) - SHOWN} more" if len(lost) > SHOWN else "")
    figure = f"{compared - len(lost)} of {compared} rows"
    return Claim(sentence, figure + (f"; lost: {shown}" if lost else ""), not lost)


def losses(record: Record) -> Iterator[tuple[str, str]]:
    """Every row that is lost, with by how much, and its kind, which `REASONS` explains."""
    names = titles(record)
    for run in runs(record) + runs(record, "narrow"):
        ratio = run.ratio()
        if ratio is not None and ratio < 1:
            kind = "half" if run.state == "bfloat16" else "int8" if run.state.startswith("int8") else run.network
            speed = run.ratio("tersely speed")
            other = "" if speed is None else f" (`speed` {speed:.2f} x)"
            yield (
                f"{names[run.network]}, {run.state}, batch {run.batch}{run.held}: {ratio:.2f} x {run.fastest}{other}",
                kind,
            )
    for row in coded(record):
        for mine in STORED:
            # zpaq decodes a hundredth of what `fast` does in the same time, and is what `max` is compared with.
            rival = row.best_rival(without=() if mine == "tersely max" else ("zpaq",))
            if mine in row.ratio and rival and row.ratio[rival] > row.ratio[mine]:
                yield (
                    f"{names[row.network]}, {row.state}: {mine} {row.ratio[mine]:.3f}, {rival} {row.ratio[rival]:.3f}",
                    mine,
                )
    yield from _lost_products(coded(record))


def _lost_products(rows: list[Coded]) -> Iterator[tuple[str, str]]:
    """By rival: in how many pruned or quantised rows none of ours is both as small and as fast, and how it compares there."""
    counted = _multiplied(rows)
    for rival in sorted({name for row in counted for name in row.best_multiplying()}):
        both = [row for row in counted if rival in row.best_multiplying()]
        lost = [row.product for row in both if _unmatched(row, rival)]
        if lost:
            told = f"in {len(lost)} of {len(both)} rows none of ours is both as small and as fast"
            size, time = (_span([one[key][rival] / one[key][BALANCED] for one in lost]) for key in ("bytes", "ms"))
            yield (
                f"products, {rival}: {told}; there {size} the bytes and {time} the time of `balanced`",
                f"product {rival}",
            )


def _span(ratios: list[float]) -> str:
    return f"{min(ratios):.2f} to {max(ratios):.2f} times"


REASONS = {
    "resnet50": "Both peers compute at 95 % of what the cores have; only Winograd and fewer bytes can win, and at 7 x 7 and "
    "14 x 14 pixels neither gains much. Fewer products would: larger Winograd tiles, at another rounding.",
    "resnet101": "As ResNet-50.",
    "mobilenet_v2": "Layers at 7 x 7 decode a panel for 49 pixels. `speed` leaves them dense.",
    "deit_b": "Large products at the peak of the cores: decoding can only be hidden. Softmax within attention, and q, k, v as one "
    "product, are not written.",
    "minilm": "32 tokens share a panel's decoding: an eighth to a sixth of the time. One product for q, k and v would save a pass.",
    "vgg16": "Not known; the first place to look is the profile by layer (`tersely profile`).",
    "product csr": "Distances of 16 bits and whole floats, multiplied as they lie. With 90 % zeros ours are gaps of a byte: a little "
    "smaller, and as fast but for what a call of ours costs, 3 us.",
    "product csc": "As csr.",
    "product scipy_csr": "As csr, with wider indices.",
    "product bitmap": "The same form as our bitmaps. With 90 % zeros `balanced` takes gaps, by costs of another processor.",
    "product hac": "Huffman codes: smaller than fields of whole bits, and decoded one after another (docs/decisions/0002).",
    "product wavelet": "Entropy-coded levels: smaller than fields, and each weight is walked to by itself.",
    "half": "Rivals multiply bfloat16 pairs from dense weights; ours are decoded for it. AMX kernels of networks are not written.",
    "int8": "Rivals have kernels for int8 convolutions with blocked activations; ours keep exact sums for every layer.",
    "tersely max": "Contexts are chosen by an estimate; this row shows where it errs.",
    "tersely fast": "`fast` has tables by row and column, not by neighbours; `max` has both.",
}
