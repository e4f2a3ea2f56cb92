"""Small model folders, and what a folder holds."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from support.arrays import normal

import tersely


def content(root: Path) -> dict[str, bytes | str]:
    """Every file with its bytes, every link with its target, every empty folder."""
    found: dict[str, bytes | str] = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_symlink():
            found[name] = os.readlink(path)
        elif path.is_file():
            found[name] = path.read_bytes()
        elif not any(path.iterdir()):
            found[name] = ""
    return found


def weights(rng: np.random.Generator, *names: str) -> dict[str, np.ndarray]:
    return {name: normal(rng, (64, 64), np.dtype(np.float32)) for name in names}


@pytest.fixture
def model(tmp_path: Path, rng: np.random.Generator) -> Path:
    """A folder of one file, whose config.json is one of transformers."""
    folder = tmp_path / "model"
    folder.mkdir()
    safetensors.numpy.save_file(weights(rng, "a.weight", "b.weight"), folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text('{"model_type": "llama", "architectures": ["LlamaForCausalLM"]}')
    return folder


def there_and_back(source: Path, **options: Any) -> tuple[Any, dict[str, bytes | str]]:
    """(the report of compress, what decompress gives)"""
    packed, again = source.with_name("packed"), source.with_name("again")
    report = tersely.compress(source, packed, **options)
    tersely.decompress(packed, again)
    return report, content(again)
