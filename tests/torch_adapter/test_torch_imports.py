"""What is done to other libraries is done when they are imported, and changes nothing else about their import."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

from tersely.torch.interop import imports


def test_libraries_are_wrapped_when_they_are_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tersely_test_later.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    seen: list[int] = []
    imports.when_imported("tersely_test_later", lambda module: seen.append(module.x))
    assert not seen
    import tersely_test_later  # type: ignore[import-not-found]

    imports.when_imported("tersely_test_later", lambda module: seen.append(module.x + 1))
    assert seen == [1, 2]
    assert type(tersely_test_later.__loader__) is type(tersely_test_later.__spec__.loader)
    assert tersely_test_later.__spec__.loader.get_source("tersely_test_later") == "x = 1\n"
    del sys.modules["tersely_test_later"]


def test_a_library_that_fails_to_import_fails_as_it_would(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tersely_test_broken.py").write_text("raise OSError('of its own')\n")
    monkeypatch.syspath_prepend(tmp_path)
    imports.when_imported("tersely_test_broken", lambda module: pytest.fail("not imported"))
    imports.when_imported("tersely_test_missing", lambda module: pytest.fail("not imported"))
    with pytest.raises(OSError, match="of its own"):
        __import__("tersely_test_broken")
    with pytest.raises(ModuleNotFoundError):
        __import__("tersely_test_missing")
