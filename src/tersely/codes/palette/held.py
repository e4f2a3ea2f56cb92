"""`palette` whose words are a grid: its indices are numbers, held as fields of `integer`, which products multiply."""

from __future__ import annotations

import numpy as np

from tersely.codes.integer import candidates as integer_candidates
from tersely.codes.integer import codec as integer
from tersely.codes.integer import formulation as integer_formulation
from tersely.codes.integer import layout as integer_layout
from tersely.codes.integer import reference as integer_reference
from tersely.codes.palette import codec, reference
from tersely.codes.palette.grid import Grid
from tersely.codes.palette.layout import INDICES, TABLE, entries_of, grid_of, node
from tersely.codes.protocol import Candidate, Work
from tersely.core.encoded import Encoded, Node, index_bytes, stored
from tersely.core.errors import CorruptError, UnsupportedError
from tersely.core.geometry import Geometry

NUMBER_DTYPE = "uint8"


def numbers_of(encoded: Encoded) -> Encoded:
    """The indices as a tensor of their own."""
    prefix = f"{INDICES}."
    own = {name[len(prefix) :]: data for name, data in encoded.components.items() if name.startswith(prefix)}
    seen = (encoded.view, encoded.orientation, encoded.column_order)
    return Encoded(encoded.shape, NUMBER_DTYPE, *seen, encoded.node.children[INDICES], own)


def validate(encoded: Encoded, geometry: Geometry, table: np.ndarray) -> None:
    """Raises for numbers that are no valid fields, and for a table that is not what its scale and zero say."""
    child = encoded.node.children[INDICES]
    if integer_layout.check_node(child, NUMBER_DTYPE):
        raise UnsupportedError("palette holds its indices as fields of 'integer' only; the file is damaged")
    integer_formulation.validate(numbers_of(encoded), geometry)
    off = _grid(encoded).first_off(table, encoded.dtype)
    if off is not None:
        raise CorruptError(
            f"word {off} of the table is off the grid that scale and zero say; get the file again",
            component=TABLE,
            byte=off * table.itemsize,
        )


def decode(encoded: Encoded, geometry: Geometry, word: np.dtype) -> np.ndarray:
    """The NumPy reference: the tensor's words, from valid components."""
    numbers = integer_reference.decode(numbers_of(encoded).components, geometry, NUMBER_DTYPE)
    return reference.look_up(encoded.components, entries_of(encoded.node), numbers, word)


def work(encoded: Encoded, geometry: Geometry) -> Work:
    groups = encoded.components[f"{INDICES}.groups"][: 2 * integer_layout.unit_panels(geometry).size].reshape(-1, 2)
    places = integer_candidates.places_of(geometry)
    return Work(_kernel(groups, geometry), geometry, encoded.nbytes_stored, places)


def candidate(indexed: codec.Indexed, grid: Grid, geometry: Geometry, smallest: bool) -> Candidate:
    """indexed: by the grid's table. smallest: a number that fields leave out costs its bytes and not its time."""
    numbers, table = indexed.indices, indexed.table
    counts = integer.statistics(numbers, geometry, NUMBER_DTYPE, indexed.threads)
    cost = integer.SMALLEST if smallest else integer_candidates.FAST_ESCAPE_BYTES
    groups = integer.choose(counts, geometry, NUMBER_DTYPE, cost)

    def components(threads: int) -> dict[str, np.ndarray]:
        coded = integer.encode(numbers, groups, threads)
        return {TABLE: stored(table, index_bytes)} | {f"{INDICES}.{name}": data for name, data in coded.items()}

    return Candidate(
        node(indexed.entries, Node(integer_layout.NAME, integer_layout.VERSION), grid),
        geometry,
        index_bytes(table.nbytes) + groups.total(),
        components,
        _kernel(groups.table, geometry),
        {"code": "grid"} | ({"smallest": True} if smallest else {}),
        integer_candidates.places_of(geometry),
    )


def _grid(encoded: Encoded) -> Grid:
    grid = grid_of(encoded.node)
    assert grid is not None
    return grid


def _kernel(groups: np.ndarray, geometry: Geometry) -> str:
    """The row of the cost model, by the bits of most fields' groups on average."""
    panels = integer_layout.unit_panels(geometry)
    bits = float(panels @ groups[:, 0].astype(np.float64)) / max(1, int(panels.sum()))
    return f"palette grid {round(bits)}"
