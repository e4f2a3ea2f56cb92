"""One dense and one compressed folder for each family and dtype, made once.

Not a conftest: two of that name would be one module to the tests that import theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import families
import torch
import transformers

import tersely
import tersely.transformers

transformers.utils.logging.disable_progress_bar()
transformers.utils.logging.set_verbosity_error()

OVERRIDES = "ignore:You passed `quantization_config`:UserWarning"
"""transformers says so for every method whenever `quantization_config` is passed for a folder that has one."""


@dataclass(frozen=True)
class Folders:
    """A family's model as transformers saves it, and compressed."""

    name: str
    dtype: torch.dtype
    dense: Path
    packed: Path

    def load(self, path: Path, **wanted: Any) -> Any:
        """The model of a folder; wanted: arguments of TerselyConfig."""
        options = {"quantization_config": tersely.transformers.TerselyConfig(**wanted)} if wanted else {}
        model = getattr(transformers, families.FAMILIES[self.name].model)
        return model.from_pretrained(path, dtype="auto", **options)


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Folders]:
    made: dict[tuple[str, torch.dtype], Folders] = {}

    def get(name: str, dtype: torch.dtype = torch.bfloat16) -> Folders:
        if (name, dtype) not in made:
            root = tmp_path_factory.mktemp(name)
            families.build(name, dtype).save_pretrained(root / "dense")
            tersely.compress(root / "dense", root / "packed")
            made[name, dtype] = Folders(name, dtype, root / "dense", root / "packed")
        return made[name, dtype]

    return get


@pytest.fixture
def llama(folders: Callable[..., Folders]) -> Folders:
    return folders("llama")


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Tiny models: waking workers costs more than they save, most of all where other programs run too."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
