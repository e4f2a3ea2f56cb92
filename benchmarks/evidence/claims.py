"""The paper's sentences and our goals, each with our figure beside it: won or lost, by the record alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.evidence.coding import RUNNABLE, STORED
from benchmarks.evidence.rows import FASTER, PAPER, SMALLER, Coded, Run, coded, runs
from benchmarks.record import Record

BALANCED = "tersely balanced"
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


def _states(rows: list[Coded]) -> Claim:
    sentence = "Pruned or quantised: smaller and faster than every rival that multiplies from its coded form"
    compared, lost = 0, []
    for row in rows:
        if row.state in PLAIN or not row.best_multiplying():
            continue
        compared += 1
        ahead = [
            name
            for name, smaller in row.best_multiplying().items()
            if not any(_beats(row, mine, name, smaller) for mine in RUNNABLE)
        ]
        if ahead:
            lost.append(f"{row.network}, {row.state} ({', '.join(sorted(ahead))})")
    return _counted(sentence, compared, lost)


def _dominated(rows: list[Coded]) -> Claim:
    sentence = (
        "Pruned or quantised: no rival that multiplies from its coded form is both smaller and faster than `balanced`"
    )
    compared, lost = 0, []
    for row in rows:
        if row.state in PLAIN or not row.best_multiplying() or BALANCED not in row.product["ms"]:
            continue
        compared += 1
        ahead = [name for name in row.best_multiplying() if _ahead(row, name, BALANCED)]
        if ahead:
            lost.append(f"{row.network}, {row.state} ({', '.join(sorted(ahead))})")
    return _counted(sentence, compared, lost)


def _ahead(row: Coded, one: str, other: str) -> bool:
    """Whether one coder is both smaller and faster than another."""
    nbytes, ms = row.product["bytes"], row.product["ms"]
    return bool(nbytes[one] < nbytes[other] and ms[one] < ms[other])


def _beats(row: Coded, mine: str, rival: str, smaller: float) -> bool:
    nbytes, ms = row.product["bytes"], row.product["ms"]
    return mine in ms and nbytes["dense"] / nbytes[mine] >= smaller and ms[mine] <= ms[rival]


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
    for run in runs(record):
        ratio = run.ratio()
        best = max((value for key in ("tersely balanced", "tersely speed") if (value := run.ratio(key))), default=None)
        if ratio is not None and best is not None and best < 1:
            kind = "half" if run.state == "bfloat16" else "int8" if run.state.startswith("int8") else run.network
            yield f"{names[run.network]}, {run.state}, batch {run.batch}: {best:.2f} x {run.fastest}", kind
    for row in coded(record):
        for mine in STORED:
            rival = row.best_rival()
            if (
                mine in row.ratio
                and rival
                and row.ratio[rival] > row.ratio[mine]
                and (mine == "tersely max" or rival != "zpaq")
            ):
                yield (
                    f"{names[row.network]}, {row.state}: {mine} {row.ratio[mine]:.3f}, {rival} {row.ratio[rival]:.3f}",
                    mine,
                )
    yield from _lost_products(coded(record))


def _lost_products(rows: list[Coded]) -> Iterator[tuple[str, str]]:
    """By rival: in how many pruned or quantised rows none of ours is both as small and as fast."""
    counted = [row for row in rows if row.state not in PLAIN and row.best_multiplying()]
    for rival in sorted({name for row in counted for name in row.best_multiplying()}):
        both = [row for row in counted if rival in row.best_multiplying()]
        lost = sum(
            not any(_beats(row, mine, rival, row.best_multiplying()[rival]) for mine in RUNNABLE) for row in both
        )
        if lost:
            yield (
                f"products, {rival}: in {lost} of {len(both)} rows none of ours is both as small and as fast",
                f"product {rival}",
            )


REASONS = {
    "resnet50": "Both peers compute at 95 % of what the cores have; only Winograd and fewer bytes can win, and at 7 x 7 and "
    "14 x 14 pixels neither gains much. Fewer products would: larger Winograd tiles, at another rounding.",
    "resnet101": "As ResNet-50.",
    "mobilenet_v2": "Layers at 7 x 7 decode a panel for 49 pixels. `speed` leaves them dense.",
    "deit_b": "Large products at the peak of the cores: decoding can only be hidden. Softmax within attention, and q, k, v "
    "as one product, are not written. Why batch 8 loses more is not known.",
    "minilm": "32 tokens share a panel's decoding: an eighth to a sixth of the time. One product for q, k and v would save a pass.",
    "vgg16": "Not known; the first place to look is the profile by layer (`tersely profile`).",
    "product csr": "Distances of 16 bits and whole floats: 3.3 times smaller with 80 % zeros where `balanced` is 4.3, and faster on one "
    "thread, for nothing is decoded but sums. Gaps of ours are decoded 64 at a time; a kernel that keeps them in registers is missing.",
    "product csc": "As csr; the matrices are small.",
    "product scipy_csr": "As csr, at half its size.",
    "product bitmap": "The same form as our bitmaps and about their size: who is faster depends on the matrix. `balanced` takes gaps with 90 % "
    "zeros, which on one thread are slower than these.",
    "product hac": "Huffman codes of shared values: up to 3 % smaller than fields of whole bits, and 5 to 60 times slower.",
    "product wavelet": "Entropy-coded levels: smaller than fields, and 10 to 100 times slower.",
    "half": "Rivals multiply bfloat16 pairs from dense weights; ours are decoded for it. AMX kernels of networks are not written.",
    "int8": "Rivals have kernels for int8 convolutions with blocked activations; ours keep exact sums for every layer.",
    "tersely max": "Contexts are chosen by an estimate; this row shows where it errs.",
    "tersely fast": "`fast` has tables by row and column, not by neighbours; `max` has both.",
}
