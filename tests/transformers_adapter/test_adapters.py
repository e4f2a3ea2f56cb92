"""LoRA on folders, by peft and by what transformers itself makes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from model_fixtures import folders, llama, one_thread

from tersely.torch import TerselyTensor

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


def losses_of_training(model: Any, tokens: torch.Tensor, steps: int) -> list[float]:
    optimizer = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], lr=1e-2)
    losses = []
    for _ in range(steps):
        loss = model(input_ids=tokens, labels=tokens).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def test_adapters_that_transformers_adds_itself(llama: Any, tmp_path: Path) -> None:
    least = "0.22" if transformers.__version__.startswith("5") else None
    peft = pytest.importorskip("peft", minversion=least, reason="transformers 5 wants a newer peft than is installed")
    model, tokens = llama.load(llama.packed), torch.randint(2, 256, (4, 17))
    model.add_adapter(peft.LoraConfig(r=4, target_modules=["q_proj", "down_proj"]))
    trained = [name for name, weight in model.named_parameters() if weight.requires_grad]
    assert sum("lora" in name for name in trained) == len(trained) == 8
    losses = losses_of_training(model, tokens, 8)
    assert losses[-1] < losses[0] - 0.1
    assert isinstance(model.model.layers[0].mlp.down_proj.base_layer.weight, TerselyTensor)
    model.save_pretrained(tmp_path / "adapter")
    assert not list((tmp_path / "adapter").glob("model*.safetensors"))
    again = llama.load(llama.packed)
    again.load_adapter(str(tmp_path / "adapter"))
    with torch.no_grad():
        assert torch.equal(again(input_ids=tokens).logits, model(input_ids=tokens).logits)


def test_lora_trains_on_a_folder_and_is_saved_alone(llama: Any, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft", reason="LoRA needs peft: make test installs it")
    model = llama.load(llama.packed)
    torch.manual_seed(3)
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=8, target_modules=["q_proj", "v_proj", "down_proj"]))
    tokens = torch.randint(2, 256, (4, 17))
    losses = losses_of_training(adapted, tokens, 10)
    assert losses[-1] < losses[0] - 0.2
    adapted.save_pretrained(tmp_path / "adapter")
    again = peft.PeftModel.from_pretrained(llama.load(llama.packed), tmp_path / "adapter")
    with torch.no_grad():
        assert torch.equal(again(input_ids=tokens).logits, adapted(input_ids=tokens).logits)
    with pytest.raises(Exception, match="compressed"):
        adapted.merge_and_unload()
