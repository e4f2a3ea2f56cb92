"""Closing entries: each coded tensor's own name, with no elements, so that nobody loads the file without decoding it.

A loader that does not know the components would find no `NAME`, and many only warn of that and leave a weight at random.
With an entry of shape [0] under that name they stop at a shape that does not fit. Files for PyTorch's loaders have them;
readers of ours pass over them. FORMAT: docs/FORMAT.md, "Closing entries".
"""

from __future__ import annotations

from collections.abc import Mapping

from tersely.files.container.header import Entry

SHAPE = (0,)


def wanted(metadata: Mapping[str, str]) -> bool:
    """Whether a file says that it is for PyTorch's loaders."""
    return metadata.get("format") == "pt"


def is_one(entry: Entry) -> bool:
    """Whether an entry beside the components of the same name is there to close it."""
    return entry.shape == SHAPE
