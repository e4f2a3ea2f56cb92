"""Every cap on what a file may ask of us, with its reason."""

HEADER_BYTES = 100_000_000
"""Longest header: the limit of the safetensors library itself."""

INFO_BYTES = 1_000_000
"""Longest description of one tensor; real ones have under a kilobyte."""

NAME_CHARACTERS = 4096
"""Longest name by which a copy says what it is a copy of; real ones have under 200."""

DIMENSIONS = 64
"""Maximum of dimensions of a tensor: NumPy's own limit."""

ELEMENTS = 1 << 60
"""Maximum of weights of a tensor, empty dimensions counted as one: its bytes are a number of 64 bits."""

TREE_DEPTH = 8
"""Deepest nesting of formulations: `sparse` values under `palette` under a code need three."""

VERBATIM_BYTES = HEADER_BYTES
"""Longest original header after decompression: it was itself a header."""

POOL_BYTES = 1 << 20
"""Most bytes of a block of the pool: its coder takes up to a second for them."""

POOL_TEXT_BYTES = 1 << 22
"""Longest text of a pool, which is decoded when the file is opened."""
