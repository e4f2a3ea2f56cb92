"""Tiny models of many families with random weights, made from their configs; and what is fed to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import transformers

VOCABULARY = 256
_TEXT = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "bos_token_id": 1,
    "eos_token_id": None,
    "pad_token_id": 0,
}
_ENCODER = {"hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 2, "num_attention_heads": 4}
_PICTURE = {**_ENCODER, "image_size": 32, "patch_size": 8, "num_labels": 10}
_EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 96, "decoder_sparse_step": 1, "norm_topk_prob": True}


@dataclass(frozen=True)
class Family:
    """model: the class. config: makes its config. inputs: of one call. generates: greedy decoding is compared too."""

    model: str
    config: Callable[[], Any]
    inputs: Callable[[], dict[str, torch.Tensor]]
    generates: bool = False
    output: str = "logits"


def _numbers(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(7))


def _tokens(length: int = 12) -> torch.Tensor:
    return torch.randint(2, VOCABULARY, (2, length), generator=torch.Generator().manual_seed(7))


def _text() -> dict[str, torch.Tensor]:
    ids = _tokens()
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def _picture() -> dict[str, torch.Tensor]:
    return {"pixel_values": _numbers(2, 3, 32, 32)}


def _causal(config: str, model: str, **more: Any) -> Family:
    return Family(model, lambda: getattr(transformers, config)(**{**_TEXT, **more}), _text, True)


FAMILIES: dict[str, Family] = {
    "llama": _causal("LlamaConfig", "LlamaForCausalLM"),
    "llama-tied": _causal("LlamaConfig", "LlamaForCausalLM", tie_word_embeddings=True),
    "qwen2": _causal("Qwen2Config", "Qwen2ForCausalLM"),
    "qwen3": _causal("Qwen3Config", "Qwen3ForCausalLM", head_dim=16),
    "mistral": _causal("MistralConfig", "MistralForCausalLM"),
    "phi3": _causal("Phi3Config", "Phi3ForCausalLM"),
    "gemma2": _causal("Gemma2Config", "Gemma2ForCausalLM", head_dim=16),
    "mixtral": _causal("MixtralConfig", "MixtralForCausalLM", num_local_experts=4, num_experts_per_tok=2),
    "qwen3-moe": _causal("Qwen3MoeConfig", "Qwen3MoeForCausalLM", num_experts=4, head_dim=16, **_EXPERTS),
    "gpt2": Family(
        "GPT2LMHeadModel",
        lambda: transformers.GPT2Config(
            vocab_size=VOCABULARY, n_embd=64, n_layer=2, n_head=4, n_positions=64, bos_token_id=1, eos_token_id=None
        ),
        _text,
        True,
    ),
    "bert": Family("BertForMaskedLM", lambda: transformers.BertConfig(vocab_size=VOCABULARY, **_ENCODER), _text),
    "t5": Family(
        "T5ForConditionalGeneration",
        lambda: transformers.T5Config(
            vocab_size=VOCABULARY, d_model=64, d_kv=16, d_ff=160, num_layers=2, num_heads=4, decoder_start_token_id=0
        ),
        lambda: {**_text(), "decoder_input_ids": _tokens(5)},
        True,
    ),
    "vit": Family("ViTForImageClassification", lambda: transformers.ViTConfig(**_PICTURE), _picture),
    "deit": Family("DeiTForImageClassification", lambda: transformers.DeiTConfig(**_PICTURE), _picture),
    "resnet": Family(
        "ResNetForImageClassification",
        lambda: transformers.ResNetConfig(embedding_size=16, hidden_sizes=[32, 64], depths=[1, 1], num_labels=10),
        _picture,
    ),
    "mobilenet-v2": Family(
        "MobileNetV2ForImageClassification",
        lambda: transformers.MobileNetV2Config(image_size=32, depth_multiplier=0.5, num_labels=10),
        _picture,
    ),
    "whisper": Family(
        "WhisperForConditionalGeneration",
        lambda: transformers.WhisperConfig(
            vocab_size=VOCABULARY,
            d_model=64,
            encoder_layers=2,
            decoder_layers=2,
            encoder_attention_heads=4,
            decoder_attention_heads=4,
            encoder_ffn_dim=160,
            decoder_ffn_dim=160,
            num_mel_bins=16,
            max_source_positions=32,
            max_target_positions=64,
            decoder_start_token_id=1,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=0,
            suppress_tokens=None,
            begin_suppress_tokens=None,
        ),
        lambda: {"input_features": _numbers(2, 16, 64), "decoder_input_ids": _tokens(5)},
    ),
    "clip": Family(
        "CLIPModel",
        lambda: transformers.CLIPConfig(
            text_config={**_ENCODER, "vocab_size": VOCABULARY, "max_position_embeddings": 32, "eos_token_id": 1},
            vision_config={**_ENCODER, "image_size": 32, "patch_size": 8},
            projection_dim=64,
        ),
        lambda: {**_text(), **_picture()},
        output="logits_per_image",
    ),
}


WIDE = {"hidden_size": 512, "intermediate_size": 1024, "num_hidden_layers": 1}
"""A llama whose matrices are large enough for `compress_`, which leaves small ones dense."""


def build(name: str, dtype: torch.dtype, **more: Any) -> Any:
    """A model of the family with the same random weights every time; norms and biases are not all ones and zeros."""
    family = FAMILIES[name]
    torch.manual_seed(20)
    config = family.config()
    config.update(more)
    model = getattr(transformers, family.model)(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    return model.to(dtype).eval()


def inputs_of(name: str, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Inputs of one call; pictures and sounds in the model's dtype."""
    return {
        key: value.to(dtype) if value.is_floating_point() else value for key, value in FAMILIES[name].inputs().items()
    }


def answer(name: str, model: Any, under: Callable[[], Any] = torch.no_grad) -> torch.Tensor:
    """What the model says to `inputs_of`."""
    with under():
        return getattr(model(**inputs_of(name, model.dtype)), FAMILIES[name].output)


def greedy(name: str, model: Any, tokens: int = 8) -> torch.Tensor:
    """Tokens that the model generates with its cache."""
    given = {key: value for key, value in inputs_of(name, model.dtype).items() if key != "decoder_input_ids"}
    return model.generate(**given, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False, use_cache=True)
