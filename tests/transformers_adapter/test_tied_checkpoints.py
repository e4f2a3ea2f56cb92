"""Checkpoints that have tied weights under both names: compressed once, loaded as the model has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from families import FAMILIES, answer, build, greedy
from model_fixtures import one_thread
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

import tersely
import tersely.transformers
from tersely.files.container.reader import Reader
from tersely.torch import TerselyTensor
from tersely.transformers.models import weight_bytes

EMBED, HEAD = "model.embed_tokens.weight", "lm_head.weight"
pytestmark = pytest.mark.filterwarnings("ignore:You passed `quantization_config`:UserWarning")


def folder_of(path: Path, tied: bool, dtype: torch.dtype) -> Path:
    """A llama whose head has the weights of its embeddings, both of them in the file."""
    model = build("llama-tied" if tied else "llama", dtype)
    with torch.no_grad():
        model.lm_head.weight.copy_(model.model.embed_tokens.weight)
    model.save_pretrained(path)
    tensors = load_file(path / "model.safetensors")
    tensors[HEAD] = tensors[EMBED].clone()
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})
    return path


def load(path: Path, **wanted: Any) -> Any:
    options = {"quantization_config": tersely.transformers.TerselyConfig(**wanted)} if wanted else {}
    return AutoModelForCausalLM.from_pretrained(path, dtype="auto", **options)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_both_names_of_a_tied_weight_in_a_checkpoint(tied: bool, dtype: torch.dtype, tmp_path: Path) -> None:
    assert FAMILIES["llama-tied"].generates
    source = folder_of(tmp_path / "dense", tied, dtype)
    tersely.compress(source, tmp_path / "packed")
    assert set(Reader(tmp_path / "packed/model.safetensors").aliases) in ({HEAD}, {EMBED})
    dense, model = load(source), load(tmp_path / "packed", mode="identical")
    assert torch.equal(answer("llama", model), answer("llama", dense))
    assert torch.equal(greedy("llama", model), greedy("llama", dense))
    head, embed = model.lm_head.weight, model.model.embed_tokens.weight
    assert isinstance(head, TerselyTensor)
    assert (head is embed) == tied
    assert [part.data_ptr() for part in head.storage_.tensors()] == [
        part.data_ptr() for part in embed.storage_.tensors()
    ]
    weights = [weight for _, weight in model.named_parameters()]
    kept = [weight.nbytes_stored if isinstance(weight, TerselyTensor) else weight.nbytes for weight in weights]
    shared = 0 if tied else head.nbytes_stored  # counted once
    assert weight_bytes(model)[0] == sum(kept) + sum(buffer.nbytes for buffer in model.buffers()) - shared
    assert weight_bytes(model)[1] == weight_bytes(dense)[1]
    model.save_pretrained(tmp_path / "again")
    names = set(tersely.load_file(tmp_path / "again/model.safetensors"))
    assert ({EMBED, HEAD} <= names) == (not tied)
    assert set(Reader(tmp_path / "again/model.safetensors").aliases) <= {HEAD, EMBED}
    again = load(tmp_path / "again", mode="identical")
    assert torch.equal(answer("llama", again), answer("llama", dense))
    if not tied:
        restored = again.dequantize()
        assert restored.lm_head.weight is not restored.model.embed_tokens.weight
    tersely.decompress(tmp_path / "packed", tmp_path / "back")
    for name in ("model.safetensors", "config.json"):
        assert (tmp_path / "back" / name).read_bytes() == (source / name).read_bytes()
