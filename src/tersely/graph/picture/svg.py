"""The picture as one SVG file: no script, no font or image of others, light or dark as its viewer is.

Names come from files that nobody vouches for: all text is escaped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape as escaped

from tersely.graph.graph import Graph
from tersely.graph.operators import Shape
from tersely.graph.picture import colours
from tersely.graph.picture.columns import cuts
from tersely.graph.picture.layered import Edge, Placed, placed
from tersely.graph.picture.subject import Box, subject

WIDTH, LINE, PADDING = 226.0, 14.0, 6.0
"""Of a box, of a line of text in it, and above the first of them; pixels."""
GAP_X, GAP_Y, POINT, GUTTER, MARGIN = 26.0, 30.0, 10.0, 64.0, 24.0
"""Between boxes, below a layer, an edge's own width, between columns, around everything."""
HEAD = 78.0
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
CHARACTERS, NAME = 33, 30
"""Of a line of a box, and of the bold one."""
_STYLE = (
    "text{font:11px system-ui,'Segoe UI',Roboto,'DejaVu Sans',sans-serif}.name{font-weight:600}"
    ".head{font-size:17px;font-weight:600}.right{text-anchor:end}.edge{fill:none;stroke-width:1.2}"
    ".far{fill:none;stroke-width:1.2;stroke-dasharray:4 3}.box{stroke-width:1}.small{font-size:10px}"
)


def svg(
    graph: Graph,
    shapes: Mapping[str, Shape],
    times: Mapping[str, int],
    forms: Mapping[str, str],
    caption: str,
) -> str:
    """The document.

    Args:
        graph: as it ran.
        shapes: of its values and constants.
        times: nanoseconds by node; nodes without one ran nothing.
        forms: of weights, as `registry.label` says them, by node.
        caption: a line above the picture.
    """
    boxes, edges = subject(graph, shapes, times, forms)
    return _Drawing(boxes, edges).document(caption)


@dataclass
class _Column:
    """Layers from `first` on; left: what is added to places; width; tops: of each of its layers."""

    first: int
    left: float
    width: float
    tops: dict[int, float]


