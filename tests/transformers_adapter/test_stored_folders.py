"""Folders of stored files: from_pretrained transcodes them, and who does not know us gets an error that says what to do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from families import answer
from model_fixtures import OVERRIDES, folders, llama, one_thread
from transformers import AutoConfig, AutoModelForCausalLM

import tersely
from tersely.core.errors import TerselyError
from tersely.torch import TerselyTensor


@pytest.fixture
def small(llama: Any, tmp_path: Path) -> Path:
    tersely.compress(llama.dense, tmp_path / "small", store="smallest")
    return tmp_path / "small"


@pytest.mark.filterwarnings(OVERRIDES)
def test_from_pretrained_transcodes(llama: Any, small: Path) -> None:
    model = llama.load(small, mode="identical")
    assert any(isinstance(parameter, TerselyTensor) for parameter in model.parameters())
    assert torch.equal(answer("llama", model), answer("llama", llama.load(llama.dense)))


def test_a_folder_goes_through_every_form(llama: Any, small: Path, tmp_path: Path) -> None:
    tersely.transcode(small, tmp_path / "fast")
    tersely.decompress(tmp_path / "fast", tmp_path / "back")
    for path in llama.dense.rglob("*"):
        if path.is_file():
            assert (tmp_path / "back" / path.relative_to(llama.dense)).read_bytes() == path.read_bytes()


def test_a_config_that_does_not_say_so_is_refused(llama: Any, small: Path) -> None:
    config = AutoConfig.from_pretrained(llama.dense)
    with pytest.raises(TerselyError, match="is compressed"):
        AutoModelForCausalLM.from_pretrained(small, config=config)


def test_without_the_adapter_the_folder_is_closed(small: Path) -> None:
    code = f"from transformers import AutoModelForCausalLM\nAutoModelForCausalLM.from_pretrained({str(small)!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode
    assert "tersely" in done.stderr
