"""Pictures of the evidence, as SVG: speed against size of networks and of coders, and bits of a weight by layer."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.evidence.coding import OURS
from benchmarks.evidence.rows import FASTER, SMALLER, coded, mixed, runs
from benchmarks.record import Record

OUR_COLOUR, OTHER_COLOUR = "#0b6e4f", "#8a8a8a"


def networks(axes: Any, found: Record) -> None:
    """Each network: how many times as fast as the fastest other engine, and how many times smaller."""
    from matplotlib.ticker import FixedLocator, NullLocator

    shown = [(run, ratio) for run in runs(found) if (ratio := run.ratio()) is not None]
    colours = {state: f"C{number}" for number, state in enumerate(dict.fromkeys(run.state for run, _ in shown))}
    for state, colour in colours.items():
        axes.plot([], [], "o", color=colour, label=state)
    for run, ratio in shown:
        smaller = run.smaller["balanced"]
        axes.plot(smaller, ratio, "o", color=colours[run.state], fillstyle="none" if run.busy else "full")
        label = run.network.replace("_", " ") + (f", batch {run.batch}" if run.batch > 1 else "")
        axes.annotate(label, (smaller, ratio), xytext=(4, 3), textcoords="offset points", fontsize=5)
    axes.axhline(1, color=OTHER_COLOUR, linewidth=0.8)
    axes.plot([SMALLER, SMALLER], [FASTER, 4], "--", color=OTHER_COLOUR, linewidth=0.8)
    axes.plot([SMALLER, 20], [FASTER, FASTER], "--", color=OTHER_COLOUR, linewidth=0.8)
    axes.set(xscale="log", yscale="log", xlabel="times smaller", ylabel="times as fast as the fastest other engine")
    for axis, marks in (
        (axes.xaxis, (1, 1.2, 1.5, 2, 3, 4, 6, 8, 12)),
        (axes.yaxis, (0.7, 0.8, 0.9, 1, 1.2, 1.5, 2, 3)),
    ):
        axis.set_major_locator(FixedLocator(marks))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_locator(NullLocator())
    axes.legend(fontsize=6, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)


def coders(axes: Any, found: Record) -> None:
    """Each coder: the geometric mean of its ratios over the rows that all of ours have, against its speed of decoding."""
    rows = coded(found)
    for name in sorted({name for row in rows for name in row.ratio}):
        ratios = [row.ratio[name] for row in rows if name in row.ratio]
        if len(ratios) < 0.6 * len(rows):
            continue
        speed = statistics.median(row.decode[name] for row in rows if name in row.decode)
        ours = name in OURS
        axes.plot(speed, statistics.geometric_mean(ratios), "o", color=OUR_COLOUR if ours else OTHER_COLOUR)
        axes.annotate(name.replace("_", " "), (speed, statistics.geometric_mean(ratios)), xytext=(4, 3),
                      textcoords="offset points", fontsize=7)  # fmt: skip
    axes.set(xscale="log", xlabel="decodes, MB/s of one thread (median)", ylabel="times smaller (geometric mean)")


def layers(axes: Any, found: Record) -> None:
    """Bits of a weight under `balanced`, layer by layer, a line for each network and state."""
    for one in mixed(found):
        bits = [8 * layer["bytes"] / layer["weights"] for layer in one["by_layer"]]
        axes.plot(range(len(bits)), bits, "-", linewidth=1, label=f"{one['unit']['network']}, {one['unit']['state']}")
        axes.legend(fontsize=5, loc="upper right")
    axes.set(xlabel="layer", ylabel="bits of a weight", ylim=(0, None))


PICTURES: dict[str, Callable[[Any, Record], None]] = {"networks": networks, "coders": coders, "layers": layers}


def of(found: Record) -> list[str]:
    """The pictures of which a record has something."""
    has = {"networks": runs(found), "coders": [row for row in coded(found) if row.ratio], "layers": mixed(found)}
    return [name for name in PICTURES if has[name]]


def save(found: Record, pictures: Mapping[str, Path]) -> None:
    """Write pictures, by name, each to its place. Raises SystemExit without matplotlib."""
    try:
        import matplotlib
    except ImportError:
        raise SystemExit("the pictures need matplotlib: pip install matplotlib") from None
    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "tersely"
    from matplotlib import pyplot

    for name, path in pictures.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        figure, axes = pyplot.subplots(figsize=(7.5, 4.5))
        PICTURES[name](axes, found)
        axes.spines[["top", "right"]].set_visible(False)
        figure.tight_layout()
        figure.savefig(path, metadata={"Date": None})
        pyplot.close(figure)