class _Drawing:
    def __init__(self, boxes: Sequence[Box], edges: Sequence[Edge]) -> None:
        self.boxes, self.edges = boxes, edges
        self.total = sum(box.nanoseconds for box in boxes)
        self.largest = max((box.nanoseconds for box in boxes), default=0)
        self.place: Placed = placed([WIDTH] * len(boxes), edges, GAP_X, POINT)
        heights = [0.0] * (max(self.place.layers, default=-1) + 1)
        for box, layer in zip(boxes, self.place.layers, strict=True):
            heights[layer] = max(heights[layer], _height(box))
        self.heights = heights
        self.columns = self._columns()

    def _columns(self) -> list[_Column]:
        spans: dict[int, tuple[float, float]] = {}
        for layer, left, right in self._extents():
            low, high = spans.get(layer, (left, right))
            spans[layer] = min(low, left), max(high, right)
        widest = max((high - low for low, high in spans.values()), default=0.0)
        rows = [height + GAP_Y for height in self.heights]
        firsts = cuts(self.place.layers, self.edges, rows, widest + GUTTER)
        found, x = list[_Column](), MARGIN
        for first, end in zip(firsts, [*firsts[1:], len(rows)], strict=True):
            inside = [spans[layer] for layer in range(first, end) if layer in spans]
            low, high = min((one[0] for one in inside), default=0.0), max((one[1] for one in inside), default=0.0)
            tops, y = {}, MARGIN + HEAD
            for layer in range(first, end):
                tops[layer] = y
                y += rows[layer]
            found.append(_Column(first, x - low, high - low, tops))
            x += high - low + GUTTER
        return found

    def _extents(self) -> Iterator[tuple[int, float, float]]:
        for layer, centre in zip(self.place.layers, self.place.centres, strict=True):
            yield layer, centre - WIDTH / 2, centre + WIDTH / 2
        for (start, _), route in zip(self.edges, self.place.routes, strict=True):
            for offset, centre in enumerate(route[1:-1], 1):
                yield self.place.layers[start] + offset, centre - POINT / 2, centre + POINT / 2

    def _column(self, layer: int) -> _Column:
        return next(column for column in reversed(self.columns) if column.first <= layer)

    def _at(self, layer: int, centre: float) -> tuple[float, float]:
        """The top of a layer at a place of the layout."""
        column = self._column(layer)
        return column.left + centre, column.tops[layer]

    def document(self, caption: str) -> str:
        lowest = max(
            (top + self.heights[layer] for column in self.columns for layer, top in column.tops.items()), default=HEAD
        )
        width = max(2 * MARGIN + sum(column.width for column in self.columns) + GUTTER * (len(self.columns) - 1), 620.0)
        height = lowest + GAP_Y + MARGIN
        formulations = {box.form.split(" ")[0] for box in self.boxes if box.form}
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
            f'viewBox="0 0 {width:.0f} {height:.0f}" role="img">',
            f"<title>{escape(caption)}</title><style>{_STYLE}{colours.style(formulations)}</style>",
            f'<rect class="ground" width="{width:.0f}" height="{height:.0f}"/>',
            *self._head(caption, formulations),
            *(self._line(edge, route) for edge, route in zip(self.edges, self.place.routes, strict=True)),
        ]
        for box, layer, centre in zip(self.boxes, self.place.layers, self.place.centres, strict=True):
            parts += self._box(box, *self._at(layer, centre))
        return "\n".join([*parts, "</svg>", ""])

    def _head(self, caption: str, formulations: set[str]) -> Iterator[str]:
        yield f'<text class="head" x="{MARGIN}" y="{MARGIN + 14}">Where the time goes</text>'
        yield f'<text class="faint" x="{MARGIN}" y="{MARGIN + 34}">{escape(caption)}</text>'
        x, y = MARGIN, MARGIN + 44
        for number in range(colours.STEPS):
            yield f'<rect class="h{number} box" x="{x}" y="{y}" width="14" height="12"/>'
            x += 14
        most = f"0 to {100 * self.largest / max(self.total, 1):.1f} % of the time"
        yield f'<text class="faint" x="{x + 6}" y="{y + 10}">{most}</text>'
        x += 170
        for formulation in sorted(formulations):
            yield f'<rect class="{colours.form_class(formulation)}" x="{x}" y="{y}" width="5" height="12"/>'
            yield f'<text class="faint" x="{x + 10}" y="{y + 10}">{escape(formulation)}</text>'
            x += 26 + 6.5 * len(formulation)

    def _line(self, edge: Edge, route: Sequence[float]) -> str:
        """From the bottom of a box to the top of its reader, past other layers in straight lines."""
        layer = self.place.layers[edge[0]]
        x, y = self._at(layer, route[0])
        y += _height(self.boxes[edge[0]])
        path = [f"M{x:.1f} {y:.1f}"]
        for offset, centre in enumerate(route[1:], 1):
            here = layer + offset
            left, right = self._column(here - 1), self._column(here)
            end_x, end_y = self._at(here, centre)
            if left is not right:
                path.append(self._to_next_column(left, right, here, y, end_x, end_y))
            else:
                middle = (max(y, end_y - GAP_Y) + end_y) / 2
                path.append(
                    f"V{max(y, end_y - GAP_Y):.1f}C{x:.1f} {middle:.1f} {end_x:.1f} {middle:.1f} {end_x:.1f} {end_y:.1f}"
                )
            x, y = end_x, end_y
            if offset < len(route) - 1:
                y += self.heights[here]
                path.append(f"V{y:.1f}")
        return f'<path class="edge" d="{"".join(path)}"/>'

    def _to_next_column(self, left: _Column, right: _Column, layer: int, y: float, x: float, top: float) -> str:
        bottom = left.tops[layer - 1] + self.heights[layer - 1] + GAP_Y / 2
        between = right.left + self._low(right) - GUTTER / 2
        return f"V{max(bottom, y):.1f}H{between:.1f}V{top - GAP_Y / 2:.1f}H{x:.1f}V{top:.1f}"

    def _low(self, column: _Column) -> float:
        """The leftmost place of a column."""
        index = self.columns.index(column)
        return MARGIN + sum(one.width + GUTTER for one in self.columns[:index]) - column.left

    def _box(self, box: Box, centre: float, top: float) -> Iterator[str]:
        x, height = centre - WIDTH / 2, _height(box)
        share = box.nanoseconds / max(self.total, 1)
        heat = colours.step(box.nanoseconds, self.largest)
        words = [box.name, str(box.node) if box.node else box.detail, box.form, _time(box.nanoseconds, share)]
        ends = box.node is None
        yield f"<g><title>{escape(chr(10).join(word for word in words if word))}</title>"
        yield (
            f'<rect class="box h{heat}" x="{x:.1f}" y="{top:.1f}" width="{WIDTH:.0f}" height="{height:.0f}" '
            f'rx="{height / 2 if ends else 4:.0f}"/>'
        )
        if box.form:
            kind = colours.form_class(box.form.split(" ")[0])
            yield f'<rect class="{kind}" x="{x:.1f}" y="{top:.1f}" width="5" height="{height:.0f}" rx="2"/>'
        y = top + PADDING + 10
        if ends:
            text = shortened(f"{box.detail} {box.title}", NAME)
            yield f'<text class="name" x="{centre:.1f}" y="{y:.1f}" text-anchor="middle">{escape(text)}</text>'
        else:
            left, right = x + 12, x + WIDTH - 8
            yield f'<text class="name" x="{left:.1f}" y="{y:.1f}">{escape(shortened(box.title, NAME))}</text>'
            time = f"{box.nanoseconds / 1e6:.2f} ms" if box.nanoseconds >= 5000 else ""
            yield _pair(left, right, y + LINE, box.detail, time)
            if box.form:
                yield _pair(left, right, y + 2 * LINE, box.form, f"{100 * share:.1f} %" if time else "")
            if box.reads:
                text = _cut("reads " + ", ".join(box.reads), 40)
                yield f'<text class="small detail" x="{left:.1f}" y="{y + (3 if box.form else 2) * LINE:.1f}">{escape(text)}</text>'
        if box.shape and box.detail != "output":
            shape = "\N{MULTIPLICATION SIGN}".join(map(str, box.shape))
            yield f'<text class="small faint right" x="{x + WIDTH:.1f}" y="{top + height + 11:.1f}">{shape}</text>'
        yield "</g>"


