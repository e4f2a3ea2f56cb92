"""Masks of torch.nn.utils.prune: folded, coded by position, the same answers."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn.utils import prune  # noqa: E402

import tersely.torch  # noqa: E402
from tersely.core.errors import ArgumentError  # noqa: E402


def pruned(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Linear(256, 512), nn.ReLU(), nn.Linear(512, 256))
    for layer in (module[0], module[2]):
        prune.l1_unstructured(layer, "weight", amount=0.6)
        prune.l1_unstructured(layer, "weight", amount=0.5)  # a container of two methods: 80 % zeros
    return module.requires_grad_(True)


@pytest.mark.parametrize("mode", ["fused", "identical"])
def test_masks_are_folded_and_weights_coded_by_position(mode):
    module, x = pruned(), torch.randn(3, 256)
    with torch.no_grad():
        before = module(x)
    masks = [module[k].weight_mask.bool() for k in (0, 2)]
    values = [module[k].weight_orig.detach().clone() for k in (0, 2)]
    summary = tersely.torch.compress_(module, mode=mode, progress=False)
    assert summary.folded == ("0.weight", "2.weight")
    assert "2 pruning masks" in str(summary)
    for layer, mask, value in zip((module[0], module[2]), masks, values, strict=True):
        assert "sparse" in layer.weight.formulation
        assert set(dict(layer.named_parameters())) == {"weight", "bias"}
        assert not dict(layer.named_buffers())
        assert not layer._forward_pre_hooks
        expected = torch.where(mask, value, torch.zeros(()))
        assert torch.equal(layer.weight.decode().view(torch.int32), expected.view(torch.int32))
    assert summary.ratio > 3
    with torch.no_grad():
        after = module(x)
    if mode == "identical":
        assert torch.equal(after, before)
    torch.testing.assert_close(after, before, rtol=1e-5, atol=1e-6)


def test_a_masked_parameter_with_a_gradient_is_refused_and_nothing_changes():
    module = pruned()
    module(torch.randn(2, 256)).sum().backward()
    module[0].bias.grad = module[2].bias.grad = None
    with pytest.raises(ArgumentError, match=r"0\.weight.*gradients|gradients.*0\.weight"):
        tersely.torch.compress_(module, progress=False)
    assert {name for name, _ in module.named_buffers()} == {"0.weight_mask", "2.weight_mask"}


def test_excluded_and_shared_masked_weights_keep_their_masks():
    module = pruned()
    summary = tersely.torch.compress_(module, exclude="0.*", progress=False)
    assert summary.folded == ("2.weight",)
    assert hasattr(module[0], "weight_mask")

    first, second = nn.Linear(256, 256), nn.Linear(256, 256)
    second.weight = first.weight
    both = nn.Sequential(first, second)
    for layer in both:
        prune.random_unstructured(layer, "weight", amount=0.5)
    x = torch.randn(2, 256)
    with torch.no_grad():
        before = both(x)
        summary = tersely.torch.compress_(both, progress=False)
        assert summary.folded == ()
        assert torch.equal(both(x), before)
    assert "mask" in summary.skipped["0.weight_orig"]
