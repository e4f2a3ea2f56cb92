"""Runs first in every Python of a process tree that `tersely exec` started: its folder leads PYTHONPATH there.

It does nothing until transformers is imported. Right after the module that opens model folders has run, it brings in the
adapter, so that nobody holds a transformers without it. Then, and in any case, the `sitecustomize` that stood here before.
"""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import module_from_spec
from pathlib import Path
from typing import Any

_AFTER = "transformers.modeling_utils"
_HERE = str(Path(__file__).resolve().parent)


class _Watch(MetaPathFinder):
    """Finds the one module as others would, and has the adapter imported when it has run."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name != _AFTER:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return spec
        loader: Any = spec.loader
        run = loader.exec_module

        def exec_module(module: Any) -> None:
            run(module)
            import tersely.transformers  # noqa: F401

        loader.exec_module = exec_module
        return spec


def _shadowed() -> None:
    """Run the `sitecustomize` that this one hides."""
    spec = PathFinder.find_spec("sitecustomize", [place for place in sys.path if str(Path(place).resolve()) != _HERE])
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(module_from_spec(spec))


sys.meta_path.insert(0, _Watch())
_shadowed()
