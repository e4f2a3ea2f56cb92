"""A summary as one HTML file: no network, no fonts or scripts of others, readable without its script.

Every row is in the page as HTML; `page.js` only sorts, filters and unfolds. Names come from files that nobody vouches
for, so everything is escaped, and the page's policy allows just this one script, by its SHA-256.
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from html import escape
from importlib.resources import files

from tersely.codes import registry
from tersely.codes.anatomy import SizeNode
from tersely.codes.node import INFO
from tersely.files.container import alias
from tersely.files.results import TensorReport
from tersely.report.summary import HEADER, Group, Summary

HUES = {**{row.NAME: row.HUE for row in registry.ROWS}, alias.FORMULATION: 225}
"""Hue of each formulation (OKLCH degrees); None is grey. Others get one from their name."""
_SHADES = 6
_COLUMNS = (
    ("tensor", "text", "", "Name, and its shape and type"),
    ("stored as", "text", "", "Formulation and code"),
    ("bits/weight", "number", "bits", "Stored bits for each weight, descriptions included"),
    ("before", "number", "before", "Bytes as a plain tensor"),
    ("after", "number", "after", "Bytes as stored"),
    ("smaller", "number", "ratio", "Before / after"),
    ("µs", "number", "time", "Predicted time of a product with one batch row, two threads, by the cost model"),
    ("faster", "number", "speed", "Predicted time of the dense product / of this one"),
)


def page(summary: Summary) -> str:
    """The whole document."""
    script, style = _asset("page.js"), _asset("page.css")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    name = summary.file.source.rstrip("/").rpartition("/")[2] or summary.file.source
    used = {formulation for _, formulation, _ in summary.components}
    shades = _shades(summary)
    return "\n".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">',
            f"<title>{escape(name)} - tersely report</title><style>{style}{_colours(used)}</style></head><body>",
            f"<header><p>tersely report</p><h1>{escape(name)}</h1>{_facts(summary)}</header><main>",
            _cards(summary),
            _whole(summary, shades),
            _formulations(summary),
            _tensors(summary, shades),
            f"</main><script>{script}</script></body></html>",
        ]
    )


def _asset(name: str) -> str:
    return (files("tersely.report") / name).read_text(encoding="utf-8")


def _class(formulation: str) -> str:
    """A class name that cannot be anything else, whatever a file calls its formulation."""
    return f"f-{formulation}" if formulation in {*HUES, HEADER} else f"f-{zlib.crc32(formulation.encode()):08x}"


def _colours(used: set[str]) -> str:
    rules = []
    for formulation in sorted({*used, *HUES}):
        hue = HUES.get(formulation, zlib.crc32(formulation.encode()) % 360)
        rules.append(f".{_class(formulation)}{{" + ("--c:.012;--h:250}" if hue is None else f"--h:{hue}}}"))
    return "".join(rules)


Shades = dict[tuple[str, str], int]
"""Which shade of its formulation's colour each (formulation, component) has, the same everywhere on a page."""


def _shades(summary: Summary) -> Shades:
    """The component with the most bytes gets the strongest shade, then the next; descriptions come last."""
    totals: Shades = {}
    for (_, formulation, component), count in summary.components.items():
        totals[formulation, component] = totals.get((formulation, component), 0) + count
    shades, counts = {}, dict[str, int]()
    for key in sorted(totals, key=lambda key: (key[1] == INFO, -totals[key], key)):
        counts[key[0]] = shades[key] = counts.get(key[0], -1) + 1
    return shades


def bytes_text(count: float) -> str:
    """Bytes for people: 640 B, 7.68 kB, 57.3 MB, powers of ten."""
    value, unit = float(count), "B"
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            break
        value /= 1000
    digits = 0 if unit == "B" or value >= 100 else 1 if value >= 10 else 2
    return f"{value:.{digits}f} {unit}"


def _time_text(us: float) -> str:
    return f"{us:.1f} µs" if us < 1000 else f"{us / 1000:.2f} ms"


def _facts(summary: Summary) -> str:
    file = summary.file
    words = [f"{len(file.tensors)} tensors", f"{summary.weights:,} weights"]
    words += [f"objective {file.objective}"] if file.objective else []
    words += [f"profile {file.profile}"] if file.profile else []
    return f"<p>{' · '.join(map(escape, words))}</p>"


