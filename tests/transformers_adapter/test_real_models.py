"""A trained encoder in transformers' own BERT; and large networks at full size, with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from model_fixtures import one_thread
from safetensors.torch import load_file

import tersely
from tersely.torch import TerselyTensor
from tersely.transformers import TerselyConfig

MINILM = Path(__file__).parents[3] / "shared/models/minilm-l6-v2-body-fp32.safetensors"
overrides = pytest.mark.filterwarnings("ignore:You passed `quantization_config`:UserWarning")


@pytest.fixture(scope="module")
def minilm(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(dense folder, compressed folder) of all-MiniLM-L6-v2. Its word embeddings are not at hand: a small random table."""
    if not MINILM.exists():
        pytest.skip("real checkpoints (../shared/models) are not at hand")
    root = tmp_path_factory.mktemp("minilm")
    config = transformers.BertConfig(
        vocab_size=1000, hidden_size=384, intermediate_size=1536, num_hidden_layers=6, num_attention_heads=12
    )
    torch.manual_seed(0)
    model = transformers.BertModel(config)
    missing, unexpected = model.load_state_dict(load_file(MINILM), strict=False)
    assert set(missing) <= {"embeddings.word_embeddings.weight", "embeddings.position_ids"}
    assert set(unexpected) <= {"embeddings.position_ids"}
    model.save_pretrained(root / "dense")
    tersely.compress(root / "dense", root / "packed", objective="size")
    return root / "dense", root / "packed"


@pytest.mark.filterwarnings("ignore:.*slower than dense weights:UserWarning")
@overrides
@pytest.mark.parametrize("mode", ["identical", "fused"])
def test_minilm_gives_the_same_sentence_vectors(mode: str, minilm: tuple[Path, Path]) -> None:
    dense = transformers.BertModel.from_pretrained(minilm[0])
    model = transformers.BertModel.from_pretrained(minilm[1], quantization_config=TerselyConfig(mode=mode))
    assert sum(isinstance(weight, TerselyTensor) for weight in model.parameters()) > 30
    ids = torch.randint(0, 1000, (3, 20), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        a, b = (m(input_ids=ids).last_hidden_state.mean(1) for m in (dense, model))
    if mode == "identical":
        assert torch.equal(a, b)
    assert torch.nn.functional.cosine_similarity(a, b).min() > 1 - 1e-6


def test_minilm_gets_smaller(minilm: tuple[Path, Path]) -> None:
    dense, packed = ((folder / "model.safetensors").stat().st_size for folder in minilm)
    assert dense / packed > 1.15


def vgg16() -> torch.nn.Module:
    layers: list[torch.nn.Module] = []
    inputs = 3
    for width in (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0):
        if not width:
            layers.append(torch.nn.MaxPool2d(2))
            continue
        layers += [torch.nn.Conv2d(inputs, width, 3, padding=1), torch.nn.ReLU()]
        inputs = width
    head = (torch.nn.Linear(25088, 4096), torch.nn.ReLU(), torch.nn.Linear(4096, 4096), torch.nn.ReLU())
    return torch.nn.Sequential(*layers, torch.nn.Flatten(), *head, torch.nn.Linear(4096, 1000))


def resnet(depths: list[int]) -> torch.nn.Module:
    return transformers.ResNetForImageClassification(transformers.ResNetConfig(depths=depths, num_labels=1000))


def mobilenet_v2() -> torch.nn.Module:
    return transformers.MobileNetV2ForImageClassification(transformers.MobileNetV2Config(num_labels=1000))


def deit_b() -> torch.nn.Module:
    return transformers.DeiTForImageClassification(transformers.DeiTConfig(num_labels=1000))


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["identical", "fused"])
@pytest.mark.parametrize(
    "make",
    [vgg16, lambda: resnet([3, 4, 6, 3]), lambda: resnet([3, 4, 23, 3]), mobilenet_v2, deit_b],
    ids=["vgg-16", "resnet-50", "resnet-101", "mobilenet-v2", "deit-b"],
)
def test_networks_at_full_size(make: Any, mode: str) -> None:
    torch.manual_seed(2)
    model = make().eval()
    picture = torch.randn(1, 3, 224, 224)

    def answer() -> torch.Tensor:
        with torch.no_grad():
            out = model(picture)
        return out if isinstance(out, torch.Tensor) else out.logits

    expected = answer()
    summary = tersely.torch.compress_(model, mode=mode, progress=False)
    assert summary.compressed
    found = answer()
    if mode == "identical":
        assert torch.equal(found, expected)
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()
