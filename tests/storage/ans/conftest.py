"""Blocks of these tests are of the fast coder, small ones too."""

from __future__ import annotations

import pytest

from tersely.storage import codec


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "_is_mixed", lambda level, items, nbytes: level == "max")