def _cards(summary: Summary) -> str:
    file = summary.file
    stored, dense = summary.predicted_us
    coded = sum(tensor.formulation != "dense" for tensor in file.tensors)
    bits = file.bytes_after * 8 / summary.weights if summary.weights else 0.0
    plain = file.bytes_before * 8 / summary.weights if summary.weights else 0.0
    cards = [
        (f"{file.ratio:.3f} ×", "smaller", f"{bytes_text(file.bytes_before)} → {bytes_text(file.bytes_after)}"),
        (f"{bits:.2f}", "bits a weight", f"{plain:.2f} before, all bytes of the file counted"),
        (f"{coded} of {len(file.tensors)}", "tensors coded", "the others are stored as they are"),
    ]
    if stored:
        note = f"{_time_text(dense)} dense → {_time_text(stored)}, by the cost model"
        cards.insert(2, (f"{dense / stored:.2f} ×", "predicted speed of products", note))
    inner = "".join(
        f"<div><b>{escape(value)}</b><span>{escape(what)}</span><small>{escape(note)}</small></div>"
        for value, what, note in cards
    )
    return f'<section class="cards">{inner}</section>'


def _colour(formulation: str, shade: int, component: str) -> str:
    """Classes: hue of the formulation, shade by the component's place in its node, stripes for what is no weight."""
    return f"{_class(formulation)} s{min(shade, _SHADES - 1)}" + (
        " info" if component == INFO or formulation == HEADER else ""
    )


def _segment(formulation: str, shade: int, component: str, share: float, title: str) -> str:
    colour = _colour(formulation, shade, component)
    return f'<i class="{colour}" style="width:{100 * share:.3f}%" title="{escape(title)}"></i>'


def _dot(formulation: str, shade: int, component: str = "") -> str:
    return f'<i class="{_colour(formulation, shade, component)} dot"></i>'


def _whole(summary: Summary, shades: Shades) -> str:
    """One bar for the file, and what its colours are."""
    total = max(1, summary.file.bytes_after)
    parts = [
        (path, formulation, component, count, shades[formulation, component])
        for (path, formulation, component), count in summary.components.items()
    ]
    # By the formulation of the root, the largest first; inside it a node before its children.
    order = {group.formulation: index for index, group in enumerate(summary.groups)}
    parts.sort(key=lambda found: (order.get(found[0].split(" ")[0], len(order)), found[0], found[4]))
    parts.append((HEADER, HEADER, "", summary.header_bytes, 0))
    bar, legend = [], []
    for path, formulation, component, count, shade in parts:
        title = f"{path} {component}".strip()
        text = f"{title}: {bytes_text(count)}, {100 * count / total:.1f} %"
        bar.append(_segment(formulation, shade, component, count / total, text))
        swatch = _dot(formulation, shade, component)
        legend.append(
            f"<li>{swatch}<span>{escape(title)}</span><b>{bytes_text(count)}</b><small>{100 * count / total:.1f} %</small></li>"
        )
    return (
        '<section><h2>Where every byte went</h2><div class="bar whole" role="img" aria-label="Shares of the file">'
        f'{"".join(bar)}</div><ul class="legend">{"".join(legend)}</ul></section>'
    )


def _formulations(summary: Summary) -> str:
    rows = "".join(_group_row(group) for group in summary.groups)
    head = "".join(
        f"<th>{title}</th>"
        for title in ("formulation", "tensors", "weights", "before", "after", "smaller", "bits/weight")
    )
    return (
        '<section><h2>Formulations</h2><div class="scroll"><table class="groups"><thead><tr>'
        f"{head}</tr></thead><tbody>{rows}</tbody></table></div></section>"
    )


def _group_row(group: Group) -> str:
    ratio = f"{group.bytes_before / group.bytes_after:.3f} ×" if group.bytes_after else "-"
    bits = f"{group.bytes_after * 8 / group.weights:.2f}" if group.weights else "-"
    chip = _dot(group.formulation, 0) + escape(group.formulation)
    cells = (
        f"{group.tensors}",
        f"{group.weights:,}",
        bytes_text(group.bytes_before),
        bytes_text(group.bytes_after),
        ratio,
        bits,
    )
    return f"<tr><td>{chip}</td>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _tensors(summary: Summary, shades: Shades) -> str:
    tensors = summary.file.tensors
    largest = max((tensor.bytes_after for tensor in tensors), default=1)
    head = "".join(
        f'<th scope="col" aria-sort="none" title="{escape(hint)}"><button data-kind="{kind}" data-key="{key or title}">'
        f"{escape(title)}</button></th>"
        for title, kind, key, hint in _COLUMNS
    )
    bodies = "".join(_tensor(index, tensor, largest, shades) for index, tensor in enumerate(tensors))
    return (
        '<section><h2>Tensors</h2><div class="tools"><input type="search" placeholder="filter by name, shape, code" '
        'aria-label="filter tensors"><fieldset><legend>bars show</legend>'
        '<label><input type="radio" name="bars" value="share" checked> share of the plain tensor</label>'
        '<label><input type="radio" name="bars" value="bytes"> bytes</label></fieldset>'
        '<output aria-live="polite"></output></div><div class="scroll"><table class="tensors by-share">'
        f'<thead><tr>{head}<th class="wide">bytes of each component</th></tr></thead>{bodies}</table></div></section>'
    )