def escape(text: str) -> str:
    """Text in a document; characters that XML does not have at all are shown as unknown ones."""
    return escaped(_NO_XML.sub("\N{REPLACEMENT CHARACTER}", text))


def _height(box: Box) -> float:
    lines = 1 if box.node is None else 2 + bool(box.form) + bool(box.reads)
    return LINE * lines + PADDING + 4


def _pair(left: float, right: float, y: float, text: str, number: str) -> str:
    """Text from the left, a number at the right, on one line."""
    found = f'<text class="detail" x="{left:.1f}" y="{y:.1f}">{escape(_cut(text, CHARACTERS - len(number) - 1))}</text>'
    return found + (f'<text class="right" x="{right:.1f}" y="{y:.1f}">{number}</text>' if number else "")


def _time(nanoseconds: int, share: float) -> str:
    return f"{nanoseconds / 1e6:.3f} ms, {100 * share:.1f} %" if nanoseconds else ""


def shortened(text: str, characters: int = CHARACTERS) -> str:
    """The end of a name, in so many characters: what names of layers begin with they have in common."""
    return text if len(text) <= characters else "\N{HORIZONTAL ELLIPSIS}" + text[len(text) - characters + 1 :]


def _cut(text: str, characters: int) -> str:
    return text if len(text) <= characters else text[: characters - 1] + "\N{HORIZONTAL ELLIPSIS}"
