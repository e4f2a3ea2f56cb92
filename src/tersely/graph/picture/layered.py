"""Places for the nodes of an acyclic graph: layer below layer, edges that seldom cross, chains that run straight.

After Sugiyama, Tagawa and Toda, "Methods for Visual Understanding of Hierarchical System Structures" (IEEE Transactions
on Systems, Man, and Cybernetics 11, 1981, DOI 10.1109/TSMC.1981.4308636): a node lies below all that it reads; an edge
over several layers has a point in each; layers are ordered by the means of their neighbours' places. Coordinates are the
least squares that keep that order, by pooling neighbours that would overlap.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from tersely.core.errors import ArgumentError

SWEEPS = 8
LONG_PULL = 0.1
"""How much an edge over several layers moves what it ends at, beside one to the next layer."""
MIDDLE_PULL = 0.5
"""How much a node alone in its layer keeps to the middle."""

LARGEST = 20_000
"""Nodes and points of edges."""

Edge = tuple[int, int]


@dataclass(frozen=True)
class Placed:
    """layers: of each node. centres: of each node. routes: of each edge, the centres of its points, layer by layer."""

    layers: tuple[int, ...]
    centres: tuple[float, ...]
    routes: tuple[tuple[float, ...], ...]


def placed(widths: Sequence[float], edges: Sequence[Edge], gap: float, point: float) -> Placed:
    """Places for nodes 0, 1, ... of these widths, each after those that it reads.

    edges: (from, to), the smaller first. gap: between neighbours of a layer. point: the width of an edge that passes.

    Raises ArgumentError for graphs that are too large to be looked at.
    """
    layers = layers_of(len(widths), edges)
    points = len(widths) + sum(layers[end] - layers[start] for start, end in edges)
    if points > LARGEST:
        raise ArgumentError(f"a graph of {len(widths)} nodes and {len(edges)} edges is too large to be drawn")
    grid = _Grid(layers, edges)
    grid.order()
    sizes = [*widths, *[point] * (grid.count - len(widths))]
    centres = grid.centres(sizes, gap)
    routes = tuple(tuple(centres[vertex] for vertex in chain) for chain in grid.chains)
    return Placed(tuple(layers), tuple(centres[: len(widths)]), routes)


def layers_of(count: int, edges: Sequence[Edge]) -> list[int]:
    """One below the lowest of what a node reads; one that reads nothing lies right above its first reader."""
    layers, readers = [0] * count, dict[int, list[int]]()
    read = {end for _, end in edges}
    for start, end in sorted(edges, key=lambda edge: edge[1]):
        layers[end] = max(layers[end], layers[start] + 1)
        readers.setdefault(start, []).append(end)
    for node in range(count):
        if node not in read and node in readers:
            layers[node] = max(0, min(layers[reader] for reader in readers[node]) - 1)
    return layers


class _Grid:
    """Vertices - nodes first, then the points of edges over several layers - in their layers."""

    def __init__(self, layers: Sequence[int], edges: Sequence[Edge]) -> None:
        self.rows: list[list[int]] = [[] for _ in range(max(layers, default=-1) + 1)]
        for node, layer in enumerate(layers):
            self.rows[layer].append(node)
        self.nodes = self.count = len(layers)
        self.chains = list[list[int]]()
        above: dict[int, list[tuple[int, float]]] = {}
        below: dict[int, list[tuple[int, float]]] = {}
        for start, end in edges:
            chain = [start]
            for layer in range(layers[start] + 1, layers[end]):
                chain.append(self.count)
                self.rows[layer].append(self.count)
                self.count += 1
            chain.append(end)
            self.chains.append(chain)
            for upper, lower in itertools.pairwise(chain):
                long = len(chain) > 2
                # Points of an edge keep in line; a node is hardly moved by what only passes by.
                above.setdefault(lower, []).append((upper, LONG_PULL if long and lower == end else 1.0))
                below.setdefault(upper, []).append((lower, LONG_PULL if long and upper == start else 1.0))
        self.above, self.below = above, below

    def order(self) -> None:
        best, fewest = [list(row) for row in self.rows], self._crossings()
        for sweep in range(SWEEPS):
            down = sweep % 2 == 0
            rows = list(self.rows) if down else list(reversed(self.rows))
            for fixed, row in itertools.pairwise(rows):
                places = {vertex: place for place, vertex in enumerate(fixed)}
                neighbours = self.above if down else self.below
                means = {}
                for place, vertex in enumerate(row):
                    found = [places[other] for other, _ in neighbours.get(vertex, ())]
                    means[vertex] = sum(found) / len(found) if found else float(place)
                row.sort(key=means.__getitem__)
            if (crossings := self._crossings()) < fewest:
                best, fewest = [list(row) for row in self.rows], crossings
        self.rows = best

    def _crossings(self) -> int:
        total = 0
        for upper, lower in zip(self.rows, self.rows[1:], strict=False):
            places = {vertex: place for place, vertex in enumerate(lower)}
            ends = [sorted(places[other] for other, _ in self.below.get(vertex, ())) for vertex in upper]
            seen: list[int] = []
            for group in ends:
                total += sum(earlier > place for place in group for earlier in seen)
                seen.extend(group)
        return total

    def centres(self, widths: Sequence[float], gap: float) -> list[float]:
        centres = [0.0] * self.count
        for row in self.rows:
            # Nodes begin around one line: chains are straight from the start, and what passes lies beside them.
            weights = [1.0 if vertex < self.nodes else LONG_PULL for vertex in row]
            self._set(row, [0.0] * len(row), weights, widths, gap, centres)
        for sweep in range(2 * SWEEPS):
            rows = self.rows if sweep % 2 == 0 else list(reversed(self.rows))
            for row in rows:
                pulls = [[*self.above.get(one, ()), *self.below.get(one, ())] for one in row]
                alone = sum(vertex < self.nodes for vertex in row) == 1
                kept = [MIDDLE_PULL if alone and vertex < self.nodes else 1e-6 for vertex in row]
                weights = [keep + sum(pull for _, pull in one) for one, keep in zip(pulls, kept, strict=True)]
                wanted = [
                    sum(centres[other] * pull for other, pull in one) / weight
                    for one, weight in zip(pulls, weights, strict=True)
                ]
                self._set(row, wanted, weights, widths, gap, centres)
        return centres

    @staticmethod
    def _set(
        row: list[int],
        wanted: list[float],
        weights: list[float],
        widths: Sequence[float],
        gap: float,
        centres: list[float],
    ) -> None:
        """The places nearest to those wanted at which neighbours, in their order, do not overlap."""
        offsets, at = [], 0.0
        for index, vertex in enumerate(row):
            at += (widths[row[index - 1]] + widths[vertex]) / 2 + gap if index else 0.0
            offsets.append(at)
        pools: list[tuple[float, float, int]] = []  # mean, weight, how many
        for place, weight, offset in zip(wanted, weights, offsets, strict=True):
            mean, total, members = place - offset, weight, 1
            while pools and pools[-1][0] > mean:
                other, other_weight, others = pools.pop()
                mean = (mean * total + other * other_weight) / (total + other_weight)
                total, members = total + other_weight, members + others
            pools.append((mean, total, members))
        means = [mean for mean, _, members in pools for _ in range(members)]
        for vertex, mean, offset in zip(row, means, offsets, strict=True):
            centres[vertex] = mean + offset
