"""The same encoder in NumPy, one operator after the other, on plain arrays: what the network is compared with.

See: Devlin et al., "BERT", 2019; Reimers and Gurevych, "Sentence-BERT", 2019 (mean pooling, unit length).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

Weights = Mapping[str, np.ndarray]


def linear(x: np.ndarray, weights: Weights, name: str) -> np.ndarray:
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def erf(x: np.ndarray) -> np.ndarray:
    """Error function to 1.5e-7 (Abramowitz and Stegun, "Handbook of Mathematical Functions", 7.1.26)."""
    t = 1 / (1 + np.float32(0.3275911) * np.abs(x))
    series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    return np.copysign(1 - series * np.exp(-x * x), x).astype(np.float32)


def gelu(x: np.ndarray) -> np.ndarray:
    return x * np.float32(0.5) * (1 + erf(x * np.float32(np.sqrt(0.5))))


def layer_norm(x: np.ndarray, weights: Weights, name: str) -> np.ndarray:
    centred = x - x.mean(axis=-1, keepdims=True)
    scale = np.sqrt((centred * centred).mean(axis=-1, keepdims=True) + np.float32(1e-12))
    return centred / scale * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def encoder(x: np.ndarray, mask: np.ndarray, weights: Weights, layers: int = 6, heads: int = 12) -> np.ndarray:
    """Token states [batch, tokens, hidden] through the transformer layers. mask: 1 for real tokens."""
    batch, tokens, hidden = x.shape
    x = x.reshape(-1, hidden)
    hide = ((1 - mask) * np.float32(-1e9))[:, None, None, :]

    def split(y: np.ndarray) -> np.ndarray:
        return y.reshape(batch, tokens, heads, hidden // heads).swapaxes(1, 2)

    for number in range(layers):
        layer = f"encoder.layer.{number}"
        query, key, value = (
            split(linear(x, weights, f"{layer}.attention.self.{part}")) for part in ("query", "key", "value")
        )
        scores = query @ key.swapaxes(2, 3) / np.float32(np.sqrt(hidden // heads)) + hide
        mixed = (softmax(scores) @ value).swapaxes(1, 2).reshape(-1, hidden)
        mixed = linear(mixed, weights, f"{layer}.attention.output.dense")
        x = layer_norm(x + mixed, weights, f"{layer}.attention.output.LayerNorm")
        inner = gelu(linear(x, weights, f"{layer}.intermediate.dense"))
        x = layer_norm(x + linear(inner, weights, f"{layer}.output.dense"), weights, f"{layer}.output.LayerNorm")
    return x.reshape(batch, tokens, hidden)


def embed(ids: np.ndarray, mask: np.ndarray, weights: Weights) -> np.ndarray:
    """Unit vectors [batch, hidden] of sentences given as token ids [batch, tokens] and mask."""
    positions = np.arange(ids.shape[1])
    x = weights["embeddings.word_embeddings.weight"][ids]
    x = x + weights["embeddings.position_embeddings.weight"][positions]
    x = x + weights["embeddings.token_type_embeddings.weight"][0]
    x = encoder(layer_norm(x, weights, "embeddings.LayerNorm"), mask, weights)
    pooled = (x * mask[:, :, None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)
    return pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
