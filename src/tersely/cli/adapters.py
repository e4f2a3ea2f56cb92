"""What commands need of other packages, imported by those commands alone and only when they run."""

from __future__ import annotations

import importlib
from typing import Any

from tersely.core.errors import TerselyError


def of_transformers(module: str) -> Any:
    """A module of `tersely.transformers`. Raises TerselyError where torch or transformers is missing."""
    try:
        return importlib.import_module(f"tersely.transformers.{module}")
    except ModuleNotFoundError as error:
        raise TerselyError(f"this needs {error.name}: pip install '.[transformers]' in a clone of tersely") from None
