"""Whole transformers, built of their configurations, against torch, and real weights where they are at hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tersely.torch.networks.pipeline import pipeline

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.kernels

SIZES = {"hidden_size": 96, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 200}
IMAGES = {**SIZES, "image_size": 32, "patch_size": 8}


class First(nn.Module):
    """The first of what a model returns."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.model(*inputs)[0]


def compare(model: nn.Module, found: torch.Tensor, inputs: tuple[torch.Tensor, ...]) -> None:
    with torch.no_grad():
        expected = model.double()(*(one.double() if one.is_floating_point() else one for one in inputs))
        model.float()
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=3e-6 * float(expected.abs().max()))


@pytest.mark.parametrize("family", ["ViT", "DeiT"])
def test_vision_transformers_of_any_batch(each_isa: str, family: str) -> None:
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**IMAGES)
    model = First(getattr(transformers, f"{family}ForImageClassification")(config)).eval()
    made = pipeline(model, (torch.randn(2, 3, 32, 32),))
    assert made.left == {}
    assert len(made._partitioned.pieces) == 1
    for batch in (2, 1, 5):
        images = torch.randn(batch, 3, 32, 32)
        compare(model, torch.from_numpy(made._partitioned.pieces[0].run(images.numpy())[0]), (images,))


@pytest.mark.parametrize(("batch", "tokens"), [(2, 7), (1, 33)])
def test_encoders_with_masks(each_isa: str, batch: int, tokens: int) -> None:
    torch.manual_seed(0)
    config = transformers.BertConfig(**SIZES, vocab_size=60, max_position_embeddings=40)
    model = First(transformers.BertModel(config)).eval()
    numbers = torch.randint(0, 60, (batch, tokens))
    mask = torch.ones(batch, tokens, dtype=torch.int64)
    mask[-1, tokens // 2 :] = 0
    made = pipeline(model, (numbers, mask))
    assert made.left == {}
    assert len(made._partitioned.pieces) == 1
    compare(model, made(numbers, mask), (numbers, mask))
    (executed,) = made._partitioned.pieces
    once = executed.run(numbers.numpy(), mask.numpy(), threads=1)[0]
    for threads in (2, 3):
        assert (executed.run(numbers.numpy(), mask.numpy(), threads=threads)[0] == once).all()


def test_attention_reads_what_layers_wrote(each_isa: str) -> None:
    """Between the first layer norm and the last nothing is copied."""
    config = transformers.ViTConfig(**IMAGES)
    made = pipeline(First(transformers.ViTForImageClassification(config)).eval(), (torch.randn(2, 3, 32, 32),))
    steps = [step["operator"] for step in made._partitioned.pieces[0].program((2, 3, 32, 32)).steps]
    layer = ["layer_norm", *["convolution"] * 3, "attention", "convolution", "layer_norm", "convolution", "convolution"]
    first = steps.index("layer_norm")
    assert steps[first : first + 2 * len(layer)] == layer * 2


def test_tied_weights_are_coded_once() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.out = nn.Embedding(64, 48), nn.Linear(48, 64, bias=False)
            self.out.weight = self.table.weight

        def forward(self, numbers: torch.Tensor) -> torch.Tensor:
            return self.out(self.table(numbers))

    model = Tied().eval()
    numbers = torch.arange(20).reshape(2, 10)
    made = pipeline(model, (numbers,))
    assert len(made._partitioned.pieces[0].graph.constants) == 1
    compare(model, made(numbers), (numbers,))
