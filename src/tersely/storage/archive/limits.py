"""What a stored file may ask of us, and how it is cut into blocks: a part of the format."""

from __future__ import annotations

from tersely.files.container.limits import HEADER_BYTES

TEXT_BYTES = 2 * HEADER_BYTES
"""Longest text: the header of an original, or what is between its tensors, and what a file says beside it."""

OWN_ELEMENTS = 1 << 14
"""Tensors of at least so many elements are coded in blocks of their own."""

BLOCK_ELEMENTS = 1 << 22
"""Most elements of a block: larger tensors are cut, so that threads have work and memory has a bound."""

POOL_BYTES = 1 << 20
"""Most bytes of a block that several small tensors share, and of a block of text."""

BLOCK_BYTES = 8 * BLOCK_ELEMENTS
"""Most bytes of what a block is decoded to."""

CODED_BYTES = BLOCK_BYTES + (1 << 16)
"""Most bytes of a block as it is coded: what no code makes smaller is stored as it is."""
