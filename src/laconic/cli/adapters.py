"""What commands need of other packages, imported by those commands alone and only when they run."""

from __future__ import annotations

import importlib
from typing import Any

from laconic.errors import LaconicError


def of_transformers(module: str) -> Any:
    """A module of `laconic.transformers`. Raises LaconicError where torch or transformers is missing."""
    try:
        return importlib.import_module(f"laconic.transformers.{module}")
    except ModuleNotFoundError as error:
        raise LaconicError(f"this needs {error.name}: pip install 'laconic[transformers]'") from None