def _tensor(index: int, tensor: TensorReport, largest: int, shades: Shades) -> str:
    """A row, and below it the row that unfolds: together one <tbody>, so that they are sorted as one."""
    anatomy = tensor.anatomy
    shape = " × ".join(map(str, tensor.shape)) or "scalar"
    bits = tensor.bits_per_weight
    ratio = tensor.bytes_before / tensor.bytes_after if tensor.bytes_after else None
    speed = tensor.dense_us / tensor.predicted_us if tensor.dense_us and tensor.predicted_us else None
    cells = (
        (bits, "-" if bits is None else f"{bits:.2f}"),
        (tensor.bytes_before, bytes_text(tensor.bytes_before)),
        (tensor.bytes_after, bytes_text(tensor.bytes_after)),
        (ratio, "-" if ratio is None else f"{ratio:.3f}"),
        (tensor.predicted_us, "-" if tensor.predicted_us is None else f"{tensor.predicted_us:.1f}"),
        (speed, "-" if speed is None else f"{speed:.2f}"),
    )
    numbers = "".join(f'<td data-value="{"" if value is None else repr(value)}">{text}</td>' for value, text in cells)
    if speed is not None and speed < 1:
        numbers = numbers.removesuffix(f">{speed:.2f}</td>") + f' class="slow">{speed:.2f}</td>'
    full = max(tensor.bytes_before, tensor.bytes_after, 1)
    file = f" · {escape(tensor.file)}" if tensor.file else ""
    segments = "".join(_segments(anatomy, tensor, max(1, tensor.bytes_after), shades))
    bar = (
        f'<div class="bar" role="img" aria-label="{escape(_bar_words(anatomy))}" '
        f'style="--share:{100 * tensor.bytes_after / full:.2f}%;--bytes:{100 * tensor.bytes_after / largest:.3f}%">'
        f"<div>{segments}</div></div>"
    )
    return (
        f'<tbody data-place="{index}"><tr><td><button class="name" aria-expanded="false"><span>{escape(tensor.name) or "(no name)"}</span></button>'
        f"<small>{shape} {escape(tensor.dtype)}</small></td>"
        f'<td><span class="code">{_dot(tensor.formulation, 0)}{escape(tensor.code)}</span></td>{numbers}<td class="wide">{bar}</td></tr>'
        f'<tr class="more" hidden><td colspan="{len(_COLUMNS) + 1}"><ul class="tree">{_unfolded(anatomy, tensor, shades)}</ul>'
        f"<small>tensor {index + 1}{file}</small></td></tr></tbody>"
    )


def _measures(count: int, tensor: TensorReport) -> str:
    bits = f", {count * 8 / tensor.weights:.3f} bits/weight" if tensor.weights else ""
    share = f", {100 * count / tensor.bytes_after:.1f} %" if count != tensor.bytes_after else ""
    return f"{bytes_text(count)}{bits}{share}"


def _ordered(part: SizeNode, shades: Shades) -> list[tuple[int, str, int]]:
    """(shade, component, bytes) of a node's own components, the strongest shade first."""
    return sorted((shades[part.formulation, name], name, count) for name, count in part.components.items())


def _segments(part: SizeNode, tensor: TensorReport, total: int, shades: Shades) -> list[str]:
    found = []
    for shade, name, count in _ordered(part, shades):
        title = f"{part.formulation} {name}: {_measures(count, tensor)}"
        found.append(_segment(part.formulation, shade, name, count / total, title))
    return found + [segment for child in part.children for segment in _segments(child, tensor, total, shades)]


def _bar_words(part: SizeNode) -> str:
    return "; ".join(f"{component} {bytes_text(count)}" for _, _, component, count in part.walk())


def _unfolded(part: SizeNode, tensor: TensorReport, shades: Shades) -> str:
    head = (
        f"<b>{escape(part.name + ': ' if part.name else '')}{escape(part.label)}</b> {_measures(part.nbytes, tensor)}"
    )
    rows = []
    for shade, name, count in _ordered(part, shades):
        swatch = _dot(part.formulation, shade, name)
        rows.append(f"<li>{swatch}{escape(name)} <span>{_measures(count, tensor)}</span></li>")
    inner = "".join(rows) + "".join(_unfolded(child, tensor, shades) for child in part.children)
    return f"<li>{head}<ul>{inner}</ul></li>"
