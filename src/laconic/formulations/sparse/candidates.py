"""Which forms of `sparse` are worth considering, and the form that a caller asks for."""

from __future__ import annotations

from typing import Any

import numpy as np

from laconic.errors import ArgumentError
from laconic.formulations.protocol import Candidate, Request
from laconic.formulations.sparse import codec
from laconic.formulations.sparse.layout import POSITIONS, check_positions, node
from laconic.geometry import CHUNK_WEIGHTS, folded

FEWEST_ZEROS = 0.1
"""Share of zeros below which nothing here can win: a bitmap costs a bit for every weight, and `split` already saves
more than a tenth of them."""


def why_not(dtype: str, objective: str, profile: str) -> str:
    return ""


def candidates(request: Request) -> list[Candidate]:
    words = request.words
    if words.size - np.count_nonzero(words) <= FEWEST_ZEROS * words.size:
        return []
    statistics = codec.statistics(words, request.geometry(), request.dtype, request.threads)
    found = [_candidate(words, statistics, positions) for positions in POSITIONS]
    if request.objective == "size" and statistics.geometry.view != "folded":
        flat = codec.statistics(words, folded(words.shape), request.dtype, request.threads)
        found += [_candidate(words, flat, positions) for positions in POSITIONS]
    return found


def forced(request: Request, parameters: dict[str, Any]) -> Candidate:
    positions = check_positions(parameters.pop("positions", POSITIONS[0]))
    if parameters:
        raise ArgumentError(f"formulation 'sparse' takes no parameter {next(iter(parameters))!r}")
    statistics = codec.statistics(request.words, request.geometry(), request.dtype, request.threads)
    return _candidate(request.words, statistics, positions)


def _candidate(words: np.ndarray, statistics: codec.Statistics, positions: str) -> Candidate:
    geometry = statistics.geometry
    return Candidate(
        node(positions),
        geometry,
        statistics.total(positions),
        lambda threads: codec.encode(words, statistics, positions, threads),
        f"sparse {positions}",
        {"positions": positions},
        geometry.panels * geometry.chunks_per_panel * CHUNK_WEIGHTS,
        statistics.blocks * CHUNK_WEIGHTS if positions == "deltas" else 0,
    )
