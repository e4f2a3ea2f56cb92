"""Fixtures: instruction sets forced one by one, numbers drawn from one seed, real models where they are at hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from support import profile
from support.arrays import ISAS, MODELS, installed

from tersely.backends.cpu import isa, threads

_ADAPTERS = {
    "torch_adapter": ("torch",),
    "torch_networks": ("torch",),
    "onnx_networks": ("onnx",),
    "transformers_adapter": ("torch", "transformers"),
}
collect_ignore = [folder for folder, needed in _ADAPTERS.items() if not all(map(installed, needed))]
"""Tests of adapters need what they adapt, and `onnx` to build models: `make test` installs it."""

# The same examples each time: one commit passes or fails. `--anew` draws others, to find what these do not.
settings.register_profile("quick", max_examples=25, deadline=None, derandomize=True)
settings.register_profile("thorough", max_examples=100, deadline=None, derandomize=True)
settings.register_profile("anew", max_examples=100, deadline=None)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--thorough", action="store_true", help="every case of exhaustive tests, more random examples")
    parser.addoption(
        "--anew", action="store_true", help="random examples that are drawn anew, as many as with --thorough"
    )
    parser.addoption("--one-in", type=int, default=1, help="of exhaustive tests, one in so many, spread over all cases")


def pytest_configure(config: pytest.Config) -> None:
    profile.thorough = config.getoption("thorough")
    anew = config.getoption("anew")
    settings.load_profile("anew" if anew else "thorough" if profile.thorough else "quick")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Random examples are a spread of cases, too."""
    for item in items:
        if getattr(getattr(item, "function", None), "is_hypothesis_test", False):
            item.add_marker("exhaustive")
    left_out = [item for item in items if item.get_closest_marker("exhaustive")]
    del left_out[:: config.getoption("one_in")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        dropped = set(left_out)
        items[:] = [item for item in items if item not in dropped]


@pytest.fixture(params=ISAS)
def each_isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Runs the test once for every instruction set of this processor, forced; fails if dispatch did not obey."""
    with isa.using(request.param):
        assert isa.active() == request.param
        yield request.param


@pytest.fixture(autouse=True)
def unchosen_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A number of threads that one test chose decides nothing in the tests after it in the same process."""
    monkeypatch.setattr(threads, "_chosen", None)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20260101)


@pytest.fixture
def models() -> Path:
    if not MODELS.is_dir():
        pytest.skip("real checkpoints (../shared/models) are not at hand")
    return MODELS
